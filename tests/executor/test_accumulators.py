"""Accumulators whose arrays are mostly zero agree with Python's integers as they grow."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.accumulators import Count, ExactSum, RowCount
from sabot_sql.executor.columns import NO_FLAGS, Column
from sabot_sql.types import Lane

EDGES = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**62])
BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 9), EDGES), min_size=1, max_size=8), min_size=1, max_size=6)


@given(BATCHES)
@settings(max_examples=100, deadline=None)
def test_sums_carry_whenever_the_first_carry_comes(batches: list[list[tuple[int, int]]]) -> None:
    total, naive = ExactSum(), dict.fromkeys(range(10), 0)
    for at, batch in enumerate(batches):
        groups = np.array([min(g, 2 * at + 1) for g, _ in batch], np.int64)
        total.resize(int(groups.max()) + 1)
        total.update(groups, Column(Lane.INT, np.array([v for _, v in batch]), None, None, None, None, len(batch)), NO_FLAGS)
        for group, (_, value) in zip(groups.tolist(), batch):
            naive[group] += value
    total.resize(10)
    low, high = total.values(10)
    assert [int(lo) + (int(hi) << 64) for lo, hi in zip(low, high)] == list(naive.values())
    first, second = total.values(10, 4)
    assert (first.tolist(), second.tolist()) == (low[4:].tolist(), high[4:].tolist())


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=8), max_size=6))
@settings(max_examples=50, deadline=None)
def test_rows_without_a_value_are_not_counted(batches: list[list[tuple[int, int]]]) -> None:
    rows = RowCount()
    count, naive = Count(rows), dict.fromkeys(range(10), 0)
    for at, batch in enumerate(batches):
        groups = np.array([min(g, 2 * at + 1) for g, _ in batch], np.int64)
        live = np.array([flag for _, flag in batch], np.uint8)
        for each in (rows, count):
            each.resize(int(groups.max()) + 1)
        rows.update(groups, len(batch))
        count.update(groups, NO_FLAGS if live.all() else live)
        for group, (_, flag) in zip(groups.tolist(), batch):
            naive[group] += flag
    rows.resize(10)
    count.resize(10)
    assert count.values(10).tolist() == list(naive.values())
    assert count.values(10, 7).tolist() == list(naive.values())[7:]
