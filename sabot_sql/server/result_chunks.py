"""A stored result cut into chunks that are fetched side by side.

The cut depends on the values alone, not on how the rows lie in memory or in a file, and each chunk is written as one batch:
so the manifest of a result is the same in every process that has it.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from sabot_sql.client.contract import columns_to_json
from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import QueryError
from sabot_sql.types import struct_members

MAX_ROWS = 1 << 16
TARGET_BYTES = 8 << 20
KEPT_CUTS = 1000
OFFSET_BYTES = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a result: `rows` of it, and its Arrow IPC stream's size and CRC-32C."""

    index: int
    rows: int
    size_bytes: int
    crc32c: str


def chunk_rows(table: pa.Table) -> int:
    """How many rows a chunk of a result has: a power of two, at most 65,536, whose values have about 8 MiB at most; at least
    one row.

    Example:
        >>> chunk_rows(pa.table({"a": range(10)})), chunk_rows(pa.table({"a": ["x" * 100_000] * 10}))
        (65536, 64)
    """
    size = sum(value_bytes(piece) for column in table.columns for piece in column.chunks)
    fitting = TARGET_BYTES * table.num_rows // size if size else MAX_ROWS
    return 1 << (max(1, min(MAX_ROWS, fitting)).bit_length() - 1)


def value_bytes(array: pa.Array) -> int:
    """The size of the values of `array`, however they lie in memory."""
    kind = array.type
    if pt.is_dictionary(kind):
        return value_bytes(array.indices)
    if pt.is_string(kind) or pt.is_binary(kind) or pt.is_large_string(kind) or pt.is_large_binary(kind):
        return len(array) * OFFSET_BYTES + (pc.sum(pc.binary_length(array)).as_py() or 0)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return len(array) * OFFSET_BYTES + value_bytes(array.flatten())
    if pt.is_map(kind):
        pairs = array.drop_null()
        return len(array) * OFFSET_BYTES + sum(
            value_bytes(part[pairs.offsets[0].as_py() : pairs.offsets[-1].as_py()]) if len(pairs) else 0
            for part in (pairs.keys, pairs.items)
        )
    if pt.is_fixed_size_list(kind):
        return value_bytes(array.flatten())
    if pt.is_struct(kind):
        return sum(value_bytes(part) for part in struct_members(array))
    try:
        return len(array) * int(kind.bit_width) // 8
    except ValueError:  # of no width: NULL alone, unions
        return len(array)


def write_chunk(table: pa.Table, index: int, rows: int) -> bytes:
    """The rows `index * rows` to `(index + 1) * rows` of a result as an Arrow IPC stream of one batch."""
    piece = table.slice(index * rows, rows)
    every = pa.array(np.arange(piece.num_rows))
    # what `take` makes lies in one way only, whereas slices keep what stands around them
    columns = [pc.take(column.combine_chunks(), every) for column in piece.columns]
    batch = pa.RecordBatch.from_arrays(columns, schema=table.schema.remove_metadata())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def checksum_of(data: bytes) -> str:
    """The CRC-32C of `data`, eight hexadecimal digits."""
    import sabot_sql.executor.kernel_cache  # noqa: F401  (numba takes half a second, which no other answer needs)
    from sabot_sql.executor.kernels.checksums import CRC32C_TABLES, crc32c

    return f"{int(crc32c(np.frombuffer(data, np.uint8), CRC32C_TABLES)):08x}"


@dataclass(slots=True)
class _Cut:
    """How a result is cut, and its chunks once all of them were written."""

    rows: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    chunks: list[Chunk] | None = None


class ResultChunks:
    """The chunks of the results of a server. Thread-safe; what costs time is done in the caller's thread, once a query."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cuts: OrderedDict[str, _Cut] = OrderedDict()

    def manifest(self, result: QueryResult) -> dict[str, Any]:
        """The object of `GET /v1/queries/{id}/result/manifest`."""
        table, cut = result.table, self._cut(result)
        with cut.lock:
            if cut.chunks is None:
                cut.chunks = [_chunk(table, index, cut.rows) for index in range(_count(table, cut.rows))]
            chunks = cut.chunks
        url = f"/v1/queries/{result.query_id}/result/chunks"
        return {
            "query_id": result.query_id,
            "schema_b64": base64.b64encode(table.schema.remove_metadata().serialize()).decode(),
            "columns": columns_to_json(result.columns, table.schema),
            "total_rows": table.num_rows,
            "total_bytes": sum(chunk.size_bytes for chunk in chunks),
            "chunks": [
                {"index": c.index, "rows": c.rows, "bytes": c.size_bytes, "crc32c": c.crc32c, "url": f"{url}/{c.index}"}
                for c in chunks
            ],
        }

    def chunk(self, result: QueryResult, index: int) -> tuple[bytes, str]:
        """One chunk and its CRC-32C.

        Raises:
            QueryError: NOT_FOUND, the result has fewer chunks.
        """
        cut = self._cut(result)
        count = _count(result.table, cut.rows)
        if index >= count:
            raise QueryError(
                f"the result of query {result.query_id} has {count} chunk{'s' if count != 1 else ''}, counted from 0",
                code="NOT_FOUND",
                hint=f"GET /v1/queries/{result.query_id}/result/manifest lists them",
            )
        data = write_chunk(result.table, index, cut.rows)
        return data, checksum_of(data) if cut.chunks is None else cut.chunks[index].crc32c

    def _cut(self, result: QueryResult) -> _Cut:
        with self._lock:
            if (cut := self._cuts.get(result.query_id)) is not None:
                self._cuts.move_to_end(result.query_id)
                return cut
        rows = chunk_rows(result.table)
        with self._lock:
            cut = self._cuts.setdefault(result.query_id, _Cut(rows))
            while len(self._cuts) > KEPT_CUTS:
                self._cuts.popitem(last=False)
        return cut


def _count(table: pa.Table, rows: int) -> int:
    return -(-int(table.num_rows) // rows)


def _chunk(table: pa.Table, index: int, rows: int) -> Chunk:
    data = write_chunk(table, index, rows)
    return Chunk(index, min(rows, table.num_rows - index * rows), len(data), checksum_of(data))


def wanted_range(header: str | None, size: int) -> slice | None:
    """The part of a body of `size` bytes that a `Range` header asks for (RFC 9110, 14.2); None for all of it, which is also
    the answer to several ranges and to what is no range of bytes.

    Raises:
        QueryError: RANGE_NOT_SATISFIABLE, it begins past the end.

    Example:
        >>> wanted_range("bytes=10-19", 100), wanted_range("bytes=-5", 100), wanted_range("lines=1-2", 100)
        (slice(10, 20, None), slice(95, 100, None), None)
    """
    unit, _, text = (header or "").partition("=")
    first, dash, last = (part.strip() for part in text.partition("-"))
    numbers = [part for part in (first, last) if part]
    if unit.strip().lower() != "bytes" or not dash or not numbers or not all(map(_is_number, numbers)):
        return None
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:
            return None
    if begin >= size:
        raise QueryError(f"the range {header} is not within the {size:,} bytes of the chunk", code="RANGE_NOT_SATISFIABLE")
    return slice(begin, end)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
