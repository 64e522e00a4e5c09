"""Selection finds what sorting finds, and moments are those of the statistics module."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.executor.columns import NO_FLAGS
from sabot_sql.executor.kernels import quantiles

WORDS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)


@given(st.lists(st.lists(WORDS, max_size=40), max_size=6), st.floats(0, 1))
def test_the_words_beside_a_place_are_those_of_the_sorted_list(groups: list[list[int]], fraction: float) -> None:
    words = np.array([w for g in groups for w in g], np.int64)
    ends = np.cumsum([len(g) for g in groups], dtype=np.int64)
    lower, upper, weights = (np.zeros(len(groups), t) for t in (np.int64, np.int64, np.float64))
    quantiles.find_places(words, ends, fraction, lower, upper, weights)
    for i, group in enumerate(groups):
        place = (len(group) - 1) * fraction
        expected = (sorted(group)[math.floor(place)], sorted(group)[math.ceil(place)], place % 1) if group else (0, 0, 0)
        assert (lower[i], upper[i], weights[i]) == expected


@pytest.mark.parametrize("shape", ["ascending", "descending", "equal", "organ pipe", "few"])
def test_no_order_makes_selection_wrong(shape: str) -> None:
    n = 2000
    words = {
        "ascending": np.arange(n),
        "descending": np.arange(n)[::-1].copy(),
        "equal": np.zeros(n, np.int64),
        "organ pipe": np.minimum(np.arange(n), n - np.arange(n)),
        "few": np.arange(n) % 3,
    }[shape]
    for fraction in (0.0, 0.3, 0.5, 1.0):
        lower, upper, weights = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
        quantiles.find_places(words.copy(), np.array([n]), fraction, lower, upper, weights)
        place = (n - 1) * fraction
        assert (lower[0], upper[0]) == (np.sort(words)[math.floor(place)], np.sort(words)[math.ceil(place)])


@given(st.lists(st.tuples(st.integers(0, 3), WORDS)))
def test_words_come_together_in_their_order(rows: list[tuple[int, int]]) -> None:
    groups, words = (np.array(column, np.int64) for column in (zip(*rows) if rows else ([], [])))
    counts = np.bincount(groups, minlength=4)
    at, out = np.cumsum(counts) - counts, np.empty(len(rows), np.int64)
    quantiles.place_by_group(groups, words, at, out)
    assert out.tolist() == [w for g in range(4) for of, w in rows if of == g]
    assert at.tolist() == np.cumsum(counts).tolist()


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(-1e6, 1e6), st.booleans())), st.integers(0, 30))
def test_moments_of_two_parts_are_those_of_the_whole(rows: list[tuple[int, float, bool]], cut: int) -> None:
    parts = []
    for part in (rows[:cut], rows[cut:]):
        found = np.zeros(3, np.int64), np.zeros(3), np.zeros(3)
        groups, values, live = (np.array([r[i] for r in part], t) for i, t in enumerate((np.int64, np.float64, np.uint8)))
        quantiles.add_moments(groups, values, live if len(part) else NO_FLAGS, *found)
        parts.append(found)
    quantiles.merge_moments(np.arange(3), *parts[1], *parts[0])
    counts, means, squares = parts[0]
    for group in range(3):
        of_group = [v for g, v, live in rows if live and g == group]
        assert counts[group] == len(of_group)
        if of_group:
            assert means[group] == pytest.approx(statistics.fmean(of_group), abs=1e-6)
            assert squares[group] == pytest.approx(statistics.pvariance(of_group) * len(of_group), rel=1e-6, abs=1e-3)
