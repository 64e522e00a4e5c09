"""Arithmetic and comparisons of 128-bit decimals agree with Python's integers."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels import expressions as words
from sabot_sql.executor.kernels import wide_arithmetic as wide
from tests.kernels.test_wide import WIDES, joined, limbs

LIMIT = 10**38
DECIMALS = st.one_of(
    st.integers(1 - LIMIT, LIMIT - 1),
    st.integers(-(2**66), 2**66),
    st.sampled_from([0, 1, -1, 2**63, -(2**63), 2**64, 2**64 - 1, -(2**64), 10**19, -(10**19), LIMIT - 1, 1 - LIMIT]),
    st.integers(-8, 8).flatmap(lambda near: st.integers(0, 38).map(lambda n: max(1 - LIMIT, min(LIMIT - 1, 10**n + near)))),
)
PAIRS = st.lists(st.tuples(DECIMALS, DECIMALS), max_size=20)
OPS = {
    words.EQ: operator.eq,
    words.NE: operator.ne,
    words.LT: operator.lt,
    words.LE: operator.le,
    words.GT: operator.gt,
    words.GE: operator.ge,
}


@pytest.mark.parametrize(
    ("kernel", "naive"),
    [(wide.add_wides, operator.add), (wide.subtract_wides, operator.sub), (wide.multiply_wides, operator.mul)],
)
@given(pairs=PAIRS)
@settings(max_examples=150, deadline=None)
def test_results_are_exact_or_marked(
    kernel: Callable[..., int], naive: Callable[[int, int], int], pairs: list[tuple[int, int]]
) -> None:
    low, high = np.empty(len(pairs), np.uint64), np.empty(len(pairs), np.int64)
    beyond = np.empty(len(pairs), np.uint8)
    found = kernel(*limbs([a for a, _ in pairs]), *limbs([b for _, b in pairs]), low, high, beyond)
    expected = [naive(a, b) for a, b in pairs]
    assert beyond.tolist() == [abs(e) >= LIMIT for e in expected]
    assert found == any(beyond)
    assert [v for v, b in zip(joined(low, high), beyond) if not b] == [e for e in expected if abs(e) < LIMIT]


@given(st.lists(DECIMALS, max_size=20))
@settings(max_examples=100, deadline=None)
def test_contraries_are_exact(values: list[int]) -> None:
    low, high = np.empty(len(values), np.uint64), np.empty(len(values), np.int64)
    wide.negate_wides(*limbs(values), low, high)
    assert joined(low, high) == [-v for v in values]


@given(st.lists(WIDES | DECIMALS, max_size=20), st.integers(0, 38), st.integers(-1, 1))
@settings(max_examples=100, deadline=None)
def test_limits_are_reached_by_magnitudes(values: list[int], digits: int, near: int) -> None:
    limit = 10**digits
    values = [*values, limit + near, -limit + near]
    out = np.empty(len(values), np.uint8)
    found = wide.reach_limit(*limbs(values), limit & (2**64 - 1), limit >> 64, out)
    assert out.tolist() == [abs(v) >= limit for v in values]
    assert found == any(out)


@given(st.lists(st.tuples(WIDES, WIDES), max_size=20), st.lists(WIDES, max_size=5), st.sampled_from(sorted(OPS)))
@settings(max_examples=100, deadline=None)
def test_comparisons_are_pythons(pairs: list[tuple[int, int]], same: list[int], op: int) -> None:
    pairs = [*pairs, *zip(same, same), *((a, a - 1) for a in same if a > -(2**127))]
    out = np.empty(len(pairs), np.uint8)
    wide.compare_wides(op, *limbs([a for a, _ in pairs]), *limbs([b for _, b in pairs]), out)
    assert out.tolist() == [OPS[op](a, b) for a, b in pairs]
