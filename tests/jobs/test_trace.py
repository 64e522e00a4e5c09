"""What is told of a query's stages, of real runs on two agents."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.trace import QueryTrace, TaskTrace, skew

QUERY = "SELECT a.k, sum(b.v) AS s FROM t a JOIN t b ON a.v = b.v GROUP BY a.k ORDER BY s"


@pytest.fixture(scope="module")
def manager() -> Iterator[JobManager]:
    table = pa.table({"k": [i % 7 for i in range(200_000)], "v": list(range(200_000))})
    made = JobManager(Settings(agents=AgentSettings(count=2, threads=1)), {"t": table})
    made.start()
    yield made
    made.close()


def traced(manager: JobManager, sql: str) -> tuple[str, QueryTrace]:
    query_id = manager.submit(QueryRequest(sql, route="distributed")).query_id
    manager.status(query_id, 60)
    trace = manager.record(query_id).trace
    assert trace is not None
    return query_id, trace


def test_stages_tell_what_the_stats_sum_up(manager: JobManager) -> None:
    query_id, trace = traced(manager, QUERY)
    stats, stages = manager.status(query_id).stats, trace.stages()
    assert {stage["state"] for stage in stages} == {"finished"}
    assert (len(stages), sum(stage["tasks"]["done"] for stage in stages)) == (stats["stages"], stats["tasks"])
    assert all(stage["tasks"]["done"] == stage["tasks"]["total"] for stage in stages)
    assert sum(stage["bytes_out"] for stage in stages) == stats["bytes_shuffled"]
    assert [stage["elapsed_ms"] for stage in stages] == [round(ms, 3) for ms in stats["stage_ms"]]
    assert (stages[-1]["rows_out"], len({a for s in stages for a in s["agents"]})) == (7, stats["agents"])


def test_a_stage_reads_what_the_stages_before_it_wrote(manager: JobManager) -> None:
    _, trace = traced(manager, QUERY)
    stages = {stage["id"]: stage for stage in trace.stages()}
    edges = trace.edges()
    assert {(edge["from"], edge["to"]) for edge in edges} == {(i, n) for n, s in stages.items() for i in s["inputs"]}
    for edge in edges:
        assert edge["bytes"] == stages[edge["from"]]["bytes_out"]
    last = trace.stages()[-1]
    assert last["rows_in"] == sum(stages[number]["rows_out"] for number in last["inputs"])


def test_text_shows_what_every_operator_did(manager: JobManager) -> None:
    _, trace = traced(manager, QUERY)
    lines = [line for line in trace.text().splitlines() if line.startswith("│") and "[" in line]
    assert lines
    assert all("rows" in line for line in lines)


def test_trace_keeps_no_blocks_and_no_splits(manager: JobManager) -> None:
    _, trace = traced(manager, QUERY)
    assert all(not stage.results and stage.run is not None for stage in trace._stages.values())
    assert all(not task.splits and not task.partitions for stage in trace._plan.stages for task in stage.tasks)


def test_stage_whose_rows_are_gone_waits_again_and_says_so(manager: JobManager) -> None:
    _, trace = traced(manager, QUERY)
    trace.lost([0], blocks_gone=True)
    assert (trace.states()[0], trace.stages([0])[0]["tasks"]["done"]) == ("waiting", 0)
    assert trace.warnings() == ["stage 0 runs again: its rows are gone with an agent"]


def test_stage_of_a_query_that_failed_has_failed(manager: JobManager) -> None:
    sql = "SELECT k // (v - v) FROM t"
    query_id, trace = traced(manager, sql)
    with pytest.raises(SabotError):
        manager.result(query_id)
    failed = [stage for stage in trace.stages() if stage["state"] == "failed"]
    assert [stage["tasks"]["failed"] for stage in failed] == [1]


def test_skew_is_the_largest_task_over_the_mean() -> None:
    tasks = [TaskTrace("a", rows, 0, 0, False) for rows in (100, 100, 400)]
    assert (skew(tasks), skew(tasks[:2]), skew([]), skew([TaskTrace("a", 0, 0, 0, False)])) == (2.0, 1.0, None, None)
