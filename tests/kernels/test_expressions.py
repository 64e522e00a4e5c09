"""Parts of dates against Python's own calendar, arithmetic against its integers; the other kernels of expressions are tested
in `executor/test_evaluate.py`."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels.expressions import (
    DAY,
    INFINITE_DAYS,
    MONTH,
    YEAR,
    add_ints,
    affine_ints,
    date_parts,
    first_beyond_difference,
    first_beyond_product,
    first_beyond_sum,
    multiply_ints,
    subtract_ints,
)


@given(st.lists(st.dates(), max_size=20))
def test_parts_of_dates_are_pythons(dates: list[dt.date]) -> None:
    days = np.array([(d - dt.date(1970, 1, 1)).days for d in dates], np.int64)
    out, finite = np.empty(len(days), np.int64), np.empty(len(days), np.uint8)
    for part, name in ((YEAR, "year"), (MONTH, "month"), (DAY, "day")):
        date_parts(part, days, out, finite)
        assert out.tolist() == [getattr(d, name) for d in dates]
        assert finite.all()


def test_infinity_has_no_parts() -> None:
    finite = np.empty(4, np.uint8)
    days = np.array([INFINITE_DAYS, -INFINITE_DAYS, INFINITE_DAYS - 1, 1 - INFINITE_DAYS])
    date_parts(YEAR, days, np.empty(4, np.int64), finite)
    assert finite.tolist() == [0, 0, 1, 1]


WORDS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, -1, 0, 1, 2**32, -(2**31), 3037000500])
LIMITS = st.sampled_from([(-(2**63), 2**63 - 1), (-128, 127), (0, 2**32 - 1), (1 - 10**18, 10**18 - 1)])
KINDS = {
    operator.add: (add_ints, first_beyond_sum),
    operator.sub: (subtract_ints, first_beyond_difference),
    operator.mul: (multiply_ints, first_beyond_product),
}


@given(st.lists(st.tuples(WORDS, WORDS, st.booleans()), min_size=1, max_size=20), LIMITS, st.sampled_from(list(KINDS)))
@settings(max_examples=200, deadline=None)
def test_results_beyond_the_limits_are_found(
    rows: list[tuple[int, int, bool]], limits: tuple[int, int], naive: Callable[[int, int], int]
) -> None:
    kernel, first = KINDS[naive]
    left, right = (np.array([r[i] for r in rows], np.int64) for i in (0, 1))
    out, wanted = np.empty(len(rows), np.int64), np.array([r[2] for r in rows], np.uint8)
    found = kernel(left, right, *limits, out)
    results = [naive(a, b) for a, b, _ in rows]
    wrong = [not limits[0] <= r <= limits[1] for r in results]
    assert found >= any(wrong)  # a product is looked at again
    assert [v for v, w in zip(out.tolist(), wrong) if not w] == [r for r, w in zip(results, wrong) if not w]
    assert first(left, right, *limits, np.empty(0, np.uint8)) == next((i for i, w in enumerate(wrong) if w), -1)
    assert first(left, right, *limits, wanted) == next((i for i, w in enumerate(wrong) if w and wanted[i]), -1)


@given(st.lists(WORDS, min_size=1, max_size=20), WORDS, WORDS, LIMITS)
@settings(max_examples=100, deadline=None)
def test_results_with_constants_are_exact_or_said_to_be_beyond(
    values: list[int], factor: int, offset: int, limits: tuple[int, int]
) -> None:
    for a, b in ((factor, 0), (1, offset), (-1, offset)):
        out = np.empty(len(values), np.int64)
        found = affine_ints(np.array(values, np.int64), a, b, *limits, out)
        results = [b + a * v for v in values]
        assert found >= any(not limits[0] <= r <= limits[1] for r in results)
        if not found:
            assert out.tolist() == results
