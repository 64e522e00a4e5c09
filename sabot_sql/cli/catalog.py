"""`sabot-sql catalog`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.cli.target import open_connection, target_options
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sabot_sql.client.connection import Connection

TABLE_COLUMNS = ("name", "format", "rows", "row_count_kind", "bytes", "files", "location", "error")
COLUMN_COLUMNS = (
    "name", "sql_type", "nullable", "null_count", "ndv", "ndv_from", "min", "max", "average_bytes", "most_common", "histogram",
    "learnt_at",
)  # fmt: skip
LEARN_S = 300.0
SHOWN_COMMON, SHOWN_CHARS = 3, 24


@click.group()
def catalog() -> None:
    """The tables."""


@catalog.command()
@target_options
@format_option
def ls(
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    format_name: str | None,
    output: str | None,
) -> None:
    """List the tables, those that cannot be read with the reason. What lies in the data and is not read goes to stderr."""
    with open_connection(url, data, num_agents, api_key_file, lazy=True) as connection, Output(output, format_name) as sink:
        tables = sorted(connection.tables(), key=lambda table: str(table["name"]))
        sink.write_table(listing([dict(table) for table in tables], TABLE_COLUMNS))
        for text in connection.skipped():
            click.echo(f"skipped: {text}", err=True)


@catalog.command()
@click.argument("table")
@click.option("--learn", is_flag=True, help="Wait until the statistics of TABLE are learnt.")
@target_options
@format_option
def describe(
    table: str,
    learn: bool,
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    format_name: str | None,
    output: str | None,
) -> None:
    """Show the columns of TABLE and what is known of their values."""
    with open_connection(url, data, num_agents, api_key_file, lazy=True) as connection, Output(output, format_name) as sink:
        found = learnt_table(connection, table) if learn else connection.table(table)
        columns = [{**column, "learnt_at": found.get("learnt_at")} for column in found["columns"]]
        if sink.format in ("json", "ndjson"):
            lines = [json.dumps({n: c.get(n) for n in COLUMN_COLUMNS}, ensure_ascii=False, default=str) for c in columns]
            text = "[" + ",\n ".join(lines) + "]\n" if sink.format == "json" else "".join(f"{line}\n" for line in lines)
            sink.write(text.encode())
        else:
            sink.write_table(listing([column_texts(c) for c in columns], COLUMN_COLUMNS))
        click.echo(source_line(found), err=True)


def learnt_table(connection: Connection, name: str) -> Mapping[str, Any]:
    """The table once its statistics are learnt; asking for it has them learnt."""
    end_s = time.monotonic() + LEARN_S
    while True:
        found = connection.table(name)
        if found.get("learnt_at"):
            return found
        if time.monotonic() > end_s:
            raise ConfigError(
                f"the statistics of {name} were not learnt within {LEARN_S:.0f} s",
                hint="is learn_statistics off, or can the table not be read? the log says so",
            )
        time.sleep(0.05)


def column_texts(column: Mapping[str, Any]) -> dict[str, str | None]:
    """One column as texts of one line each."""
    texts = {name: None if column.get(name) is None else str(column[name]) for name in COLUMN_COLUMNS}
    texts["most_common"] = short_common(column.get("most_common") or [])
    texts["histogram"] = short_histogram(column.get("histogram") or [])
    return texts


def short_common(common: list[Any]) -> str | None:
    """The first of the common values with their shares.

    Example:
        >>> short_common([["N", 0.5], ["R", 0.25], ["A", 0.2], ["X", 0.05]])
        'N 50% · R 25% · A 20% · 1 more'
    """
    if not common:
        return None
    shown = [f"{cut(value)} {share:.3g}%" for value, share in ((v, 100 * s) for v, s in common[:SHOWN_COMMON])]
    more = len(common) - SHOWN_COMMON
    return " · ".join([*shown, f"{more} more"] if more > 0 else shown)


def short_histogram(bounds: list[Any]) -> str | None:
    """The ends and the quartiles.

    Example:
        >>> short_histogram([1, 2, 3, 4, 9])
        '1 · 2 · 3 · 4 · 9'
    """
    last = len(bounds) - 1
    return " · ".join(cut(bounds[last * i // 4]) for i in range(5)) if bounds else None


def cut(value: Any) -> str:
    """`value` as a short text."""
    text = str(value)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"


def source_line(table: Mapping[str, Any]) -> str:
    """Where the figures are from."""
    rows = "an unknown number of" if table.get("rows") is None else f"{table['rows']:,}"
    if not table.get("learnt_at"):
        return f"{table['name']}: {rows} rows; no statistics learnt yet, the files' own are shown"
    return f"{table['name']}: {rows} rows; statistics learnt at {table['learnt_at']} from {table['rows_sampled']:,} of them"
