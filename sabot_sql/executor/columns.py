"""Columns as kernels see them: NumPy views of Arrow buffers, without copies where the width fits; and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.types import Lane, SqlType

Array = npt.NDArray[Any]

NO_FLAGS: Array = np.empty(0, np.uint8)

WIDTHS: dict[int, Any] = {
    kind.id: dtype
    for dtype, kinds in {
        np.int8: (pa.int8(),),
        np.int16: (pa.int16(),),
        np.int32: (pa.int32(), pa.date32(), pa.time32("s"), pa.decimal32(9)),
        np.int64: (pa.int64(), pa.time64("us"), pa.timestamp("us"), pa.decimal64(18)),
        np.uint8: (pa.uint8(),),
        np.uint16: (pa.uint16(),),
        np.uint32: (pa.uint32(),),
        np.uint64: (pa.uint64(),),
        np.float32: (pa.float32(),),
        np.float64: (pa.float64(),),
    }.items()
    for kind in kinds
}
"""By the number of an Arrow type, whatever its parameters are."""


@dataclass(slots=True)
class Column:
    """One column of a batch. What a lane does not have is None.

    Attributes:
        values: INT int64[n]; UINT uint64[n]; FLOAT float64[n]; WIDE the low limbs, uint64[n].
        high: WIDE: the high limbs, int64[n].
        offsets: BYTES: int64[n + 1], positions in `data`; the first need not be 0.
        data: BYTES: uint8[...].
        valid: uint8[n], 1 = not NULL; None when there is no NULL. Values under a NULL are anything.
    """

    lane: Lane
    values: Array | None
    high: Array | None
    offsets: Array | None
    data: Array | None
    valid: Array | None
    length: int

    @property
    def flags(self) -> Array:
        """`valid` for kernels: an empty array when there is no NULL."""
        return NO_FLAGS if self.valid is None else self.valid


def unwrap(array: pa.Array, sql_type: SqlType) -> Column:
    """The column that `array` holds, in the lane of `sql_type`.

    Raises:
        InternalError: the Arrow type cannot carry the SQL type.
    """
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    lane = sql_type.lane
    buffers, offset, length = array.buffers(), array.offset, len(array)
    valid = None
    if array.null_count:
        valid = np.zeros(length, np.uint8) if buffers[0] is None else _bits(buffers[0], offset, length)
    if lane is Lane.BYTES:
        offsets, data = _byte_strings(array.type, buffers, offset, length)
        return Column(lane, None, None, offsets, data, valid, length)
    values = _fixed(array.type, buffers[1], offset, length)
    if lane is Lane.WIDE and values.ndim == 2:
        return Column(lane, values[:, 0].copy(), values[:, 1].copy().view(np.int64), None, None, valid, length)
    if lane is Lane.INT:
        words = values[:, 0].copy().view(np.int64) if values.ndim == 2 else values.astype(np.int64, copy=False)
        return Column(lane, words, None, None, None, valid, length)
    if lane is Lane.UINT and values.ndim == 1:
        return Column(lane, values.astype(np.uint64, copy=False), None, None, None, valid, length)
    if lane is Lane.FLOAT and values.ndim == 1:
        return Column(lane, values.astype(np.float64, copy=False), None, None, None, valid, length)
    raise InternalError(f"an Arrow column of type {array.type} cannot carry {sql_type}")


def _view(buffer: pa.Buffer, dtype: Any, count: int, offset: int) -> Array:
    """`count` values of a buffer from byte `offset` on, as an array that nobody writes to."""
    values = np.frombuffer(buffer, dtype, count, offset)
    values.flags.writeable = False
    return values


def _bits(bitmap: pa.Buffer, offset: int, length: int) -> Array:
    """uint8[length], 1 where the bit at `offset` + i is set."""
    first, skip = divmod(offset, 8)
    packed = _view(bitmap, np.uint8, (skip + length + 7) // 8, first)
    return np.unpackbits(packed, count=skip + length, bitorder="little")[skip:]


def _fixed(arrow_type: pa.DataType, buffer: pa.Buffer | None, offset: int, length: int) -> Array:
    """The values of a fixed-width array in their own width; 128-bit ones as uint64[length, 2]."""
    if pa.types.is_boolean(arrow_type):
        return np.empty(0, np.uint8) if buffer is None or not length else _bits(buffer, offset, length)
    dtype, limbs = _width(arrow_type), 1
    if dtype is None:
        dtype, limbs = np.uint64, 2
    if buffer is None or length == 0:
        values: Array = np.empty(length * limbs, dtype)
    else:
        values = _view(buffer, dtype, length * limbs, offset * limbs * np.dtype(dtype).itemsize)
    return values if limbs == 1 else values.reshape(length, 2)


def word_dtype(arrow_type: pa.DataType) -> np.dtype[Any]:
    """The NumPy type in which values of `arrow_type`, of at most one word, lie in a batch."""
    return np.dtype(_width(arrow_type) or np.int64)


def flat(array: pa.Array) -> tuple[Array, Array | None]:
    """The values of a fixed-width array in their own width (booleans as uint8, 128 bits as uint64[n, 2]), and its flags
    (uint8[n], 1 = not NULL; None: no NULL)."""
    buffers, offset, length = array.buffers(), array.offset, len(array)
    valid = None
    if array.null_count:
        valid = np.zeros(length, np.uint8) if buffers[0] is None else _bits(buffers[0], offset, length)
    return _fixed(array.type, buffers[1], offset, length), valid


def _width(arrow_type: pa.DataType) -> Any:
    """The NumPy type of the values of `arrow_type`; None for 128 bits."""
    if (dtype := WIDTHS.get(arrow_type.id)) is not None:
        return dtype
    if pa.types.is_decimal128(arrow_type):
        return None
    raise InternalError(f"kernels cannot read an Arrow column of type {arrow_type}")


def _byte_strings(arrow_type: pa.DataType, buffers: list[Any], offset: int, length: int) -> tuple[Array, Array]:
    if pa.types.is_large_string(arrow_type) or pa.types.is_large_binary(arrow_type):
        dtype: Any = np.int64
    elif pa.types.is_string(arrow_type) or pa.types.is_binary(arrow_type):
        dtype = np.int32
    else:
        raise InternalError(f"kernels cannot read strings from an Arrow column of type {arrow_type}")
    if length == 0 or buffers[1] is None:
        return np.zeros(length + 1, np.int64), np.empty(0, np.uint8)
    offsets = _view(buffers[1], dtype, length + 1, offset * np.dtype(dtype).itemsize).astype(np.int64, copy=False)
    data = np.empty(0, np.uint8) if buffers[2] is None else _view(buffers[2], np.uint8, -1, 0)
    return offsets, data


def wrap(column: Column, arrow_type: pa.DataType) -> pa.Array:
    """An Arrow array of `arrow_type` from a column of any lane; the way back of `unwrap`."""
    if column.lane is Lane.BYTES:
        assert column.offsets is not None
        assert column.data is not None
        return wrap_bytes(column.offsets, column.data, column.valid, arrow_type)
    assert column.values is not None
    if column.lane is Lane.WIDE:
        assert column.high is not None
        return wrap_wide(column.values, column.high, column.valid, arrow_type)
    return wrap_fixed(column.values, column.valid, arrow_type)


def wrap_fixed(values: Array, valid: Array | None, arrow_type: pa.DataType) -> pa.Array:
    """An Arrow array of any fixed-width type from one word a row.

    Args:
        values (int64[n], uint64[n] or float64[n]): they fit the type; kept, not copied, where the width is the same.
        valid (uint8[n]): 0 is NULL; None for no NULLs.
    """
    if pa.types.is_boolean(arrow_type):
        data = np.packbits(values != 0, bitorder="little")
    elif (dtype := _width(arrow_type)) is None:
        data = np.empty((len(values), 2), np.int64)
        data[:, 0] = values
        data[:, 1] = values >> 63
    else:
        data = np.ascontiguousarray(values).astype(dtype, copy=False)
    return _wrap(arrow_type, len(values), valid, data)


def wrap_wide(low: Array, high: Array, valid: Array | None, arrow_type: pa.DataType) -> pa.Array:
    """A decimal128 array from low limbs (uint64[n]) and high limbs (int64[n])."""
    data = np.empty((len(low), 2), np.uint64)
    data[:, 0] = low
    data[:, 1] = high.view(np.uint64)
    return _wrap(arrow_type, len(low), valid, data)


def wrap_bytes(offsets: Array, data: Array, valid: Array | None, arrow_type: pa.DataType) -> pa.Array:
    """A string or binary array from offsets (int64[n + 1]) into data (uint8[...]).

    Raises:
        InternalError: `arrow_type` has 32-bit offsets and the bytes are too many for them.
    """
    if pa.types.is_string(arrow_type) or pa.types.is_binary(arrow_type):
        first, last = int(offsets[0]), int(offsets[-1])
        if last - first > np.iinfo(np.int32).max:
            raise InternalError(f"{last - first:,} bytes do not fit a column of type {arrow_type}")
        offsets, data = (offsets - first).astype(np.int32), data[first:last]
    return _wrap(arrow_type, len(offsets) - 1, valid, np.ascontiguousarray(offsets), np.ascontiguousarray(data))


def _wrap(arrow_type: pa.DataType, length: int, valid: Array | None, *parts: Array) -> pa.Array:
    bitmap, nulls = None, 0
    if valid is not None:
        nulls = length - int(np.count_nonzero(valid))
        bitmap = pa.py_buffer(np.packbits(valid != 0, bitorder="little")) if nulls else None
    return pa.Array.from_buffers(arrow_type, length, [bitmap, *map(pa.py_buffer, parts)], null_count=nulls)
