"""The commands that show tables, views, schemas and functions."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any

from sabot_sql.errors import QueryError
from sabot_sql.shell.command import Command, listing

if TYPE_CHECKING:
    from sabot_sql.client.record import Record
    from sabot_sql.shell.shell import Shell

TABLE = ("name", "format", "rows", "row_count_kind", "bytes", "files")
TABLE_PLUS = (*TABLE, "location", "partitions", "learnt_at", "error")
COLUMN = ("name", "sql_type", "null_count", "min", "max")
COLUMN_PLUS = ("name", "sql_type", "null_count", "ndv", "ndv_from", "min", "max", "average_bytes")
HEADINGS = {"name": "column", "sql_type": "type", "null_count": "nulls"}


def matches(name: str, pattern: str) -> bool:
    """Whether `name` matches a pattern of `*` and `?`, in any case.

    Example:
        >>> matches("Trips", "tr*"), matches("trips", "trip"), matches("trips", "")
        (True, False, True)
    """
    return fnmatch.fnmatchcase(name.lower(), (pattern or "*").lower())


def describe(shell: Shell, argument: str, plus: bool) -> None:
    """`\\d`: the tables, or the columns of one."""
    if not argument or re.search(r"[*?]", argument):
        relations(shell, argument, plus, views=None)
        return
    try:
        table = shell.connection.table(argument)
    except QueryError as error:
        if holders := tables_with_column(shell, argument):
            error.hint = f"a column {argument} is in: {', '.join(holders)}"
        raise
    rows = f"{table['rows']:,}" if table.get("rows") is not None else "unknown"
    files = f"{table.get('files')} file{'' if table.get('files') == 1 else 's'}"
    shell.say(f"Table {table['name']} ({table.get('format')}, {rows} rows, {files}, {table.get('location')})")
    names = COLUMN_PLUS if plus else COLUMN
    listing(shell, table["columns"], names, tuple(HEADINGS.get(name, name) for name in names))


def tables_with_column(shell: Shell, name: str) -> list[str]:
    """The tables with a column of that name, whatever its case."""
    sql = "SELECT DISTINCT table_name FROM information_schema.columns WHERE lower(column_name) = lower($1) ORDER BY 1"
    answer = shell.connection.execute_sql(sql, [name])
    return [str(row[0]) for row in answer]


def relations(shell: Shell, pattern: str, plus: bool, views: bool | None) -> None:
    """Tables (views=False), views (True) or both (None) whose names match."""
    found = [
        t for t in shell.connection.tables() if matches(str(t["name"]), pattern) and (views is None or is_view(t) == views)
    ]
    if pattern and not found:
        raise QueryError(f"no {'view' if views else 'table'} matches {pattern}", code="UNDEFINED_TABLE")
    listing(shell, sorted(found, key=lambda t: str(t["name"])), TABLE_PLUS if plus else TABLE)


def is_view(table: Record) -> bool:
    """Whether it is a view of a DuckDB file."""
    return table.get("format") == "view"


def schemas(shell: Shell, pattern: str, plus: bool) -> None:
    """`\\dn`: the schemas, with the number of their tables."""
    counts: dict[str, int] = {"main": 0}
    for table in shell.connection.tables():
        schema, dot, _ = str(table["name"]).partition(".")
        name = schema if dot and table.get("format") in ("duckdb", "view") else str(table.get("schema") or "main")
        counts[name] = counts.get(name, 0) + 1
    rows = [{"name": name, "tables": count} for name, count in sorted(counts.items()) if matches(name, pattern)]
    listing(shell, rows, ("name", "tables"))


def databases(shell: Shell, pattern: str, plus: bool) -> None:
    """`\\l`: the catalog, and what it is made of."""
    tables = shell.connection.tables()
    names = sorted({str(t.get("catalog") or "memory") for t in tables} or {"memory"})
    info = shell.connection.info() if plus else {}
    rows = [
        {
            "name": name,
            "tables": sum(str(t.get("catalog") or "memory") == name for t in tables),
            "bytes": sum(int(t.get("bytes") or 0) for t in tables),
            "server": shell.connection.url,
            "version": info.get("version"),
        }
        for name in names
        if matches(name, pattern)
    ]
    listing(shell, rows, ("name", "tables", "bytes", *(("server", "version") if plus else ())))


def list_functions(shell: Shell, pattern: str, plus: bool) -> None:
    """`\\df`: the functions whose names match."""
    from sabot_sql.shell.functions import functions

    found = [f for f in functions() if matches(f.name, pattern)]
    if not found:
        raise QueryError(f"no function matches {pattern}", code="UNDEFINED_FUNCTION")
    rows: list[dict[str, Any]] = [
        {
            "name": f.name, "kind": f.kind, "arguments": f.arguments, "result": f.result, "forms": f.forms,
            "description": f.description,
        }
        for f in found
    ]  # fmt: skip
    listing(shell, rows, ("name", "kind", "arguments", "result", *(("forms", "description") if plus else ())))


COMMANDS: dict[str, Command] = {
    "d": Command(describe, "[NAME or PATTERN]", "tables and views; the columns of one", "tables", plus=True),
    "dt": Command(
        lambda s, a, p: relations(s, a, p, False), "[PATTERN]", "tables whose names match (*, ?)", "tables", plus=True
    ),
    "dv": Command(lambda s, a, p: relations(s, a, p, True), "[PATTERN]", "views", "tables", plus=True),
    "dn": Command(schemas, "[PATTERN]", "schemas", plus=True),
    "df": Command(list_functions, "[PATTERN]", "functions", "functions", plus=True),
    "l": Command(databases, "[PATTERN]", "catalogs", plus=True),
}
