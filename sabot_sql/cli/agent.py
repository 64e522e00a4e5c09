"""`sabot-sql agent`: an agent of its own, for a coordinator elsewhere."""

from __future__ import annotations

import logging
import os

import click

from sabot_sql.errors import ConfigError


@click.command()
@click.option("--coordinator", required=True, metavar="HOST:PORT", help="Where the server takes registrations (agents.listen).")
@click.option("--token-file", type=click.Path(dir_okay=False), help="File with the secret that server and agents share.")
@click.option("--name", help="Name of the agent; no two may have the same.  [default: host and process]")
@click.option("--host", help="Address that the others reach this agent by.  [default: that which faces the server]")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port for the others; 0 for a free one.", show_default=True
)
@click.option("--threads", type=click.IntRange(0), help="Tasks to run at once.  [default: the processors]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True)
def agent(
    coordinator: str,
    token_file: str | None,
    name: str | None,
    host: str | None,
    port: int,
    threads: int | None,
    log_level: str,
) -> None:
    """Work for a server on this or another machine, until told to stop (Ctrl-C, SIGTERM); told so, hand over first.

    The server is started with --provider static. Both must see the tables' files under the same paths.
    """
    try:
        from sabot_sql.cli.settings import load_settings

        flags = {"agents.token_file": token_file, "agents.threads": threads, "agents.count": 1, "agents.provider": "static"}
        settings = load_settings(flags).to_settings().agents

        from sabot_sql.agents.providers.environment import environment

        os.environ.update(environment(settings.slots))  # before what it is for is imported
        from sabot_sql.agents.standalone import run_standalone
    except ModuleNotFoundError as exc:
        raise ConfigError(f"an agent needs {exc.name}", hint="pip install 'sabot-sql[server]'") from exc

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_standalone(settings, coordinator, name, host, port, lambda text: click.echo(text, err=True))
