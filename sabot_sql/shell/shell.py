"""The shell: SQL up to a `;`, and commands that begin with a backslash."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from sabot_sql.client.connection import Connection
from sabot_sql.client.display import print_expanded, print_table, rows_text, summary
from sabot_sql.client.interruptible import run_interruptible
from sabot_sql.client.options import LocalEngine, Threshold
from sabot_sql.client.progress_line import ProgressLine
from sabot_sql.client.result import Result
from sabot_sql.client.statement_split import split_statements
from sabot_sql.engine.request import Route
from sabot_sql.errors import SabotError
from sabot_sql.shell.commands import Leave, run_command
from sabot_sql.shell.result_file import ResultFile

SHOWN_ROWS = 1000
LEAVING_WORDS = frozenset(("quit", "exit"))


class Shell:
    """What the shell remembers between two lines.

    Attributes:
        route: where statements go; `\\route` sets it.
        timing: whether the line under a result has the time.
        expanded: a field a line instead of a row a line.
        target: the file that `\\o` named, or None for the screen.
        last: the last statement that was run.
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
    ) -> None:
        self.connection = connection
        self._out = out
        self._err = err
        self.route: Route = route
        self.threshold = threshold
        self.engine = engine
        self.timeout_s = timeout_s
        self.timing = True
        self.expanded = False
        self.target: ResultFile | None = None
        self.last: str | None = None
        self.rest = ""  # of a statement that is not ended yet

    @property
    def out(self) -> TextIO:
        """Where answers go: stdout, unless the caller named another."""
        return self._out or sys.stdout

    @property
    def err(self) -> TextIO:
        """Where all else goes."""
        return self._err or sys.stderr

    def feed(self, text: str) -> bool:
        """Takes a line or more; runs what is complete. Returns whether all went well.

        Raises:
            Leave: the user wants to go.
        """
        if not self.rest:
            line = text.strip()
            if line.startswith("\\"):
                return self.guarded(lambda: run_command(self, line))
            if line.rstrip(";").lower() in LEAVING_WORDS:
                raise Leave
        statements, rest = split_statements(self.rest + text)
        self.rest = f"{rest}\n" if rest else ""
        return all(map(self.run, statements))

    def finish(self) -> bool:
        """Runs the statement that nobody ended with `;`."""
        rest, self.rest = self.rest, ""
        return self.run(rest) if rest else True

    def run(self, sql: str) -> bool:
        """Runs a statement and shows its answer; shows the error when there is one."""
        self.last = sql

        def work() -> None:
            request = self.connection.request(
                sql, route=self.route, threshold=self.threshold, engine=self.engine, timeout_s=self.timeout_s
            )
            with ProgressLine(self.err) as progress:
                result = run_interruptible(self.connection, request, progress)
            self.show(result)

        return self.guarded(work, sql)

    def show(self, result: Result) -> None:
        """The answer on the screen or in the file, and the line under it."""
        for warning in result.warnings:
            print(f"warning: {warning}", file=self.err)
        if self.target is not None:
            self.target.write(result)
            self.say(f"{rows_text(len(result))} written to {self.target.path}")
            return
        if self.expanded:
            print_expanded(result.to_arrow(), self.out, SHOWN_ROWS)
        else:
            print_table(result.to_arrow(), self.out, SHOWN_ROWS)
        if len(result) > SHOWN_ROWS:
            self.say("\\o FILE keeps them all")
        self.say(summary(result) if self.timing else f"({rows_text(len(result))})")

    def say(self, text: str) -> None:
        """A line for the user."""
        print(text, file=self.out, flush=True)

    def guarded(self, work: Callable[[], None], sql: str | None = None) -> bool:
        """Runs `work`; an error or Ctrl-C ends it, not the shell."""
        try:
            work()
        except SabotError as error:
            error.sql = error.sql or sql
            print(f"error: {error}", file=self.err, flush=True)
            return False
        except KeyboardInterrupt:
            print("cancelled", file=self.err, flush=True)
            return False
        return True

    def run_lines(self, lines: Iterable[str]) -> bool:
        """Runs a script up to its first error."""
        return all(self.feed(line.rstrip("\n")) for line in lines) and self.finish()

    def run_file(self, path: Path) -> None:
        """Runs the script at `path` up to its first error."""
        outer, self.rest = self.rest, ""
        try:
            with path.open(encoding="utf-8") as file:
                self.run_lines(file)
        finally:
            self.rest = outer

    def close(self) -> None:
        """Closes the file of `\\o`."""
        if self.target is not None:
            self.target.close()
            self.target = None


def run_shell(
    connection: Connection,
    route: Route = "auto",
    threshold: Threshold | None = None,
    engine: LocalEngine | None = None,
    timeout_s: float | None = None,
) -> bool:
    """Reads statements from the terminal, or from a pipe up to the first error. Returns whether all of a pipe went well."""
    shell = Shell(connection, route=route, threshold=threshold, engine=engine, timeout_s=timeout_s)
    try:
        if not sys.stdin.isatty():
            return shell.run_lines(sys.stdin)
        from sabot_sql.shell.prompt import read_forever

        read_forever(shell)
        return True
    except Leave:
        return True
    finally:
        shell.close()


def greeting(connection: Connection) -> str:
    """The first line of a session."""
    tables = len(connection.tables())
    return f"sabot-sql on {connection.url}, {tables} table{'' if tables == 1 else 's'}. \\? for help, \\q to leave."
