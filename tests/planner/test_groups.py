"""Where the groups of an aggregate are found, and by which of their keys they come together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sabot_sql.catalog.table import ColumnStatistics, DataFile
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.explain import draw_stages
from sabot_sql.planner.lower import lower
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.physical import Session
from sabot_sql.planner.stages import Cluster
from tests.planner.tables import learnt

NUMBERS = ColumnStatistics(min=1, max=100_000, null_count=0, distinct_count=100_000, histogram=tuple(range(1, 100_001, 1000)))
TEXTS = ColumnStatistics(min="a", max="z", null_count=0, distinct_count=100_000)
FEW = ColumnStatistics(min=1, max=100, null_count=0, distinct_count=100, histogram=tuple(range(1, 101)))


def plan(sql: str, slots: int = 2, number: ColumnStatistics = NUMBERS, text: ColumnStatistics = TEXTS) -> str:
    table = learnt(
        "t", 10_000_000, s=("VARCHAR", text), n=("BIGINT", number), few=("BIGINT", FEW), v=("DOUBLE", ColumnStatistics())
    )
    files = tuple(DataFile(f"/data/{i}.parquet", 40_000_000, 1, 5_000_000, (5_000_000,)) for i in range(2))
    table = replace(table, scan=replace(table.scan, files=files))
    bound = Binder().bind(sql, [table], {"t": table}.__getitem__, Session())
    return draw_stages(lower(optimize(bound.plan), bound.schema, Cluster(slots), Session()))


def test_strings_do_not_place_groups_where_a_number_has_many_values() -> None:
    text = plan("SELECT s, n, few, sum(v) FROM t GROUP BY ALL")
    assert "hash by n, few into 2" in text
    assert "HashAggregate final by s, n, few" in text


@pytest.mark.parametrize(
    ("number", "slots"),
    [
        (replace(NUMBERS, most_common=((7, 0.2),)), 2),
        (replace(NUMBERS, null_count=9_000_000), 2),
        (replace(NUMBERS, histogram=None), 2),
        (FEW, 2),
        (NUMBERS, 200),
        (replace(NUMBERS, most_common=((7, 0.01),)), 8),
    ],
    ids=["a frequent value", "mostly NULL", "nothing learnt", "few values", "many partitions", "frequent for a partition"],
)
def test_strings_place_groups_where_the_others_may_leave_partitions_uneven(number: ColumnStatistics, slots: int) -> None:
    assert f"hash by s, n into {slots}" in plan("SELECT s, n, sum(v) FROM t GROUP BY ALL", slots, number)


def test_join_by_all_keys_of_groups_partitions_them_again() -> None:
    text = plan("SELECT * FROM (SELECT s, n, sum(v) FROM t GROUP BY ALL) a JOIN t b ON a.s = b.s AND a.n = b.n")
    assert text.count("hash by s, n into 2") == 2


@pytest.mark.parametrize(("values", "on_duckdb"), [(100_000, True), (200_000, False)])
def test_many_groups_by_strings_are_found_where_they_are_scanned(values: int, on_duckdb: bool) -> None:
    text = plan("SELECT s, sum(v) FROM t GROUP BY s", text=replace(TEXTS, distinct_count=values))
    assert (
        "│ Aggregate partial by s [sum(c1)] [duckdb]" in text or "Aggregate partial by s [sum(v)] [duckdb]" in text
    ) == on_duckdb


def test_many_groups_by_numbers_are_found_by_kernels() -> None:
    assert "HashAggregate partial by n [sum(v)] [numba]" in plan("SELECT n, sum(v) FROM t GROUP BY n")
