"""What the tasks of a query reported, summed up for EXPLAIN ANALYZE."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.explain import NodeRun, StageRun

StageResults = Mapping[int, Sequence[TaskResult]]


def stage_runs(results: StageResults, elapsed_ms: Mapping[int, float]) -> dict[int, StageRun]:
    """Per stage, what its operators did over all tasks; `elapsed_ms` is by stage."""
    return {stage: _stage_run(tasks, elapsed_ms.get(stage, 0.0)) for stage, tasks in results.items()}


def _stage_run(tasks: Sequence[TaskResult], elapsed_ms: float) -> StageRun:
    done: dict[int, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        for s in task.stats:
            done[s["node"]].update({name: value for name, value in s.items() if isinstance(value, int)})
    nodes = {
        node: NodeRun(c["rows_in"], c["rows_out"], c["elapsed_ns"] / 1e6, c["rows_cached"], c["rows_fused"], c["bytes_spilled"])
        for node, c in done.items()
    }
    agents = tuple(sorted({t.block.agent_id for t in tasks}))
    return StageRun(nodes, agents, sum(t.block.rows for t in tasks), sum(t.block.size_bytes for t in tasks), elapsed_ms)
