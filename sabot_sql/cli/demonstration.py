"""`sabot-sql demo`."""

from __future__ import annotations

import socket
from pathlib import Path

import click


@click.command()
@click.option(
    "--scale-factor", "--sf", type=click.FloatRange(0, min_open=True), default=0.1, show_default=True, help="TPC-H's."
)
@click.option("--agents", type=click.IntRange(1), default=2, show_default=True, help="Agents to start.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the server; 0 for a free one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the data.  [default: .data/demo]")
def demo(scale_factor: float, agents: int, port: int, data: Path | None) -> int:
    """Make TPC-H data, start a server, and compare the answers with DuckDB's."""
    from sabot_sql.cli.demo import run

    return run(scale_factor, agents, port or free_port(), data)


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
