"""Kernels that pick rows of a column by position: fixed widths, bitmaps, and strings in two passes.

A position of -1 is a row that is not there: zero bits, no bytes. Positions are not checked against the column's length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sabot_sql.executor.kernels.compile import I64, JIT, OUT_I64, OUT_U8, OUT_U64, U8, U64, i64, inline, kernel, void

U16, OUT_U16 = (types.Array(types.uint16, 1, "C", readonly=r) for r in (True, False))
U32, OUT_U32 = (types.Array(types.uint32, 1, "C", readonly=r) for r in (True, False))
I32 = types.Array(types.int32, 1, "C", readonly=True)

RUN_BYTES = 32
"""Bytes of a string, on average, from which looking for neighbours is cheaper than copying each by itself."""

_U = np.uint64

if JIT:

    def _copy(context: Any, builder: Any, signature: Any, args: Any, count: Any) -> Any:
        out = context.make_array(signature.args[0])(context, builder, args[0])
        source = context.make_array(signature.args[2])(context, builder, args[2])
        cgutils.raw_memcpy(builder, builder.gep(out.data, [args[1]]), builder.gep(source.data, [args[3]]), count, 1)
        return context.get_dummy_value()

    @intrinsic
    def copy_bytes(typing: Any, out: Any, to: Any, data: Any, at: Any, length: Any) -> Any:
        """copy_bytes(out, i, data, j, n): out[i : i + n] = data[j : j + n], both uint8."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _copy(context, builder, signature, args, args[4])

        return types.void(out, types.int64, data, types.int64, types.int64), codegen

    @intrinsic
    def copy_8(typing: Any, out: Any, to: Any, data: Any, at: Any) -> Any:
        """copy_8(out, i, data, j): eight bytes by one load and one store."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _copy(context, builder, signature, args, context.get_constant(types.intp, 8))

        return types.void(out, types.int64, data, types.int64), codegen

else:

    def copy_bytes(out: Any, to: Any, data: Any, at: Any, length: Any) -> None:
        out[to : to + length] = data[at : at + length]

    def copy_8(out: Any, to: Any, data: Any, at: Any) -> None:
        out[to : to + 8] = data[at : at + 8]


@kernel(void(U8, I64, OUT_U8), void(U16, I64, OUT_U16), void(U32, I64, OUT_U32), void(U64, I64, OUT_U64))
def take_fixed(values: Any, positions: Any, out: Any) -> None:
    """out[k] = values[positions[k]]; zero for -1. Unsigned words of one width; positions (int64[m])."""
    for k in range(len(positions)):
        at = positions[k]
        if at >= 0:
            out[k] = values[_U(at)]
        else:
            out[k] = 0


@kernel(void(U64, I64, OUT_U64))
def take_pairs(values: Any, positions: Any, out: Any) -> None:
    """Rows of two words: out (uint64[2 m]) = values (uint64[2 n]) at positions (int64[m]); zero for -1."""
    for k in range(len(positions)):
        at = positions[k]
        if at >= 0:
            out[2 * k] = values[_U(2 * at)]
            out[2 * k + 1] = values[_U(2 * at + 1)]
        else:
            out[2 * k] = 0
            out[2 * k + 1] = 0


@inline
def bit(bits: Any, at: Any) -> Any:
    """The bit at position `at` of a bitmap (uint8[...]), least significant first."""
    return (bits[_U(at >> 3)] >> np.uint8(at & 7)) & np.uint8(1)


@kernel(i64(U8, i64, I64, OUT_U8))
def take_bits(bits: Any, offset: Any, positions: Any, out: Any) -> Any:
    """Pick bits: out (uint8[(m + 7) // 8]) of the bitmap that begins at bit `offset` of `bits`; 0 for -1.

    Returns:
        How many of the picked bits are set.
    """
    count: Any = 0
    total = len(positions)
    for byte in range(len(out)):
        packed: Any = 0
        for k in range(8 * byte, min(8 * byte + 8, total)):
            at = positions[k]
            if at >= 0:
                found = np.int64(bit(bits, offset + at))
                packed |= found << (k & 7)
                count += found
        out[byte] = packed
    return count


@kernel(i64(I64, OUT_U8))
def present_bits(positions: Any, out: Any) -> Any:
    """A bitmap of which positions (int64[m]) are not -1; returns how many."""
    count: Any = 0
    total = len(positions)
    for byte in range(len(out)):
        packed: Any = 0
        for k in range(8 * byte, min(8 * byte + 8, total)):
            found = np.int64(positions[k] >= 0)
            packed |= found << (k & 7)
            count += found
        out[byte] = packed
    return count


@kernel(i64(I64))
def has_missing(positions: Any) -> Any:
    """1 when one of positions (int64[m]) is -1, else 0."""
    sign = np.int64(0)
    for k in range(len(positions)):
        sign |= positions[k]
    return 1 if sign < 0 else 0


@kernel(void(I64, I64, OUT_I64), void(I32, I64, OUT_I64))
def take_lengths(offsets: Any, positions: Any, out: Any) -> None:
    """First pass over strings: out (int64[m + 1]) = where each picked string will lie. offsets (n + 1 of int64 or int32)."""
    total = np.int64(0)
    for k in range(len(positions)):
        out[k] = total
        at = positions[k]
        if at >= 0:
            total += np.int64(offsets[_U(at + 1)]) - np.int64(offsets[_U(at)])
    out[len(positions)] = total


@inline
def copy_words(out: Any, to: Any, data: Any, start: Any, length: Any) -> None:
    """out[to : to + length] = data[start : start + length]; length is at least 8, and the last words overlap."""
    if length > 32:
        copy_bytes(out, to, data, start, length)
        return
    done = 0
    while done + 8 < length:
        copy_8(out, to + done, data, start + done)
        done += 8
    copy_8(out, to + length - 8, data, start + length - 8)


@inline
def copy_runs(offsets: Any, data: Any, positions: Any, out_offsets: Any, out: Any) -> None:
    """As `take_bytes`; neighbours are copied as one."""
    total = len(positions)
    k = 0
    while k < total:
        at = positions[k]
        if at < 0:
            k += 1
            continue
        last = at
        first = k
        k += 1
        while k < total and positions[k] == last + 1:
            last += 1
            k += 1
        start = np.int64(offsets[_U(at)])
        to = out_offsets[first]
        length = out_offsets[k] - to
        if length >= 8:
            copy_words(out, to, data, start, length)
        else:
            for j in range(length):
                out[to + j] = data[start + j]


@kernel(void(I64, U8, I64, I64, OUT_U8), void(I32, U8, I64, I64, OUT_U8))
def take_bytes(offsets: Any, data: Any, positions: Any, out_offsets: Any, out: Any) -> None:
    """Second pass: copy the picked strings of data (uint8[...]) to out (uint8[out_offsets[m]])."""
    total = len(positions)
    if len(out) > RUN_BYTES * total:
        copy_runs(offsets, data, positions, out_offsets, out)
        return
    for k in range(total):
        at = positions[k]
        if at < 0:
            continue
        start = np.int64(offsets[_U(at)])
        to = out_offsets[k]
        length = out_offsets[k + 1] - to
        if length >= 8:
            copy_words(out, to, data, start, length)
        elif start + 8 <= len(data) and to + 8 <= len(out):
            copy_8(out, to, data, start)  # what is too much is written over by the next string
        else:
            for j in range(length):
                out[to + j] = data[start + j]


@kernel(i64(U8, OUT_I64))
def mask_positions(mask: Any, out: Any) -> Any:
    """out (int64[n]) = the positions where mask (uint8[n], 0 or 1) is 1; returns how many."""
    count: Any = 0
    for i in range(len(mask)):
        out[count] = i
        count += np.int64(mask[i])
    return count


@kernel(i64(U8))
def count_ones(mask: Any) -> Any:
    """How many of mask (uint8[n], 0 or 1) are 1."""
    count: Any = 0
    for i in range(len(mask)):
        count += np.int64(mask[i])
    return count


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (
        take_fixed,
        take_pairs,
        take_bits,
        present_bits,
        has_missing,
        take_lengths,
        take_bytes,
        mask_positions,
        count_ones,
    ):
        each.load()
