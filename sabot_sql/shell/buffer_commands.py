"""The commands that work on the statement being typed: run it, edit it, send its answer somewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sabot_sql.client.display import rows_text
from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.shell.command import Command
from sabot_sql.shell.formats import SUFFIXES
from sabot_sql.shell.lexing import parameter, words
from sabot_sql.shell.result_file import ResultFile

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

COPY_FROM = re.compile(r"(?P<table>\"(?:[^\"]|\"\")+\"|[^\s(\"]+)\s+from\s+(?P<file>.+)", re.IGNORECASE | re.DOTALL)
COPY = re.compile(r"(?P<source>\(.*\)|\S+)\s+to\s+(?P<target>.+)", re.IGNORECASE | re.DOTALL)


def take_statement(shell: Shell) -> str:
    """The statement being typed, which is then gone, or else the last one.

    Raises:
        QueryError: there is neither.
    """
    sql, shell.rest = shell.rest.strip() or shell.last or "", ""
    if not sql:
        raise QueryError("there is no statement: type one, or run one first")
    return sql


def go(shell: Shell, argument: str, plus: bool) -> None:
    """`\\g`: runs the statement, to the screen, a file or a command."""
    sql = take_statement(shell)
    with _target(shell, argument):
        shell.run_or_raise(sql)


def go_expanded(shell: Shell, argument: str, plus: bool) -> None:
    """`\\gx`: as `\\g`, a field a line."""
    before = shell.display
    shell.display = dataclasses.replace(before, expanded="on")
    try:
        go(shell, argument, plus)
    finally:
        shell.display = before


@contextlib.contextmanager
def _target(shell: Shell, argument: str) -> Iterator[None]:
    """Results go to a file or command inside the block."""
    if not argument:
        yield
        return
    outer, shell.target = shell.target, ResultFile(argument)
    try:
        yield
    finally:
        shell.target.close()
        shell.target = outer


def go_set(shell: Shell, argument: str, plus: bool) -> None:
    """`\\gset`: the columns of the only row become variables."""
    result = shell.execute(take_statement(shell))
    for name, value in zip(result.columns, result.one()):
        variable = argument + name
        if value is None:
            shell.variables.pop(variable, None)
        else:
            shell.set_variable(variable, ("true" if value else "false") if isinstance(value, bool) else str(value))


def bind(shell: Shell, argument: str, plus: bool) -> None:
    """`\\bind`: the values of `$1`, `$2`, ... in the next statement."""
    shell.bound = [parameter(word) for word in words(argument)]


def watch(shell: Shell, argument: str, plus: bool) -> None:
    """`\\watch`: runs the statement again and again, until Ctrl-C or so many times."""
    sql = take_statement(shell)
    interval_s, count = 2.0, 0
    try:
        for word in words(argument):
            name, _, value = word.rpartition("=")
            if name in ("c", "count"):
                count = int(value)
            else:
                interval_s = float(value)
    except ValueError as exc:
        raise QueryError(f"\\watch {argument}: write \\watch [SECONDS] [c=TIMES]") from exc
    if interval_s < 0 or count < 0:
        raise QueryError(f"\\watch {argument}: neither can be negative")
    runs = 0
    while True:
        shell.say(f"{time.strftime('%X')} (every {interval_s:g} s)")
        shell.run_or_raise(sql)
        runs += 1
        if runs == count:
            return
        time.sleep(interval_s)


def edit(shell: Shell, argument: str, plus: bool) -> None:
    """`\\e`: the statement, or a file, in the editor; what is ended by `;` then is run."""
    editor = os.environ.get("SABOT_EDITOR") or os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="sabot-edit-") as folder:
        path = Path(argument).expanduser() if argument else Path(folder) / "statement.sql"
        try:
            if not argument:
                path.write_text((shell.rest.strip() or shell.last or "") + "\n", encoding="utf-8")
            subprocess.run([*shlex.split(editor), str(path)], check=True)
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, subprocess.CalledProcessError) as exc:
            raise ConfigError(f"{editor} cannot edit {path.name}: {exc}", hint="$EDITOR names another") from exc
    shell.rest = ""
    shell.feed(text)


def show(shell: Shell, argument: str, plus: bool) -> None:
    """`\\p`: the statement being typed, or the last."""
    shell.say(shell.rest.strip() or shell.last or "there is no statement")


def reset(shell: Shell, argument: str, plus: bool) -> None:
    """`\\r`: forgets it."""
    shell.rest, shell.bound = "", None
    shell.tell("the statement is forgotten")


def write(shell: Shell, argument: str, plus: bool) -> None:
    """`\\w`: writes it to a file or a command."""
    if not argument:
        raise QueryError("where to? \\w FILE or \\w |COMMAND")
    text = (shell.rest.strip() or shell.last or "") + "\n"
    if argument.startswith("|"):
        subprocess.run(argument[1:], shell=True, input=text, text=True, check=False)
        return
    try:
        Path(argument).expanduser().write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{argument} cannot be written: {exc.strerror}") from exc


def include(shell: Shell, argument: str, plus: bool) -> None:
    """`\\i`: runs a file."""
    if not argument:
        raise QueryError("which file? \\i FILE")
    try:
        shell.run_file(Path(words(argument)[0]).expanduser())
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{argument} cannot be read: {exc.strerror if isinstance(exc, OSError) else exc}") from exc


def output(shell: Shell, argument: str, plus: bool) -> None:
    """`\\o`: where answers go from now on."""
    shell.close()
    if argument:
        shell.target = ResultFile(argument)


def copy(shell: Shell, argument: str, plus: bool) -> None:
    """`\\copy`: the answer of a query, or a table, to a file or command; or a file to a new table."""
    if (given := COPY_FROM.fullmatch(argument)) is not None:
        _copy_from(shell, given["table"], given["file"])
        return
    found = COPY.fullmatch(argument)
    if found is None:
        raise QueryError("write \\copy (SELECT …) to FILE, \\copy TABLE to FILE, or \\copy TABLE from FILE")
    source, target = found["source"], found["target"].strip()
    sql = source[1:-1] if source.startswith("(") else f"FROM {source}"
    name = target if target.startswith("|") else words(target)[0]
    file = ResultFile(name, None if not name.startswith("|") and Path(name).suffix in SUFFIXES else "csv")
    try:
        result = shell.execute(sql)
        file.write(result, shell.display)
    finally:
        file.close()
    shell.tell(f"{rows_text(len(result))} written to {name}")


def _copy_from(shell: Shell, table: str, file: str) -> None:
    """Makes a file on this machine a table, as `register` does.

    Raises:
        ConfigError: there is no such file, or its suffix is not known.
        QueryError: TABLE_EXISTS.
    """
    name = table[1:-1].replace('""', '"') if table.startswith('"') else table
    path = words(file.strip())[0]
    shell.connection.register(name, Path(path).expanduser())
    shell.tell(f"{path} is the table {name}")


COMMANDS: dict[str, Command] = {
    "g": Command(go, "[FILE or |COMMAND]", "run the statement; without one the last", "files"),
    "gx": Command(go_expanded, "[FILE or |COMMAND]", "as \\g, a field a line", "files"),
    "gset": Command(go_set, "[PREFIX]", "run the statement and keep its only row in variables"),
    "bind": Command(bind, "VALUE ...", "values of $1, $2, ... in the next statement"),
    "watch": Command(watch, "[SECONDS] [c=TIMES]", "run the statement again and again"),
    "e": Command(edit, "[FILE]", "edit the statement in $EDITOR", "files"),
    "p": Command(show, "", "print the statement being typed, or the last"),
    "r": Command(reset, "", "forget the statement being typed"),
    "w": Command(write, "FILE or |COMMAND", "write the statement to a file", "files"),
    "i": Command(include, "FILE", "run the statements of a file", "files"),
    "o": Command(output, "[FILE or |COMMAND]", "send results there, as its suffix says; without: to the screen", "files"),
    "copy": Command(
        copy, "(QUERY) or TABLE to FILE, TABLE from FILE", "write an answer to a file; make a file a table", "tables"
    ),
}
