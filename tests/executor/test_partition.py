"""Partitions have all rows once, equal keys together, and each its rows in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import InternalError
from sabot_sql.executor.partition import Partitioner, RangePartitioner
from sabot_sql.planner.physical import SortKey
from sabot_sql.planner.ranges import physical
from sabot_sql.types import parse_type
from tests.executor.tables import VALUES, ask_duckdb, batch_of_rows, plain, row_strategy, rows_of, schema_of, table_for_duckdb


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


CUT = [t for t in VALUES if t not in ("BOOLEAN", "BLOB", "DECIMAL(38,4)")]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(CUT), st.booleans(), st.booleans(), st.integers(0, 3))
def test_ranges_follow_one_another_as_duckdb_orders(
    data: st.DataObject, kind: str, down: bool, first: bool, spare: int
) -> None:
    type = parse_type(kind)
    physical_values = {physical(v, type) for v in data.draw(st.lists(st.sampled_from(VALUES[kind]), max_size=4))} - {None}
    bounds = sorted(physical_values, key=lambda v: v.encode() if isinstance(v, str) else v)
    rows = [(*row, i) for i, row in enumerate(data.draw(st.lists(row_strategy([kind]), max_size=30)))]
    partitioner = RangePartitioner(SortKey(0, down, first), type, bounds, len(bounds) + 1 + spare)
    parts = {p: rows_of([b]) for p, b in partitioner.split(batch_of_rows([kind, "BIGINT"], rows))}
    home = {row[-1]: number for number, part in parts.items() for row in part}
    assert all([row[-1] for row in part] == sorted(row[-1] for row in part) for part in parts.values())
    order = f"c0 {'desc' if down else 'asc'} nulls {'first' if first else 'last'}"
    sql = f"select dense_rank() over (order by {order}), c1 from t order by 1"
    ranked = ask_duckdb(sql, t=table_for_duckdb([kind, "BIGINT"], rows))
    numbers = [home[i] for _, i in ranked]
    assert sorted(home) == list(range(len(rows)))
    assert numbers == sorted(numbers)
    assert len({(rank, home[i]) for rank, i in ranked}) == len({rank for rank, _ in ranked})


def test_what_equals_a_bound_is_above_it() -> None:
    batch = batch_of_rows(["BIGINT"], [(1,), (5,), (4,), (None,)])
    parts = RangePartitioner(SortKey(0), parse_type("BIGINT"), [5], 2).split(batch)
    assert [(p, rows_of([b])) for p, b in parts] == [(0, [(1,), (4,)]), (1, [(5,), (None,)])]


def test_bounds_that_need_more_partitions_are_refused() -> None:
    with pytest.raises(InternalError, match="2 bounds do not cut into 2 partitions"):
        RangePartitioner(SortKey(0), parse_type("BIGINT"), [5, 6], 2)
