"""`sabot-sql batch`: the statements of a file as one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sabot_sql.cli.exits import ExitCode
from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.cli.statement_source import read_statements
from sabot_sql.cli.target import open_connection, routing_options, target_options

if TYPE_CHECKING:
    from sabot_sql.client.batch import JobBatch
    from sabot_sql.engine.request import BatchStatus

COLUMNS = ("name", "query_id", "state", "error")


@click.command()
@click.argument("file", metavar="FILE")
@target_options
@routing_options
@click.option("--order", type=click.Choice(["parallel", "sequential"]), default="parallel", show_default=True)
@click.option("--on-error", type=click.Choice(["continue", "stop"]), default="continue", show_default=True)
@click.option("--max-parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="How many run at once.")
@click.option("--no-wait", is_flag=True, help="Return once the batch is recorded; for a server only.")
@format_option
def batch(
    file: str,
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    order: Any,
    on_error: Any,
    max_parallel: int,
    no_wait: bool,
    format_name: str | None,
    output: str | None,
    **routing: Any,
) -> int:
    """Run the statements of FILE (- for standard input) as one batch, and list what became of each.

    The answers can be fetched by the ids of the queries. The exit status is 1 where one has failed.
    """
    statements = read_statements((), (file,))
    with open_connection(url, data, num_agents, api_key_file) as connection, Output(output, format_name) as sink:
        jobs = connection.submit_jobs_batch(statements, order, on_error, max_parallel, **routing)
        status = jobs.status() if no_wait else waited(jobs)
        rows = [
            {"name": s.name, "query_id": s.query_id, "state": s.state, "error": None if s.error is None else s.error.detail}
            for s in status.statements
        ]
        sink.write_table(listing(rows, COLUMNS))
    return ExitCode.QUERY_ERROR if status.state in ("failed", "cancelled") else ExitCode.OK


def waited(jobs: JobBatch) -> BatchStatus:
    """The end of a batch; Ctrl-C cancels it."""
    try:
        return jobs.wait()
    except KeyboardInterrupt:
        jobs.cancel()
        raise
