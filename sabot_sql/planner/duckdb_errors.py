"""DuckDB's errors as ours: the one place where they are read.

DuckDB sorts its errors by class and says the rest in English, so the text is read too. What is not recognised stays an
ExecutionError with the engine's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from sabot_sql.catalog.csv_damage import csv_damage
from sabot_sql.catalog.database_views import ATTACHED_AS
from sabot_sql.catalog.ipc_files import CARRIED
from sabot_sql.catalog.reading import REPLACE
from sabot_sql.errors import (
    Cancelled,
    ExecutionError,
    NotSupported,
    OutOfMemory,
    ParseError,
    PlanError,
    Position,
    QueryError,
    ReadError,
    SabotError,
)
from sabot_sql.planner.sql_position import find_name, fold, nearest, position_of_line

CARET = re.compile(r"\n\nLINE (\d+): (.*)\n( *)(\^+)", re.DOTALL)
CANDIDATE = re.compile(r'"(.*?)"(?=, "|, \.\.\.|\W*$)')  # quotes in names stand as they are
HINT = re.compile(r"\n(?:Did you mean|Candidate (?:bindings|tables):) (.*)")
WITHIN_FILES = re.compile(rf"\n(?:Did you mean|Candidate \w+:) [^\n]*{ATTACHED_AS}[^\n]*")
"""A hint at what is in an attached DuckDB file, which is not for statements to name."""

FILE = re.compile(r"(?:[Ff]ile|matches?(?: the pattern)?|read)\s+['\"]([^'\"]+)['\"]|['\"](/[^'\"]+)['\"]")
COLUMN = re.compile(
    r'Referenced column "(?P<a>.+?)" not found|'
    r'(?:Table|Values list|Alias) "(?P<of>[^"]+)" does not have a column named "(?P<b>[^"]+)"|'
    r'Column "(?P<c>.+?)" in (?:EXCLUDE|REPLACE|RENAME) list not found|'
    r'column "(?P<d>.+?)" (?:does not exist|not found)',
    re.IGNORECASE,
)
TABLE = re.compile(r'(?:Table|View) with name "?(?P<a>.+?)"? does not exist|Referenced table "(?P<b>.+?)" not found')
FUNCTION = re.compile(r"Function with name \"?(?P<a>.+?)\"? does not exist", re.IGNORECASE)
NO_MATCH = re.compile(r"No function matches the given name and argument types '(.+?)'\. You might", re.DOTALL)
AMBIGUOUS = re.compile(r'Ambiguous reference to (?:column name|table|alias) "(.+?)" \(use: (.+?)\)?$', re.MULTILINE)
TOO_WIDE = re.compile(r"Could not cast value -?\d{39,} to DECIMAL\(38,0\) when casting from source column (.+)")
TYPE_WORDS = (
    "Cannot compare values",
    "explicit type cast",
    "can only be applied to",
    "must be of type",
    "Cannot mix",
    "Cannot combine types",
)


def translate(error: BaseException, sql: str = "") -> SabotError:
    """The error of ours that DuckDB's `error` stands for; raise it `from error`.

    Args:
        sql: the statement as DuckDB got it, for the position and the line under which the caret stands.
    """
    if isinstance(error, SabotError):
        return error
    message = WITHIN_FILES.sub("", str(error))
    if carried := CARRIED.search(message):
        return SabotError.from_problem(json.loads(carried[1]))
    if damage := csv_damage(message):  # comes by the class of values that users cast, too
        what = f"file {damage.path} cannot be read as CSV: {damage.reason}"
        return ReadError(what, code="FILE_CORRUPT", hint=REPLACE, engine_message=message)
    name = type(error).__name__
    for names, read in READERS:
        if name in names:
            return read(Told(message, sql))
    return ExecutionError(Told(message, sql).detail, engine_message=message)


class Told:
    """DuckDB's message, taken apart."""

    def __init__(self, message: str, sql: str) -> None:
        self.message = message
        self.sql = sql
        caret = CARET.search(message)
        self.position: Position | None = None
        body = message
        if caret:
            body = message[: caret.start()]
            self.position = self._caret(caret)
        first, *rest = body.strip().split("\n")
        self.detail = first.partition(" Error: ")[2] or first
        self.rest = "\n".join(rest)

    def _caret(self, caret: re.Match[str]) -> Position | None:
        """Long lines are shown from their middle, between dots."""
        line, shown = int(caret[1]), caret[2]
        rows = self.sql.split("\n")
        if line > len(rows):
            return None
        column = len(caret[3]) - len(f"LINE {line}: ") + 1
        plain = shown.removeprefix("...").removesuffix("...")
        if shown.startswith("...") and (at := rows[line - 1].find(plain)) >= 0:
            column += at - 3
        return position_of_line(self.sql, line, max(1, column), len(caret[4]))

    @property
    def candidates(self) -> list[str]:
        """The names DuckDB proposes."""
        found = HINT.search(self.message)
        return CANDIDATE.findall(found[1]) if found else []

    def meant(self, name: str) -> str | None:
        """The hint for a `name` that was not found."""
        candidates = self.candidates
        near = nearest(name.rpartition(".")[2], candidates)
        if near:
            return f'did you mean "{near}"?'
        return f"known there: {', '.join(candidates)}, ..." if len(candidates) > 1 else None

    def query(
        self, cls: type[QueryError], code: str, detail: str = "", hint: str | None = None, at: Position | None = None
    ) -> QueryError:
        """An error of the user's query."""
        return cls(
            detail or self.detail,
            code=code,
            hint=hint,
            position=at or self.position,
            sql=self.sql or None,
            engine_message=self.message,
        )


def _parser(told: Told) -> SabotError:
    if "Max expression depth" in told.message or "stack" in told.message.lower():
        return told.query(
            PlanError,
            "STATEMENT_TOO_COMPLEX",
            "the statement is nested too deeply",
            "split it with WITH, or use IN for long OR chains",
        )
    if told.detail.startswith("Unknown ordered aggregate"):
        return told.query(PlanError, "UNDEFINED_FUNCTION")
    return told.query(ParseError, "SYNTAX_ERROR")


def _binder(told: Told) -> SabotError:
    message, sql = told.message, told.sql
    if "Max expression depth" in message:
        return _parser(told)
    if found := AMBIGUOUS.search(message):
        choices = found[2].replace("'", "").rstrip(")")
        return told.query(
            PlanError, "AMBIGUOUS_COLUMN", f'column "{found[1]}" is ambiguous', f"write {choices}", find_name(sql, found[1])
        )
    if found := NO_MATCH.search(message):
        return _no_match(told, found[1])
    if found := COLUMN.search(message):
        return _no_column(told, found)
    if found := TABLE.search(message):
        table = found["a"] or found["b"]
        return told.query(
            PlanError,
            "UNDEFINED_TABLE",
            f'table "{table}" does not exist',
            told.meant(table),
            find_name(sql, table.rpartition(".")[2]),
        )
    if found := FUNCTION.search(message):
        name = found["a"]
        at = find_name(sql, name, before="(")
        return told.query(PlanError, "UNDEFINED_FUNCTION", f"function {name} does not exist", told.meant(name), at)
    if "Values were not provided" in message or "Parameter argument/count" in message:
        return told.query(PlanError, "INVALID_PARAMETER")
    if any(word in message for word in TYPE_WORDS):
        return told.query(PlanError, "TYPE_MISMATCH", hint=told.rest or None)
    return told.query(PlanError, "BAD_REQUEST", hint=told.rest.split("\n")[0] or None)


def _no_column(told: Told, found: re.Match[str]) -> SabotError:
    parent = found["of"] or ""
    name = next(filter(None, (found[g] for g in "abcd")))
    parent, name = (parent, name) if parent or "." not in name else tuple(name.rsplit(".", 1))
    where = f'table "{parent}" has no column "{name}"' if parent else f'column "{name}" does not exist'
    at = (find_name(told.sql, name, parent=parent) if parent else None) or find_name(told.sql, name)
    hint = told.meant(name)
    if hint is None and f"'{name}'" in told.sql.lower():
        hint = f"strings are written '{name}', \"{name}\" is a name"
    return told.query(PlanError, "UNDEFINED_COLUMN", where, hint, at)


def _no_match(told: Told, call: str) -> SabotError:
    name = call.partition("(")[0]
    types = call[len(name) :].replace("_LITERAL", "")
    at = find_name(told.sql, name, before="(")
    candidates = [line.strip() for line in told.rest.split("Candidate functions:")[-1].split("\n") if line.strip()]
    shown = "; ".join(candidates[:3]) + (f"; and {len(candidates) - 3} more" if len(candidates) > 3 else "")
    what = f"function {name}" if fold(name).isidentifier() else f"operator {name}"
    return told.query(PlanError, "TYPE_MISMATCH", f"{what} does not take {types}", f"cast the arguments; it takes {shown}", at)


def _value(told: Told) -> SabotError:
    if "ivision by zero" in told.message or "divide by zero" in told.message.lower():
        return told.query(QueryError, "DIVISION_BY_ZERO", told.detail.split(". ")[0], "write x / nullif(y, 0)", told.position)
    if "Values were not provided" in told.message or "Parameter argument/count" in told.message:
        return told.query(QueryError, "INVALID_PARAMETER")
    if "Max expression depth" in told.message:
        return _parser(told)
    if found := TOO_WIDE.search(told.message):
        detail = f'column "{found[1]}" has a value of more than 38 digits, which does not fit in an Arrow decimal'
        return told.query(QueryError, "INVALID_VALUE", detail, f'cast it: "{found[1]}"::VARCHAR or ::DOUBLE')
    return told.query(QueryError, "INVALID_VALUE")


def _out_of_memory(told: Told) -> SabotError:
    return OutOfMemory(
        told.detail,
        hint='raise the memory limit, read fewer columns or rows, or use route="distributed"',
        engine_message=told.message,
    )


PASSING = re.compile(
    "Input/output error|Remote I/O error|Stale .*file handle|[Tt]imed out|Connection reset|temporarily unavailable|Host is down"
)
"""What a network file system says that may answer the next time."""


def _read(told: Told) -> SabotError:
    message = told.message
    found = FILE.search(message)
    path = next(filter(None, found.groups()), None) if found else None
    if PASSING.search(message):
        detail = f"file {path or 'of a table'} could not be read now: {told.detail}"
        return ReadError(detail, code="EXTERNAL_SOURCE", hint="run the query again", engine_message=message, retryable=True)
    missing = re.search(r"No files found|No such file|not exist|Cannot open file|could not be found", message)
    if missing:
        return ReadError(
            f"file {path or told.detail} is missing",
            code="FILE_MISSING",
            hint="was it moved or deleted? look at the catalog again",
            engine_message=message,
        )
    what = f"file {path} cannot be read: {told.detail}" if path and path not in told.detail else told.detail
    return ReadError(what, code="FILE_CORRUPT", engine_message=message)


def _invalid_input(told: Told) -> SabotError:
    """DuckDB's Parquet and CSV readers say what is wrong with a file by this class too."""
    words = (
        "magic bytes",
        "too small to be a Parquet",
        "is not a Parquet",
        "CSV Error",
        "Malformed JSON in file",
        "footer",
        "corrupt",
        "Corrupt",
    )
    if any(word in told.message for word in words) or re.search(r"file ['\"]/", told.message):
        found = _read(told)
        found.hint = found.hint or REPLACE
        return found
    return _value(told)


def _denied(told: Told) -> SabotError:
    return told.query(PlanError, "PERMISSION_DENIED", "files are read through the catalog only", "register the file as a table")


def _interrupted(told: Told) -> SabotError:
    return Cancelled("the query was cancelled", engine_message=told.message)


def _not_supported(told: Told) -> SabotError:
    if found := re.search(r"Unknown TimeZone '(.*?)'", told.message):
        return told.query(QueryError, "INVALID_VALUE", f'there is no time zone "{found[1]}"', 'write e.g. "Europe/Rome"')
    return told.query(NotSupported, "NOT_SUPPORTED")


READERS: tuple[tuple[tuple[str, ...], Callable[[Told], SabotError]], ...] = (
    (("ParserException", "SyntaxException"), _parser),
    (("BinderException", "CatalogException", "TypeMismatchException", "InvalidTypeException"), _binder),
    (("ConversionException", "OutOfRangeException"), _value),
    (("InvalidInputException",), _invalid_input),
    (("OutOfMemoryException",), _out_of_memory),
    (("IOException", "SerializationException", "HTTPException"), _read),
    (("PermissionException",), _denied),
    (("InterruptException",), _interrupted),
    (("NotImplementedException", "NotSupportedError"), _not_supported),
)
