"""The batches of Arrow IPC files, read so that no file can harm the process that reads it.

A file that a user owns may be cut short or written over at any moment. Touching a page of it that is gone would kill the
process, so it is never mapped: its batches are read into memory one by one, and checked there before an engine trusts their
offsets. Files that we wrote ourselves, of tables handed over in memory, are mapped and trusted.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from sabot_sql.catalog.reading import REPLACE
from sabot_sql.catalog.stamps import check_unchanged
from sabot_sql.catalog.table import DataFile, ScanSpec
from sabot_sql.errors import ReadError, SabotError

OWNED = "owned"
"""The option of a `ScanSpec` whose files we wrote ourselves."""

MAPPED_BYTES = 256 << 20
"""Our own files up to here are mapped once for all queries."""

HELD_BYTES, ALL_HELD_BYTES = 64 << 20, 256 << 20
"""What one table of a user's files may take in memory, and all of them."""

CARRIED = re.compile(r"sabot-sql problem (\{.*?\}) end of problem")
"""One of our errors in the text of another's."""

Key = tuple[tuple[str, int, int], ...]
"""Path, size and modification time of each file."""

_lock = threading.Lock()
_held: weakref.WeakValueDictionary[Key, pa.Table] = weakref.WeakValueDictionary()


class Memory(Protocol):
    """Counts what a task holds."""

    def reserve(self, num_bytes: int, what: str) -> None: ...

    def release(self, num_bytes: int) -> None: ...


class IpcFile:
    """An Arrow IPC file that is open; a context manager.

    Args:
        owned: whether we wrote it ourselves.
        columns: names of the columns to read, in the file's order; None for all.

    Raises:
        ReadError: the file is missing, is not the one that was looked at, or is no Arrow IPC file.
    """

    def __init__(self, file: DataFile, owned: bool = False, columns: Sequence[str] | None = None) -> None:
        self.file = file
        self.owned = owned
        check_unchanged(file)
        try:
            self._source = pa.memory_map(file.path) if owned else pa.OSFile(file.path)
            self._reader = pa.ipc.open_file(self._source)
            if columns is not None and len(columns) < len(self._reader.schema):
                self._select(columns)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error
        self.schema: pa.Schema = self._reader.schema

    def _select(self, columns: Sequence[str]) -> None:
        """Read only these columns; one where none is asked for, because a batch needs one to have rows."""
        wanted = sorted(self._reader.schema.get_field_index(name) for name in columns) or [narrowest(self._reader.schema)]
        self._source.seek(0)
        self._reader = pa.ipc.open_file(self._source, options=pa.ipc.IpcReadOptions(included_fields=wanted))

    def batch(self, number: int) -> pa.RecordBatch:
        """One record batch.

        Raises:
            ReadError: FILE_CHANGED where the file was touched since it was looked at, FILE_CORRUPT where it cannot be decoded.
        """
        try:
            batch = self._reader.get_batch(number)
            if not self.owned:
                check_batch(batch)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._error(error) from error
        return batch

    def batches(self, first_row: int = 0, num_rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a range, batch by batch."""
        last = None if num_rows is None else first_row + num_rows
        at = 0
        for number, length in enumerate(self.file.row_groups):
            start, end = max(first_row, at), at + length if last is None else min(last, at + length)
            if start < end:
                yield self.batch(number).slice(start - at, end - start)
            at += length
        check_unchanged(self.file)

    def close(self) -> None:
        self._reader.__exit__(None, None, None)
        self._source.close()

    def __enter__(self) -> IpcFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _error(self, error: Exception) -> SabotError:
        """What is wrong with the file: that it was touched, rather than what is then found in it."""
        try:
            check_unchanged(self.file)
        except ReadError as changed:
            return changed
        said = str(error).splitlines()[0]
        return ReadError(
            f"file {self.file.path} cannot be read as an Arrow IPC file: {said}",
            code="FILE_CORRUPT",
            hint=REPLACE,
            engine_message=str(error),
        )


class IpcStream:
    """Rows of a table's files as an engine takes them from an `__arrow_c_stream__`; every scan reads the files anew.

    Args:
        ranges: positions in `spec.files`, each with its first row and number of rows (None: to the end).
        columns: as in `IpcFile`.
        memory: counts the batches that are held in memory.
    """

    def __init__(
        self,
        spec: ScanSpec,
        ranges: Sequence[tuple[int, int, int | None]],
        columns: Sequence[str] | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.spec = spec
        self.ranges = tuple(ranges)
        self.columns = columns
        self.memory = memory
        with self._open(self.ranges[0][0]) as file:
            self.schema = file.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, of which one is held."""
        for number, first_row, num_rows in self.ranges:
            with self._open(number) as file:
                for batch in file.batches(first_row, num_rows):
                    with self._held(batch, file):
                        yield batch

    @contextlib.contextmanager
    def _held(self, batch: pa.RecordBatch, file: IpcFile) -> Iterator[None]:
        if self.memory is None or file.owned:
            yield
            return
        num_bytes = batch.get_total_buffer_size()
        self.memory.reserve(num_bytes, f"a record batch of {file.file.path}")
        try:
            yield
        finally:
            self.memory.release(num_bytes)

    def _open(self, number: int) -> IpcFile:
        return IpcFile(self.spec.files[number], is_owned(self.spec), self.columns)

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self.schema, carrying(self.batches()))
        return reader.__arrow_c_stream__(requested_schema)


def is_owned(spec: ScanSpec) -> bool:
    """Whether the files of a table of kind `ipc` are our own."""
    return bool(spec.options.get(OWNED))


def ready_table(spec: ScanSpec) -> pa.Table | None:
    """All rows of a table, ready for many queries: mapped where the files are our own, else held in memory once for all that
    ask. None where the table is too large for that.

    Raises:
        ReadError: a file was touched since it was looked at, or cannot be decoded.
    """
    size_bytes = sum(file.size_bytes for file in spec.files)
    if is_owned(spec):
        return _read(spec) if size_bytes <= MAPPED_BYTES else None
    key = tuple((file.path, file.size_bytes, file.mtime_ns) for file in spec.files)
    with _lock:
        table = _held.get(key)
        if table is not None:
            return table
        room = min(HELD_BYTES, ALL_HELD_BYTES - sum(other.nbytes for other in _held.values()))
        if size_bytes > room:
            return None
        table = _read(spec)
        if table.nbytes > room:  # it was compressed
            return None
        _held[key] = table
        return table


def _read(spec: ScanSpec) -> pa.Table:
    found: list[pa.RecordBatch] = []
    for number in range(len(spec.files)):
        with IpcFile(spec.files[number], is_owned(spec)) as file:
            schema = file.schema
            found += file.batches()
    return pa.Table.from_batches(found, schema)


def carrying(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """`batches`, with our errors in words that come whole through an engine; `CARRIED` finds them again."""
    try:
        yield from batches
    except SabotError as error:
        raise OSError(f"sabot-sql problem {json.dumps(error.to_problem())} end of problem") from error


def check_batch(batch: pa.RecordBatch) -> None:
    """Raise where an offset, an index or a length in `batch` points out of its buffers.

    Whether text is UTF-8 is for the engine to see; it looks at the bytes anyway.

    Raises:
        pa.ArrowInvalid: what is wrong.
    """
    for column in batch.columns:
        array = column.storage if isinstance(column, pa.ExtensionArray) else column
        kind = array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            plain = pa.binary() if pa.types.is_string(kind) else pa.large_binary()
            array = pa.Array.from_buffers(plain, len(array), array.buffers(), offset=array.offset)
        # a fixed-width value may be anything; its buffers must be long enough
        array.validate(full=not is_fixed_width(kind))


def is_fixed_width(kind: pa.DataType) -> bool:
    """Whether a value is its bytes alone."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind))


def narrowest(schema: pa.Schema) -> int:
    """The column that costs least to read."""
    widths = [kind.bit_width if is_fixed_width(kind) else 1 << 20 for kind in schema.types]
    return min(range(len(widths)), key=widths.__getitem__)
