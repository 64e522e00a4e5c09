"""The files and commands that `\\o`, `\\g`, `\\copy` and `-o` send results to."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from pathlib import Path

from sabot_sql.client.carried_types import write_parquet
from sabot_sql.client.result import Result
from sabot_sql.errors import ConfigError
from sabot_sql.shell.formats import BINARY_FORMATS, SUFFIXES, Display, text_of


class ResultFile:
    """Results in a file or in the input of a command.

    Text of several results follows one another; a file of one table (json, parquet, arrow) holds the last.

    Args:
        target: a path, or a command after `|`.
        format_name: by default what the file's name says (.csv, .parquet, ...), else that of the shell.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, target: str, format_name: str | None = None) -> None:
        self.target = target
        self._process: subprocess.Popen[str] | None = None
        self._path = Path(target).expanduser()
        self.format = format_name or (None if target.startswith("|") else SUFFIXES.get(self._path.suffix))
        try:
            if target.startswith("|"):
                self._process = subprocess.Popen(target[1:], shell=True, stdin=subprocess.PIPE, text=True, encoding="utf-8")
                self._text = self._process.stdin
            elif self.format in (*BINARY_FORMATS, "json"):
                self._path.touch()
                self._text = None
            else:
                self._text = self._path.open("w", encoding="utf-8", newline="")
        except OSError as exc:
            raise ConfigError(f"{target} cannot be written: {exc.strerror}") from exc

    def write(self, result: Result, display: Display) -> None:
        """Adds one answer.

        Raises:
            NotSupported: Parquet cannot hold a column.
            ConfigError: the file cannot be written, or the command is gone.
        """
        table = result.to_arrow()
        try:
            if self.format == "parquet":
                write_parquet(table, result.sql_types, self._path)
            elif self.format == "arrow":
                import pyarrow as pa

                with pa.ipc.new_file(str(self._path), table.schema) as writer:
                    writer.write_table(table)
            else:
                chosen = dataclasses.replace(display, format=self.format or display.format, maxrows=0)
                text = text_of(table, chosen)
                if self._text is None:
                    self._path.write_text(text, encoding="utf-8")
                else:
                    self._text.write(text)
                    self._text.flush()
        except OSError as exc:
            raise ConfigError(f"{self.target} cannot be written: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Closes the file; waits for the command."""
        if self._text is not None:
            with contextlib.suppress(BrokenPipeError):  # the command had what it wanted
                self._text.close()
        if self._process is not None:
            self._process.wait()
