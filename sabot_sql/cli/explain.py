"""`sabot-sql explain`: where a statement would run, why, and by which plan."""

from __future__ import annotations

import json
from typing import Any

import click

from sabot_sql.cli.statement_source import StatementCommand, parse_params, read_statements, statement_options
from sabot_sql.cli.target import open_connection, routing_options, target_options
from sabot_sql.errors import SabotError


@click.command(cls=StatementCommand)
@statement_options
@target_options
@routing_options
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="Value of $NAME; may be given again.")
@click.option("--analyze", is_flag=True, help="Run the statement and put figures into the plan.")
@click.option("--format", "format_name", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(
    commands: tuple[str, ...],
    files: tuple[str, ...],
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    params: tuple[str, ...],
    analyze: bool,
    format_name: str,
    timeout_s: float | None,
    **routing: Any,
) -> None:
    """Say where a statement would run, why, and by which plan."""
    from sabot_sql.client.contract import explanation_to_json

    values = parse_params(params)
    with open_connection(url, data, num_agents, api_key_file, lazy=routing["route"] != "distributed") as connection:
        for sql in read_statements(commands, files):
            try:
                found = connection.explain(sql, values, analyze=analyze, timeout_s=timeout_s, **routing)
            except SabotError as error:
                error.sql = error.sql or sql
                raise
            click.echo(json.dumps(explanation_to_json(found), indent=1) if format_name == "json" else found.text)
