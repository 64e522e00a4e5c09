"""Rows of a query that become a table: a stream of Arrow batches goes into staged Parquet files and is never held as a whole.

A DuckDB instance of its own casts, sorts rows into partitions and writes; what does not fit into its memory it puts down
beside the files.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sabot_sql.catalog.disk_room import has_room, is_full, no_room
from sabot_sql.catalog.incoming import BROKEN, interrupting, kept_as
from sabot_sql.catalog.sources import literal, type_text
from sabot_sql.config import cores
from sabot_sql.errors import Cancelled, OutOfMemory, QueryTimeout, SabotError, ServiceError
from sabot_sql.executor.huge_values import check_huge
from sabot_sql.planner.amounts import size_text
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.types import Schema, quote_identifier

MEMORY_BYTES = 1 << 30
"""What all rows that are being written may take together."""


SOURCE = re.compile(r" when casting from source column c\d+")
"""What DuckDB says of a column by a name that nobody gave it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What rows become.

    Attributes:
        table: its name, for messages.
        columns: of the table.
        sources: the place of each of them among the columns of the query; None for NULL.
        partition_by: names of `columns`.
        codec: of the Parquet files.
    """

    table: str
    columns: Schema
    sources: tuple[int | None, ...]
    partition_by: tuple[str, ...] = ()
    codec: str = "snappy"


@dataclass(frozen=True, slots=True)
class WriteStop:
    """What ends the writing before it is done.

    Attributes:
        deadline_s: `time.monotonic()` at which it is too late.
        closing: set when the engine is closed.
    """

    cancel: threading.Event
    deadline_s: float | None
    closing: threading.Event

    def why(self, folder: Path) -> SabotError | None:
        """The error to end with; None where it may go on."""
        if self.cancel.is_set():
            return Cancelled("the query was cancelled")
        if self.closing.is_set():
            return ServiceError("the engine is closing", code="SHUTTING_DOWN", retryable=True)
        if self.deadline_s is not None and time.monotonic() > self.deadline_s:
            return QueryTimeout("the query ran into its time limit while its rows were written")
        return None if has_room(folder) else no_room()


class TableWriter:
    """Writes rows into staged files. Thread-safe.

    Args:
        spill: where rows may be put down that do not fit into memory.
    """

    def __init__(self, spill: Path) -> None:
        self._spill = spill
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.closing = threading.Event()

    def write(
        self, shape: Shape, given: Schema, rows: Callable[[], Iterator[pa.RecordBatch]], schema: pa.Schema, timezone: str,
        folder: Path, stop: WriteStop,
    ) -> list[tuple[Path, int]]:  # fmt: skip
        """Write the batches of `rows` to files in `folder`; their paths in the order of the rows, and how many each has.

        Args:
            given: the columns of the query.
            rows: gives its batches, once, of the Arrow types of `schema`.

        Raises:
            SabotError: what a batch could not be had for; a value does not fit a column; time, memory or disk do not suffice.
        """
        source = _Source(rows, schema, given, lambda: stop.why(folder))
        reasons: list[SabotError] = []
        try:
            with self._cursor(timezone) as cursor, interrupting(cursor.interrupt, stop, folder) as reasons:
                cursor.register("rows_of_query", source.reader())
                cursor.execute(_copy_sql(shape, given, folder)).fetchall()
        except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
            if source.error is not None:
                raise source.error from None
            if reasons:
                raise reasons[0] from None
            if isinstance(error, BROKEN):
                self._forget()
            raise _told(shape.table, folder, error) from error
        found = [(path, pq.read_metadata(path).num_rows) for path in sorted(folder.rglob("*.parquet"))]
        if any(count for _, count in found):
            return [(path, count) for path, count in found if count]
        return found[:1] if found else [(self._empty(shape, folder, timezone), 0)]

    def _empty(self, shape: Shape, folder: Path, timezone: str) -> Path:
        """A file without rows: partitions that nothing falls into have none."""
        nulls = (f"{kept_as('NULL', field.type)} AS {quote_identifier(field.name)}" for field in shape.columns)
        target = folder / "0.parquet"
        with self._cursor(timezone) as cursor:
            cursor.execute(
                f"COPY (SELECT {', '.join(nulls)} WHERE false) TO {literal(str(target))} (FORMAT parquet)"
            ).fetchall()
        return target

    def empty(self, shape: Shape, folder: Path) -> list[tuple[Path, int]]:
        """The file of a table without rows."""
        return [(self._empty(shape, folder, "UTC"), 0)]

    def _cursor(self, timezone: str) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = duckdb.connect(
                    config={
                        "threads": cores(),
                        "memory_limit": f"{MEMORY_BYTES}B",
                        "temp_directory": str(self._spill),
                        "python_enable_replacements": "false",
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                        "enable_external_file_cache": "false",
                    }
                )
            cursor = self._connection.cursor()
        cursor.execute(f"SET TimeZone = {literal(timezone)}").fetchall()
        return cursor

    def _forget(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """End what is being written, and close DuckDB."""
        self.closing.set()
        self._forget()


class _Source:
    """The batches of a query as a reader that DuckDB takes.

    Attributes:
        error: what ended it too early.
    """

    def __init__(
        self,
        rows: Callable[[], Iterator[pa.RecordBatch]],
        schema: pa.Schema,
        given: Schema,
        why: Callable[[], SabotError | None],
    ) -> None:
        self._rows = rows
        self._types = [str(field.type) for field in given]
        self._names = [field.name for field in given]
        self._schema = pa.schema([field.with_name(f"c{i}") for i, field in enumerate(schema)])
        self._why = why
        self.error: BaseException | None = None

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._rows():
                if (why := self._why()) is not None:
                    raise why
                check_huge(pa.Table.from_arrays(batch.columns, names=self._names), self._types)
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise


def _copy_sql(shape: Shape, given: Schema, folder: Path) -> str:
    columns = []
    for field, place in zip(shape.columns, shape.sources):
        value = "NULL" if place is None else f"c{place}"
        if place is not None and given[place].type.id != "NULL":
            value = f"CAST({value} AS {type_text(given[place].type)})"
        columns.append(f"{kept_as(value, field.type)} AS {quote_identifier(field.name)}")
    options = ["FORMAT parquet", f"COMPRESSION {shape.codec}"]
    target = folder / "0.parquet"
    if shape.partition_by:
        target = folder
        names = ", ".join(map(quote_identifier, shape.partition_by))
        options += [f"PARTITION_BY ({names})", "WRITE_PARTITION_COLUMNS true", "OVERWRITE_OR_IGNORE true"]
    return f"COPY (SELECT {', '.join(columns)} FROM rows_of_query) TO {literal(str(target))} ({', '.join(options)})"


def _told(table: str, folder: Path, error: BaseException) -> BaseException:
    """What `error` is to whoever wrote the statement, who knows nothing of our files."""
    if is_full(error) and isinstance(error, OSError | duckdb.Error):
        return no_room(f'table "{table}"')
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return OutOfMemory(
            f'the rows of table "{table}" cannot be written with {size_text(MEMORY_BYTES)} of memory',
            hint="write them in several statements, or into fewer partitions",
        )
    if isinstance(error, OSError) and error.errno is not None:
        return ServiceError(f'table "{table}" cannot be written: {error.strerror or error}')
    found = translate(error)
    found.position, found.sql = None, None
    found.detail = SOURCE.sub("", found.detail).replace(str(folder), "the table")
    return found


def remove_staged(folder: Path) -> None:
    """Remove what was written and not committed."""
    shutil.rmtree(folder, ignore_errors=True)


def place_of(columns: Sequence[str], name: str) -> int | None:
    """The place of a column of that name, in any case."""
    wanted = name.lower()
    return next((i for i, column in enumerate(columns) if column.lower() == wanted), None)
