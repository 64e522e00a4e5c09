"""Rows of batches by position or by mask, without pyarrow.compute: a kernel a width, two passes for strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.columns import WIDTHS, Array
from sabot_sql.executor.kernels import gathering

WORDS: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
NO_BYTES: Array = np.empty(0, np.uint8)


def take(source: pa.RecordBatch | Sequence[pa.RecordBatch], positions: Array, schema: pa.Schema) -> pa.RecordBatch:
    """The rows at `positions` (int64[m]); -1 is a row of NULLs.

    Args:
        source: one batch, or several that are numbered through; they are put together first.
        schema: of the result; its types are the source's.
    """
    if not isinstance(source, pa.RecordBatch):
        source = concatenate(source, schema)
    missing = bool(gathering.has_missing(positions))
    return batch_of([take_array(column, positions, missing) for column in source.columns], len(positions), schema)


def select(batch: pa.RecordBatch, mask: Array, wanted: frozenset[int] | None = None) -> pa.RecordBatch:
    """The rows of `batch` where `mask` (uint8[n]) is 1; the batch itself when all are.

    Args:
        wanted: the columns that somebody reads (None: all); the others hold anything.
    """
    count = int(gathering.count_ones(mask))
    if count == batch.num_rows:
        return batch
    if count == 0:
        return batch.slice(0, 0)
    positions = np.empty(len(mask), np.int64)
    gathering.mask_positions(mask, positions)
    positions = positions[:count]
    columns = (
        take_array(column, positions, False) if wanted is None or i in wanted else column.slice(0, count)
        for i, column in enumerate(batch.columns)
    )
    return batch_of(tuple(columns), count, batch.schema)


def concatenate(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """All rows in one batch; a copy, except for a single batch."""
    if not batches:
        return batch_of([pa.nulls(0, field.type) for field in schema], 0, schema)
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)


def batch_of(columns: Sequence[pa.Array], num_rows: int, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of `num_rows` rows, also when it has no columns."""
    if not len(schema):
        return pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), num_rows, [None]))
    return pa.RecordBatch.from_arrays(list(columns), schema=schema)


def take_array(array: pa.Array, positions: Array, missing: bool) -> pa.Array:
    """The values of a column at `positions` (int64[m]).

    Args:
        missing: whether a position may be -1 (NULL).
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return pa.ExtensionArray.from_storage(kind, take_array(array.storage, positions, missing))
    if array.null_count == len(array):
        return pa.nulls(len(positions), kind)
    if kind.id in WIDTHS and not array.null_count and not missing:
        return pa.Array.from_buffers(kind, len(positions), [None, pa.py_buffer(_take_fixed(array, positions))], null_count=0)
    if kind.num_fields or kind == pa.null() or pa.types.is_dictionary(kind):
        return _take_nested(array, positions)
    nulls, bitmap = _take_validity(array, positions, missing)
    parts: tuple[Array, ...]
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        parts = _take_strings(array, positions, np.int64)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        parts = _take_strings(array, positions, np.int32)
    elif pa.types.is_boolean(kind):
        out = np.empty((len(positions) + 7) // 8, np.uint8)
        gathering.take_bits(_view(array.buffers()[1], np.uint8), array.offset, positions, out)
        parts = (out,)
    elif _is_fixed(kind):
        parts = (_take_fixed(array, positions),)
    else:
        return _take_nested(array, positions)
    return pa.Array.from_buffers(kind, len(positions), [bitmap, *map(pa.py_buffer, parts)], null_count=nulls)


def _is_fixed(kind: pa.DataType) -> bool:
    """Whether values of `kind` are words of a width that kernels know."""
    try:
        return kind.bit_width in (8, 16, 32, 64, 128)
    except ValueError:
        return False


def _view(buffer: pa.Buffer, dtype: Any) -> Array:
    """A buffer as a read-only array, as kernels are declared."""
    view = np.frombuffer(buffer, dtype, buffer.size // np.dtype(dtype).itemsize)
    view.flags.writeable = False
    return view


def _take_validity(array: pa.Array, positions: Array, missing: bool) -> tuple[int, pa.Buffer | None]:
    """The number of NULLs in the result and its bitmap, None without any."""
    if not array.null_count and not missing:
        return 0, None
    bits = np.empty((len(positions) + 7) // 8, np.uint8)
    if array.null_count:
        found = gathering.take_bits(_view(array.buffers()[0], np.uint8), array.offset, positions, bits)
    else:
        found = gathering.present_bits(positions, bits)
    nulls = len(positions) - int(found)
    return nulls, pa.py_buffer(bits) if nulls else None


def _take_fixed(array: pa.Array, positions: Array) -> Array:
    width = array.type.bit_width
    words = width // 64 if width > 64 else 1
    dtype = WORDS[min(width, 64)]
    values = _view(array.buffers()[1], dtype)[words * array.offset :]
    out = np.empty(words * len(positions), dtype)
    (gathering.take_fixed if words == 1 else gathering.take_pairs)(values, positions, out)
    return out


def _take_strings(array: pa.Array, positions: Array, dtype: Any) -> tuple[Array, Array]:
    """Offsets and bytes of the picked strings.

    Raises:
        InternalError: the column has 32-bit offsets and the result is too long for them.
    """
    _, offset_buffer, data_buffer = array.buffers()
    offsets = _view(offset_buffer, dtype)[array.offset :]
    data = NO_BYTES if data_buffer is None else _view(data_buffer, np.uint8)
    out_offsets = np.empty(len(positions) + 1, np.int64)
    gathering.take_lengths(offsets, positions, out_offsets)
    out = np.empty(int(out_offsets[-1]), np.uint8)
    gathering.take_bytes(offsets, data, positions, out_offsets, out)
    if dtype is np.int64:
        return out_offsets, out
    if len(out) > np.iinfo(np.int32).max:
        raise InternalError(f"{len(out):,} bytes do not fit a column of type {array.type}")
    return out_offsets.astype(np.int32), out


def _take_nested(array: pa.Array, positions: Array) -> pa.Array:
    """Lists, structs and maps, which no kernel reads: pyarrow's own take."""
    return array.take(pa.array(positions, mask=positions < 0))
