"""The shell: SQL up to a `;`, and commands that begin with a backslash."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sabot_sql.client.connection import Connection
from sabot_sql.client.display import rows_text, summary, write_tag
from sabot_sql.client.interruptible import run_interruptible
from sabot_sql.client.options import LocalEngine, QueryOptions, Threshold
from sabot_sql.client.progress_line import ProgressLine
from sabot_sql.client.result import Result
from sabot_sql.client.statement_split import split_statements
from sabot_sql.engine.request import Route
from sabot_sql.errors import ConfigError, QueryError, SabotError
from sabot_sql.shell.commands import Leave, run_command
from sabot_sql.shell.formats import FOR_PEOPLE, Display, text_of, write_text
from sabot_sql.shell.lexing import interpolate, not_ended, split_command, switch
from sabot_sql.shell.pager import show_text
from sabot_sql.shell.result_file import ResultFile

if TYPE_CHECKING:
    import pyarrow as pa

LEAVING_WORDS = frozenset(("quit", "exit"))
STOP = "ON_ERROR_STOP"


class Shell:
    """What the shell remembers between two lines.

    Attributes:
        route, threshold, engine, timeout_s: of statements.
        display: how answers look.
        variables: what `:name` stands for.
        bound: the values of the next statement's `$1`, `$2`, ..., or None.
        target: the file that `\\o` named, or None for the screen.
        rest: of a statement that is not ended yet; last: the last one that was run.
        last_job: the id of the last query that was submitted.
        opener: opens what `\\connect` names; None where the connection is fixed.
        interactive: somebody is at the keys; quiet: nothing is said but answers.
        failure: the last error; interrupted: whether Ctrl-C ended something; failures: how often either happened.
    """

    def __init__(
        self,
        connection: Connection,
        out: TextIO | None = None,
        err: TextIO | None = None,
        route: Route = "auto",
        threshold: Threshold | None = None,
        engine: LocalEngine | None = None,
        timeout_s: float | None = None,
        display: Display | None = None,
        opener: Callable[[str], Connection] | None = None,
        quiet: bool = False,
    ) -> None:
        self.connection = connection
        self._out = out
        self._err = err
        self.route: Route = route
        self.threshold = threshold
        self.engine = engine
        self.timeout_s = timeout_s
        self.display = display or Display()
        self.opener = opener
        self.quiet = quiet
        self.interactive = False
        self.variables: dict[str, str] = {}
        self.bound: Sequence[Any] | None = None
        self.target: ResultFile | None = None
        self.last: str | None = None
        self.last_job: str | None = None
        self.rest = ""
        self.failure: SabotError | None = None
        self.interrupted = False
        self.failures = 0

    @property
    def out(self) -> TextIO:
        """Where answers go: stdout, unless the caller named another."""
        return self._out or sys.stdout

    @property
    def err(self) -> TextIO:
        """Where all else goes."""
        return self._err or sys.stderr

    def feed(self, text: str) -> bool:
        """Takes a line or more; runs what is complete, up to the first failure. Returns whether all went well.

        Raises:
            Leave: the user wants to go.
        """
        if not self.rest and text.strip().rstrip(";").lower() in LEAVING_WORDS:
            raise Leave
        before = self.failures
        text = self.rest + text
        self.rest = ""
        while text and self.failures == before:
            sql, command, text = split_command(text)
            statements, rest = split_statements(sql)[0], not_ended(sql)
            self.rest = f"{rest}\n" if rest else ""
            if not all(map(self.run, statements)):
                self.rest = ""
                break
            if command is not None:
                self.guarded(functools.partial(run_command, self, command))
                if not text:
                    break
                self.rest, text = "", self.rest + text
        return self.failures == before

    def finish(self) -> bool:
        """Runs the statement that nobody ended with `;`."""
        rest, self.rest = self.rest, ""
        statement = split_statements(rest)[1]  # nothing where only a comment is left
        return self.run(statement) if statement else True

    def run(self, sql: str) -> bool:
        """Runs a statement and shows its answer; shows the error when there is one."""
        return self.guarded(lambda: self.run_or_raise(sql))

    def run_or_raise(self, sql: str) -> None:
        """As `run`, raising the error."""
        self.show(self.execute(sql))

    def execute(self, sql: str) -> Result:
        """The answer to a statement, with variables and bound values in it."""
        self.last = sql
        filled = self.filled_in(sql)
        try:
            request = self.connection.request(filled, self.take_bound(), **self.options())
            with ProgressLine(self.err) as progress:
                return run_interruptible(self.connection, request, progress)
        except SabotError as error:
            error.sql = error.sql or filled
            raise

    def options(self) -> QueryOptions:
        """Where and how statements run."""
        return {"route": self.route, "threshold": self.threshold, "engine": self.engine, "timeout_s": self.timeout_s}

    def filled_in(self, text: str) -> str:
        """`text` with variables in it."""
        return interpolate(text, self.variables)

    def take_bound(self) -> Sequence[Any] | None:
        """The values of `\\bind`, which hold for one statement."""
        bound, self.bound = self.bound, None
        return bound

    def set_variable(self, name: str, value: str) -> None:
        """Sets a variable.

        Raises:
            QueryError: it cannot have this name or value.
        """
        if not (name.isidentifier() and name.isascii()):
            raise QueryError(f"{name!r} is no name of a variable: letters, digits and _")
        if name == STOP:
            switch(value or "on", False)
        self.variables[name] = value or ("on" if name == STOP else "")

    @property
    def stops_on_error(self) -> bool:
        """Whether scripts end at their first error: unless ON_ERROR_STOP is off."""
        return switch(self.variables.get(STOP, "on"), False)

    def show(self, result: Result) -> None:
        """The answer on the screen or in the file, and the line under it."""
        for warning in result.warnings:
            print(f"warning: {warning}", file=self.err)
        if result.is_write:
            self.tell(summary(result) if self.display.timing else write_tag(result))
            return
        if self.target is not None:
            self.target.write(result, self.display)
            self.tell(f"{rows_text(len(result))} written to {self.target.target}")
            return
        self.show_table(result.to_arrow())
        if self.display.format not in FOR_PEOPLE or self.display.tuples_only:
            return
        if 0 < self.display.maxrows < len(result):
            self.tell("\\o FILE keeps them all")
        if self.display.footer:
            self.say(summary(result) if self.display.timing else f"({rows_text(len(result))})")

    def show_table(self, table: pa.Table) -> None:
        """A table on the screen, through the pager where it is longer than that."""
        columns, lines = shutil.get_terminal_size()
        if self.interactive and self.display.pager and table.num_rows + 4 > lines and self.out.isatty():
            show_text(text_of(table, self.display, columns), self.out, True)
        else:
            write_text(table, self.display, self.out)
            self.out.flush()

    def say(self, text: str) -> None:
        """A line that the user asked for."""
        print(text, file=self.out, flush=True)

    def tell(self, text: str) -> None:
        """A line that says what was done; `-q` leaves it out."""
        if not self.quiet:
            self.say(text)

    def guarded(self, work: Callable[[], None]) -> bool:
        """Runs `work`; an error or Ctrl-C ends it, not the shell."""
        try:
            work()
        except SabotError as error:
            print(f"error: {error}", file=self.err, flush=True)
            self.failure = error
        except KeyboardInterrupt:
            print("cancelled", file=self.err, flush=True)
            self.interrupted = True
        else:
            return True
        self.failures += 1
        return False

    def run_lines(self, lines: Iterable[str]) -> bool:
        """Runs a script, up to its first error unless ON_ERROR_STOP is off; Ctrl-C ends it always."""
        before = self.failures
        for line in lines:
            if not self.feed(line.rstrip("\n")) and (self.stops_on_error or self.interrupted):
                self.rest = ""
                return False
        self.finish()
        return self.failures == before

    def run_file(self, path: Path) -> bool:
        """Runs the script at `path`; `-` is stdin."""
        outer, self.rest = self.rest, ""
        try:
            if str(path) == "-":
                return self.run_lines(sys.stdin)
            with path.open(encoding="utf-8") as file:
                return self.run_lines(file)
        finally:
            self.rest = outer

    def change_connection(self, opened: Connection) -> None:
        """Goes over to another connection and closes the one before."""
        before, self.connection = self.connection, opened
        self.last_job = None
        before.close()

    def close(self) -> None:
        """Closes the file of `\\o`."""
        if self.target is not None:
            self.target.close()
            self.target = None


def run_shell(shell: Shell, commands: Sequence[str] = (), files: Sequence[str] = (), startup: Path | None = None) -> None:
    """Runs `commands` and `files`, or a pipe, up to the first error; or reads statements from the terminal.

    What went wrong is `shell.failure` and `shell.interrupted`.

    Args:
        startup: a file that an interactive session runs first, where there is one.

    Raises:
        ConfigError: a file cannot be read.
    """
    try:
        for command in commands:
            if not shell.run_lines([command]) and shell.stops_on_error:
                return
        for name in files or (() if commands or sys.stdin.isatty() else ("-",)):
            try:
                if not shell.run_file(Path(name)) and shell.stops_on_error:
                    return
            except (OSError, UnicodeDecodeError) as exc:
                raise ConfigError(f"{name} cannot be read: {exc.strerror if isinstance(exc, OSError) else exc}") from exc
        if not commands and not files and sys.stdin.isatty():
            from sabot_sql.shell.prompt import read_forever

            if startup is not None and startup.is_file():
                shell.run_file(startup)
            read_forever(shell)
            shell.failure, shell.interrupted = None, False
    except Leave:
        pass
    finally:
        shell.close()


def greeting(connection: Connection) -> str:
    """The first line of a session."""
    tables = len(connection.tables())
    return f"sabot-sql on {connection.url}, {tables} table{'' if tables == 1 else 's'}. \\? for help, \\q to leave."
