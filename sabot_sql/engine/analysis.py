"""What the tasks of a query reported, summed up for EXPLAIN ANALYZE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.explain import NodeRun, StageRun

StageResults = Mapping[int, Sequence[TaskResult]]


def stage_runs(results: StageResults, elapsed_ms: Mapping[int, float]) -> dict[int, StageRun]:
    """Per stage, what its operators did over all tasks; `elapsed_ms` is by stage."""
    return {stage: _stage_run(tasks, elapsed_ms.get(stage, 0.0)) for stage, tasks in results.items()}


def _stage_run(tasks: Sequence[TaskResult], elapsed_ms: float) -> StageRun:
    rows_in: dict[int, int] = defaultdict(int)
    rows_out: dict[int, int] = defaultdict(int)
    elapsed: dict[int, float] = defaultdict(float)
    cached: dict[int, int] = defaultdict(int)
    spilled: dict[int, int] = defaultdict(int)
    for task in tasks:
        for s in task.stats:
            rows_in[s["node"]] += s["rows_in"]
            rows_out[s["node"]] += s["rows_out"]
            elapsed[s["node"]] += s["elapsed_ns"] / 1e6
            cached[s["node"]] += s.get("rows_cached", 0)
            spilled[s["node"]] += s.get("bytes_spilled", 0)
    nodes = {n: NodeRun(rows_in[n], rows_out[n], elapsed[n], cached[n], spilled[n]) for n in rows_in}
    agents = tuple(sorted({t.block.agent_id for t in tasks}))
    return StageRun(nodes, agents, sum(t.block.rows for t in tasks), sum(t.block.size_bytes for t in tasks), elapsed_ms)
