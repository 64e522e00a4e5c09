"""Kernels of decimals with more than 18 digits, in two words, low uint64 and high int64: arithmetic and comparisons.

A result that DECIMAL(38) cannot hold is marked and left as anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U64, i64, inline, kernel, u64, void
from sabot_sql.executor.kernels.expressions import EQ, GE, LE, LT, NE
from sabot_sql.executor.kernels.wide import LIMIT_HIGH, LIMIT_LOW, minus, plus

_U = np.uint64
_HALF = _U(32)
_LOWER = _U(0xFFFFFFFF)
_ONE = _U(1)
_ZERO = _U(0)
_LIMIT_HIGH = _U(LIMIT_HIGH)


@inline
def negated(low: Any, high: Any) -> Any:
    """The two words of the contrary value; all of them uint64."""
    low = ~low + _ONE
    return low, ~high + (_ONE if low == _ZERO else _ZERO)


@inline
def magnitude(low: Any, high: Any) -> Any:
    """The words of |value|, both uint64."""
    if high < 0:
        return negated(low, _U(high))
    return low, _U(high)


@inline
def is_beyond(low: Any, high: Any) -> Any:
    """Whether a magnitude (uint64 each) has more than 38 digits."""
    return (high > _LIMIT_HIGH) | ((high == _LIMIT_HIGH) & (low >= LIMIT_LOW))


@inline
def product_of_words(a: Any, b: Any) -> Any:
    """a * b (uint64) as two words, low and high, both uint64."""
    a_low, a_high, b_low, b_high = a & _LOWER, a >> _HALF, b & _LOWER, b >> _HALF
    lowest, first, second = a_low * b_low, a_low * b_high, a_high * b_low
    middle = (lowest >> _HALF) + (first & _LOWER) + (second & _LOWER)
    high = a_high * b_high + (first >> _HALF) + (second >> _HALF) + (middle >> _HALF)
    return (lowest & _LOWER) | (middle << _HALF), high


@kernel(i64(U64, I64, U64, I64, OUT_U64, OUT_I64, OUT_U8))
def add_wides(a_low: Any, a_high: Any, b_low: Any, b_high: Any, low: Any, high: Any, beyond: Any) -> Any:
    """low, high = a + b; beyond (uint8[n]) is 1 for sums of more than 38 digits. Returns whether there are any, 1 or 0."""
    found = False
    for i in range(len(low)):
        word = a_low[i] + b_low[i]
        upper = plus(plus(a_high[i], b_high[i]), np.int64(word < a_low[i]))
        low[i] = word
        high[i] = upper
        wraps = ((a_high[i] ^ upper) & (b_high[i] ^ upper)) < 0
        wrong = wraps | is_beyond(*magnitude(word, upper))
        beyond[i] = wrong
        found |= wrong
    return 1 if found else 0


@kernel(i64(U64, I64, U64, I64, OUT_U64, OUT_I64, OUT_U8))
def subtract_wides(a_low: Any, a_high: Any, b_low: Any, b_high: Any, low: Any, high: Any, beyond: Any) -> Any:
    """low, high = a - b; the rest as `add_wides`."""
    found = False
    for i in range(len(low)):
        word = a_low[i] - b_low[i]
        upper = minus(minus(a_high[i], b_high[i]), np.int64(a_low[i] < b_low[i]))
        low[i] = word
        high[i] = upper
        wraps = ((a_high[i] ^ b_high[i]) & (a_high[i] ^ upper)) < 0
        wrong = wraps | is_beyond(*magnitude(word, upper))
        beyond[i] = wrong
        found |= wrong
    return 1 if found else 0


@kernel(i64(U64, I64, U64, I64, OUT_U64, OUT_I64, OUT_U8))
def multiply_wides(a_low: Any, a_high: Any, b_low: Any, b_high: Any, low: Any, high: Any, beyond: Any) -> Any:
    """low, high = a * b; the rest as `add_wides`."""
    found = False
    for i in range(len(low)):
        a, a_upper = magnitude(a_low[i], a_high[i])
        b, b_upper = magnitude(b_low[i], b_high[i])
        word, upper = product_of_words(a, b)
        wrong = False
        if a_upper != _ZERO or b_upper != _ZERO:
            # one of the crosswise products is 0, or the whole is too large
            cross, lost = product_of_words(a_upper, b) if a_upper != _ZERO else product_of_words(a, b_upper)
            upper = upper + cross
            wrong = ((a_upper != _ZERO) & (b_upper != _ZERO)) | (lost != _ZERO) | (upper < cross)
        wrong = wrong | is_beyond(word, upper)
        if (a_high[i] ^ b_high[i]) < 0:
            word, upper = negated(word, upper)
        low[i] = word
        high[i] = np.int64(upper)
        beyond[i] = wrong
        found |= wrong
    return 1 if found else 0


@kernel(void(U64, I64, OUT_U64, OUT_I64))
def negate_wides(a_low: Any, a_high: Any, low: Any, high: Any) -> None:
    """low, high = -a."""
    for i in range(len(low)):
        word, upper = negated(a_low[i], _U(a_high[i]))
        low[i] = word
        high[i] = np.int64(upper)


@kernel(i64(U64, I64, u64, u64, OUT_U8))
def reach_limit(low: Any, high: Any, limit_low: Any, limit_high: Any, out: Any) -> Any:
    """out (uint8[n]) = |value| >= limit, an integer of two words; returns whether it is for any, 1 or 0."""
    found = False
    for i in range(len(out)):
        word, upper = magnitude(low[i], high[i])
        reached = (upper > limit_high) | ((upper == limit_high) & (word >= limit_low))
        out[i] = reached
        found |= reached
    return 1 if found else 0


@inline
def _is_less(a_low: Any, a_high: Any, b_low: Any, b_high: Any) -> Any:
    return (a_high < b_high) | ((a_high == b_high) & (a_low < b_low))


@kernel(void(i64, U64, I64, U64, I64, OUT_U8))
def compare_wides(op: Any, a_low: Any, a_high: Any, b_low: Any, b_high: Any, out: Any) -> None:
    """out (uint8[n]) = a op b; op is EQ..GE."""
    for i in range(len(out)):
        if op in (EQ, NE):
            found = (a_low[i] == b_low[i]) & (a_high[i] == b_high[i])
        elif op in (LT, GE):
            found = _is_less(a_low[i], a_high[i], b_low[i], b_high[i])
        else:
            found = _is_less(b_low[i], b_high[i], a_low[i], a_high[i])
        out[i] = (not found) if op in (NE, GE, LE) else found
