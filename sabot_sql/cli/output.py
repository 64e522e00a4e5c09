"""Answers on stdout or in a file, in the format asked for."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import click

from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from sabot_sql.client.result import Result

FORMATS = ("table", "csv", "json", "ndjson", "arrow", "parquet")
BINARY = frozenset(("arrow", "parquet"))


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--format` and `-o`."""
    command = click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write there instead of to stdout.")(command)
    choice = click.Choice(FORMATS)
    return click.option("--format", "format_name", type=choice, help="Default: table on a terminal, else csv.")(command)


class Output:
    """Where results go. A context manager: a file takes its name when all went well, and is not there otherwise.

    `-o x` and `> x` give the same bytes: neither the name of the file nor the option changes the format.
    """

    def __init__(self, path: str | None, format_name: str | None) -> None:
        self.path = path
        self.on_terminal = path is None and sys.stdout.isatty()
        self.format = format_name or ("table" if self.on_terminal else "csv")
        if self.format in BINARY and self.on_terminal:
            raise click.UsageError(f"{self.format} is binary and stdout is a terminal; give -o FILE, or a pipe")
        if path is not None and (named := os.path.splitext(path)[1][1:].lower()) in FORMATS and named != self.format:
            click.echo(f"note: {path} gets {self.format}; --format {named} writes {named}", err=True)
        self._file: IO[bytes] | None = None
        self._part: str | None = None  # what the file is called until then

    def __enter__(self) -> Output:
        if self.path is not None:
            target = os.path.realpath(self.path)
            if os.path.isfile(target) or not os.path.exists(target):  # a pipe or device is written to at once
                self._part = f"{target}.part-{os.getpid()}"
            try:
                self._file = open(self._part or target, "wb")
            except OSError as exc:
                raise ConfigError(f"{self.path} cannot be written: {exc.strerror}") from exc
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is None:
            return
        self._file.close()
        if self._part is None or self.path is None:
            return
        target = os.path.realpath(self.path)
        if kind is not None:
            os.unlink(self._part)
            return
        if os.path.exists(target):
            shutil.copymode(target, self._part)
        os.replace(self._part, target)

    def write_result(self, result: Result) -> None:
        """One answer."""
        if self.on_terminal and self.format == "table":
            from sabot_sql.client.display import print_table, summary

            print_table(result.to_arrow(), sys.stdout)
            print(summary(result), file=sys.stderr)
        else:
            self.write(table_bytes(result.to_arrow(), self.format, result.sql_types))

    def write_table(self, table: pa.Table) -> None:
        """A listing that is no query's answer."""
        if self.on_terminal and self.format == "table":
            from sabot_sql.client.display import print_table

            print_table(table, sys.stdout)
        else:
            self.write(table_bytes(table, self.format))

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if self._file is not None:
            self._file.write(data)
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def table_bytes(table: pa.Table, format_name: str, sql_types: Sequence[str] | None = None) -> bytes:
    """`table` in a format of the command line.

    Args:
        sql_types: of the columns, for messages; by default those that their Arrow types stand for.

    Raises:
        NotSupported: Parquet cannot hold a column.
    """
    match format_name:
        case "csv":
            from sabot_sql.client.csv_rows import csv_text

            return csv_text(table).encode()
        case "json":
            from sabot_sql.client.json_values import ndjson_text

            lines = ndjson_text(table).split("\n")[:-1]  # a value may hold other ends of lines
            return ("[" + ",\n ".join(lines) + "]\n").encode()
        case "ndjson":
            from sabot_sql.client.json_values import ndjson_text

            return ndjson_text(table).encode()
        case "table":
            from sabot_sql.client.display import print_table

            text = io.StringIO()
            print_table(table, text)
            return text.getvalue().encode()
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    if format_name == "parquet":
        from sabot_sql.client.carried_types import write_parquet
        from sabot_sql.client.sql_types import schema_of

        write_parquet(table, sql_types or [str(field.type) for field in schema_of(table.schema)], sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def listing(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pa.Table:
    """Rows of the contract as a table of `columns`."""
    import pyarrow as pa

    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})
