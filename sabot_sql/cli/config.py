"""`sabot-sql config`."""

from __future__ import annotations

import json

import click


@click.group()
def config() -> None:
    """Settings: flags > SABOT_* > sabot.toml > defaults."""


@config.command()
def show() -> None:
    """Print every setting and where it is from; secrets are masked."""
    from sabot_sql.cli.settings import load_settings, sources

    section = None
    for name, value, source in sources(load_settings({})):
        head, _, key = name.rpartition(".")
        if head != section and head:
            click.echo(f"\n[{head}]")
        section = head
        text = "# not set" if value is None else f"= {json.dumps(value)}"
        click.echo(f"{key} {text}" if value is None else f"{key} {text}".ljust(40) + f"  # {source}")
