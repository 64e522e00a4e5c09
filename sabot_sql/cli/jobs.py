"""`sabot-sql jobs`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.cli.target import open_connection

if TYPE_CHECKING:
    from sabot_sql.client.connection import Connection
    from sabot_sql.engine.history_file import HistoryFile
    from sabot_sql.engine.request import QueryStatus, State

COLUMNS = ("query_id", "state", "route", "user", "submitted_at", "elapsed_ms", "sql")
HISTORY_COLUMNS = (
    "fingerprint", "runs", "route", "rows_estimated", "work", "rows_scanned", "rows_out", "local_ms", "distributed_ms",
    "last_run_at", "tables", "shape",
)  # fmt: skip
STATES = ("queued", "planning", "running", "finishing", "finished", "failed", "cancelled", "expired")

url_option = click.option("--url", metavar="URL", help="Address of a server (else $SABOT_URL).")
key_option = click.option("--api-key-file", type=click.Path(), help="File with the key of the server (else $SABOT_API_KEY).")


@click.group()
def jobs() -> None:
    """The queries of a server."""


@jobs.command()
@url_option
@key_option
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@format_option
def ls(
    url: str | None, api_key_file: str | None, state: State | None, limit: int, format_name: str | None, output: str | None
) -> None:
    """List queries, newest first."""
    from sabot_sql.client.contract import status_to_json

    with open_server(url, api_key_file) as connection, Output(output, format_name) as sink:
        found = [status_to_json(status) for status in connection.list_jobs(state, limit=limit)]
        rows = [{**q, "elapsed_ms": q["stats"].get("elapsed_ms"), "sql": " ".join(q["sql"].split())[:100]} for q in found]
        sink.write_table(listing(rows, COLUMNS))


@jobs.command()
@click.argument("query_id")
@url_option
@key_option
def show(query_id: str, url: str | None, api_key_file: str | None) -> None:
    """Print the status of a query as JSON."""
    with open_server(url, api_key_file) as connection:
        print_status(connection.job(query_id).status())


@jobs.command()
@click.argument("query_id")
@url_option
@key_option
def cancel(query_id: str, url: str | None, api_key_file: str | None) -> None:
    """Cancel a query; one that has ended stays as it is."""
    with open_server(url, api_key_file) as connection:
        print_status(connection.job(query_id).cancel())


@jobs.command()
@click.argument("query_id")
@url_option
@key_option
def retry(query_id: str, url: str | None, api_key_file: str | None) -> None:
    """Run the statement of a query that has ended once more, as a new query."""
    with open_server(url, api_key_file) as connection:
        print_status(connection.job(query_id).retry().status())


@jobs.command()
@click.option("--state-dir", metavar="FOLDER", help="Folder of the engine (else the setting state_dir).")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--reset", is_flag=True, help="Forget all of it, and what was measured of the machine.")
@format_option
def history(state_dir: str | None, limit: int, reset: bool, format_name: str | None, output: str | None) -> None:
    """List what earlier runs of each shape of statement did, the latest first."""
    file = open_history_file(state_dir)
    try:
        if reset:
            click.echo(f"forgot {file.reset():,} shapes of statements", err=True)
            return
        with Output(output, format_name) as sink:
            sink.write_table(listing(file.rows(limit), HISTORY_COLUMNS))
    finally:
        file.close()


def open_history_file(state_dir: str | None) -> HistoryFile:
    """The history in a state folder; an engine may be writing it meanwhile."""
    from sabot_sql.cli.settings import load_settings
    from sabot_sql.engine.history_file import NAME, HistoryFile
    from sabot_sql.errors import ConfigError

    folder = load_settings({"state_dir": state_dir}).to_settings().state_dir
    if folder is None:
        raise click.UsageError("which state folder? give --state-dir or SABOT_STATE_DIR")
    if not (folder / NAME).is_file():
        raise ConfigError(
            f"there is no history in {folder}", hint="an engine that has this state folder writes it as queries run"
        )
    return HistoryFile(folder / NAME)


def print_status(status: QueryStatus) -> None:
    """The status object of the HTTP contract."""
    from sabot_sql.client.contract import status_to_json

    click.echo(json.dumps(status_to_json(status), indent=1, ensure_ascii=False))


def open_server(url: str | None, api_key_file: str | None) -> Connection:
    """A connection to the server that flag, environment or configuration file name: an engine of this command's own would
    have no jobs."""
    address = url or os.environ.get("SABOT_URL")
    if not address:
        from sabot_sql.cli.settings import load_settings

        address = load_settings({}).url
    if not address:
        raise click.UsageError("which server? give --url or SABOT_URL")
    return open_connection(address, None, None, api_key_file)
