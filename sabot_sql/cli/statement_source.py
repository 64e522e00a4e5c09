"""The statements a command was given: `-c`, `-f`, or stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sabot_sql.client.statement_split import split_statements
from sabot_sql.errors import ConfigError


class StatementCommand(click.Command):
    """A command whose statement is an option; what stands alone is told its place."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest:
            raise click.UsageError(
                f"where does {rest[0]!r} belong? A statement follows -c, its data --data, a server --url", ctx
            )
        return rest


def statement_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-c SQL` and `-f FILE`."""
    command = click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Statements of a file; - is stdin.")(
        command
    )
    return click.option("-c", "--command", "commands", multiple=True, metavar="SQL", help="The statement; may be given again.")(
        command
    )


def read_statements(commands: tuple[str, ...], files: tuple[str, ...]) -> list[str]:
    """All statements, those of `-c` first; stdin when there is neither and it is not a terminal."""
    texts = list(commands)
    for name in files or (() if commands or sys.stdin.isatty() else ("-",)):
        try:
            texts.append(sys.stdin.read() if name == "-" else Path(name).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{name} cannot be read: {exc.strerror if isinstance(exc, OSError) else exc}") from exc
    if not texts:
        raise click.UsageError("no statement: give -c SQL or -f FILE")
    return [statement for text in texts for statement in statements_of(text)]


def statements_of(text: str) -> list[str]:
    """The statements of `text`; a text without any stays one, for the engine to refuse."""
    ended, rest = split_statements(text)
    return [*ended, rest] if rest else ended or [text]


def parse_params(pairs: tuple[str, ...]) -> dict[str, Any] | None:
    """`name=value` pairs; a value is JSON where it can be read so, else text."""
    import json

    params: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--param {pair}: write name=value")
        try:
            params[name] = json.loads(text)
        except ValueError:
            params[name] = text
    return params or None
