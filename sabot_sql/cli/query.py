"""`sabot-sql query`: run statements and print their answers."""

from __future__ import annotations

from typing import Any

import click

from sabot_sql.cli.output import BINARY, Output, format_option
from sabot_sql.cli.statement_source import StatementCommand, parse_params, read_statements, statement_options
from sabot_sql.cli.target import open_connection, routing_options, target_options
from sabot_sql.errors import SabotError


@click.command(cls=StatementCommand)
@statement_options
@target_options
@routing_options
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Value of $NAME; may be given again.")
@format_option
def query(
    commands: tuple[str, ...],
    files: tuple[str, ...],
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    params: tuple[str, ...],
    format_name: str | None,
    output: str | None,
    **routing: Any,
) -> None:
    """Run SQL and print the answer.

    \b
    sabot-sql query --data DIR -c "select count(*) from trips"
    sabot-sql query --url http://host:8600 -f report.sql --format csv -o report.csv
    """
    from sabot_sql.client.interruptible import run_interruptible
    from sabot_sql.client.progress_line import ProgressLine

    statements, values = read_statements(commands, files), parse_params(params)
    sink = Output(output, format_name)
    if len(statements) > 1 and sink.format in BINARY:
        raise click.UsageError(f"{sink.format} holds one answer; {len(statements)} statements were given")
    with open_connection(url, data, num_agents, api_key_file, lazy=routing["route"] != "distributed") as connection, sink:
        for sql in statements:
            try:
                with ProgressLine() as progress:
                    result = run_interruptible(connection, connection.request(sql, values, **routing), progress)
            except SabotError as error:
                error.sql = error.sql or sql
                raise
            for warning in result.warnings:
                click.echo(f"warning: {warning}", err=True)
            sink.write_result(result)
