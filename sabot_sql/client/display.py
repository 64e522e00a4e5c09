"""A table as text for people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TextIO

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.client.json_values import dump_json, json_values

if TYPE_CHECKING:
    from sabot_sql.client.result import Result

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def cell_texts(column: pa.ChunkedArray) -> list[str | None]:
    """The values of `column` as a person reads them; None is NULL. Control characters are spelled out."""
    values = json_values(column)
    kind = column.type
    if pt.is_timestamp(kind):
        return [None if v is None else v.replace("T", " ").replace("Z", "+00") for v in values]
    if pt.is_nested(kind):
        return [None if v is None else _printable(dump_json(v)) for v in values]
    return [_text(v) for v in values]


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case str():
            return _printable(value)
        case float():
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text := str(value), text)
    return str(value)


def _printable(text: str) -> str:
    return CONTROL.sub(lambda c: ESCAPES.get(c[0]) or f"\\x{ord(c[0]):02x}", text)


def print_table(
    table: pa.Table,
    out: TextIO,
    max_rows: int | None = None,
    sql_types: list[str] | None = None,
    width: int | None = None,
    *,
    null: str = "NULL",
    rounded: bool = False,
    heading: bool = True,
) -> None:
    """Prints the first `max_rows` rows of `table`.

    Args:
        sql_types: printed under the names of the columns.
        width: columns of the screen; without it the terminal's when `out` is one, else as wide as the table.
        null: what NULL is shown as.
        rounded: lines between all rows, and round corners.
        heading: whether the names of the columns are shown.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(file=out, width=width or (None if out.isatty() else 100_000), highlight=False, soft_wrap=False)
    grid = Grid(
        box=box.ROUNDED if rounded else box.SQUARE, show_lines=rounded, show_header=heading, header_style="bold", pad_edge=True,
        show_edge=True,
    )  # fmt: skip
    for i, field in enumerate(table.schema):
        title = Text(_printable(field.name))
        if sql_types:
            title.append(f"\n{_short(sql_types[i])}", style="dim not bold")
        numeric = pt.is_integer(field.type) or pt.is_floating(field.type) or pt.is_decimal(field.type)
        grid.add_column(title, justify="right" if numeric else "left", overflow="fold")
    top = table if max_rows is None else table.slice(0, max_rows)
    nothing = Text(null, style="dim")
    for row in zip(*(cell_texts(column) for column in top.columns)):
        grid.add_row(*(nothing if text is None else Text(text) for text in row))
    console.print(grid)
    if top.num_rows < table.num_rows:
        print(f"… {table.num_rows - top.num_rows:,} more rows", file=out)


def print_expanded(table: pa.Table, out: TextIO, max_rows: int | None = None, *, null: str = "NULL") -> None:
    """Prints `table` a field a line, a block a row, as psql does under `\\x`."""
    names = [_printable(name) for name in table.column_names]
    width = max(map(len, names), default=0)
    top = table if max_rows is None else table.slice(0, max_rows)
    for number, row in enumerate(zip(*(cell_texts(column) for column in top.columns)), 1):
        print(f"─[ row {number} ]".ljust(width + 12, "─"), file=out)
        for name, text in zip(names, row):
            print(f"{name:<{width}} │ {null if text is None else text}", file=out)
    if top.num_rows < table.num_rows:
        print(f"… {table.num_rows - top.num_rows:,} more rows", file=out)


def _short(sql_type: str) -> str:
    text = sql_type.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
    return text if len(text) <= 30 else text[:29] + "…"


def rows_text(count: int) -> str:
    """ "1 row", "2,000 rows"."""
    return "1 row" if count == 1 else f"{count:,} rows"


def milliseconds_text(elapsed_ms: float) -> str:
    """A duration in the unit that suits it: "3.4 ms", "12.0 s"."""
    return f"{elapsed_ms:.1f} ms" if elapsed_ms < 10_000 else f"{elapsed_ms / 1000:.1f} s"


def write_tag(result: Result) -> str:
    """What psql says of a statement that wrote: "INSERT 0 5", "SELECT 5" for CREATE TABLE AS, "DROP TABLE"."""
    count = result.rows_affected
    match result.statement_type:
        case "INSERT":
            return f"INSERT 0 {count}"
        case "CREATE TABLE AS":
            return f"SELECT {count}"
    return result.statement_type if count is None else f"{result.statement_type} {count}"


def summary(result: Result) -> str:
    """The line under a result: "(3 rows)  route local · 3.4 ms"."""
    line = f"{write_tag(result) if result.is_write else f'({rows_text(len(result))})'}  route {result.route}"
    if (elapsed_ms := result.stats.get("elapsed_ms")) is not None:
        line += f" · {milliseconds_text(elapsed_ms)}"
    if agents := result.stats.get("agents"):
        line += f" · {agents} agent{'s' if agents > 1 else ''}"
    return line
