"""`sabot-sql agents`."""

from __future__ import annotations

import click

from sabot_sql.cli.jobs import key_option, open_server, url_option
from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.cli.target import open_connection, target_options

COLUMNS = ("id", "state", "pid", "host", "slots", "tasks_done", "tasks_failed", "flight_uri", "started_at")


@click.group()
def agents() -> None:
    """The pool of agents."""


@agents.command()
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
    """List the agents."""
    with open_connection(url, data, num_agents, api_key_file) as connection, Output(output, format_name) as sink:
        sink.write_table(listing([dict(agent) for agent in connection.agents()], COLUMNS))


@agents.command()
@click.argument("agent_id")
@url_option
@key_option
def drain(agent_id: str, url: str | None, api_key_file: str | None) -> None:
    """Let an agent finish and hand over what it has, then end it."""
    with open_server(url, api_key_file) as connection:
        connection.drain_agent(agent_id)


@agents.command()
@click.argument("agent_id")
@url_option
@key_option
def resume(agent_id: str, url: str | None, api_key_file: str | None) -> None:
    """Keep an agent that is being drained."""
    with open_server(url, api_key_file) as connection:
        connection.resume_agent(agent_id)


@agents.command()
@click.argument("number", type=click.IntRange(1))
@url_option
@key_option
def scale(number: int, url: str | None, api_key_file: str | None) -> None:
    """Start agents, or drain the newest, until there are NUMBER."""
    with open_server(url, api_key_file) as connection:
        connection.scale_agents(number)
