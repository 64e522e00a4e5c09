"""One SQL text -> one `Statement`: its kind, its tables and parameters, both parsers' trees. Cached by text.

DuckDB's parser decides what the text means (it is what runs); sqlglot gives the tree on which rows are estimated, and
translates other dialects.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from sabot_sql.config import Settings
from sabot_sql.errors import NotSupported, ParseError, Position, SabotError
from sabot_sql.planner.bind_tree import reader
from sabot_sql.planner.complexity import refuse_complex, refuse_deep_text, slow_in_sqlglot, too_complex
from sabot_sql.planner.parse_nodes import Names, Node, TableRef, collect_names
from sabot_sql.planner.pivot import refuse_hidden_queries, with_pivot_lists
from sabot_sql.planner.shape import Shapes, Text, replaceable, take_apart
from sabot_sql.planner.show import query_for_show, with_state_tables
from sabot_sql.planner.sql_position import position_at, tokens

SQLGLOT_CHARACTERS = 64 << 10
"""Longer texts are not given to sqlglot (4 us a character); their estimate is `unknown`."""

CACHED_CHARACTERS = 32 << 10
"""Longer texts are not kept in the cache."""

CACHED_STATEMENTS = 2048

SHOW_KINDS = {"DESCRIBE": "DESCRIBE", "SUMMARY": "SUMMARIZE", "SHOW": "SHOW", "SHOW_SPECIAL": "SHOW", "SHOW_FROM": "SHOW"}


@dataclass(frozen=True, eq=False)
class Statement:
    """One parsed statement. Compared by identity: the same text gives the same object while it is cached.

    Attributes:
        kind: SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE, or DuckDB's kind of what is no query (INSERT, COPY, SET, ...).
        sql: DuckDB's text of it, without a trailing `;`. Offsets of errors count in it.
        names: what DuckDB's tree names, of a SELECT.
        like: an earlier statement that differs in plain constants only (`planner.shape`): what holds for that one whatever
            its constants are holds for this one, offsets excepted. None where this one was parsed itself.
        references: the tables it names, WITH names left out.
        parameters: names in order (`$name`), or "1", "2", ... for `?` and `$1`.
        pivots: whether DuckDB must look at the data before it knows the columns (PIVOT without IN).
        inner: what EXPLAIN explains.
    """

    kind: str
    sql: str
    parsed: Node | None = field(default=None, repr=False)
    names: Names | None = field(default=None, repr=False)
    references: tuple[TableRef, ...] = ()
    parameters: tuple[str, ...] = ()
    pivots: bool = False
    explain: bool = False
    analyze: bool = False
    inner: Statement | None = field(default=None, repr=False)
    like: Statement | None = field(default=None, repr=False)

    @functools.cached_property
    def nodes(self) -> Node | None:
        """DuckDB's tree; None where `kind` is no query."""
        return self.parsed if self.like is None else self.itself.nodes

    @functools.cached_property
    def tree(self) -> exp.Expression | None:
        """sqlglot's tree, made when it is first asked for; None where sqlglot cannot parse it, or names other tables in it than
        DuckDB does."""
        if self.like is None:
            return None if self.names is None else _sqlglot_tree(self.sql, self.names)
        return None if self.like.tree is None else _one_tree(self.sql)

    @functools.cached_property
    def itself(self) -> Statement:
        """This statement with everything parsed from its own text."""
        return self if self.like is None else _parse_duckdb(self.sql)

    @functools.cached_property
    def tables(self) -> tuple[tuple[str, ...], ...]:
        """The name parts of each table it names, once each."""
        return tuple(dict.fromkeys(r.parts for r in self.references))

    @property
    def is_query(self) -> bool:
        """Whether it reads and gives rows."""
        return (self.like or self).parsed is not None


def parse(sql: str, dialect: str = "duckdb", limits: Settings | None = None) -> Statement:
    """The statement in `sql`.

    Raises:
        ParseError: SYNTAX_ERROR with its position, EMPTY_STATEMENT, MULTIPLE_STATEMENTS.
        PlanError: STATEMENT_TOO_COMPLEX.
        QueryError: STATEMENT_TOO_LARGE.
    """
    if len(sql) > CACHED_CHARACTERS:
        _check_size(sql, (limits or _DEFAULTS).sql_bytes)
        return _parse(sql, dialect)
    if limits is not None and len(sql) * 4 > limits.sql_bytes:
        _check_size(sql, limits.sql_bytes)
    return _cached(sql, dialect)


_DEFAULTS = Settings()


def _check_size(sql: str, sql_bytes: int) -> None:
    size = len(sql.encode("utf-8", "surrogatepass"))
    if size > sql_bytes:
        raise ParseError(
            f"the statement has {size:,} bytes, more than the {sql_bytes:,} that are taken",
            code="STATEMENT_TOO_LARGE",
            hint="pass values as parameters, or register long lists as a table",
        )


def _parse(sql: str, dialect: str) -> Statement:
    refuse_deep_text(sql)
    try:
        if dialect == "duckdb":
            return _parse_shaped(sql) if len(sql) <= CACHED_CHARACTERS else _parse_duckdb(sql)
        return _parse_duckdb(_transpiled(sql, dialect))
    except RecursionError:
        raise too_complex() from None


def _replaceable(text: Text, statement: Statement) -> tuple[bool, ...] | None:
    return None if statement.parsed is None else replaceable(text, statement.parsed)


_cached = functools.lru_cache(maxsize=CACHED_STATEMENTS)(_parse)
_shapes: Shapes[Statement] = Shapes(CACHED_STATEMENTS, _replaceable)


def _parse_shaped(sql: str) -> Statement:
    """The statement, from one of the same shape where there is one."""
    text = take_apart(sql)
    if text is None:
        return _parse_duckdb(sql)
    if (like := _shapes.find(text)) is not None:
        return Statement(like.kind, sql, references=like.references, like=like)
    found = _parse_duckdb(sql)
    # parameters are found by their places, and the columns of a PIVOT by its data
    if found.kind == "SELECT" and found.sql == sql and not found.parameters and not found.pivots and found.parsed is not None:
        _shapes.add(text, found)
    return found


def _parse_duckdb(text: str) -> Statement:
    _check_text(text)
    sql = text.rstrip(" \t\r\n;")
    if ";" in sql:
        sql = _blank_empty(sql)
    if (shown := query_for_show(sql)) is not None:
        return replace(_parse_duckdb(shown), kind="SHOW")
    roots = reader().statements(sql)
    if roots is None:
        return _parse_other(sql)
    if not roots:
        raise ParseError("the statement is empty", code="EMPTY_STATEMENT", hint="write a SELECT")
    if len(roots) > 1:
        raise several(sql)
    if ";" in sql:
        sql = sql[: next((offset for offset, found in tokens(sql) if found == ";"), len(sql))].rstrip()
    found = _query(sql, roots[0])
    changed = with_state_tables(sql, found.references)
    return found if changed is None else _parse_duckdb(changed)


def _blank_empty(sql: str) -> str:
    """`sql` with the `;` of empty statements at its start blanked."""
    for offset, text in tokens(sql):
        if text != ";":
            break
        sql = f"{sql[:offset]} {sql[offset + 1 :]}"
    return sql


def _check_text(text: str) -> None:
    try:
        at = text.find("\0")
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
    if at >= 0:
        raise ParseError(
            f"the statement has a character that is not text (U+{ord(text[at]):04X})", position=position_at(text, at)
        )


def _query(sql: str, root: Node, pivots: bool = False) -> Statement:
    refuse_complex(sql, root)
    names = collect_names(root)
    kind = "SELECT"
    source = root.get("from_table") or {}
    if source.get("type") == "SHOW_REF" and source.get("query_location", 0) > len(sql):
        kind = SHOW_KINDS.get(source["show_type"], "SHOW") if _is_show(sql) else "SELECT"
    return Statement(
        kind,
        sql,
        parsed=root,
        names=names if kind == "SELECT" else None,
        # the tree of a PIVOT was made from a longer text
        references=tuple(TableRef(t.parts) for t in names.tables) if pivots else tuple(names.tables),
        parameters=tuple(names.parameters),
        pivots=pivots,
    )


def _is_show(sql: str) -> bool:
    return next((text.upper() for _, text in tokens(sql)), "") in ("DESCRIBE", "DESC", "SHOW", "SUMMARIZE")


def _parse_other(sql: str) -> Statement:
    """What has no tree: EXPLAIN, PIVOT without IN, and all that is no query."""
    kinds = reader().kinds(sql)
    if len(kinds) > 1:
        raise several(sql)
    if explained := EXPLAIN.match(sql):
        return _explain(sql, explained)
    if kinds == ("MULTI",):
        return _parse_pivot(sql)
    return Statement(kinds[0] if kinds else "OTHER", sql)


def _parse_pivot(sql: str) -> Statement:
    """A statement with a PIVOT without IN, or one that writes what such a PIVOT gives."""
    listed = with_pivot_lists(sql) or ""
    try:
        roots = reader().statements(listed)
        if roots is None and (kind := reader().kinds(listed)[0]) != "MULTI":
            return Statement(kind, sql)
    except ParseError:
        roots = None
    if not roots or len(roots) != 1:
        raise NotSupported("this PIVOT takes its columns from the data in a place that is not read", hint="add IN (...) to it")
    refuse_hidden_queries(roots[0])
    return _query(sql, roots[0], pivots=True)


COMMENT = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*"
EXPLAIN = re.compile(
    rf"{COMMENT}EXPLAIN\b{COMMENT}(?P<analyze>ANALYZE\b)?{COMMENT}(?:\((?P<options>[\w\s,']*)\))?",
    re.IGNORECASE | re.DOTALL,
)


EXPLAINED = re.compile(
    rf"{COMMENT}EXPLAIN\b{COMMENT}(?:ANALYZE\b{COMMENT})?(?:\(\s*(?:FORMAT|ANALYZE)\b[\w\s,']*\){COMMENT})?"
    r"(?=SELECT\b|WITH\b|FROM\b|VALUES\b|TABLE\b|\()",
    re.IGNORECASE | re.DOTALL,
)


def _explain(sql: str, found: re.Match[str]) -> Statement:
    """The text before the explained statement is blanked, so that its offsets stay those of the whole text."""
    end = found.end()
    options = found["options"]
    if options is not None and not re.match(r"\s*(FORMAT|ANALYZE)\b", options, re.IGNORECASE):
        end = found.start("options") - 1
        options = None
    blank = re.sub(r"[^\n]", " ", sql[:end])
    inner = _parse_duckdb(blank + sql[end:])
    analyze = bool(found["analyze"]) or bool(options and re.search(r"\bANALYZE\b", options, re.IGNORECASE))
    return Statement(
        "EXPLAIN",
        sql,
        parsed=inner.parsed,
        references=inner.references,
        parameters=inner.parameters,
        explain=True,
        analyze=analyze,
        inner=inner,
    )


def several(sql: str) -> ParseError:
    """The refusal of a text with more than one statement; it points at the second."""
    position = _second_statement(sql)
    return ParseError(
        "the text has several statements, one is taken",
        code="MULTIPLE_STATEMENTS",
        position=position,
        sql=sql if position else None,
        hint="send them one by one",
    )


def _second_statement(sql: str) -> Position | None:
    ended = False
    for offset, text in tokens(sql):
        if ended and text != ";":
            return position_at(sql, offset, len(text))
        ended = ended or text == ";"
    return None


def _sqlglot_tree(sql: str, names: Names) -> exp.Expression | None:
    """sqlglot's tree, where it sees the tables that DuckDB sees and nothing but a query."""
    tree = _one_tree(sql)
    if tree is None:
        return None
    ours = {tuple(p.lower() for p in table.parts) for table in names.tables}
    theirs = {parts for parts in _sqlglot_tables(tree) if len(parts) > 1 or parts[0] not in names.ctes}
    if ours != theirs | {p for p in ours if len(p) == 1 and p[0] in names.ctes}:
        return None
    unnamed = [p for p in tree.find_all(exp.Placeholder, bfs=False) if not p.this]
    for number, placeholder in enumerate(unnamed, 1):
        placeholder.set("this", str(number))
    return tree


def _one_tree(sql: str) -> exp.Expression | None:
    if len(sql) > SQLGLOT_CHARACTERS or slow_in_sqlglot(sql):
        return None
    try:
        trees: list[Any] = sqlglot.parse(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return None
    return trees[0] if len(trees) == 1 and isinstance(trees[0], (exp.Query, exp.Values)) else None


def _sqlglot_tables(tree: exp.Expression) -> Iterator[tuple[str, ...]]:
    for table in tree.find_all(exp.Table):
        parts = [part for part in table.parts if isinstance(part, exp.Identifier)]
        if parts and isinstance(table.this, (exp.Identifier, exp.Dot)):
            yield tuple(part.name.lower() for part in parts)


def _transpiled(sql: str, dialect: str) -> str:
    """The text in DuckDB's dialect."""
    if slow_in_sqlglot(sql):
        raise too_complex()
    if found := EXPLAINED.match(sql):  # sqlglot takes EXPLAIN for DESCRIBE, or leaves the whole text as it is
        blank = re.sub(r"[^\n]", " ", found[0])
        return found[0] + _transpiled(blank + sql[found.end() :], dialect)
    try:
        trees = [t for t in sqlglot.parse(sql, read=dialect) if t is not None]
    except ValueError as error:
        if isinstance(error, SqlglotError):
            raise _syntax_error(error, sql) from error
        raise ParseError(f'there is no dialect "{dialect}"', code="BAD_REQUEST", hint="duckdb, postgres, spark, ...") from error
    except SqlglotError as error:
        raise _syntax_error(error, sql) from error
    if not trees:
        raise ParseError("the statement is empty", code="EMPTY_STATEMENT", hint="write a SELECT")
    if len(trees) > 1:
        raise several(sql)
    return str(trees[0].sql(dialect="duckdb"))


def _syntax_error(error: SqlglotError, sql: str) -> SabotError:
    found = (getattr(error, "errors", None) or [{}])[0]
    position = None
    if found.get("line"):
        length = max(1, len(found.get("highlight") or ""))
        # sqlglot's column is that of the highlighted text's last character
        rows = sql.split("\n")
        offset = sum(len(row) + 1 for row in rows[: found["line"] - 1]) + found["col"] - length
        position = position_at(sql, offset, length)
    detail = found.get("description") or str(error).split("\n")[0]
    return ParseError(detail.rstrip("."), position=position, sql=sql, engine_message=str(error))
