"""Scan: DuckDB reads splits of files, with the filters and expressions of the plan, and streams Arrow batches.

A scan without expressions only counts: its batches have rows and no columns (see `gather.batch_of`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from sabot_sql.catalog.sources import scan_sql
from sabot_sql.catalog.table import DataFile, Split
from sabot_sql.errors import ExecutionError, InternalError, QueryError, ReadError
from sabot_sql.executor.duckdb_session import Cursor, duck_session
from sabot_sql.executor.evaluate import conform
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.planner.physical import Scan
from sabot_sql.planner.render import render, render_output
from sabot_sql.types import quote_identifier

VECTOR_ROWS = 2048
STRING_BYTES, NESTED_BYTES = 24, 64

# How DuckDB's Parquet reader speaks of damaged pages; it says so by the class of errors that bad input has, too.
DAMAGED = (
    "decompress",
    "TProtocol",
    "thrift",
    "Out of buffer",
    "Snappy",
    "ZSTD",
    "page",
    "Parquet",
    "parquet",
    "row group",
    "encoding",
)

_stats_lock = threading.Lock()


class ScanSource:
    """The splits that a task reads of a table; a unit is one split, or neighbours in one file taken together.

    Args:
        schema: of the batches: the inner Arrow types of the node's columns.
    """

    def __init__(self, node: Scan, splits: Sequence[Split], schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.splits = merged(splits)
        self.schema = schema
        self.stats = stats
        columns = [quote_identifier(c) for c in node.columns]
        self.columns = ", ".join(f"{render_output(e, columns)} AS c{i}" for i, e in enumerate(node.exprs))
        self.conditions = tuple(render(f, columns) for f in node.filters)

    def units(self, context: TaskContext) -> Sequence[ScanUnit]:
        return [ScanUnit(self, split) for split in self.splits]


def merged(splits: Sequence[Split]) -> list[Split]:
    """`splits` with those that follow each other in one file put together."""
    found: list[Split] = []
    for split in splits:
        last = found[-1] if found else None
        if last and last.num_rows is not None and (last.file, last.first_row + last.num_rows) == (split.file, split.first_row):
            rows = None if split.num_rows is None else last.num_rows + split.num_rows
            found[-1] = replace(last, num_rows=rows, size_bytes=last.size_bytes + split.size_bytes)
        else:
            found.append(split)
    return found


@dataclass(frozen=True, slots=True)
class ScanUnit:
    """One range of rows of one file."""

    source: ScanSource
    split: Split

    @property
    def file(self) -> DataFile:
        return self.source.node.spec.files[self.split.file]

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The rows of the range for which the filters hold.

        Raises:
            ReadError: the file is missing, is not the file that was planned for, or cannot be read.
        """
        check_unchanged(self.file)
        rows_out, elapsed_ns = 0, 0
        began = time.perf_counter_ns()
        try:
            for batch in self._read(context):
                elapsed_ns += time.perf_counter_ns() - began
                rows_out += batch.num_rows
                yield batch
                began = time.perf_counter_ns()
            check_unchanged(self.file)
            elapsed_ns += time.perf_counter_ns() - began
        finally:
            known = self.split.num_rows if self.split.num_rows is not None else self.file.rows
            with _stats_lock:
                stats = self.source.stats
                stats.rows_in += max(rows_out, known or 0)
                stats.rows_out += rows_out
                stats.elapsed_ns += elapsed_ns

    def _read(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        with duck_session(context).cursor(context) as cursor, self._relation(cursor) as (relation, bounds), self._naming_file():
            conditions = " AND ".join((*bounds, *self.source.conditions))
            tail = f" FROM {relation}" + (f" WHERE {conditions}" if conditions else "")
            schema = self.source.schema
            if not len(schema):
                yield batch_of([], int(cursor.scalar(f"SELECT count(*){tail}")), schema)
                return
            rows = batch_rows(schema, context.morsel_bytes)
            for batch in cursor.batches(f"SELECT {self.source.columns}{tail}", rows):
                yield batch_of([conform(a, f) for a, f in zip(batch.columns, schema)], batch.num_rows, schema)

    @contextlib.contextmanager
    def _relation(self, cursor: Cursor) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The table expression that covers the range, and what else bounds it."""
        spec, split = self.source.node.spec, self.split
        whole = split.first_row == 0 and split.num_rows in (None, self.file.rows)
        match spec.kind:
            case "parquet":
                yield scan_sql(spec, [split.file]), () if whole else self._bounds("file_row_number")
            case "csv" | "json" if whole:
                yield scan_sql(spec, [split.file]), ()
            case "ipc":
                with self._mapped() as table:
                    cursor.register("mapped", table)
                    try:
                        yield "mapped", ()
                    finally:
                        cursor.unregister("mapped")
            case "duckdb":
                where = ".".join(quote_identifier(spec.options[part]) for part in ("schema", "table"))
                with cursor.session.attached(self.file.path) as name:
                    yield f"{name}.{where}", () if whole else self._bounds("rowid")
            case _:
                raise InternalError(f"a {spec.kind} file cannot be read in pieces: {self.file.path}")

    def _bounds(self, row: str) -> tuple[str, ...]:
        first, rows = self.split.first_row, self.split.num_rows
        lower = (f"{row} >= {first}",) if first else ()
        return lower if rows is None else (*lower, f"{row} < {first + rows}")

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[pa.Table]:
        """The range of an Arrow IPC file, mapped."""
        first, rows = self.split.first_row, self.split.num_rows
        last = None if rows is None else first + rows
        try:
            with pa.memory_map(self.file.path) as mapped, pa.ipc.open_file(mapped) as file:
                found, at = [], 0
                for i, length in enumerate(self.file.row_groups):
                    start, end = max(first, at), at + length if last is None else min(last, at + length)
                    if start < end:
                        found.append(file.get_batch(i).slice(start - at, end - start))
                    at += length
                yield pa.Table.from_batches(found, file.schema)
        except (pa.ArrowException, OSError) as error:
            raise ReadError(f"file {self.file.path} cannot be read as an Arrow IPC file: {error}") from error

    @contextlib.contextmanager
    def _naming_file(self) -> Iterator[None]:
        """Let errors of reading name the file."""
        try:
            yield
        except ReadError as error:
            if self.file.path in error.detail:
                raise
            raise self._named(error.detail, error.problem.code, error.engine_message) from error
        except ExecutionError as error:
            if type(error) is not ExecutionError:
                raise
            # an error of no known class: the query was bound and typed before, so it is the bytes that DuckDB means
            raise self._named(error.detail, "FILE_CORRUPT", error.engine_message) from error
        except QueryError as error:
            said = (error.engine_message or error.detail).split("\n\nLINE ")[0]
            if error.problem.code == "INVALID_VALUE" and any(word in said for word in DAMAGED):
                raise self._named(error.detail, "FILE_CORRUPT", error.engine_message) from error
            raise

    def _named(self, detail: str, code: str, said: str | None) -> ReadError:
        return ReadError(f"file {self.file.path} cannot be read: {detail}", code=code, engine_message=said)


def check_unchanged(file: DataFile) -> None:
    """Raise when `file` is not what the plan was made for.

    Raises:
        ReadError: FILE_MISSING or FILE_CHANGED.
    """
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise ReadError(
            f"file {file.path} is missing", code="FILE_MISSING", hint="was it moved or deleted? run the query again"
        ) from error
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise ReadError(
            f"file {file.path} has changed since the query was planned", code="FILE_CHANGED", hint="run the query again"
        )


def batch_rows(schema: pa.Schema, morsel_bytes: int) -> int:
    """Rows of a batch of about `morsel_bytes`: whole vectors of DuckDB's, from the widths of the columns."""
    width = sum(_width(t) for t in schema.types)
    rows = morsel_bytes // max(1, width)
    return max(1, min(rows, 1 << 20) // VECTOR_ROWS) * VECTOR_ROWS


def _width(t: pa.DataType) -> int:
    try:
        return max(1, int(t.bit_width) // 8)
    except ValueError:
        return NESTED_BYTES if pa.types.is_nested(t) else STRING_BYTES
