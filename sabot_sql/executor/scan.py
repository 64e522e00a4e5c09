"""Scan: DuckDB reads splits of files, with the filters and expressions of the plan, and streams Arrow batches.

A scan without expressions only counts: its batches have rows and no columns (see `gather.batch_of`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import pyarrow as pa

from sabot_sql.catalog.ipc_files import IpcStream
from sabot_sql.catalog.reading import REPLACE
from sabot_sql.catalog.sources import scan_sql
from sabot_sql.catalog.stamps import check_unchanged
from sabot_sql.catalog.table import DataFile, Split
from sabot_sql.errors import ExecutionError, InternalError, ReadError, SabotError
from sabot_sql.executor.duckdb_session import Cursor, duck_session
from sabot_sql.executor.dynamic_filters import FALSE, DynamicFilter
from sabot_sql.executor.evaluate import conform
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.planner.physical import Scan
from sabot_sql.planner.render import render, render_output
from sabot_sql.types import quote_identifier

VECTOR_ROWS = 2048
MAX_FILES = 256  # that one query reads
UNITS_A_WORKER = 4  # where there are several: a query costs DuckDB the opening of its file, too few leave workers idle
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
    """The splits that a task reads of a table.

    A unit is one split, or neighbours in one file taken together; with one worker also whole files that follow each other:
    a query costs DuckDB about as much as opening a file.

    Args:
        schema: of the batches: the inner Arrow types of the node's columns.

    Attributes:
        is_below_window: whether DuckDB's statement has a window over the rows.
    """

    is_below_window = False

    def __init__(self, node: Scan, splits: Sequence[Split], schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.splits = tuple(splits)
        self.schema = schema
        self.stats = stats
        self.dynamic: list[DynamicFilter] = []
        self.keys: dict[str, pa.Table] = {}  # tables that the conditions read
        columns = [quote_identifier(c) for c in node.columns]
        self._exprs = [render(e, columns) for e in node.exprs]
        self.columns = ", ".join(f"{render_output(e, columns)} AS c{i}" for i, e in enumerate(node.exprs))
        self.conditions = tuple(render(f, columns) for f in node.filters)

    def units(self, context: TaskContext) -> Sequence[ScanUnit]:
        # the joins above have their build sides by now
        told = [found for f in self.dynamic if (found := f.told(self._exprs[f.column])) is not None]
        self.conditions = (*self.conditions, *dict.fromkeys(found.text for found in told))
        self.keys = {found.table: found.keys for found in told if found.keys is not None}
        if FALSE in self.conditions:
            return []
        spec, names, cache = self.node.spec, self.node.columns, duck_session(context).columns
        together = MAX_FILES if context.threads == 1 and spec.kind in ("parquet", "csv", "json") else 1
        units: list[ScanUnit] = []
        for cached, splits in groupby(self.splits, lambda split: cache.holds(spec, split, names)):
            if cached:
                units += [ScanUnit(self, tuple(run), True) for run in batched(splits, together)]
            else:
                run = list(splits)
                cache.was_read(spec, run, names)
                most = None if context.threads == 1 else max(1, len(run) // (UNITS_A_WORKER * context.threads))
                units += [ScanUnit(self, tuple(files)) for files in self._grouped(merged(run, most), together)]
        return units

    def _grouped(self, splits: Sequence[Split], together: int) -> list[list[Split]]:
        found: list[list[Split]] = []
        for split in splits:
            last = found[-1] if found else []
            if last and len(last) < together and self.is_whole(split) and self.is_whole(last[-1]):
                last.append(split)
            else:
                found.append([split])
        return found

    def statement(self, tail: str) -> str:
        """What DuckDB runs for a unit; `tail` says what of which files."""
        return f"SELECT {self.columns}{tail}"

    def taken(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        """A batch of what DuckDB gave, and of how many rows it tells."""
        columns = [conform(a, f) for a, f in zip(batch.columns, self.schema)]
        return batch_of(columns, batch.num_rows, self.schema), batch.num_rows

    def is_whole(self, split: Split) -> bool:
        """Whether the split covers its file."""
        return split.first_row == 0 and split.num_rows in (None, self.file(split).rows)

    def file(self, split: Split) -> DataFile:
        """The file that the split is a piece of."""
        return self.node.spec.files[split.file]


def batched(splits: Iterable[Split], size: int) -> Iterator[tuple[Split, ...]]:
    """Runs of up to `size` splits."""
    left = iter(splits)
    while run := tuple(islice(left, size)):
        yield run


def _end(split: Split) -> tuple[int, int]:
    """The file of a split and the row behind it."""
    return split.file, split.first_row + (split.num_rows or 0)


def merged(splits: Sequence[Split], most: int | None = None) -> list[Split]:
    """`splits` with those that follow each other in one file put together, up to `most` of them."""
    found: list[Split] = []
    count = 0
    for split in splits:
        last = found[-1] if found else None
        if last and count != most and last.num_rows is not None and _end(last) == (split.file, split.first_row):
            rows = None if split.num_rows is None else last.num_rows + split.num_rows
            found[-1] = replace(last, num_rows=rows, size_bytes=last.size_bytes + split.size_bytes)
            count += 1
        else:
            found.append(split)
            count = 1
    return found


@dataclass(frozen=True, slots=True)
class ScanUnit:
    """A range of rows of one file, several whole files, or splits whose columns are cached."""

    source: ScanSource
    splits: tuple[Split, ...]
    cached: bool = False

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The rows for which the filters hold.

        Raises:
            ReadError: a file is missing, is not the file that was planned for, or cannot be read.
        """
        self._check_unchanged()
        rows_out, elapsed_ns = 0, 0
        began = time.perf_counter_ns()
        try:
            for batch, num_rows in self._read(context):
                elapsed_ns += time.perf_counter_ns() - began
                rows_out += num_rows
                yield batch
                began = time.perf_counter_ns()
            self._check_unchanged()
            elapsed_ns += time.perf_counter_ns() - began
        finally:
            known = sum(self._rows(context, split) for split in self.splits)
            with _stats_lock:
                stats = self.source.stats
                stats.rows_in += max(rows_out, known)
                stats.rows_out += rows_out
                stats.rows_cached += known if self.cached else 0
                stats.elapsed_ns += elapsed_ns

    def _rows(self, context: TaskContext, split: Split) -> int:
        """Rows of a split; 0 where only a scan tells."""
        rows = split.num_rows if split.num_rows is not None else self.source.file(split).rows
        if rows is None and self.cached:
            return duck_session(context).columns.rows_of(self.source.node.spec, split)
        return rows or 0

    def _check_unchanged(self) -> None:
        for split in self.splits:
            check_unchanged(self.source.file(split))

    def _read(self, context: TaskContext) -> Iterator[tuple[pa.RecordBatch, int]]:
        with self._naming_file(context), duck_session(context).cursor(context) as cursor:
            with self._relation(cursor, context) as (relation, bounds), cursor.registered(self.source.keys):
                conditions = " AND ".join((*bounds, *self.source.conditions))
                tail = f" FROM {relation}" + (f" WHERE {conditions}" if conditions else "")
                if bounds and (self.source.is_below_window or self.source.node.spec.kind == "duckdb"):
                    # for the first rows of a window, DuckDB 2.0 looks for the row's number in columns that do not have it
                    tail += " OFFSET 0"
                schema = self.source.schema
                if not len(schema):
                    num_rows = int(cursor.scalar(f"SELECT count(*){tail}"))
                    yield batch_of([], num_rows, schema), num_rows
                    return
                rows = batch_rows(schema, context.morsel_bytes)
                for batch in cursor.batches(self.source.statement(tail), rows):
                    yield self.source.taken(batch)

    @contextlib.contextmanager
    def _relation(self, cursor: Cursor, context: TaskContext) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The table expression that covers the splits, and what else bounds it."""
        spec, split = self.source.node.spec, self.splits[0]
        if self.cached:
            with cursor.session.columns.reading(spec, self.splits, self.source.node.columns) as kept:
                yield kept or self._of_files(), ()
            return
        whole, path = self.source.is_whole(split), self.source.file(split).path
        match spec.kind:
            case "parquet":
                yield scan_sql(spec, [s.file for s in self.splits]), () if whole else _bounds("file_row_number", split)
            case "csv" | "json" if whole:
                yield scan_sql(spec, [s.file for s in self.splits]), ()
            case "ipc":
                ranges = [(split.file, split.first_row, split.num_rows)]
                rows = IpcStream(spec, ranges, self.source.node.columns, context.memory)
                cursor.register("file_rows", rows)
                try:
                    yield "file_rows", ()
                finally:
                    cursor.unregister("file_rows")
            case "duckdb":
                where = ".".join(quote_identifier(spec.options[part]) for part in ("schema", "table"))
                with cursor.session.attached(path) as name:
                    yield f"{name}.{where}", () if whole else _bounds("rowid", split)
            case _:
                raise InternalError(f"a {spec.kind} file cannot be read in pieces: {path}")

    def _of_files(self) -> str:
        """The table expression of any splits, read from their files."""
        spec, columns = self.source.node.spec, ", ".join(map(quote_identifier, self.source.node.columns)) or "1"
        parts = []
        for split in merged(self.splits):
            bounds = () if self.source.is_whole(split) else _bounds("file_row_number", split)
            where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
            parts.append(f"SELECT {columns} FROM {scan_sql(spec, [split.file])}{where}")
        return f"({' UNION ALL '.join(parts)})"

    @contextlib.contextmanager
    def _naming_file(self, context: TaskContext) -> Iterator[None]:
        """Let errors of reading name the file."""
        try:
            yield
        except SabotError as error:
            if not is_of_file(error):
                raise
            named = next((self.source.file(s).path for s in self.splits if self.source.file(s).path in error.detail), None)
            if isinstance(error, ReadError) and named is not None:
                raise
            path = named or self._culprit(context)
            code = error.problem.code if isinstance(error, ReadError) else "FILE_CORRUPT"
            hint = error.hint or (REPLACE if code == "FILE_CORRUPT" else None)
            detail = f"file {path} cannot be read: {error.detail}"
            raise ReadError(detail, code=code, hint=hint, engine_message=error.engine_message) from error

    def _culprit(self, context: TaskContext) -> str:
        """The file that an error is about which names none: the first that cannot be read alone."""
        for split in self.splits[:-1]:
            try:
                for _ in ScanUnit(self.source, (split,))._read(context):
                    context.check()
            except ReadError:
                return self.source.file(split).path
        return self.source.file(self.splits[-1]).path


def is_of_file(error: SabotError) -> bool:
    """Whether DuckDB's error while it scans is about the bytes of a file.

    Damage comes as a read error, as bad input in the words of the Parquet reader, or as an error of no known class: the query
    itself was bound and typed before.
    """
    if isinstance(error, ReadError) or type(error) is ExecutionError:
        return True
    said = (error.engine_message or error.detail).split("\n\nLINE ")[0]
    return error.problem.code == "INVALID_VALUE" and any(word in said for word in DAMAGED)


def _bounds(row: str, split: Split) -> tuple[str, ...]:
    lower = (f"{row} >= {split.first_row}",) if split.first_row else ()
    return lower if split.num_rows is None else (*lower, f"{row} < {split.first_row + split.num_rows}")


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
