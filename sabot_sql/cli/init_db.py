"""`sabot-sql init-db`."""

from __future__ import annotations

import click


@click.command("init-db")
def init_db() -> None:
    """Make the schema of the job database that the setting durable.url names, or bring it up to date.

    Servers do so themselves at their start, unless durable.migrate is off because their role must not. Running it again
    changes nothing.
    """
    from sabot_sql.cli.settings import load_settings
    from sabot_sql.errors import ConfigError
    from sabot_sql.jobs.database import JobDatabase

    url = load_settings({}).to_durable().url
    if not url:
        raise ConfigError(
            "durable.url is not set; the SQLite file of a state folder needs no preparation",
            hint="set SABOT_DURABLE__URL=postgresql://user:password@host:5432/database",
        )
    database = JobDatabase(url=url)
    database.open()
    click.echo(f"{database.name} is ready")
