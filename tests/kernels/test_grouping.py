"""Group tables agree with a Python dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.group_table import FORECAST_GROUPS, GroupTable, groups_to_come
from sabot_sql.executor.kernels import grouping


def naive(rows: list[tuple[int, ...]]) -> list[int]:
    numbers: dict[tuple[int, ...], int] = {}
    return [numbers.setdefault(row, len(numbers)) for row in rows]


WORDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-2, 2))


@pytest.mark.parametrize("num_words", [1, 2, 3, 5])
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_rows_are_numbered_in_order_of_first_appearance(num_words: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*[WORDS] * num_words), max_size=60))
    table = GroupTable(num_words)
    found = []
    for at in range(0, len(rows), 13):
        found += table.group(np.array(rows[at : at + 13], np.int64).T.copy()).tolist()
    assert found == naive(rows)
    assert list(map(tuple, table.words.T.tolist())) == list(dict.fromkeys(rows))


@pytest.mark.parametrize("num_words", [1, 2])
def test_tables_grow_with_their_rows(num_words: int) -> None:
    words = np.zeros((num_words, 60_000), np.int64)
    words[0] = (np.arange(60_000) * 7919) % 40_009
    table = GroupTable(num_words)
    found = np.concatenate([table.group(np.ascontiguousarray(words[:, at : at + 9000])) for at in range(0, 60_000, 9000)])
    assert found.tolist() == naive([(int(w),) for w in words[0]])
    assert table.count == 40_009


@pytest.mark.parametrize("num_words", [1, 2])
def test_a_table_that_knows_how_many_rows_come_grows_to_its_size_at_once(num_words: int) -> None:
    rows = 8 * FORECAST_GROUPS
    words = np.zeros((num_words, rows), np.int64)
    words[0] = np.arange(rows) * 7919
    table, sizes = GroupTable(num_words), set()
    table.rows_expected = rows
    for at in range(0, rows, 10_000):
        part = np.ascontiguousarray(words[:, at : at + 10_000])
        assert (table.group(part) == np.arange(at, at + part.shape[1])).all()
        if table.count >= 2 * FORECAST_GROUPS:
            sizes.add(table.capacity)
    assert len(sizes) == 1
    assert (table.words == words).all()


@pytest.mark.parametrize(("domain", "rows"), [(100_000, 300_000), (1_000_000, 2_000_000), (5_000_000, 2_000_000)])
def test_the_number_of_groups_is_foretold_from_the_first_rows(domain: int, rows: int) -> None:
    drawn = np.random.default_rng(7).integers(0, domain, rows)
    for seen in (rows // 10, rows // 2):
        forecast = groups_to_come(len(np.unique(drawn[:seen])), seen, rows)
        assert forecast == pytest.approx(len(np.unique(drawn)), rel=0.05)


def test_nothing_is_foretold_where_no_more_rows_come() -> None:
    assert groups_to_come(5, 10, 10) == groups_to_come(5, 10, 0) == groups_to_come(0, 0, 10) == 0
    assert groups_to_come(10, 10, 1000) == 1000


@pytest.mark.parametrize("num_words", [1, 2])
def test_rows_that_are_not_live_are_in_no_group(num_words: int) -> None:
    words = np.zeros((num_words, 4), np.int64)
    words[0] = [5, 6, 5, 7]
    table = GroupTable(num_words)
    assert table.group(words, np.array([0, 1, 1, 1], np.uint8)).tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (1, 3)])
def test_a_table_that_gets_more_words_keeps_its_numbers(before: int, after: int) -> None:
    table = GroupTable(before)
    words = np.zeros((before, 2000), np.int64)
    words[0] = np.arange(2000)
    table.group(words)
    wider = np.zeros((after, 3), np.int64)
    wider[0], wider[-1] = [7, 1999, 7], [0, 0, 1]
    assert table.group(wider).tolist() == [7, 1999, 2000]


def test_first_rows_are_those_that_made_a_group() -> None:
    out = np.empty(2, np.int64)
    grouping.first_rows(np.array([0, 3, 1, 3, 4, 4]), 3, 5, out)
    assert out.tolist() == [1, 4]
