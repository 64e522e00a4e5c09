"""Statements that write: their head is read here, what is left is a query like any other.

DuckDB never gets such a statement. Its parser has said of what kind the text is; this grammar then takes the table's name and
the options out of it, and the rest is parsed as a SELECT of its own, which the policy judges. Of a form that does not stand
here nothing is guessed: it is NotSupported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sabot_sql.config import Settings
from sabot_sql.errors import NotSupported, ParseError, PlanError
from sabot_sql.planner.parse import Statement, parse
from sabot_sql.planner.sql_position import position_at, tokens
from sabot_sql.planner.write_kinds import COUNTED, WriteKind

Mode = Literal["create", "append", "replace"]

KINDS = frozenset("INSERT UPDATE DELETE MERGE_INTO CREATE DROP ALTER CREATE_FUNC TRUNCATE COPY".split())
"""DuckDB's kinds of statements that write tables or files."""

CONSTRAINTS = frozenset("not default primary unique check references generated collate constraint foreign using as".split())
CODECS = frozenset("uncompressed snappy gzip zstd lz4 brotli".split())
WORD = re.compile(r'[^\W\d]\w*\Z|"')
SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class Write:
    """What a statement writes.

    Attributes:
        sql: the whole statement, in DuckDB's dialect.
        name: of the table or view.
        query: what gives the rows, or what the view is; of CREATE TABLE with columns, NULLs of their types; None for DROP.
        mode: what becomes of a table that is there.
        if_exists: IF EXISTS, IF NOT EXISTS.
        columns: their names, where the statement says them; () for those of the query.
        by_name: INSERT … BY NAME.
        partition_by: columns by whose values rows lie in files of their own.
        codec: of the Parquet files.
        no_data: CREATE TABLE … WITH NO DATA.
    """

    kind: WriteKind
    sql: str
    name: str
    query: Statement | None = None
    mode: Mode = "create"
    if_exists: bool = False
    columns: tuple[str, ...] = ()
    by_name: bool = False
    partition_by: tuple[str, ...] = ()
    codec: str = "snappy"
    no_data: bool = False

    @property
    def defines(self) -> bool:
        """Whether there are no rows to be written."""
        return self.kind not in COUNTED


def read_write(statement: Statement, catalog: str, limits: Settings | None = None) -> Write:
    """What a statement of one of `KINDS` writes.

    Args:
        catalog: how the catalog is called.

    Raises:
        NotSupported: a form that is not built.
        ParseError: its query is not SQL.
        PlanError: PERMISSION_DENIED, it names a file; UNDEFINED_TABLE, it names another catalog.
    """
    return _Reader(statement, catalog, limits).read()


class _Reader:
    """Reads one statement, token by token."""

    def __init__(self, statement: Statement, catalog: str, limits: Settings | None) -> None:
        self._sql = statement.sql
        self._kind = statement.kind
        self._catalog = catalog
        self._limits = limits
        self._tokens = list(tokens(statement.sql))
        self._at = 0

    def read(self) -> Write:
        match self._word():
            case "CREATE":
                return self._create()
            case "INSERT":
                return self._insert()
            case "DROP":
                return self._drop()
            case "COPY":
                return self._copy()
            case "WITH":
                raise self._refused("WITH before INSERT is not built", "write it behind: INSERT INTO t WITH … SELECT …", 0)
        hint = "make the table anew: CREATE OR REPLACE TABLE t AS SELECT …"
        raise self._refused(f"{self._tokens[0][1].upper()} is not built", hint, 0)

    # the statements

    def _create(self) -> Write:
        mode: Mode = "replace" if self._take("OR", "REPLACE") else "create"
        if self._take("VIEW"):
            return self._create_view(mode)
        if not self._take("TABLE"):
            raise self._refused(f"CREATE {self._peek().upper()} is not built", "tables and views are made here")
        lenient = self._take("IF", "NOT", "EXISTS")
        name = self._name()
        partition_by = self._columns() if self._take("PARTITIONED", "BY") else ()
        columns: tuple[str, ...] = ()
        if self._peek() == "(":
            end = self._closing(self._at)
            if self._text(end + 1) not in ("AS", "PARTITIONED"):
                return self._define(name, mode, lenient, partition_by)
            columns = self._columns()
            partition_by = self._columns() if self._take("PARTITIONED", "BY") else partition_by
        self._expect("AS")
        stop, no_data = len(self._tokens), False
        if self._ends_with("WITH", "NO", "DATA"):
            stop, no_data = stop - 3, True
        elif self._ends_with("WITH", "DATA"):
            stop -= 2
        query = self._query(self._at, stop)
        return Write(
            "CREATE TABLE AS", self._sql, name, query, mode, lenient, columns, partition_by=partition_by, no_data=no_data
        )

    def _create_view(self, mode: Mode) -> Write:
        lenient = self._take("IF", "NOT", "EXISTS")
        name = self._name()
        columns = self._columns() if self._peek() == "(" else ()
        self._expect("AS")
        query = self._query(self._at, len(self._tokens))
        if query.parameters:
            raise self._refused("a view has no parameters", "write the values into it")
        return Write("CREATE VIEW", self._sql, name, query, mode, lenient, columns)

    def _define(self, name: str, mode: Mode, lenient: bool, partition_by: tuple[str, ...]) -> Write:
        """CREATE TABLE with columns: they get their types as those of a query of NULLs."""
        end = self._closing(self._at)
        parts = list(self._split(self._at + 1, end))
        self._at = end + 1
        partition_by = self._columns() if self._take("PARTITIONED", "BY") else partition_by
        self._expect_end()
        found = []
        for first, last in parts:
            words = [self._text(i) for i in range(first, last)]
            constraint = next((word for word in words[1:] if word.lower() in CONSTRAINTS), None)
            if constraint or words[0].lower() in CONSTRAINTS:
                raise self._refused(
                    f"constraints, defaults and the like are not kept: {(constraint or words[0]).upper()}",
                    "leave them out: a column has a name and a type", first,
                )  # fmt: skip
            last -= words[-1:] == ["NULL"]
            if last - first < 2 or not WORD.match(self._tokens[first][1]):
                raise self._refused("a column needs a name and a type", None, first)
            found.append(f"CAST(NULL AS {self._span(first + 1, last)}) AS {self._tokens[first][1]}")
        query = self._parsed(f"SELECT {', '.join(found)}", 0)
        selected = (query.nodes or {}).get("select_list", ())
        if len(selected) != len(found) or any(node.get("class") != "CAST" for node in selected):
            raise self._refused("a column has a type that cannot be read", None)
        return Write("CREATE TABLE", self._sql, name, query, mode, lenient, partition_by=partition_by)

    def _insert(self) -> Write:
        if self._peek() == "OR":
            raise self._refused("INSERT OR REPLACE and INSERT OR IGNORE are not built: tables have no keys", None)
        self._expect("INTO")
        name = self._name()
        if self._peek() == "AS":
            raise self._refused("an alias of the table of INSERT is not built", "leave it out")
        columns = self._columns() if self._peek() == "(" and self._is_names(self._at) else ()
        by_name = self._take("BY", "NAME")
        if not by_name:
            self._take("BY", "POSITION")
        if self._peek() == "DEFAULT":
            raise self._refused("DEFAULT VALUES is not built: columns have no defaults", "write VALUES (NULL, …)")
        query = self._query(self._at, len(self._tokens))
        return Write("INSERT", self._sql, name, query, "append", columns=columns, by_name=by_name)

    def _drop(self) -> Write:
        kind: WriteKind = "DROP VIEW" if self._take("VIEW") else "DROP TABLE"
        if kind == "DROP TABLE" and not self._take("TABLE"):
            raise self._refused(f"DROP {self._peek().upper()} is not built", "tables and views are dropped here")
        lenient = self._take("IF", "EXISTS")
        name = self._name()
        self._expect_end()
        return Write(kind, self._sql, name, if_exists=lenient)

    def _copy(self) -> Write:
        begin = self._at
        if self._peek() == "(":
            end = self._closing(begin)
            query = self._query(begin + 1, end)
            self._at = end + 1
        else:
            self._name()
            if self._peek() != "TO":
                raise self._reads_files("COPY … FROM a file")
            verb = self._tokens[begin - 1][0]
            query = self._parsed(f"{_blank(self._sql[:verb])}FROM{self._span_from(verb + 4, self._at)}", verb)
        if not self._take("TO"):
            raise self._reads_files("COPY … FROM a file")
        target = self._tokens[self._at][1] if self._at < len(self._tokens) else ""
        place, self._at = self._at, self._at + 1
        options = self._options()
        name = self._file_name(target, place, bool(options.partition_by))
        self._expect_end()
        mode: Mode = "append" if options.append else "replace"
        return Write("COPY", self._sql, name, query, mode, partition_by=options.partition_by, codec=options.codec)

    def _options(self) -> _Options:
        found = _Options()
        if self._take("WITH") and self._peek() != "(":
            raise self._refused("COPY takes its options in parentheses", "write (FORMAT parquet)")
        if self._peek() != "(":
            return found
        end = self._closing(self._at)
        for first, last in self._split(self._at + 1, end):
            name = self._text(first).upper()
            values = [self._tokens[i][1] for i in range(first + 1, last) if self._tokens[i][1] not in ("(", ")", ",")]
            value = _unquoted(values[0]).lower() if values else "true"
            match name:
                case "FORMAT" if value == "parquet":
                    pass
                case "FORMAT":
                    raise self._refused(
                        f"COPY writes Parquet, and not {value.upper()}",
                        "GET /v1/queries/{id}/result gives answers as CSV",
                        first,
                    )
                case "PARTITION_BY":
                    found.partition_by = tuple(map(_unquoted, values))
                case "COMPRESSION" | "CODEC" if value in CODECS:
                    found.codec = value
                case "APPEND":
                    found.append = value in ("true", "1")
                case "OVERWRITE" | "OVERWRITE_OR_IGNORE" if value in ("true", "1"):
                    pass
                case _:
                    raise self._refused(
                        f"the option {name} of COPY is not built", "there are FORMAT, PARTITION_BY, COMPRESSION, APPEND", first
                    )  # fmt: skip
        self._at = end + 1
        return found

    def _file_name(self, target: str, place: int, is_folder: bool) -> str:
        """The table that a file of the catalog is. No path leads anywhere else: there are no folders to name."""
        name = target[1:-1].replace("''", "'")
        stem = name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
        if target[:1] != "'" or not stem or stem in (".", "..") or any(char in "./\\*?[]{}~:$%\0" for char in stem):
            offset, text = self._tokens[min(place, len(self._tokens) - 1)]
            raise PlanError(
                f"COPY to {target[:200] or 'nothing'} is not permitted: it writes files of the catalog, by their names alone",
                code="PERMISSION_DENIED", position=position_at(self._sql, offset, len(text)), sql=self._sql,
                hint="write COPY (…) TO 'name.parquet': it is the table name then",
            )  # fmt: skip
        if stem == name and not is_folder:
            raise self._refused(f"COPY to {target}: only Parquet files are written", f"call it '{stem}{SUFFIX}'", place)
        return stem

    def _reads_files(self, what: str) -> PlanError:
        return PlanError(f"{what} is not permitted", code="PERMISSION_DENIED", hint="put the file over HTTP, or register it")

    # parts

    def _name(self) -> str:
        first = self._at
        parts = [self._identifier()]
        while self._peek() == ".":
            self._at += 1
            parts.append(self._identifier())
        around = [part.lower() for part in parts[:-1]]
        if around not in ([], ["main"], [self._catalog.lower()], [self._catalog.lower(), "main"]):
            offset = self._tokens[first][0]
            raise PlanError(
                f"there is no schema {'.'.join(parts[:-1])} that can be written", code="UNDEFINED_TABLE",
                hint=f"tables are made in {self._catalog}.main", position=position_at(self._sql, offset), sql=self._sql,
            )  # fmt: skip
        return parts[-1]

    def _identifier(self) -> str:
        if self._at >= len(self._tokens) or not WORD.match(self._tokens[self._at][1]):
            raise self._refused("the statement has a form that is not built", None)
        self._at += 1
        return _unquoted(self._tokens[self._at - 1][1])

    def _columns(self) -> tuple[str, ...]:
        """A list of names in parentheses."""
        if self._peek() != "(":
            raise self._refused("the statement has a form that is not built", None)
        if not self._is_names(self._at):
            raise self._refused("a list of columns has something else than names", None)
        end = self._closing(self._at)
        found = tuple(_unquoted(self._tokens[first][1]) for first, _ in self._split(self._at + 1, end))
        self._at = end + 1
        return found

    def _is_names(self, opening: int) -> bool:
        """Whether there is nothing but names and commas in the parentheses: no query begins with one word alone."""
        parts = list(self._split(opening + 1, self._closing(opening)))
        return all(last - first == 1 and WORD.match(self._tokens[first][1]) for first, last in parts)

    def _split(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The ranges of tokens between commas that stand in no inner parentheses."""
        depth, begin = 0, first
        for i in range(first, end):
            text = self._tokens[i][1]
            depth += (text in "([{") - (text in ")]}")
            if text == "," and depth == 0:
                yield begin, i
                begin = i + 1
        if begin >= end:
            raise self._refused("a list is empty, or ends with a comma", None)
        yield begin, end

    def _closing(self, opening: int) -> int:
        depth = 0
        for i in range(opening, len(self._tokens)):
            text = self._tokens[i][1]
            depth += (text == "(") - (text == ")")
            if depth == 0:
                return i
        raise self._refused("parentheses are not closed", None)

    def _query(self, first: int, end: int) -> Statement:
        """The tokens as a query, at their places in the text."""
        if first >= end:
            raise self._refused("there is no query", None)
        begin = self._tokens[first][0]
        return self._parsed(_blank(self._sql[:begin]) + self._span_from(begin, end), begin)

    def _parsed(self, sql: str, begin: int) -> Statement:
        try:
            found = parse(sql, limits=self._limits)
        except ParseError as error:
            if (refused := self._refused_tail()) is not None:
                raise refused from error
            raise
        if found.kind != "SELECT" or not found.is_query:
            raise self._refused(f"{found.kind.replace('_', ' ')} cannot be written", "write a SELECT", self._at)
        return found

    def _refused_tail(self) -> NotSupported | None:
        """The refusal of what may follow the query of an INSERT; None where it does not."""
        words = {text.upper() for _, text in self._tokens[self._at :]}
        if "RETURNING" in words:
            return self._refused("RETURNING is not built", "SELECT the rows")
        if "CONFLICT" in words:
            return self._refused("ON CONFLICT is not built", "tables have no keys")
        return None

    def _span(self, first: int, end: int) -> str:
        return self._span_from(self._tokens[first][0], end)

    def _span_from(self, begin: int, end: int) -> str:
        """The text from an offset up to the token `end`, without what stands between that and the one before."""
        offset, text = self._tokens[end - 1]
        return self._sql[begin : offset + len(text)]

    # tokens

    def _text(self, i: int) -> str:
        """The token `i`, words in capitals; empty behind the last."""
        return self._tokens[i][1].upper() if i < len(self._tokens) else ""

    def _peek(self) -> str:
        return self._text(self._at)

    def _word(self) -> str:
        self._at += 1
        return self._text(self._at - 1)

    def _take(self, *words: str) -> bool:
        if any(self._text(self._at + i) != word for i, word in enumerate(words)):
            return False
        self._at += len(words)
        return True

    def _ends_with(self, *words: str) -> bool:
        return [self._text(i) for i in range(len(self._tokens) - len(words), len(self._tokens))] == list(words)

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._refused("the statement has a form that is not built", None)

    def _expect_end(self) -> None:
        if self._at < len(self._tokens):
            raise self._refused(f"{self._peek()} is not built here", None)

    def _refused(self, why: str, hint: str | None, place: int | None = None) -> NotSupported:
        at = min(self._at if place is None else place, len(self._tokens) - 1)
        offset, text = self._tokens[at]
        return NotSupported(why, hint=hint, position=position_at(self._sql, offset, len(text)), sql=self._sql)


@dataclass(slots=True)
class _Options:
    """Options of COPY."""

    partition_by: tuple[str, ...] = ()
    codec: str = "snappy"
    append: bool = False


def _blank(text: str) -> str:
    """So many blanks: offsets of what follows stay those of the whole text, bytes of it excepted."""
    return re.sub(r"[^\n]", " ", text)


def _unquoted(token: str) -> str:
    if token[:1] == '"':
        return token[1:-1].replace('""', '"')
    return token[1:-1].replace("''", "'") if token[:1] == "'" else token
