"""Update loops of the aggregates, one for each function and lane.

`groups` (int64[n]) names the group of each row; `live` (uint8[n]) is 0 for rows that are left out (NULL or filtered), and may
be empty: no such rows. State arrays are indexed by group. The `_all` forms take every row to group 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import (
    F64,
    I64,
    OUT_F64,
    OUT_I64,
    OUT_U8,
    OUT_U64,
    U8,
    U64,
    i64,
    inline,
    kernel,
    u64,
    void,
)
from sabot_sql.executor.kernels.memory import load64, swap_bytes
from sabot_sql.executor.kernels.wide import add_wide, add_word

_U = np.uint64
_LOWER = np.int64(0xFFFFFFFF)


@kernel(void(I64, OUT_I64))
def count_rows(groups: Any, totals: Any) -> None:
    """totals[g] += the rows of g."""
    for i in range(len(groups)):
        totals[groups[i]] += 1


@kernel(void(I64, U8, OUT_I64))
def count_missing(groups: Any, live: Any, totals: Any) -> None:
    """totals[g] += the rows of g that are not live."""
    for i in range(len(groups)):
        totals[groups[i]] += 1 - np.int64(live[i])


@kernel(void(I64, I64, i64, OUT_I64))
def add_counts(groups: Any, counts: Any, sign: Any, totals: Any) -> None:
    """totals[g] += sign * counts, of its rows."""
    for i in range(len(groups)):
        totals[groups[i]] += sign * counts[i]


@kernel(i64(I64, I64, U8, OUT_I64, OUT_I64))
def sum_int(groups: Any, values: Any, live: Any, low: Any, high: Any) -> Any:
    """Add values (int64[n]) to the running sums low and high (`kernels/wide.py`).

    Returns:
        How often `high` was written to.
    """
    carries = 0
    if len(live) == 0:
        for i in range(len(groups)):
            carries += add_word(low, high, groups[i], values[i])
    else:
        for i in range(len(groups)):
            if live[i] != 0:
                carries += add_word(low, high, groups[i], values[i])
    return carries


@kernel(void(I64, U8, OUT_I64, OUT_I64))
def sum_int_all(values: Any, live: Any, low: Any, high: Any) -> None:
    """`sum_int` into group 0."""
    lower, upper = np.int64(0), np.int64(0)
    start = 0
    while start < len(values):
        # no more than 2**31 rows at a time: the sums of halves cannot wrap
        end = min(len(values), start + 0x7FFFFFFF)
        if len(live) == 0:
            for i in range(start, end):
                lower += values[i] & _LOWER
                upper += values[i] >> 32
        else:
            for i in range(start, end):
                value = values[i] & -np.int64(live[i])
                lower += value & _LOWER
                upper += value >> 32
        add_word(low, high, 0, lower)
        add_wide(low, high, 0, _U(upper << 32), upper >> 32)
        lower, upper = np.int64(0), np.int64(0)
        start = end


@kernel(void(I64, U64, U8, OUT_I64, OUT_I64))
def sum_uint(groups: Any, values: Any, live: Any, low: Any, high: Any) -> None:
    """Add values (uint64[n]) to the running sums."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            add_wide(low, high, groups[i], values[i], np.int64(0))


@kernel(i64(I64, U64, I64, U8, OUT_I64, OUT_I64))
def sum_wide(groups: Any, value_low: Any, value_high: Any, live: Any, low: Any, high: Any) -> Any:
    """Add 128-bit values to the running sums.

    Returns:
        How many additions overflowed.
    """
    wrong = 0
    for i in range(len(groups)):
        if (len(live) == 0 or live[i] != 0) and add_wide(low, high, groups[i], value_low[i], value_high[i]):
            wrong += 1
    return wrong


@kernel(void(I64, F64, U8, OUT_F64))
def sum_float(groups: Any, values: Any, live: Any, totals: Any) -> None:
    """totals[g] += values (float64[n])."""
    if len(live) == 0:
        for i in range(len(groups)):
            totals[groups[i]] += values[i]
    else:
        for i in range(len(groups)):
            if live[i] != 0:
                totals[groups[i]] += values[i]


@kernel(void(F64, U8, OUT_F64))
def sum_float_all(values: Any, live: Any, totals: Any) -> None:
    """`sum_float` into group 0, in four chains."""
    a = b = c = d = 0.0
    n = len(values)
    tail = n & ~3
    if len(live) == 0:
        for i in range(0, tail, 4):
            a += values[i]
            b += values[i + 1]
            c += values[i + 2]
            d += values[i + 3]
    else:
        for i in range(0, tail, 4):
            a += values[i] if live[i] != 0 else 0.0
            b += values[i + 1] if live[i + 1] != 0 else 0.0
            c += values[i + 2] if live[i + 2] != 0 else 0.0
            d += values[i + 3] if live[i + 3] != 0 else 0.0
    for i in range(tail, n):
        if len(live) == 0 or live[i] != 0:
            a += values[i]
    totals[0] += (a + b) + (c + d)


@kernel(void(I64, I64, U8, i64, OUT_I64))
def least_int(groups: Any, values: Any, live: Any, flip: Any, least: Any) -> None:
    """least[g] = the least of itself and `values ^ flip`; with flip -1 this finds the greatest."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            value = values[i] ^ flip
            if value < least[groups[i]]:
                least[groups[i]] = value


@kernel(void(I64, U8, i64, OUT_I64))
def least_int_all(values: Any, live: Any, flip: Any, least: Any) -> None:
    """`least_int` into group 0."""
    best = least[0]
    if len(live) == 0:
        for i in range(len(values)):
            best = min(best, values[i] ^ flip)
    else:
        for i in range(len(values)):
            best = min(best, values[i] ^ flip if live[i] != 0 else best)
    least[0] = best


@kernel(void(I64, U64, U8, u64, OUT_U64))
def least_uint(groups: Any, values: Any, live: Any, flip: Any, least: Any) -> None:
    """`least_int` over uint64[n]."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            value = values[i] ^ flip
            if value < least[groups[i]]:
                least[groups[i]] = value


@kernel(void(I64, U64, I64, U8, i64, OUT_U64, OUT_I64))
def least_wide(groups: Any, low: Any, high: Any, live: Any, flip: Any, least_low: Any, least_high: Any) -> None:
    """`least_int` over 128-bit integers."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            group = groups[i]
            upper = high[i] ^ flip
            lower = low[i] ^ _U(flip)
            if upper < least_high[group] or (upper == least_high[group] and lower < least_low[group]):
                least_high[group] = upper
                least_low[group] = lower


@kernel(void(I64, F64, U8, OUT_F64))
def least_float(groups: Any, values: Any, live: Any, least: Any) -> None:
    """least[g] = the least of itself and values (float64[n]); NaN is greater than all."""
    for i in range(len(groups)):
        if len(live) == 0 or live[i] != 0:
            before = least[groups[i]]
            if values[i] < before or before != before:
                least[groups[i]] = values[i]


@kernel(void(I64, F64, U8, OUT_F64))
def greatest_float(groups: Any, values: Any, live: Any, greatest: Any) -> None:
    """greatest[g] = the greatest of itself and values (float64[n]); NaN is greater than all."""
    for i in range(len(groups)):
        if (len(live) == 0 or live[i] != 0) and (values[i] > greatest[groups[i]] or values[i] != values[i]):
            greatest[groups[i]] = values[i]


@inline
def compare_bytes(left: Any, a: Any, a_length: Any, right: Any, b: Any, b_length: Any) -> Any:
    """Negative, zero or positive as the string at left[a] is before, the same as, or after the one at right[b]."""
    both = min(a_length, b_length)
    k = 0
    while k + 8 <= both:
        mine = load64(left, a + k)
        other = load64(right, b + k)
        if mine != other:
            return np.int64(-1) if swap_bytes(mine) < swap_bytes(other) else np.int64(1)
        k += 8
    if k < both and a + k + 8 <= len(left) and b + k + 8 <= len(right):
        mask = (_U(1) << _U(8 * (both - k))) - _U(1)
        mine = load64(left, a + k) & mask
        other = load64(right, b + k) & mask
        if mine != other:
            return np.int64(-1) if swap_bytes(mine) < swap_bytes(other) else np.int64(1)
        return a_length - b_length
    while k < both:
        if left[a + k] != right[b + k]:
            return np.int64(left[a + k]) - np.int64(right[b + k])
        k += 1
    return a_length - b_length


@kernel(i64(I64, I64, U8, U8, i64, i64, OUT_I64, OUT_I64, OUT_U8, OUT_I64))
def extreme_bytes(
    groups: Any, offsets: Any, data: Any, live: Any, first: Any, sign: Any, starts: Any, lengths: Any, arena: Any, used: Any
) -> Any:
    """Keep the least (sign 1) or the greatest (sign -1) string of each group, from row `first` on.

    Args:
        offsets (int64[n + 1]), data (uint8[...]): the strings.
        starts, lengths: of the string kept for each group in `arena`; length -1 is none yet.
        arena (uint8[...]), used (int64[1]): where the strings are kept and how many bytes are taken.

    Returns:
        The row that found no room in the arena, or n.
    """
    for i in range(first, len(groups)):
        if len(live) != 0 and live[i] == 0:
            continue
        group = groups[i]
        start = offsets[i]
        length = offsets[i + 1] - start
        kept = lengths[group]
        if kept >= 0 and sign * compare_bytes(data, start, length, arena, starts[group], kept) >= 0:
            continue
        if length > kept:
            if used[0] + length > len(arena):
                return i
            starts[group] = used[0]
            used[0] += length
        for k in range(length):
            arena[starts[group] + k] = data[start + k]
        lengths[group] = length
    return len(groups)


@kernel(void(I64, U8, I64, I64, OUT_U8))
def pack_strings(lengths: Any, arena: Any, starts: Any, offsets: Any, out: Any) -> None:
    """Copy the string of each group from `arena` to out[offsets[g]]."""
    for group in range(len(lengths)):
        for k in range(lengths[group]):
            out[offsets[group] + k] = arena[starts[group] + k]
