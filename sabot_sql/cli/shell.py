"""`sabot-sql shell`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sabot_sql.cli.exits import ExitCode, exit_code_of
from sabot_sql.cli.statement_source import statement_options
from sabot_sql.cli.target import open_connection, routing_options, target_options
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from sabot_sql.client.connection import Connection

# spelled out: the modules of the shell are not imported for --help
FORMATS = ("table", "box", "vertical", "unaligned", "csv", "tsv", "json", "ndjson", "markdown", "html", "arrow", "parquet")


@click.command()
@click.argument("target", required=False, metavar="[URL or folder]")
@target_options
@routing_options
@statement_options
@click.option("-o", "--output", metavar="FILE", help="Send results there; the format is that of --format, else of its name.")
@click.option("-v", "--variable", "variables", multiple=True, metavar="NAME=VALUE", help="Set a variable, as \\set does.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), help="How results look; table by default.")
@click.option("-A", "--no-align", is_flag=True, help="Unaligned output: fields with | between them.")
@click.option("-F", "--field-separator", metavar="TEXT", help="What stands between fields of unaligned output.")
@click.option("-t", "--tuples-only", is_flag=True, help="Rows only, without headings and the line under them.")
@click.option("-x", "--expanded", is_flag=True, help="A field a line.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but answers and errors.")
@click.option("-X", "--no-startup", is_flag=True, help="Do not run the start-up file.")
def shell(
    target: str | None,
    url: str | None,
    data: str | None,
    num_agents: int | None,
    api_key_file: str | None,
    commands: tuple[str, ...],
    files: tuple[str, ...],
    output: str | None,
    variables: tuple[str, ...],
    format_name: str | None,
    no_align: bool,
    field_separator: str | None,
    tuples_only: bool,
    expanded: bool,
    quiet: bool,
    no_startup: bool,
    **routing: Any,
) -> int:
    """Type SQL at a server or at files: lines up to a `;`, and commands such as \\d, \\timing, \\explain, \\?.

    Statements of -c and -f, or piped in, are run up to the first that fails.
    """
    from sabot_sql.shell.formats import BINARY_FORMATS, Display
    from sabot_sql.shell.result_file import ResultFile
    from sabot_sql.shell.shell import Shell, run_shell

    if target is not None:
        if url or data is not None:
            raise click.UsageError(f"{target} and --url or --data name two targets")
        url, data = url_or_data(target)
    if format_name in BINARY_FORMATS and output is None:
        raise click.UsageError(f"{format_name} is binary; give -o FILE")
    text_format = format_name if format_name not in (None, *BINARY_FORMATS) else "unaligned" if no_align else "table"
    display = Display(format=str(text_format), tuples_only=tuples_only, expanded="on" if expanded else "off")
    if field_separator is not None:
        display.fieldsep = field_separator.replace("\\t", "\t")

    def opener(name: str) -> Connection:
        try:
            address, folder = url_or_data(name)
            return open_connection(address, folder, None, api_key_file if address else None)
        except click.UsageError as exc:
            raise ConfigError(exc.message) from exc

    with open_connection(url, data, num_agents, api_key_file) as connection:
        session = Shell(connection, display=display, opener=opener, quiet=quiet, **routing)
        try:
            for pair in variables:
                name, equals, value = pair.partition("=")
                session.set_variable(name, value if equals else "")
            if output is not None:
                session.target = ResultFile(output, format_name)
            run_shell(session, commands, files, None if no_startup else startup_file())
        finally:
            session.connection.close()  # which \connect may have changed
    if session.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if session.failure is None else exit_code_of(session.failure)


def url_or_data(target: str) -> tuple[str | None, str | None]:
    """The address or the path that `target` is; the other is None.

    Raises:
        UsageError: it is neither.
    """
    if target.startswith(("http://", "https://")):
        return target, None
    if Path(target).expanduser().exists():
        return None, str(Path(target).expanduser())
    raise click.UsageError(f"{target} is neither an address (http://host:8600) nor a folder or file that exists")


def startup_file() -> Path:
    """What an interactive session runs first."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "sabot-sql" / "shellrc"
