"""`sabot-sql version`."""

from __future__ import annotations

import click

from sabot_sql.version import __version__


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"sabot-sql {__version__}")
