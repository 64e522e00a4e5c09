"""Rows that came over HTTP, made into a Parquet file: read as what they are said to be, checked, and written by DuckDB.

Nothing is held whole: an Arrow stream is mapped batch by batch, and DuckDB reads and writes in pieces within its own limit.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb
import pyarrow as pa

from sabot_sql.catalog.csv_damage import csv_damage
from sabot_sql.catalog.disk_room import has_room, is_full, no_room
from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.ipc_messages import check_stream
from sabot_sql.catalog.memory import extension_of, plain_type
from sabot_sql.catalog.parquet_types import kept_schema, refuse_equal_names, refuse_misfits, stored_type
from sabot_sql.catalog.reading import Look
from sabot_sql.catalog.sources import READ_AS_TYPED, Inspector, call, literal, scan_sql, type_text
from sabot_sql.catalog.sources_csv import own_options, read_csv, sniff
from sabot_sql.catalog.sources_ipc import describe_arrow
from sabot_sql.catalog.stamps import stamp
from sabot_sql.errors import OutOfMemory, QueryError, QueryTimeout, ReadError, SabotError, ServiceError
from sabot_sql.types import Field, Schema, SqlType, quote_identifier

Format = Literal["arrow", "parquet", "csv"]
SPOKEN: dict[Format, str] = {"arrow": "an Arrow stream", "parquet": "a Parquet file", "csv": "CSV"}

MEMORY_BYTES = 1 << 30
"""What all rows that are being written may take together."""

DECODED_BYTES = 512 << 20
"""What a compressed batch of an Arrow stream may need, and all its dictionaries."""

LOOK_S = 0.1

BROKEN = (duckdb.FatalException, duckdb.InternalException)
"""After which an instance of DuckDB takes no statement any more."""

GUESSED = "CSV says no types: they are guessed from the first rows; Arrow and Parquet say theirs"


class Stops(Protocol):
    """What ends the making of files before it is done."""

    def why(self, folder: Path) -> SabotError | None:
        """The error to end with; None where it may go on."""
        ...


@dataclass(slots=True)
class Stop:
    """What ends the making of a file before it is done.

    Attributes:
        deadline_s: `time.monotonic()` at which it is too late.
        closing: set when the engine is closed.
    """

    deadline_s: float
    closing: threading.Event = field(default_factory=threading.Event)

    def why(self, folder: Path) -> SabotError | None:
        """The error to end with; None where it may go on."""
        if self.closing.is_set():
            return ServiceError("the engine is closing", code="SHUTTING_DOWN", retryable=True)
        if time.monotonic() > self.deadline_s:
            return too_late()
        return None if has_room(folder) else no_room()


class Importer:
    """Makes Parquet files of what comes, with instances of DuckDB that nothing else uses. Thread-safe; two at a time are made,
    others wait in their threads.

    Args:
        folder: where DuckDB may put down what does not fit into memory.
    """

    def __init__(self, folder: Path) -> None:
        self._inspector = Inspector()
        self._folder = folder
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(2)
        self._connection: duckdb.DuckDBPyConnection | None = None

    def write(self, table: str, body: Path, kind: Format, target: Path, columns: Schema | None, stop: Stop) -> int:
        """Write the rows of `body` as Parquet to `target`; their number.

        Args:
            columns: of the table that they are to fit; None for their own.

        Raises:
            QueryError: the body is not of its format, has two columns of one name, or does not fit `columns`.
            NotSupported: a column has a type that no table can have.
            QueryTimeout, OutOfMemory, ServiceError: time, memory or disk do not suffice.
        """
        while not self._turns.acquire(timeout=LOOK_S):
            if (error := stop.why(self._folder)) is not None:
                raise error
        try:
            return self._write(table, body, kind, target, columns, stop)
        except (ReadError, pa.ArrowException, duckdb.Error, ValueError, OSError, MemoryError) as error:
            if isinstance(error.__cause__ if isinstance(error, ReadError) else error, BROKEN):
                self.close()
            raise self._told(table, body, kind, error) from error
        finally:
            self._turns.release()

    def _write(self, table: str, body: Path, kind: Format, target: Path, columns: Schema | None, stop: Stop) -> int:
        if body.stat().st_size == 0:
            raise QueryError(f'table "{table}": the body is empty', hint=f"send {SPOKEN[kind]}")
        match kind:
            case "arrow":
                return self._write_arrow(table, body, target, columns, stop)
            case "parquet":
                # by DuckDB alone: what Arrow finds wrong with a footer may end the process
                refuse_equal_names(table, self._names_in_parquet(body))
                relation = call("parquet", [str(body)], {"hive_partitioning": False})
                given = self._inspector.describe(relation)
            case "csv":
                given, relation = self._csv(table, body, columns)
        with self._cursor() as cursor:
            return self._copy(cursor, self._rows(table, relation, given, columns, kind == "csv"), target, stop)

    def _names_in_parquet(self, body: Path) -> list[str]:
        """The names of the columns as they stand there: DuckDB gives equal ones a number."""
        rows = self._inspector.rows(f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({literal(str(body))})")
        names, inner = [], 0  # parents before their children; the first row is the parent of all columns
        for name, children in rows[1:]:
            if inner == 0:
                names.append(name)
                inner = children
            else:
                inner += children - 1
        return names

    def _csv(self, table: str, body: Path, columns: Schema | None) -> tuple[Schema, str]:
        """The columns of CSV and what reads them; to fit a table, its types are read."""
        look = look_at(table, body)
        spec, _ = read_csv(self._inspector, look)
        options = dict(spec.options)
        if options["header"] and (names := self._first_line(body, options)) is not None:
            refuse_equal_names(table, names)
        if columns is None:
            return spec.schema, scan_sql(spec)
        refuse_misfits(table, spec.schema, columns, any_type=True)
        options = own_options(sniff(self._inspector, table, look.files[0]), columns, ())
        types = {fold(field.name): field.type for field in columns}
        given = tuple(Field(name, types[fold(name)]) for name in options["columns"])
        return given, call("csv", [str(body)], {**options, "hive_partitioning": False})

    def _first_line(self, body: Path, options: dict[str, Any]) -> list[str] | None:
        """The names in the header as they stand there: DuckDB gives equal ones a number."""
        plain = {f"c{number}": "VARCHAR" for number in range(len(options["columns"]))}
        kept = {name: value for name, value in options.items() if name not in ("dateformat", "timestampformat")}
        read = call("csv", [str(body)], {**kept, "header": False, "columns": plain, "hive_partitioning": False})
        rows = self._inspector.rows(f"SELECT * FROM {read} LIMIT 1")
        return [name or "" for name in rows[0]] if rows and all(rows[0]) else None

    def _write_arrow(self, table: str, body: Path, target: Path, columns: Schema | None, stop: Stop) -> int:
        with open(body, "rb") as stream:
            check_stream(stream, DECODED_BYTES)
        with pa.memory_map(str(body)) as source, pa.ipc.open_stream(source) as reader:
            schema = reader.schema
            refuse_equal_names(table, schema.names)
            if not schema.names:
                raise QueryError(f'table "{table}" has no columns')
            plain = [pa.field(f.name, own_type(f.type), f.nullable, extension_of(f)) for f in schema]
            given = describe_arrow(self._inspector, table, pa.schema(plain))
            rows = Checked(reader, stop, self._folder)
            with self._cursor() as cursor:
                cursor.register("incoming", rows.reader())
                try:
                    return self._copy(cursor, self._rows(table, "incoming", given, columns), target, stop)
                except duckdb.Error:
                    if rows.error is not None:  # it says more than what DuckDB makes of it
                        raise rows.error from None
                    raise

    @staticmethod
    def _rows(table: str, relation: str, given: Schema, columns: Schema | None, any_type: bool = False) -> str:
        """The query that gives the rows as they are to be written."""
        if columns is None:
            columns = kept_schema(table, given)
        else:
            refuse_misfits(table, given, columns, any_type)
        own = {fold(field.name): quote_identifier(field.name) for field in given}
        cast = (f"{kept_as(own[fold(f.name)], f.type)} AS {quote_identifier(f.name)}" for f in columns)
        return f"SELECT {', '.join(cast)} FROM {relation}"

    def _copy(self, cursor: duckdb.DuckDBPyConnection, query: str, target: Path, stop: Stop) -> int:
        with interrupting(cursor.interrupt, stop, self._folder) as reasons:
            try:
                sql = f"COPY ({query}) TO {literal(str(target))} (FORMAT parquet)"
                copied: list[tuple[int]] = cursor.execute(sql).fetchall()
            except duckdb.Error:
                if reasons:
                    raise reasons[0] from None
                raise
        return copied[0][0]

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = duckdb.connect(
                    config={
                        "threads": 2,
                        "memory_limit": f"{MEMORY_BYTES}B",
                        "temp_directory": str(self._folder / "duckdb"),
                        "python_enable_replacements": "false",
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                        "enable_external_file_cache": "false",
                        "disabled_optimizers": READ_AS_TYPED,
                    }
                )
            return self._connection.cursor()

    def _told(self, table: str, body: Path, kind: Format, error: BaseException) -> BaseException:
        """What `error` is to whoever sent the body, who knows nothing of our files."""
        if is_full(error) and isinstance(error, OSError | duckdb.Error):
            return no_room(f'table "{table}"')
        if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
            return OutOfMemory(
                f'table "{table}" cannot be written with {MEMORY_BYTES >> 20:,} MiB of memory: its rows are too wide',
                hint="send fewer rows at a time, with mode=append",
            )
        if isinstance(error, OSError) and error.errno is not None:  # Arrow tells of bad data without a number
            return ServiceError(f'table "{table}" cannot be written: {error.strerror or error}')
        said = error.engine_message or error.detail if isinstance(error, ReadError) else str(error)
        lines = said.replace(str(body), "the body").strip().splitlines() or [type(error).__name__]
        damage = csv_damage("\n".join(lines))
        first = damage.reason if damage is not None else lines[0].partition(" Error: ")[2] or lines[0]
        return QueryError(
            f'table "{table}": the body cannot be read as {SPOKEN[kind]}: {first}',
            code="INVALID_VALUE" if isinstance(error, duckdb.ConversionException) else None,
            hint=GUESSED if kind == "csv" else None,
            engine_message="\n".join(lines),
        )

    def close(self) -> None:
        """Close DuckDB; what is made after that has a new one."""
        with self._lock:
            self._inspector.close()
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Checked:
    """The batches of an Arrow stream, each checked before an engine trusts its offsets.

    Attributes:
        error: what ended it too early.
    """

    def __init__(self, stream: pa.RecordBatchReader, stop: Stop, folder: Path) -> None:
        self._stream = stream
        self._stop = stop
        self._folder = folder
        self.error: Exception | None = None
        fields = [field.with_type(readable_type(field.type)) for field in stream.schema]
        self._schema = pa.schema(fields)
        self._as_is = self._schema.equals(stream.schema)

    def reader(self) -> pa.RecordBatchReader:
        """The batches as DuckDB takes them."""
        return pa.RecordBatchReader.from_batches(self._schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._stream:
                if (why := self._stop.why(self._folder)) is not None:
                    raise why
                batch.validate(full=True)
                yield batch if self._as_is else batch.cast(self._schema)
        except Exception as error:  # not GeneratorExit: then DuckDB has had enough, and says why
            self.error = error
            raise


def kept_as(value: str, kind: SqlType) -> str:
    """`value` as a column of type `kind`, in the type by which files hold that."""
    cast, held = f"CAST({value} AS {type_text(kind)})", stored_type(kind)
    return cast if held is None or held == kind else f"CAST({cast} AS {type_text(held)})"


def own_type(kind: pa.DataType) -> pa.DataType:
    """The type that tells DuckDB what a column of type `kind` is; one of nothing but NULLs stays what it is."""
    return kind if pa.types.is_null(kind) else plain_type(kind)


def readable_type(kind: pa.DataType) -> pa.DataType:
    """The type that DuckDB reads a column of type `kind` as, where it does not read that itself."""
    return plain_type(kind) if pa.types.is_float16(kind) or pa.types.is_decimal256(kind) else kind


def look_at(table: str, body: Path) -> Look:
    """One file as a table."""
    looked_ns = time.time_ns()
    found = stamp(str(body))
    if found is None:
        raise FileNotFoundError(body)
    return Look.at(table, "the body", {str(body): found}, (str(body),), looked_ns, {}, hive=False)


@contextlib.contextmanager
def interrupting(interrupt: Callable[[], None], stop: Stops, folder: Path) -> Iterator[list[SabotError]]:
    """Calls `interrupt` when it is time to stop; a statement that begins after that does not see it, so again and again.

    Returns:
        a list that the reason is put into.
    """
    done = threading.Event()
    reasons: list[SabotError] = []

    def watch() -> None:
        while not done.wait(LOOK_S):
            if not reasons and (why := stop.why(folder)) is not None:
                reasons.append(why)
            if reasons:
                interrupt()

    thread = threading.Thread(target=watch, name="sabot-upload", daemon=True)
    thread.start()
    try:
        yield reasons
    finally:
        done.set()
        thread.join()


def too_late() -> SabotError:
    """The error of an upload that takes too long."""
    return QueryTimeout("the upload took longer than it may", hint="send less at a time, or raise the setting tables.upload_s")
