"""Kernels that evaluate one node of an expression over a morsel: comparisons, arithmetic of words, and the pieces of CASE.

Conditions are two arrays of flags, `true` and `false`; a row where neither is set is NULL. Floats compare as in DuckDB: NaN
equals NaN and is greater than anything else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import F64, I64, OUT_I64, OUT_U8, U8, f64, i64, inline, kernel, void
from sabot_sql.executor.kernels.wide import LOWEST, minus, overflows, plus, times

EQ, NE, LT, LE, GT, GE = range(6)

YEAR, MONTH, DAY = range(3)
INFINITE_DAYS = 2**31 - 1  # how DuckDB keeps the date 'infinity', and negated '-infinity'

# A product of two words whose magnitude in float64 is below this did not wrap.
_NO_WRAP = 9.0e18


@kernel(void(i64, I64, I64, OUT_U8))
def compare_ints(op: Any, left: Any, right: Any, out: Any) -> None:
    """out (uint8[n]) = left op right, both int64[n]; op is EQ..GE."""
    if op == EQ:
        for i in range(len(out)):
            out[i] = left[i] == right[i]
    elif op == NE:
        for i in range(len(out)):
            out[i] = left[i] != right[i]
    elif op == LT:
        for i in range(len(out)):
            out[i] = left[i] < right[i]
    elif op == LE:
        for i in range(len(out)):
            out[i] = left[i] <= right[i]
    elif op == GT:
        for i in range(len(out)):
            out[i] = left[i] > right[i]
    else:
        for i in range(len(out)):
            out[i] = left[i] >= right[i]


@kernel(void(i64, I64, i64, OUT_U8))
def compare_ints_to(op: Any, left: Any, right: Any, out: Any) -> None:
    """out (uint8[n]) = left (int64[n]) op the constant right."""
    if op == EQ:
        for i in range(len(out)):
            out[i] = left[i] == right
    elif op == NE:
        for i in range(len(out)):
            out[i] = left[i] != right
    elif op == LT:
        for i in range(len(out)):
            out[i] = left[i] < right
    elif op == LE:
        for i in range(len(out)):
            out[i] = left[i] <= right
    elif op == GT:
        for i in range(len(out)):
            out[i] = left[i] > right
    else:
        for i in range(len(out)):
            out[i] = left[i] >= right


@inline
def _same(a: Any, b: Any) -> Any:
    return (a == b) | ((a != a) & (b != b))


@inline
def _less(a: Any, b: Any) -> Any:
    return (a < b) | ((a == a) & (b != b))


@kernel(void(i64, F64, F64, OUT_U8))
def compare_floats(op: Any, left: Any, right: Any, out: Any) -> None:
    """out (uint8[n]) = left op right, both float64[n], in DuckDB's order of floats."""
    if op == EQ:
        for i in range(len(out)):
            out[i] = _same(left[i], right[i])
    elif op == NE:
        for i in range(len(out)):
            out[i] = not _same(left[i], right[i])
    elif op == LT:
        for i in range(len(out)):
            out[i] = _less(left[i], right[i])
    elif op == LE:
        for i in range(len(out)):
            out[i] = not _less(right[i], left[i])
    elif op == GT:
        for i in range(len(out)):
            out[i] = _less(right[i], left[i])
    else:
        for i in range(len(out)):
            out[i] = not _less(left[i], right[i])


@kernel(void(i64, F64, f64, OUT_U8))
def compare_floats_to(op: Any, left: Any, right: Any, out: Any) -> None:
    """out (uint8[n]) = left (float64[n]) op the constant right, in DuckDB's order of floats."""
    if op == EQ:
        for i in range(len(out)):
            out[i] = _same(left[i], right)
    elif op == NE:
        for i in range(len(out)):
            out[i] = not _same(left[i], right)
    elif op == LT:
        for i in range(len(out)):
            out[i] = _less(left[i], right)
    elif op == LE:
        for i in range(len(out)):
            out[i] = not _less(right, left[i])
    elif op == GT:
        for i in range(len(out)):
            out[i] = _less(right, left[i])
    else:
        for i in range(len(out)):
            out[i] = not _less(left[i], right)


@kernel(i64(I64, I64, i64, i64, OUT_I64))
def add_ints(left: Any, right: Any, least: Any, most: Any, out: Any) -> Any:
    """out (int64[n]) = left + right.

    Returns:
        1 when a sum is not within `least` and `most`, else 0. All rows count, wanted or not: see `first_beyond_sum`.
    """
    beyond = False
    for i in range(len(out)):
        total = plus(left[i], right[i])
        out[i] = total
        beyond |= overflows(left[i], right[i], total) | (total < least) | (total > most)
    return 1 if beyond else 0


@kernel(i64(I64, I64, i64, i64, OUT_I64))
def subtract_ints(left: Any, right: Any, least: Any, most: Any, out: Any) -> Any:
    """out (int64[n]) = left - right; returns as `add_ints`."""
    beyond = False
    for i in range(len(out)):
        rest = minus(left[i], right[i])
        out[i] = rest
        beyond |= _wraps(left[i], right[i], rest) | (rest < least) | (rest > most)
    return 1 if beyond else 0


@kernel(i64(I64, I64, i64, i64, OUT_I64))
def multiply_ints(left: Any, right: Any, least: Any, most: Any, out: Any) -> Any:
    """out (int64[n]) = left * right; returns as `add_ints`, and 1 where a product only may have wrapped."""
    beyond = False
    for i in range(len(out)):
        product = times(left[i], right[i])
        out[i] = product
        beyond |= (abs(np.float64(left[i]) * np.float64(right[i])) >= _NO_WRAP) | (product < least) | (product > most)
    return 1 if beyond else 0


@kernel(i64(I64, i64, i64, i64, i64, OUT_I64))
def affine_ints(values: Any, factor: Any, offset: Any, least: Any, most: Any, out: Any) -> Any:
    """out (int64[n]) = offset + factor * values (int64[n]); returns as `multiply_ints`."""
    beyond = False
    for i in range(len(out)):
        product = times(factor, values[i])
        result = plus(offset, product)
        out[i] = result
        wraps = (abs(np.float64(factor) * np.float64(values[i])) >= _NO_WRAP) | overflows(offset, product, result)
        beyond |= wraps | (result < least) | (result > most)
    return 1 if beyond else 0


@inline
def _wraps(left: Any, right: Any, rest: Any) -> Any:
    """Whether rest = left - right (int64) has wrapped."""
    return ((left ^ right) & (left ^ rest)) < 0


@kernel(i64(I64, I64, i64, i64, U8))
def first_beyond_sum(left: Any, right: Any, least: Any, most: Any, wanted: Any) -> Any:
    """The first row with wanted (uint8[n]; empty: all) where left + right is not within `least` and `most`; -1 for none."""
    for i in range(len(left)):
        total = plus(left[i], right[i])
        if (overflows(left[i], right[i], total) | (total < least) | (total > most)) and (len(wanted) == 0 or wanted[i] != 0):
            return i
    return -1


@kernel(i64(I64, I64, i64, i64, U8))
def first_beyond_difference(left: Any, right: Any, least: Any, most: Any, wanted: Any) -> Any:
    """As `first_beyond_sum`, of left - right."""
    for i in range(len(left)):
        rest = minus(left[i], right[i])
        if (_wraps(left[i], right[i], rest) | (rest < least) | (rest > most)) and (len(wanted) == 0 or wanted[i] != 0):
            return i
    return -1


@kernel(i64(I64, I64, i64, i64, U8))
def first_beyond_product(left: Any, right: Any, least: Any, most: Any, wanted: Any) -> Any:
    """As `first_beyond_sum`, of left * right."""
    for i in range(len(left)):
        a, b = left[i], right[i]
        product = times(a, b)
        if a == -1:  # there is no quotient of the least word and -1
            wrapped = b == LOWEST
        else:
            wrapped = a != 0 and product // a != b
        if (wrapped or product < least or product > most) and (len(wanted) == 0 or wanted[i] != 0):
            return i
    return -1


@kernel(void(i64, I64, OUT_I64, OUT_U8))
def date_parts(part: Any, days: Any, out: Any, finite: Any) -> None:
    """out (int64[n]) = YEAR, MONTH or DAY of days (int64[n], since 1970); finite (uint8[n]) is 0 for infinity, which has none.

    Source: H. Hinnant, chrono-Compatible Low-Level Date Algorithms, civil_from_days. Its years begin in March.
    """
    for i in range(len(out)):
        shifted = days[i] + 719468
        era = shifted // 146097
        of_era = shifted - era * 146097
        year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
        of_year = of_era - (365 * year + year // 4 - year // 100)
        month = (5 * of_year + 2) // 153
        if part == YEAR:
            out[i] = year + era * 400 + month // 10
        elif part == MONTH:
            out[i] = month + 3 - 12 * (month // 10)
        else:
            out[i] = of_year - (153 * month + 2) // 5 + 1
        finite[i] = abs(days[i]) != INFINITE_DAYS


@kernel(void(U8, I64, OUT_I64))
def put_words(mask: Any, values: Any, out: Any) -> None:
    """out (int64[n]) = values (int64[n]) where mask (uint8[n]) is 1."""
    for i in range(len(out)):
        out[i] = values[i] if mask[i] != 0 else out[i]


@kernel(void(U8, i64, OUT_I64))
def put_word(mask: Any, value: Any, out: Any) -> None:
    """out (int64[n]) = the constant value where mask (uint8[n]) is 1."""
    for i in range(len(out)):
        out[i] = value if mask[i] != 0 else out[i]


@kernel(void(U8, U8, OUT_U8))
def put_flags(mask: Any, flags: Any, out: Any) -> None:
    """out (uint8[n]) = flags (uint8[n]) where mask (uint8[n], 0 or 1) is 1."""
    for i in range(len(out)):
        out[i] = flags[i] if mask[i] != 0 else out[i]


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (
        compare_ints,
        compare_ints_to,
        compare_floats,
        compare_floats_to,
        add_ints,
        subtract_ints,
        multiply_ints,
        affine_ints,
        first_beyond_sum,
        first_beyond_difference,
        first_beyond_product,
        date_parts,
        put_words,
        put_word,
        put_flags,
    ):
        each.load()
