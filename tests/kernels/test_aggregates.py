"""Update loops agree with plain Python over the same rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels import aggregates

GROUPS = 3
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf]))
INTS = st.integers(-(2**63), 2**63 - 1)


def rows_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[int, int, Any]]]:
    return st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(0, 1), values), max_size=30)


def arrays(rows: list[tuple[int, int, Any]], dtype: Any, all_live: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    groups = np.array([g for g, _, _ in rows], np.int64)
    live = np.array([] if all_live else [f for _, f, _ in rows], np.uint8)
    return groups, live, np.array([v for _, _, v in rows], dtype)


def kept(rows: list[tuple[int, int, Any]], all_live: bool) -> list[list[Any]]:
    return [[v for g, f, v in rows if g == group and (f or all_live)] for group in range(GROUPS)]


def order(value: float) -> tuple[bool, float]:
    return (value != value, 0.0 if value != value else value)


@given(rows_of(st.integers(0, 5)))
@settings(max_examples=30, deadline=None)
def test_counts(rows: list[tuple[int, int, int]]) -> None:
    groups, live, values = arrays(rows, np.int64, False)
    totals, missing, added = (np.zeros(GROUPS, np.int64) for _ in range(3))
    aggregates.count_rows(groups, totals)
    aggregates.count_missing(groups, live, missing)
    aggregates.add_counts(groups, values, -1, added)
    assert (totals - missing).tolist() == [len(v) for v in kept(rows, False)]
    assert added.tolist() == [-sum(v) for v in kept(rows, True)]


@pytest.mark.parametrize("all_live", [False, True])
@pytest.mark.parametrize("flip", [0, -1])
@given(rows=rows_of(INTS))
@settings(max_examples=20, deadline=None)
def test_least_and_greatest_integers(all_live: bool, flip: int, rows: list[tuple[int, int, int]]) -> None:
    groups, live, values = arrays(rows, np.int64, all_live)
    least = np.full(GROUPS, 2**63 - 1)
    aggregates.least_int(groups, values, live, np.int64(flip), least)
    assert least.tolist() == [min((v ^ flip for v in part), default=2**63 - 1) for part in kept(rows, all_live)]
    one = np.full(1, 2**63 - 1)
    aggregates.least_int_all(values, live, np.int64(flip), one)
    assert one[0] == min(least.tolist())


@pytest.mark.parametrize("all_live", [False, True])
@given(rows=rows_of(FLOATS))
@settings(max_examples=30, deadline=None)
def test_least_and_greatest_floats_put_nan_last(all_live: bool, rows: list[tuple[int, int, float]]) -> None:
    groups, live, values = arrays(rows, np.float64, all_live)
    least, greatest = np.full(GROUPS, np.nan), np.full(GROUPS, -np.inf)
    aggregates.least_float(groups, values, live, least)
    aggregates.greatest_float(groups, values, live, greatest)
    for group, part in enumerate(kept(rows, all_live)):
        if part:
            assert order(least[group]) == min(map(order, part))
            assert order(greatest[group]) == max(map(order, part))


@pytest.mark.parametrize("all_live", [False, True])
@given(rows=rows_of(st.integers(-(2**127), 2**127 - 1)))
@settings(max_examples=20, deadline=None)
def test_least_wide_integers(all_live: bool, rows: list[tuple[int, int, int]]) -> None:
    groups, live, _ = arrays(rows, object, all_live)
    low = np.array([v % 2**64 for _, _, v in rows], np.uint64)
    high = np.array([v >> 64 for _, _, v in rows], np.int64)
    least_low, least_high = np.full(GROUPS, 2**64 - 1, np.uint64), np.full(GROUPS, 2**63 - 1)
    aggregates.least_wide(groups, low, high, live, np.int64(0), least_low, least_high)
    found = [(int(h) << 64) + int(w) for w, h in zip(least_low, least_high)]
    assert found == [min(part, default=2**127 - 1) for part in kept(rows, all_live)]


@pytest.mark.parametrize("all_live", [False, True])
@given(rows=rows_of(st.floats(-1e9, 1e9)))
@settings(max_examples=20, deadline=None)
def test_sums_of_floats(all_live: bool, rows: list[tuple[int, int, float]]) -> None:
    groups, live, values = arrays(rows, np.float64, all_live)
    totals, one = np.zeros(GROUPS), np.zeros(1)
    aggregates.sum_float(groups, values, live, totals)
    aggregates.sum_float_all(values, live, one)
    expected = [math.fsum(part) for part in kept(rows, all_live)]
    assert totals.tolist() == pytest.approx(expected, abs=1e-5)
    assert one[0] == pytest.approx(math.fsum(expected), abs=1e-5)


@pytest.mark.parametrize("all_live", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@given(rows=rows_of(st.one_of(st.binary(max_size=20), st.sampled_from([b"same prefix", b"same prefix a", b"same prefiy"]))))
@settings(max_examples=40, deadline=None)
def test_least_and_greatest_strings_by_bytes(all_live: bool, sign: int, rows: list[tuple[int, int, bytes]]) -> None:
    groups, live, _ = arrays(rows, object, all_live)
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(v) for _, _, v in rows], out=offsets[1:])
    data = np.frombuffer(b"".join(v for _, _, v in rows), np.uint8)
    starts, lengths = np.zeros(GROUPS, np.int64), np.full(GROUPS, -1)
    arena, used = np.empty(1000, np.uint8), np.zeros(1, np.int64)
    assert aggregates.extreme_bytes(groups, offsets, data, live, 0, sign, starts, lengths, arena, used) == len(rows)
    pick = min if sign == 1 else max
    found = [arena[s : s + n].tobytes() if n >= 0 else None for s, n in zip(starts, lengths)]
    assert found == [pick(part, default=None) for part in kept(rows, all_live)]
