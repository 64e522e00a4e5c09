"""128-bit sums and averages agree with Python's integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels import aggregates, wide

NO_FLAGS = np.empty(0, np.uint8)
WORDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([-(2**63), 2**63 - 1, -1, 0, 1]))
WIDES = st.one_of(
    st.integers(-(2**127), 2**127 - 1),
    st.integers(-(2**64), 2**64),
    st.sampled_from([-(2**127), 2**127 - 1, 2**64, 2**63, -(2**63) - 1, 10**38, -(10**38), 10**38 - 1]),
)


def limbs(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([v % 2**64 for v in values], np.uint64)
    return low, np.array([v >> 64 for v in values], np.int64)


def joined(low: np.ndarray, high: np.ndarray) -> list[int]:
    return [(int(h) << 64) + int(w) for w, h in zip(low, high)]


def finished(low: np.ndarray, high: np.ndarray) -> tuple[list[int], int]:
    out_low, out_high = np.empty(len(low), np.uint64), np.empty(len(low), np.int64)
    wrong = wide.finish_sums(low, high, out_low, out_high)
    return joined(out_low, out_high), wrong


@given(st.lists(WORDS, max_size=40), st.lists(st.integers(0, 2**64 - 1), max_size=10))
@settings(max_examples=60, deadline=None)
def test_sums_of_words_are_exact(signed: list[int], unsigned: list[int]) -> None:
    low, high = np.zeros(1, np.int64), np.zeros(1, np.int64)
    aggregates.sum_int(np.zeros(len(signed), np.int64), np.array(signed, np.int64), NO_FLAGS, low, high)
    aggregates.sum_int_all(np.array(signed, np.int64), NO_FLAGS, low, high)
    aggregates.sum_uint(np.zeros(len(unsigned), np.int64), np.array(unsigned, np.uint64), NO_FLAGS, low, high)
    assert finished(low, high) == ([2 * sum(signed) + sum(unsigned)], 0)


@given(st.lists(WIDES, max_size=6))
@settings(max_examples=100, deadline=None)
def test_sums_of_wide_values_are_exact_or_said_to_overflow(values: list[int]) -> None:
    low, high = np.zeros(1, np.int64), np.zeros(1, np.int64)
    wrong = aggregates.sum_wide(np.zeros(len(values), np.int64), *limbs(values), NO_FLAGS, low, high)
    # the running sum has a signed low word, so its range lies 2**63 lower than that of two's complement
    edge = 2**127 - 2**63
    partial = [sum(values[:i]) for i in range(len(values) + 1)]
    if all(abs(p) < edge for p in partial):
        assert wrong == 0
        total, beyond = finished(low, high)
        assert beyond == (abs(partial[-1]) >= 10**38)
        assert total == partial[-1:]
    elif any(abs(p) > 2**127 + 2**63 for p in partial):
        assert wrong > 0


@given(
    st.one_of(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-(2**70), 2**70)), st.integers(1, 2**40), st.integers(0, 18)
)
@settings(max_examples=300, deadline=None)
def test_averages_are_rounded_once(total: int, count: int, scale: int) -> None:
    out = np.empty(1, np.float64)
    wide.averages(*limbs([total]), np.array([count]), 10.0**scale, out)
    exact = Fraction(total, count * 10**scale)
    assert abs(Fraction(float(out[0])) - exact) <= abs(exact) * Fraction(51, 100) / 2**52


def test_the_average_of_nothing_is_not_computed() -> None:
    out = np.empty(1, np.float64)
    wide.averages(*limbs([0]), np.array([0]), 1.0, out)
    assert out.tolist() == [0.0]
