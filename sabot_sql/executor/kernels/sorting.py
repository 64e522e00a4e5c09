"""Kernels of the sort: columns as words whose order is the wanted one, pieces of them packed into sort keys, radix passes.

A sort key is one uint64: the number of the run of ties the row is in, then as many bits of the next columns as fit, then the
row's number in the piece of work, which makes the sort stable and carries the permutation. Rows that tie in these bits are
runs of the next piece of work, which looks at further bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U8, U64, i64, inline, kernel, u8, u64, void
from sabot_sql.executor.kernels.memory import load64

_U = np.uint64
_SIGN = np.uint64(0x8000000000000000)


@kernel(void(I64, OUT_I64))
def order_floats(bits: Any, out: Any) -> None:
    """out (int64[n]) orders as the doubles whose canonical bits (int64[n]: one zero, one NaN) are given, NaN greatest."""
    for i in range(len(bits)):
        out[i] = bits[i] ^ ((bits[i] >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))


@kernel(void(U64, OUT_I64))
def order_unsigned(values: Any, out: Any) -> None:
    """out (int64[n]) orders as values (uint64[n])."""
    for i in range(len(values)):
        out[i] = np.int64(values[i] ^ _SIGN)


@kernel(void(I64, U8, OUT_I64))
def order_prefixes(offsets: Any, data: Any, out: Any) -> None:
    """out (int64[n]) = the first seven bytes of each string: what orders before here, orders before there."""
    for i in range(len(out)):
        start = offsets[i]
        size = min(offsets[i + 1] - start, 7)
        word = np.int64(0)
        for k in range(size):
            word = (word << 8) | np.int64(data[start + k])
        out[i] = word << (8 * (7 - size))


@kernel(void(I64, U8, u8, u8, i64, u8, u8, OUT_U8))
def within_bound(
    words: Any, valid: Any, descending: Any, nulls_first: Any, bound: Any, bound_null: Any, ties: Any, out: Any
) -> None:
    """out (uint8[n]) = 1 where a row may still be among the first, given the last row that is.

    Args:
        words (int64[n]), valid (uint8[n] or empty): the first sort column, as ordered words.
        bound, bound_null: the same of the last row that is among the first.
        ties: 1 to let rows that tie with it pass.
    """
    for i in range(len(words)):
        null = len(valid) != 0 and valid[i] == 0
        if null or bound_null != 0:
            if null and bound_null != 0:
                out[i] = ties
            elif null:
                out[i] = nulls_first
            else:
                out[i] = np.uint8(1) - nulls_first
        elif words[i] == bound:
            out[i] = ties
        else:
            out[i] = np.uint8((words[i] < bound) != (descending != 0))


@kernel(void(I64, i64, i64, OUT_U64))
def start_keys(runs: Any, shift: Any, first: Any, keys: Any) -> None:
    """keys[j] (uint64[m]) = run of row j << shift | first + j; runs (int64[m]) may be empty: all in run 0."""
    if len(runs) == 0:
        for j in range(len(keys)):
            keys[j] = _U(first + j)
    else:
        for j in range(len(keys)):
            keys[j] = (_U(runs[j]) << _U(shift)) | _U(first + j)


@kernel(void(I64, U8, I64, i64, i64, u8, u64, u64, i64, u64, i64, OUT_U64))
def pack_words(
    words: Any,
    valid: Any,
    rows: Any,
    low: Any,
    high: Any,
    descending: Any,
    lift: Any,
    null_code: Any,
    drop: Any,
    mask: Any,
    shift: Any,
    keys: Any,
) -> None:
    """Or a piece of a column into keys (uint64[m]).

    The code of a value is its distance from the first one (low, or high when descending) plus `lift`; of NULL `null_code`. The
    piece is (code >> drop & mask) << shift.

    Args:
        words (int64[n]), valid (uint8[n] or empty): the column; rows (int64[m]): which rows of it the keys are of.
    """
    for j in range(len(rows)):
        row = _U(rows[j])
        if len(valid) != 0 and valid[row] == 0:
            code = null_code
        elif descending != 0:
            code = _U(np.int64(high)) - _U(words[row]) + _U(lift)
        else:
            code = _U(words[row]) - _U(np.int64(low)) + _U(lift)
        keys[j] |= ((code >> _U(drop)) & _U(mask)) << _U(shift)


@inline
def swapped(word: Any) -> Any:
    """A uint64 with its bytes the other way round (compilers know this form as one instruction)."""
    word = ((word & _U(0x00FF00FF00FF00FF)) << _U(8)) | ((word >> _U(8)) & _U(0x00FF00FF00FF00FF))
    word = ((word & _U(0x0000FFFF0000FFFF)) << _U(16)) | ((word >> _U(16)) & _U(0x0000FFFF0000FFFF))
    return (word << _U(32)) | (word >> _U(32))


@kernel(void(I64, U8, U8, I64, i64, i64, u8, u8, i64, OUT_U64))
def pack_strings(
    offsets: Any,
    data: Any,
    valid: Any,
    rows: Any,
    depth: Any,
    size: Any,
    descending: Any,
    nulls_first: Any,
    shift: Any,
    keys: Any,
) -> None:
    """Or the `size` (1 to 7) bytes from byte `depth` of strings, and a class of four bits, into keys (uint64[m]) << shift.

    The class says how the string goes on: 1 + the bytes it had left, up to 1 + size; 2 + size: it is longer. So a string comes
    before its continuations. Descending inverts both. NULL is class 0 over zero bytes, or class 15 over bytes of ones.
    """
    ones = (_U(1) << _U(8 * size + 4)) - _U(1)
    for j in range(len(rows)):
        row = _U(rows[j])
        if len(valid) != 0 and valid[row] == 0:
            code = _U(0) if nulls_first != 0 else ones
        else:
            start = offsets[row] + depth
            left = max(offsets[row + _U(1)] - start, np.int64(0))
            code = _U(0)
            if start + 8 <= len(data):
                kept = min(left, size)
                if kept > 0:
                    code = (swapped(load64(data, start)) >> _U(64 - 8 * kept)) << _U(8 * (size - kept))
            else:
                for k in range(min(left, size)):
                    code |= _U(data[start + k]) << _U(8 * (size - 1 - k))
            code = (code << _U(4)) | _U(1 + min(left, size + 1))
            if descending != 0:
                code = ones - code
        keys[j] |= code << _U(shift)


@kernel(i64(I64, U8, I64, I64, i64))
def shared_bytes(offsets: Any, data: Any, rows: Any, runs: Any, depth: Any) -> Any:
    """How many bytes from byte `depth` on all strings of a run share, the least over the runs.

    Args:
        rows (int64[m]), runs (int64[m], ascending, or empty: one run): none is NULL.
    """
    least = np.int64(9223372036854775807)
    head = 0
    for j in range(len(rows)):
        if j == 0 or (len(runs) != 0 and runs[j] != runs[head]):
            head = j
        begin = offsets[rows[head]] + depth
        start = offsets[rows[j]] + depth
        least = min(least, offsets[rows[j] + 1] - start)
        if head != j:
            k = np.int64(0)
            while k < least and data[begin + k] == data[start + k]:
                k += 1
            least = k
        if least <= 0:
            return np.int64(0)
    return least


@kernel(i64(U64))
def is_ascending(keys: Any) -> Any:
    """1 when keys (uint64[m]) never fall, else 0."""
    for j in range(1, len(keys)):
        if keys[j] < keys[j - 1]:
            return 0
    return 1


@kernel(void(U64, i64, OUT_I64))
def count_digits(keys: Any, shift: Any, counts: Any) -> None:
    """counts[d] (int64[256]) += how many of keys (uint64[m]) have byte d at bit `shift`."""
    for j in range(len(keys)):
        counts[(keys[j] >> _U(shift)) & _U(255)] += 1


@kernel(void(U64, i64, OUT_I64, OUT_U64))
def scatter_digits(keys: Any, shift: Any, cursors: Any, out: Any) -> None:
    """Move keys (uint64[m]) to out (uint64[...]) where the cursor of their byte at bit `shift` points; cursors advance."""
    for j in range(len(keys)):
        key = keys[j]
        digit = (key >> _U(shift)) & _U(255)
        at = cursors[digit]
        cursors[digit] = at + 1
        out[_U(at)] = key


@kernel(void(U64, u64, I64, I64, OUT_I64))
def place_rows(keys: Any, mask: Any, rows: Any, positions: Any, order: Any) -> None:
    """order[positions[j]] = the one of rows (int64[...]) whose number the low bits of keys[j] (uint64[m]) hold."""
    for j in range(len(keys)):
        order[_U(positions[j])] = rows[keys[j] & mask]


@kernel(i64(U64, i64, u64, u64, i64, i64, i64, OUT_I64, OUT_I64))
def find_ties(
    keys: Any, low_bit: Any, mask: Any, value: Any, shortest: Any, longest: Any, stop: Any, positions: Any, runs: Any
) -> Any:
    """Which sorted keys tie with a neighbour in all bits from `low_bit` up.

    Args:
        mask, value: take ties where key & mask == value; where it is not, when `shortest` is negative.
        shortest, longest: rows that a run must have to be taken.
        stop: runs that begin at this position or later are left out.
        positions, runs (int64[m]): the positions of rows in runs, ascending, and the numbers of the runs, from 0.

    Returns:
        The number of positions.
    """
    count: Any = 0
    run = np.int64(-1)
    size = len(keys)
    j = 0
    while j < size and j < stop:
        bits = keys[j] >> _U(low_bit)
        end = j + 1
        while end < size and (keys[end] >> _U(low_bit)) == bits:
            end += 1
        if end - j > 1 and ((keys[j] & mask) == value) == (shortest >= 0) and end - j >= shortest and end - j <= longest:
            run += 1
            for k in range(j, end):
                positions[count] = k
                runs[count] = run
                count += 1
        j = end
    return count


@inline
def compare_strings(offsets: Any, data: Any, a: Any, b: Any, depth: Any) -> Any:
    """Below 0, 0 or above 0 as row a's string orders before, with or after row b's; they share their first `depth` bytes."""
    i, j = offsets[a] + depth, offsets[b] + depth
    size_a, size_b = offsets[a + 1] - i, offsets[b + 1] - j
    shared = min(size_a, size_b)
    k = np.int64(0)
    while k + 8 <= shared and load64(data, i + k) == load64(data, j + k):
        k += 8
    while k < shared and data[i + k] == data[j + k]:
        k += 1
    if k < shared:
        return np.int64(data[i + k]) - np.int64(data[j + k])
    return size_a - size_b


@kernel(i64(I64, U8, I64, I64, i64, u8, OUT_I64, OUT_I64, OUT_I64))
def sort_short_runs(
    offsets: Any, data: Any, positions: Any, runs: Any, depth: Any, descending: Any, order: Any, tied: Any, tied_runs: Any
) -> Any:
    """Order the rows of short runs by the whole of their strings, by insertion; stable.

    Args:
        positions, runs (int64[m]): as `find_ties` gives them; the strings of a run share their first `depth` bytes.
        order (int64[n]): the rows; changed at the positions.
        tied, tied_runs (int64[m]): the positions of rows whose strings are equal, and the numbers of their runs, from 0.

    Returns:
        The number of tied positions.
    """
    count: Any = 0
    run = np.int64(-1)
    sign = np.int64(-1) if descending != 0 else np.int64(1)
    j = 0
    while j < len(positions):
        end = j + 1
        while end < len(positions) and runs[end] == runs[j]:
            end += 1
        base = positions[j]
        for a in range(base + 1, base + end - j):
            row = order[a]
            at = a
            while at > base and sign * compare_strings(offsets, data, order[at - 1], row, depth) > 0:
                order[at] = order[at - 1]
                at -= 1
            order[at] = row
        last = base + end - j
        while base < last:
            top = base + 1
            while top < last and compare_strings(offsets, data, order[base], order[top], depth) == 0:
                top += 1
            if top - base > 1:
                run += 1
                for at in range(base, top):
                    tied[count] = at
                    tied_runs[count] = run
                    count += 1
            base = top
        j = end
    return count


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (
        order_floats,
        order_unsigned,
        order_prefixes,
        within_bound,
        start_keys,
        pack_words,
        pack_strings,
        shared_bytes,
        is_ascending,
        count_digits,
        scatter_digits,
        place_rows,
        find_ties,
        sort_short_runs,
    ):
        each.load()
