"""`sabot-sql shell`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sabot_sql.cli.exits import ExitCode
from sabot_sql.cli.target import open_connection, routing_options, target_options


@click.command()
@click.argument("target", required=False, metavar="[URL or folder]")
@target_options
@routing_options
def shell(
    target: str | None,
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    **routing: Any,
) -> int:
    """Type SQL at a server or at files: lines up to a `;`, and commands such as \\d, \\timing, \\explain, \\?.

    Statements piped in are run up to the first that fails.
    """
    from sabot_sql.shell.shell import run_shell

    if target is not None:
        if url or data is not None:
            raise click.UsageError(f"{target} and --url or --data name two targets")
        if target.startswith(("http://", "https://")):
            url = target
        elif Path(target).exists():
            data = target
        else:
            raise click.UsageError(f"{target} is neither an address (http://host:8600) nor a folder or file that exists")
    with open_connection(url, data, num_agents, api_key_file) as connection:
        return ExitCode.OK if run_shell(connection, **routing) else ExitCode.QUERY_ERROR
