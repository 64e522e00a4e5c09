"""`sabot-sql key`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sabot_sql.cli.output import Output, format_option, listing
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from sabot_sql.server.keys import ApiKey

COLUMNS = ("id", "user", "role", "created", "expires", "tables")

file_option = click.option(
    "--file", "path", type=click.Path(), help="File of the keys (else the setting server.api_keys_file)."
)


@click.group()
def key() -> None:
    """The API keys that open a server; it reads the file again when it changes."""


@key.command()
@click.argument("user")
@click.option("--role", type=click.Choice(["reader", "writer", "admin"]), default="reader", show_default=True)
@click.option("--days", type=click.IntRange(1, 36_500), help="How long it is good.  [default: until it is revoked]")
@click.option("--tables", metavar="NAMES", help="Tables that it may read, or put, as `trips,sales_*`.  [default: all]")
@file_option
def create(user: str, role: str, days: int | None, tables: str | None, path: str | None) -> None:
    """Make a key for USER and print it; only its hash is kept.

    A reader asks queries and sees their own; a writer also puts and drops tables; an admin sees the queries of all users and
    runs the agents. The file is made where there is none.
    """
    from sabot_sql.server.keys import ROLES, add_key, checked_user, new_key

    try:
        user = checked_user(user)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    patterns = None if tables is None else tuple(map(pattern_of, filter(str.strip, tables.split(","))))
    if patterns is not None and role == "admin":
        raise click.UsageError("an admin reads all tables; --tables is for readers and writers")
    if patterns == ():
        raise click.UsageError("--tables names no table")
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days) if days else None
    secret, kept = new_key(user, next(r for r in ROLES if r == role), expires, patterns)
    file = file_of_keys(path)
    add_key(file, kept)
    click.echo(secret)
    click.echo(f"key {kept.id} of {kept.user} ({kept.role}) is in {file}; this is the only time it is shown", err=True)


@key.command()
@file_option
@format_option
def ls(path: str | None, format_name: str | None, output: str | None) -> None:
    """List the keys of the file."""
    from sabot_sql.server.keys import read_keys

    with Output(output, format_name) as sink:
        rows = [row_of(found) for found in read_keys(file_of_keys(path))]
        sink.write_table(listing(rows, COLUMNS))


@key.command()
@click.argument("key_id")
@file_option
def revoke(key_id: str, path: str | None) -> None:
    """Take a key out of the file; servers refuse it within two seconds."""
    from sabot_sql.server.keys import revoke_key

    gone = revoke_key(file_of_keys(path), key_id)
    click.echo(f"revoked key {gone.id} of {gone.user}", err=True)


def pattern_of(name: str) -> str:
    """The pattern of a table as the catalog names it: without its catalog, and without the schema that it need not have."""
    return name.strip().removeprefix("memory.").removeprefix("main.")


def row_of(found: ApiKey) -> dict[str, str | None]:
    """A key in the list."""
    tables = None if found.tables is None else ",".join(found.tables)
    return {**{name: getattr(found, name) or None for name in COLUMNS}, "tables": tables}


def file_of_keys(path: str | None) -> Path:
    """The file that the option or the settings name.

    Raises:
        ConfigError: neither does.
    """
    from sabot_sql.cli.settings import load_settings

    found = path or load_settings({}).server.api_keys_file
    if not found:
        raise ConfigError("no file of API keys is named", hint="give --file, or set SABOT_SERVER__API_KEYS_FILE")
    return Path(found).expanduser()
