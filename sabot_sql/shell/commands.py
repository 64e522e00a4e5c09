"""The commands that begin with a backslash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sabot_sql.errors import QueryError
from sabot_sql.shell import buffer_commands, describing, engine_commands, session_commands
from sabot_sql.shell.command import Command, Leave

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

__all__ = ["COMMANDS", "Leave", "run_command"]

WHOLE_LINE = frozenset(("!", "copy", "echo", "explain", "plan", "submit"))  # whose `;` may be the argument's


def run_command(shell: Shell, line: str) -> None:
    """Runs a line such as `\\d trips`.

    Raises:
        QueryError: no such command, or not with this argument.
        Leave: `\\q`.
    """
    text = line[1:].strip()
    name, _, argument = ("!", "", text[1:]) if text.startswith("!") else text.partition(" ")
    name, plus = name.rstrip(";"), False
    if name.endswith("+") and name != "+":
        name, plus = name[:-1], True
    command = COMMANDS.get(name)
    if command is None or (plus and not command.plus):
        raise QueryError(f"there is no command \\{name}{'+' if plus else ''}", hint="\\? lists them")
    argument = argument.strip() if name == "!" else argument.strip().rstrip(";").rstrip()
    if name not in WHOLE_LINE:
        argument = shell.filled_in(argument)
    command.run(shell, argument, plus)


def show_help(shell: Shell, argument: str, plus: bool) -> None:
    """`\\?`: the list of commands."""
    shell.say("Statements end with ; and may span lines. Ctrl-C cancels the query that runs, Ctrl-D leaves.")
    for title, commands in GROUPS.items():
        shell.say(f"{title}:")
        for name, command in commands.items():
            usage = f"\\{name}{'[+]' if command.plus else ''} {command.takes}"
            shell.say(f"  {usage:<36} {command.text}")


HELP = Command(show_help, "", "this list")
GROUPS: dict[str, dict[str, Command]] = {
    "Tables": describing.COMMANDS,
    "Statements": buffer_commands.COMMANDS,
    "Engine": engine_commands.COMMANDS,
    "Session": {**session_commands.COMMANDS, "?": HELP, "help": HELP},
}
COMMANDS: dict[str, Command] = {name: command for group in GROUPS.values() for name, command in group.items()}
