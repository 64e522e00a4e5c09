"""Scans that are told by finished build sides which of their rows can match: same rows of the join, fewer of the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from sabot_sql.catalog.table import ScanSpec
from sabot_sql.planner.expressions import Call, Compare, Const, Ref
from sabot_sql.planner.physical import Exchange, Filter, HashJoin, Limit, Node, Project, Stage, Task, Union
from sabot_sql.types import BIGINT, BOOLEAN, Field
from tests.executor.stage_runner import Runner, group_splits, parquet_table, scan

FACTS = """SELECT i AS id, i // 10 AS k, DATE '2024-01-01' + (i // 50)::INT AS day, 'name ' || i % 700 AS name,
    (i / 4)::DECIMAL(12,2) AS price, (i * 0.5)::DOUBLE AS ratio, nullif(i % 9, 0)::INT AS small FROM range(20000) t(i)"""
GATHER = Exchange("gather")


@pytest.fixture
def facts(tmp_path: Path) -> ScanSpec:
    return parquet_table(tmp_path, "facts", FACTS, files=2)


def joined(
    folder: Path, facts: ScanSpec, key: str, build: str, kind: Any, more: Any = None, share: float = 1.0
) -> tuple[list[Any], list[Any], int]:
    """The ids that a join of the facts with `build` gives; those that DuckDB gives; and the rows that the scan gave."""
    spec = parquet_table(folder, "build", build)
    probe: Node = scan(facts, ["id", key])
    if more is not None:
        probe = more(probe)
    right = scan(spec, ["b"], scan_id=1)
    node = HashJoin(probe, right, kind, (1,), (0,), (False,), None, (0,), (Field("id", BIGINT),), share)
    tasks = (Task(0, {0: tuple(group_splits(facts)), 1: tuple(group_splits(spec))}),)
    runner = Runner(folder)
    rows = [row[0] for row in runner.run(Stage(0, node, GATHER, (), tasks))]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE f AS {FACTS}; CREATE TABLE b AS {build}")
        found = connection.execute(f"SELECT id FROM f {kind} JOIN b ON f.{key} = b.b ORDER BY id").fetchall()
    scans = {s["node"]: s["rows_out"] for s in runner.results[0][0].stats if s["name"] == "Scan"}
    return sorted(rows), [row[0] for row in found], scans[min(scans)]


@pytest.mark.parametrize(
    ("key", "build", "scanned"),
    [
        ("k", "SELECT unnest([5, 70, 1999, 5000]) AS b", 30),
        ("k", "SELECT i AS b FROM range(100, 110) t(i)", 100),  # neighbours are a range
        ("k", "SELECT i * 3 AS b FROM range(400, 900) t(i)", 8000),  # too many to list: from the smallest on
        ("day", "SELECT DATE '2024-02-01' AS b UNION ALL SELECT NULL", 50),
        ("name", "SELECT unnest(['name 3', 'name''s', NULL]) AS b", 29),
        ("price", "SELECT unnest([2.50, 2.75, 99.25])::DECIMAL(12,2) AS b", 3),
        ("small", "SELECT unnest([3, NULL])::INT AS b", 2222),
    ],
)
@pytest.mark.parametrize("kind", ["inner", "semi"])
def test_the_scan_gives_what_can_match(tmp_path: Path, facts: ScanSpec, key: str, build: str, scanned: int, kind: str) -> None:
    rows, expected, given = joined(tmp_path, facts, key, build, kind)
    assert rows == expected
    assert given == scanned


@pytest.mark.parametrize(
    ("key", "build", "scanned"),
    [
        ("k", "SELECT i * 3 AS b FROM range(400, 900) t(i)", 2670),
        ("k", "SELECT nullif(i * 7, 700) AS b FROM range(300) t(i), range(2)", 2850),
        ("day", "SELECT DATE '2024-01-01' + i::INT * 1 AS b FROM range(0, 900, 3) t(i)", 6700),
    ],
)
@pytest.mark.parametrize("kind", ["inner", "semi"])
def test_the_keys_go_into_a_scan_of_which_few_rows_match(
    tmp_path: Path, facts: ScanSpec, key: str, build: str, scanned: int, kind: str
) -> None:
    rows, expected, given = joined(tmp_path, facts, key, build, kind, share=0.1)
    assert rows == expected
    assert given == scanned


def test_an_empty_build_side_reads_nothing(tmp_path: Path, facts: ScanSpec) -> None:
    for build in ("SELECT 1::BIGINT AS b WHERE FALSE", "SELECT NULL::BIGINT AS b"):
        assert joined(tmp_path, facts, "k", build, "inner") == ([], [], 0)


@pytest.mark.parametrize("kind", ["left", "anti"])
def test_rows_without_a_match_are_not_left_out_where_they_count(tmp_path: Path, facts: ScanSpec, kind: str) -> None:
    rows, expected, given = joined(tmp_path, facts, "k", "SELECT unnest([5, 70]) AS b", kind)
    assert rows == expected
    assert given == 20000


def test_doubles_are_not_told(tmp_path: Path, facts: ScanSpec) -> None:
    rows, expected, given = joined(tmp_path, facts, "ratio", "SELECT 5.0::DOUBLE AS b", "inner")
    assert rows == expected == [10]
    assert given == 20000


def test_filters_pass_operators_that_keep_rows_apart_and_no_others(tmp_path: Path, facts: ScanSpec) -> None:
    build = "SELECT unnest([5, 70]) AS b"
    fields = (Field("id", BIGINT), Field("k", BIGINT))

    def filtered(node: Node) -> Node:
        return Filter(Project(node, (Ref(0, BIGINT), Ref(1, BIGINT)), fields), Compare("<", Ref(0, BIGINT), Const(704, BIGINT)))

    def computed(node: Node) -> Node:
        return Project(node, (Ref(0, BIGINT), Call("+", (Ref(1, BIGINT), Const(0, BIGINT)), BIGINT)), fields)

    assert joined(tmp_path, facts, "k", build, "inner", filtered)[::2] == ([*range(50, 60), *range(700, 704)], 20)
    assert joined(tmp_path, facts, "k", build, "inner", computed)[::2] == ([*range(50, 60), *range(700, 710)], 20000)
    assert joined(tmp_path, facts, "k", build, "inner", lambda n: Limit(n, 55))[::2] == ([*range(50, 55)], 20000)
    twice = joined(tmp_path, facts, "k", build, "inner", lambda n: Union((n, n), fields))[0]
    assert twice == sorted([*range(50, 60), *range(700, 710)] * 2)


def test_null_that_equals_null_is_not_left_out(tmp_path: Path, facts: ScanSpec) -> None:
    spec = parquet_table(tmp_path, "build", "SELECT unnest([3, NULL])::INT AS b")
    node = HashJoin(
        scan(facts, ["id", "small"]),
        scan(spec, ["b"], scan_id=1),
        "inner",
        (1,),
        (0,),
        (True,),
        None,
        (0,),
        (Field("id", BIGINT),),
    )
    tasks = (Task(0, {0: tuple(group_splits(facts)), 1: tuple(group_splits(spec))}),)
    rows = Runner(tmp_path).run(Stage(0, node, GATHER, (), tasks))
    assert len(rows) == sum(1 for i in range(20000) if i % 9 in (0, 3))


def test_booleans_join(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "flags", "SELECT i AS id, i % 2 = 0 AS k FROM range(10) t(i)")
    build = parquet_table(tmp_path, "one", "SELECT TRUE AS b")
    assert spec.schema[1].type == BOOLEAN
    node = HashJoin(
        scan(spec, ["id", "k"]),
        scan(build, ["b"], scan_id=1),
        "inner",
        (1,),
        (0,),
        (False,),
        None,
        (0,),
        (Field("id", BIGINT),),
    )
    tasks = (Task(0, {0: tuple(group_splits(spec)), 1: tuple(group_splits(build))}),)
    assert Runner(tmp_path).run(Stage(0, node, GATHER, (), tasks)) == [(i,) for i in range(0, 10, 2)]
