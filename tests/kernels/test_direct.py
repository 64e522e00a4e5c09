"""Groups found by codes agree with a Python dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.columns import Column
from sabot_sql.executor.direct_groups import MAX_CODES, MAX_MISSES, DirectGroups
from sabot_sql.executor.group_table import GroupTable
from sabot_sql.executor.keys import KeyEncoder
from sabot_sql.types import BIGINT, Lane

VALUES = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([40, -40, 2**63 - 1, -(2**63)]))


def column_of(values: list[int | None]) -> Column:
    valid = np.array([v is not None for v in values], np.uint8) if None in values else None
    return Column(Lane.INT, np.array([v or 0 for v in values], np.int64), None, None, None, valid, len(values))


@pytest.mark.parametrize("num_keys", [1, 2, 3])
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_rows_are_numbered_as_without_codes(num_keys: int, data: st.DataObject) -> None:
    batches = data.draw(st.lists(st.lists(st.tuples(*[VALUES] * num_keys), min_size=1, max_size=12), max_size=8))
    encoder = KeyEncoder([BIGINT] * num_keys, growable=True)
    table, naive = GroupTable(num_keys), {}
    for rows in batches:
        found = table.rows([column_of(list(c)) for c in zip(*rows)], encoder)
        assert found.tolist() == [naive.setdefault(row, len(naive)) for row in rows]


def test_what_was_seen_is_found() -> None:
    known = DirectGroups()
    keys = [column_of([5, 6, None, 5]), column_of([0, -1, 0, None])]
    known.learn(keys, np.array([0, 1, 2, 3]))
    found = known.find(keys)
    assert found is not None
    assert found.tolist() == [0, 1, 2, 3]
    assert known.find([column_of([5]), column_of([-1])]) is None  # no such pair yet
    assert known.find([column_of([4]), column_of([0])]) is None  # outside, where the code of NULL would be


def test_keys_far_from_each_other_are_given_up() -> None:
    known = DirectGroups()
    known.learn([column_of([0, MAX_CODES])], np.array([0, 1]))
    assert known.find([column_of([0])]) is None
    assert known.size_bytes == 0


def test_keys_that_do_not_repeat_are_given_up() -> None:
    known = DirectGroups()
    for i in range(MAX_MISSES + 1):
        known.learn([column_of([i])], np.array([i]))
    assert known.find([column_of([0])]) is None
