"""`sabot-sql catalog`."""

from __future__ import annotations

import click

from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.cli.target import open_connection, target_options

TABLE_COLUMNS = ("name", "format", "rows", "row_count_kind", "bytes", "files", "location")
COLUMN_COLUMNS = ("name", "sql_type", "nullable", "null_count", "ndv", "min", "max")


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
    """List the tables; files that are none are named on stderr."""
    with open_connection(url, data, num_agents, api_key_file) as connection, Output(output, format_name) as sink:
        tables = sorted(connection.tables(), key=lambda table: str(table["name"]))
        sink.write_table(listing([dict(table) for table in tables], TABLE_COLUMNS))
        for path in sorted({path for table in tables for path in table.get("skipped") or ()}):
            click.echo(f"skipped: {path}", err=True)


@catalog.command()
@click.argument("table")
@target_options
@format_option
def describe(
    table: str,
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    format_name: str | None,
    output: str | None,
) -> None:
    """Show the columns of TABLE and what is known of their values."""
    with open_connection(url, data, num_agents, api_key_file) as connection, Output(output, format_name) as sink:
        columns = connection.table(table)["columns"]
        texts = [{name: None if c.get(name) is None else str(c[name]) for name in COLUMN_COLUMNS} for c in columns]
        sink.write_table(listing(texts, COLUMN_COLUMNS))
