"""States of groups: made over rows chunk by chunk, merged as they grow, and made by the scan itself where it lies below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sabot_sql.catalog.table import ScanSpec
from sabot_sql.executor import state_aggregate
from sabot_sql.planner.aggregate_states import OF_ONE
from sabot_sql.planner.expressions import Compare, Const, Expr, Ref
from sabot_sql.planner.physical import Exchange, ExchangeRead, Filter, Node, Relational, Stage, StateAggregate, Task
from sabot_sql.types import BIGINT, DOUBLE, Field, parse_type
from tests.executor.stage_runner import Runner, ask, group_splits, parquet_table, scan

STATE = "combine_aggr(to_aggregate_state(c1, 'stddev', ['DOUBLE']))"
FIRST = "combine_aggr(to_aggregate_state(c2, 'first', ['BIGINT']))"
GATHER = Exchange("gather")
ASKED = "SELECT g, stddev(x), min(i) FROM t {} GROUP BY g ORDER BY g"


@pytest.fixture
def spec(tmp_path: Path) -> ScanSpec:
    return parquet_table(tmp_path, "t", "SELECT i % 50 g, i, (i * 7919 % 1000)::DOUBLE x FROM range(40000) r(i)", files=2)


def stages(spec: ScanSpec, predicate: Expr | None = None, filters: Sequence[Expr] = ()) -> tuple[Stage, Stage]:
    """Two tasks that make states, and one that gives the answers.

    Args:
        predicate: between scan and aggregate.
        filters: of the scan.
    """
    below: Node = scan(spec, ["g", "x", "i"], filters)
    if predicate is not None:
        below = Filter(below, predicate)
    schema = (Field("g", BIGINT), Field("s0", OF_ONE["stddev"]), Field("s1", parse_type("STRUCT(value BIGINT)")))
    partial = StateAggregate(below, (0,), ('"stddev"(c1) EXPORT_STATE', '"first"(c2) EXPORT_STATE'), (STATE, FIRST), schema)
    splits = group_splits(spec)
    tasks = tuple(Task(n, {0: tuple(s for s in splits if s.file == n)}) for n in range(2))
    sql = f"SELECT c0, finalize({STATE}), finalize({FIRST}) FROM in0 GROUP BY c0"
    answers = (Field("g", BIGINT), Field("a0", DOUBLE), Field("a1", BIGINT))
    final = Relational((ExchangeRead(0, schema),), "Aggregate final", sql, answers)
    return Stage(0, partial, GATHER, (), tasks), Stage(1, final, GATHER, (0,), (Task(0, {}, {0: (0,)}),))


def test_scan_gives_states_instead_of_rows(tmp_path: Path, spec: ScanSpec) -> None:
    runner = Runner(tmp_path)
    found = runner.run(*stages(spec))
    assert sorted(found) == [pytest.approx(row) for row in ask(ASKED.format(""), t=spec)]
    assert sum(p.rows for block in runner.blocks[0] for p in block.partitions) == 2 * 50


def test_stats_tell_the_rows_that_the_filters_of_the_scan_kept(tmp_path: Path, spec: ScanSpec) -> None:
    runner = Runner(tmp_path)
    found = runner.run(*stages(spec, filters=[Compare("<", Ref(0, BIGINT), Const(5, BIGINT))]))
    assert sorted(found) == [pytest.approx(row) for row in ask(ASKED.format("WHERE g < 5"), t=spec)]
    by_name = {s.name: s for s in runner.contexts[0].stats}
    assert (by_name["Scan"].rows_in, by_name["Scan"].rows_out) == (20000, 2000)
    assert (by_name["StateAggregate"].rows_in, by_name["StateAggregate"].rows_out) == (2000, 5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [1, 60, 3000, 1 << 20])
def test_chunks_of_any_size_give_the_same_answer(
    tmp_path: Path, spec: ScanSpec, chunk: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_aggregate, "CHUNK_ROWS", chunk)
    runner = Runner(tmp_path, threads, morsel_bytes=1 << 14)
    found = runner.run(*stages(spec, Compare(">=", Ref(2, BIGINT), Const(1000, BIGINT))))
    asked = ask(ASKED.format("WHERE i >= 1000"), t=spec)
    assert [row[:2] for row in sorted(found)] == [pytest.approx(row[:2]) for row in asked]
    if threads == 1:
        assert [row[2] for row in sorted(found)] == [row[2] for row in asked]


def test_memory_is_that_of_a_chunk_and_not_of_the_rows(tmp_path: Path, spec: ScanSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = []
    for chunk in (1000, 1 << 20):
        monkeypatch.setattr(state_aggregate, "CHUNK_ROWS", chunk)
        runner = Runner(tmp_path, morsel_bytes=1 << 14)
        runner.run(*stages(spec, Compare(">=", Ref(2, BIGINT), Const(0, BIGINT))))
        peaks.append(runner.contexts[0].memory.peak_bytes)
    assert peaks[0] < peaks[1] / 3


def test_task_without_rows_gives_no_group(tmp_path: Path, spec: ScanSpec) -> None:
    runner = Runner(tmp_path)
    assert runner.run(*stages(spec, Compare(">", Ref(2, BIGINT), Const(10**6, BIGINT)))) == []
