"""Which engine a command talks to."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from sabot_sql.cli.config_file import is_configured
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from sabot_sql.client.connection import Connection

F = TypeVar("F", bound=Callable[..., Any])


class ThresholdType(click.ParamType[Any]):
    """A number of rows, or `auto`."""

    name = "rows|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        if value == "auto":
            return "auto"
        try:
            rows = int(str(value).replace("_", ""))
        except ValueError:
            self.fail(f"{value!r} is neither a number of rows nor auto", param, ctx)
        if rows < 0:
            self.fail(f"{rows} is below 0", param, ctx)
        return rows


def target_options(command: F) -> F:
    """`--url`, `--data`, `--agents`, `--api-key-file`."""
    for option in reversed(
        (
            click.option("--url", metavar="URL", help="Address of a server (else $SABOT_URL)."),
            click.option("--data", metavar="PATH", help="Folder, file or DuckDB database to query in this process."),
            click.option("--agents", "num_agents", type=click.IntRange(0), help="Agents of an engine in this process."),
            click.option("--api-key-file", type=click.Path(), help="File with the key of the server (else $SABOT_API_KEY)."),
        )
    ):
        command = option(command)
    return command


def routing_options(command: F) -> F:
    """`--route`, `--threshold`, `--engine`, `--timeout`."""
    for option in reversed(
        (
            click.option("--route", type=click.Choice(["auto", "local", "distributed"]), default="auto", show_default=True),
            click.option("--threshold", type=ThresholdType(), help="Rows from which a query is distributed, or auto."),
            click.option("--engine", type=click.Choice(["duckdb", "datafusion"]), help="Engine of the local route."),
            click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), help="Seconds a query may take."),
        )
    ):
        command = option(command)
    return command


def open_connection(
    url: str | None, data: str | None, num_agents: int | None, api_key_file: str | None, lazy: bool = False
) -> Connection:
    """The connection that flags, environment and configuration file name, in this order.

    Args:
        lazy: an engine in this process starts agents and the job database with the first query that needs them.
    """
    from sabot_sql.client.connection import Connection, connect

    if url and data is not None:
        raise click.UsageError("--url and --data exclude each other: a server has its own data")
    if data is None and (address := url or os.environ.get("SABOT_URL")):
        if num_agents is not None:
            raise click.UsageError(f"--agents is for an engine in this process; {address} has its own")
        return connect(address, api_key=read_key(api_key_file))
    if not is_configured():
        from sabot_sql.client.embedded import start_embedded
        from sabot_sql.config import AgentSettings, Settings

        defaults = Settings() if num_agents is None else Settings(agents=AgentSettings(count=num_agents))
        return Connection(start_embedded(defaults, data, lazy), "embedded:", writes=True)
    from sabot_sql.cli.settings import load_settings

    settings = load_settings({"data": data, "agents.count": num_agents})
    if data is None and settings.url:
        return connect(settings.url, api_key=read_key(api_key_file) or settings.key)
    from sabot_sql.client.embedded import start_embedded

    return Connection(start_embedded(settings.to_settings(), settings.data, lazy), "embedded:", writes=True)


def read_key(api_key_file: str | None) -> str | None:
    """The API key in a file."""
    if api_key_file is None:
        return None
    try:
        with open(os.path.expanduser(api_key_file), encoding="utf-8") as file:
            return file.read().strip()
    except OSError as exc:
        raise ConfigError(f"the API key file {api_key_file} cannot be read: {exc.strerror}") from exc
