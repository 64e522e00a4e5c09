"""The commands that set how the shell works, and those that have little to do with SQL."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from typing import TYPE_CHECKING, Any, get_args

from sabot_sql.engine.request import Route
from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.shell.command import Command, Leave
from sabot_sql.shell.formats import TEXT_FORMATS, Display
from sabot_sql.shell.lexing import switch, words
from sabot_sql.shell.syntax import syntax_help

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

ROUTES = get_args(Route)
NAME = re.compile(r"[A-Za-z_]\w*")
WORD_SETTINGS = {"null", "fieldsep"}


def set_option(display: Display, name: str, value: str) -> Display:
    """`display` with one field set from text; booleans without a word change over.

    Raises:
        QueryError: no such field, or not with that value.
    """
    if name not in Display.__dataclass_fields__:
        raise QueryError(f"there is no display option {name}", hint=f"there are {', '.join(Display.__dataclass_fields__)}")
    now = getattr(display, name)
    changed: Any
    if name == "format":
        chosen = [f for f in TEXT_FORMATS if value and f.startswith(value)]
        if value not in TEXT_FORMATS and len(chosen) != 1:
            raise QueryError(f"{value!r} is no format; there are {', '.join(TEXT_FORMATS)}")
        changed = value if value in TEXT_FORMATS else chosen[0]
    elif name == "expanded":
        changed = "auto" if value == "auto" else "on" if switch(value, now != "off") else "off"
    elif isinstance(now, bool):
        changed = switch(value, now)
    elif name == "maxrows":
        if not value.isdecimal():
            raise QueryError(f"maxrows is {value!r}; give a number of rows, 0 for all")
        changed = int(value)
    else:
        changed = {"\\t": "\t", "": None if name == "null" else ""}.get(value, value)
    return dataclasses.replace(display, **{name: changed})


def display_option(shell: Shell, argument: str, plus: bool) -> None:
    """`\\pset`: shows or sets a display option."""
    if not argument:
        for field in dataclasses.fields(Display):
            shell.say(f"{field.name:<12} {_shown(getattr(shell.display, field.name))}")
        return
    given = words(argument)
    shell.display = set_option(shell.display, given[0], " ".join(given[1:]))
    shell.tell(f"{given[0]} is {_shown(getattr(shell.display, given[0]))}")


def _shown(value: Any) -> str:
    return {True: "on", False: "off", None: "not set"}.get(value, repr(value) if value == "" else str(value))


def timing(shell: Shell, argument: str, plus: bool) -> None:
    """`\\timing`."""
    shell.display = set_option(shell.display, "timing", argument)
    shell.tell(f"timing is {_shown(shell.display.timing)}")


def expanded(shell: Shell, argument: str, plus: bool) -> None:
    """`\\x`."""
    shell.display = set_option(shell.display, "expanded", argument)
    shell.tell(f"expanded display is {shell.display.expanded}")


def toggle_format(name: str) -> Any:
    """A command that changes between a format and `table`."""

    def run(shell: Shell, argument: str, plus: bool) -> None:
        shell.display = dataclasses.replace(shell.display, format="table" if shell.display.format == name else name)
        shell.tell(f"format is {shell.display.format}")

    return run


def tuples_only(shell: Shell, argument: str, plus: bool) -> None:
    """`\\t`."""
    shell.display = set_option(shell.display, "tuples_only", argument)
    shell.tell(f"tuples only is {_shown(shell.display.tuples_only)}")


def set_variable(shell: Shell, argument: str, plus: bool) -> None:
    """`\\set`: shows the variables, or sets one."""
    given = words(argument)
    if not given:
        for name, value in sorted(shell.variables.items()):
            shell.say(f"{name} = '{value}'")
        return
    shell.set_variable(given[0], "".join(given[1:]))


def unset_variable(shell: Shell, argument: str, plus: bool) -> None:
    """`\\unset`."""
    shell.variables.pop(argument, None)


def echo(shell: Shell, argument: str, plus: bool) -> None:
    """`\\echo`: prints its argument, with variables in it."""
    shell.say(" ".join(words(shell.filled_in(argument))))


def route(shell: Shell, argument: str, plus: bool) -> None:
    """`\\route`: shows or sets where statements go."""
    if argument and argument not in ROUTES:
        raise QueryError(f"{argument!r} is no route; there are {', '.join(ROUTES)}")
    if argument:
        shell.route = argument  # type: ignore[assignment]
    (shell.tell if argument else shell.say)(f"route is {shell.route}")


def threshold(shell: Shell, argument: str, plus: bool) -> None:
    """`\\threshold`: shows or sets the rows from which `auto` distributes."""
    text = argument.replace("_", "").replace(",", "")
    if text and text != "auto" and not text.isdecimal():
        raise QueryError(f"{argument!r} is neither a number of rows nor auto")
    if text:
        shell.threshold = "auto" if text == "auto" else int(text)
    now = shell.threshold
    shell.say(f"threshold is {'that of the engine' if now is None else f'{now:,} rows' if isinstance(now, int) else now}")


def connect(shell: Shell, argument: str, plus: bool) -> None:
    """`\\connect`: goes over to a server or to data."""
    if not argument:
        connection_info(shell, argument, plus)
        return
    if shell.opener is None:
        raise QueryError("this shell was given its connection and keeps it")
    opened = shell.opener(words(argument)[0])
    try:
        tables = len(opened.tables())
    except BaseException:
        opened.close()
        raise
    shell.change_connection(opened)
    shell.tell(f"connected to {opened.url}, {tables} table{'' if tables == 1 else 's'}")


def connection_info(shell: Shell, argument: str, plus: bool) -> None:
    """`\\conninfo`."""
    info = shell.connection.info()
    engines = ", ".join(f"{name} {version}" for name, version in (info.get("engines") or {}).items())
    where = shell.connection.url.removesuffix(":")
    shell.say(f"connected to {where}: sabot-sql {info.get('version', '')} ({engines}); route {shell.route}")


def run_outside(shell: Shell, argument: str, plus: bool) -> None:
    """`\\!`: a command of the operating system."""
    shell.out.flush()
    try:
        status = subprocess.run(argument or "${SHELL:-sh}", shell=True, check=False).returncode
    except OSError as exc:
        raise ConfigError(f"{argument} cannot be run: {exc}") from exc
    if status:
        raise ConfigError(f"{argument or 'the shell'} ended with {status}")


def sql_help(shell: Shell, argument: str, plus: bool) -> None:
    """`\\h`: how a statement is written."""
    shell.say(syntax_help(argument))


def leave(shell: Shell, argument: str, plus: bool) -> None:
    """`\\q`."""
    raise Leave


COMMANDS: dict[str, Command] = {
    "timing": Command(timing, "[on or off]", "the time under results", "switch"),
    "x": Command(expanded, "[on, off or auto]", "a field a line instead of a row a line", "switch"),
    "pset": Command(
        display_option, "[OPTION [VALUE]]", f"display options: {', '.join(Display.__dataclass_fields__)}", "settings"
    ),
    "a": Command(toggle_format("unaligned"), "", "unaligned output, or tables again"),
    "H": Command(toggle_format("html"), "", "HTML, or tables again"),
    "t": Command(tuples_only, "[on or off]", "rows only, without headings and the line under them", "switch"),
    "set": Command(
        set_variable, "[NAME [VALUE]]", "variables: :name, :'name' as a literal, :\"name\" as an identifier", "variables"
    ),
    "unset": Command(unset_variable, "NAME", "forget a variable", "variables"),
    "echo": Command(echo, "TEXT", "print TEXT"),
    "route": Command(route, "[auto, local or distributed]", "where statements go", "routes"),
    "mode": Command(route, "[auto, local or distributed]", "where statements go", "routes"),
    "threshold": Command(threshold, "[ROWS or auto]", "rows from which auto distributes"),
    "connect": Command(connect, "[URL, FOLDER or FILE]", "go over to another server or other data", "files"),
    "conninfo": Command(connection_info, "", "what the shell is connected to"),
    "!": Command(run_outside, "[COMMAND]", "run a command of the operating system", "files"),
    "h": Command(sql_help, "[STATEMENT]", "how a statement is written"),
    "q": Command(leave, "", "leave"),
    "quit": Command(leave, "", "leave"),
}
