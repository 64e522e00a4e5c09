"""Answers as text for the shell, and as files."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

from sabot_sql.client.csv_rows import csv_text
from sabot_sql.client.display import cell_texts, print_expanded, print_table
from sabot_sql.client.json_values import ndjson_text
from sabot_sql.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

TEXT_FORMATS = ("table", "box", "vertical", "unaligned", "csv", "tsv", "json", "ndjson", "markdown", "html")
BINARY_FORMATS = ("arrow", "parquet")
FOR_PEOPLE = frozenset(("table", "box", "vertical"))  # which show a part of many rows, and a line under them
SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet",
    ".arrow": "arrow", ".md": "markdown", ".html": "html",
}  # fmt: skip


@dataclass(slots=True)
class Display:
    """How answers look; `\\pset` sets the fields.

    Attributes:
        expanded: a field a line: on, off, or auto: where rows are wider than the screen.
        null: what NULL is shown as in formats that have no NULL of their own; None for the format's.
        tuples_only: without headings and the line under the rows.
        fieldsep: between the fields of `unaligned`.
        maxrows: rows that tables for people show; 0 for all.
        footer: whether there is a line under the rows; timing: whether it has the route and the time.
        pager: whether long answers on a terminal go through one.
    """

    format: str = "table"
    expanded: Literal["on", "off", "auto"] = "off"
    null: str | None = None
    tuples_only: bool = False
    fieldsep: str = "|"
    maxrows: int = 1000
    footer: bool = True
    timing: bool = True
    pager: bool = True


def text_of(table: pa.Table, display: Display, width: int | None = None) -> str:
    """`table` as text in the format of `display`.

    Args:
        width: columns of the screen; None for one that is as wide as the table.
    """
    out = io.StringIO()
    write_text(table, display, out, width)
    return out.getvalue()


def write_text(table: pa.Table, display: Display, out: TextIO, width: int | None = None) -> None:
    """As `text_of`, to a stream; a terminal gets colours."""
    limit = display.maxrows or None
    match display.format:
        case "vertical":
            print_expanded(table, out, limit, null=display.null or "NULL")
        case "table" | "box":
            if display.expanded == "on" or (display.expanded == "auto" and _is_wider(table, display, out, width)):
                print_expanded(table, out, limit, null=display.null or "NULL")
            else:
                print_table(
                    table, out, limit, width=width, null=display.null or "NULL", rounded=display.format == "box",
                    heading=not display.tuples_only,
                )  # fmt: skip
        case "csv":
            out.write(csv_text(table, header=not display.tuples_only))
        case "json":
            out.write("[" + ",\n ".join(ndjson_text(table).split("\n")[:-1]) + "]\n")
        case "ndjson":
            out.write(ndjson_text(table))
        case "tsv":
            _separated(table, display, "\t", out)
        case "unaligned":
            _separated(table, display, display.fieldsep, out)
        case "markdown":
            _markdown(table, display, out)
        case "html":
            _html(table, display, out)
        case other:
            raise QueryError(f"{other} is binary; send it to a file: \\o FILE, \\g FILE or -o FILE")


def _is_wider(table: pa.Table, display: Display, out: TextIO, width: int | None) -> bool:
    import shutil

    screen = width or shutil.get_terminal_size().columns
    top = table.slice(0, 100)
    widest = (max(len(t or "NULL") for t in [name, *cell_texts(c)]) for name, c in zip(top.column_names, top.columns))
    return sum(w + 3 for w in widest) + 1 > screen


def _cells(table: pa.Table, null: str) -> Sequence[tuple[str, ...]]:
    return list(zip(*([null if text is None else text for text in cell_texts(column)] for column in table.columns)))


def _separated(table: pa.Table, display: Display, separator: str, out: TextIO) -> None:
    """Fields with control characters spelled out (`\\t`, `\\n`), so that a row is a line."""
    if not display.tuples_only:
        out.write(separator.join(table.column_names) + "\n")
    for row in _cells(table, display.null or ""):
        out.write(separator.join(row) + "\n")


def _markdown(table: pa.Table, display: Display, out: TextIO) -> None:
    def line(fields: Sequence[str]) -> str:
        return "| " + " | ".join(f.replace("|", "\\|") for f in fields) + " |\n"

    if not display.tuples_only:
        out.write(line(table.column_names) + line(["---"] * table.num_columns))
    for row in _cells(table, display.null or "NULL"):
        out.write(line(row))


def _html(table: pa.Table, display: Display, out: TextIO) -> None:
    def line(kind: str, fields: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(f)}</{kind}>" for f in fields) + "</tr>\n"

    out.write("<table>\n")
    if not display.tuples_only:
        out.write(line("th", table.column_names))
    for row in _cells(table, display.null or ""):
        out.write(line("td", row))
    out.write("</table>\n")
