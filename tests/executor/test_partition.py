"""Partitions have all rows once, equal keys together, and each its rows in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.partition import Partitioner
from tests.executor.tables import VALUES, batch_of_rows, plain, row_strategy, rows_of, schema_of


def split(types: list[str], rows: list[tuple[Any, ...]], keys: tuple[int, ...], many: int) -> dict[int, list[tuple[Any, ...]]]:
    partitioner = Partitioner(keys, [f.type for f in schema_of(types)], many)
    parts = partitioner.split(batch_of_rows(types, rows))
    assert all(batch.num_rows for _, batch in parts)
    assert [p for p, _ in parts] == sorted({p for p, _ in parts})
    return {p: rows_of([batch]) for p, batch in parts}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3), st.integers(1, 9))
def test_equal_keys_meet_in_one_partition(data: st.DataObject, types: list[str], many: int) -> None:
    keys = tuple(range(len(types)))
    rows = data.draw(st.lists(row_strategy(types), max_size=30))
    rows = [(*row, i) for i, row in enumerate(rows)]
    parts = split([*types, "BIGINT"], rows, keys, many)
    home: dict[Any, int] = {}
    for number, part in parts.items():
        assert 0 <= number < many
        assert [row[-1] for row in part] == sorted(row[-1] for row in part)
        for row in part:
            assert home.setdefault(tuple(map(plain, row[:-1])), number) == number
    assert sorted(row[-1] for part in parts.values() for row in part) == list(range(len(rows)))


def test_partitions_of_many_keys_are_about_equal() -> None:
    rows = [(i,) for i in range(20_000)]
    sizes = [len(part) for part in split(["BIGINT"], rows, (0,), 8).values()]
    assert len(sizes) == 8
    assert max(sizes) < 1.15 * np.mean(sizes)


@pytest.mark.parametrize("batch_rows", [1, 7])
def test_the_partition_of_a_key_does_not_depend_on_the_batch(batch_rows: int) -> None:
    rows = [(v, i) for i, v in enumerate(VALUES["VARCHAR"])]
    whole = split(["VARCHAR", "BIGINT"], rows, (0,), 5)
    for at in range(0, len(rows), batch_rows):
        for number, part in split(["VARCHAR", "BIGINT"], rows[at : at + batch_rows], (0,), 5).items():
            assert set(part) <= set(whole[number])


def test_no_rows_have_no_partition() -> None:
    assert split(["BIGINT"], [], (0,), 4) == {}
