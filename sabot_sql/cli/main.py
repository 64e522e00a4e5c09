"""The command `sabot-sql`. Every subcommand has a module that is imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from sabot_sql.cli.ending import STATUS, ends_on_signals
from sabot_sql.cli.exits import ExitCode, exit_code_of
from sabot_sql.errors import SabotError
from sabot_sql.version import __version__

COMMANDS = {
    "serve": "sabot_sql.cli.serve:serve",
    "query": "sabot_sql.cli.query:query",
    "explain": "sabot_sql.cli.explain:explain",
    "batch": "sabot_sql.cli.batch:batch",
    "shell": "sabot_sql.cli.shell:shell",
    "catalog": "sabot_sql.cli.catalog:catalog",
    "agent": "sabot_sql.cli.agent:agent",
    "agents": "sabot_sql.cli.agents:agents",
    "jobs": "sabot_sql.cli.jobs:jobs",
    "key": "sabot_sql.cli.key:key",
    "config": "sabot_sql.cli.config:config",
    "doctor": "sabot_sql.cli.doctor:doctor",
    "demo": "sabot_sql.cli.demonstration:demo",
    "init-db": "sabot_sql.cli.init_db:init_db",
    "version": "sabot_sql.cli.version:version",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and " " in args[0].strip():
            raise click.UsageError("a statement is given to a command: sabot-sql query -c SQL, or sabot-sql shell -c SQL")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="sabot-sql", message="%(prog)s %(version)s")
def cli() -> None:
    """One SQL endpoint for the 1 ms query and the 1 h query.

    \b
    Exit status: 0 ok, 1 query error, 2 usage or settings, 3 cannot connect, 4 timed out, 130 interrupted,
    129 hung up, 143 terminated.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    with ends_on_signals() as ending:
        try:
            status = _run(argv)
        except BaseException:  # what a closed terminal makes of farewells, too
            if ending.status is None:
                raise
    if ending.status is None:
        return status
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)
    return ending.status


def _drop(stream: TextIO) -> None:
    """Have what is still written to `stream` go nowhere: its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(argv: Sequence[str] | None) -> int:
    try:
        status = cli.main(args=None if argv is None else list(argv), prog_name="sabot-sql", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except SystemExit as exc:
        # signals apart, click exits for one reason only: the reader of its pipe (head, a pager) is gone and has what it wanted
        return next((status for status in STATUS.values() if status == exc.code), ExitCode.OK)
    except BrokenPipeError:
        # the reader (head, a pager) has what it wanted
        _drop(sys.stdout)
        return ExitCode.OK
    except SabotError as error:
        print_error(error)
        return exit_code_of(error)


def print_error(error: SabotError) -> None:
    """The error on stderr, with the place in the statement and the hint."""
    print(f"error: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
