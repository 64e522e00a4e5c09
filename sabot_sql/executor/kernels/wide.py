"""128-bit integers as two words: sums that carry, their limits, and their quotients as doubles.

A running sum is kept as high * 2**64 + low with a *signed* low word, so adding an int64 touches the high word only when the
low one overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_F64, OUT_I64, OUT_U64, U64, f64, i64, inline, kernel, void

_U = np.uint64

# 10**38 as high and low words: the first integer that DECIMAL(38) cannot hold
LIMIT_HIGH = np.int64((10**38) >> 64)
LIMIT_LOW = _U((10**38) & 0xFFFFFFFFFFFFFFFF)
LOWEST = np.int64(-(2**63))

SPLITTER = 134217729.0  # 2**27 + 1
TWO_32 = 2.0**32
TWO_64 = 2.0**64
TWO_96 = 2.0**96
_LOWER = _U(0xFFFFFFFF)


@inline
def overflows(a: Any, b: Any, total: Any) -> Any:
    """Whether total = a + b (int64) has wrapped."""
    return ((a ^ total) & (b ^ total)) < 0


@inline
def plus(a: Any, b: Any) -> Any:
    """a + b (int64) that wraps; of signed words numba lets the compiler assume that they do not."""
    return np.int64(_U(np.int64(a)) + _U(np.int64(b)))


@inline
def minus(a: Any, b: Any) -> Any:
    """a - b, as `plus`."""
    return np.int64(_U(np.int64(a)) - _U(np.int64(b)))


@inline
def times(a: Any, b: Any) -> Any:
    """a * b, as `plus`."""
    return np.int64(_U(np.int64(a)) * _U(np.int64(b)))


@inline
def add_word(low: Any, high: Any, at: Any, value: Any) -> Any:
    """Add an int64 to the sum at position `at` of low and high (int64[...]); returns 1 where `high` was written to, else 0."""
    before = low[at]
    total = plus(before, value)
    low[at] = total
    if overflows(before, value, total):
        high[at] += np.int64(1) if value >= 0 else np.int64(-1)
        return 1
    return 0


@inline
def add_wide(low: Any, high: Any, at: Any, value_low: Any, value_high: Any) -> Any:
    """Add a 128-bit integer (uint64, int64) to the sum at position `at`; whether the sum overflowed."""
    word = np.int64(value_low)
    before = low[at]
    total = plus(before, word)
    carry = np.int64(0)
    if word < 0:
        carry += np.int64(1)
    if overflows(before, word, total):
        carry += np.int64(1) if word >= 0 else np.int64(-1)
    low[at] = total
    upper = high[at]
    first = plus(upper, value_high)
    second = plus(first, carry)
    high[at] = second
    # both steps may wrap in opposite directions, which is no overflow
    return overflows(upper, value_high, first) != overflows(first, carry, second)


@kernel(i64(I64, I64, OUT_U64, OUT_I64))
def finish_sums(low: Any, high: Any, out_low: Any, out_high: Any) -> Any:
    """Running sums (int64[n] each) as two's complement limbs, low uint64[n] and high int64[n].

    Returns:
        How many of them have more than 38 digits.
    """
    wrong = 0
    for i in range(len(out_low)):
        word = _U(low[i])
        upper = high[i] + (low[i] >> 63)
        out_low[i] = word
        out_high[i] = upper
        if high[i] == LOWEST and low[i] < 0:
            wrong += 1
            continue
        if upper < 0:
            word = ~word + _U(1)
            upper = ~upper + (np.int64(1) if word == 0 else np.int64(0))
        if upper < 0 or upper > LIMIT_HIGH or (upper == LIMIT_HIGH and word >= LIMIT_LOW):
            wrong += 1
    return wrong


@inline
def halves(value: Any) -> Any:
    """Split a double in two of 26 bits whose sum it is (Veltkamp 1968)."""
    scaled = value * SPLITTER
    upper = scaled - (scaled - value)
    return upper, value - upper


@inline
def product(a: Any, b: Any) -> Any:
    """a * b as a rounded double and its error (Dekker 1971)."""
    total = a * b
    a_upper, a_lower = halves(a)
    b_upper, b_lower = halves(b)
    return total, ((a_upper * b_upper - total) + a_upper * b_lower + a_lower * b_upper) + a_lower * b_lower


@inline
def quick_sum(larger: Any, smaller: Any) -> Any:
    """larger + smaller as a rounded double and its error (Dekker 1971); larger may be 0."""
    total = larger + smaller
    return total, smaller - (total - larger)


@inline
def two_doubles(low: Any, high: Any) -> Any:
    """The integer high * 2**64 + low (uint64, int64) as a double and the rest as another."""
    negative = high < 0
    if negative:
        low = ~low + _U(1)
        high = ~high + (np.int64(1) if low == 0 else np.int64(0))
    upper, upper_rest = quick_sum(np.float64(_U(high) >> _U(32)) * TWO_96, np.float64(_U(high) & _LOWER) * TWO_64)
    lower, lower_rest = quick_sum(np.float64(low >> _U(32)) * TWO_32, np.float64(low & _LOWER))
    total, rest = quick_sum(upper, lower)
    total, rest = quick_sum(total, rest + (upper_rest + lower_rest))
    return (-total, -rest) if negative else (total, rest)


@kernel(void(U64, I64, I64, f64, OUT_F64))
def averages(low: Any, high: Any, counts: Any, unit: Any, out: Any) -> None:
    """out (float64[n]) = sum / (count * unit), correctly rounded but for rare cases; 0 where the count is 0.

    Args:
        low (uint64[n]), high (int64[n]): the sums.
        counts (int64[n]).
        unit: 10**scale of the summed decimals.
    """
    for i in range(len(out)):
        if counts[i] == 0:
            out[i] = 0.0
            continue
        total, rest = two_doubles(low[i], high[i])
        divisor, error = product(np.float64(counts[i]), unit)
        quotient = total / divisor
        back, lost = product(quotient, divisor)
        out[i] = quotient + (((total - back) - lost + rest) - quotient * error) / divisor
