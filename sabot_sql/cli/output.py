"""Answers on stdout or in a file, in the format asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
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
    """Where results go. A context manager, so that a file is whole or not there.

    `-o x` and `> x` give the same bytes: neither the name of the file nor the option changes the format.
    """

    def __init__(self, path: str | None, format_name: str | None) -> None:
        self.path = path
        self.on_terminal = path is None and sys.stdout.isatty()
        self.format = format_name or ("table" if self.on_terminal else "csv")
        if self.format in BINARY and self.on_terminal:
            raise click.UsageError(f"{self.format} is binary and stdout is a terminal; give -o FILE, or a pipe")
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Output:
        if self.path is not None:
            try:
                self._file = open(self.path, "wb")
            except OSError as exc:
                raise ConfigError(f"{self.path} cannot be written: {exc.strerror}") from exc
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write_result(self, result: Result) -> None:
        """One answer."""
        if self.on_terminal and self.format == "table":
            from sabot_sql.client.display import print_table, summary

            print_table(result.to_arrow(), sys.stdout)
            print(summary(result), file=sys.stderr)
        else:
            self.write(table_bytes(result.to_arrow(), self.format))

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


def table_bytes(table: pa.Table, format_name: str) -> bytes:
    """`table` in a format of the command line."""
    match format_name:
        case "csv":
            from sabot_sql.client.csv_rows import csv_text

            return csv_text(table).encode()
        case "json":
            from sabot_sql.client.json_values import ndjson_text

            lines = ndjson_text(table).splitlines()
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
        import pyarrow.parquet as pq

        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def listing(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pa.Table:
    """Rows of the contract as a table of `columns`."""
    import pyarrow as pa

    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in columns})
