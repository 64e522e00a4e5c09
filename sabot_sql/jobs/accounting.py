"""The stats of a query, with the keys of the HTTP contract."""

from __future__ import annotations

from typing import Any

from sabot_sql.agents.scheduler import MAX_ATTEMPTS
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.jobs.job_run import scanned
from sabot_sql.planner.physical import DistributedPlan

ENGINES = ("numba", "duckdb")

EMPTY_STATS: dict[str, Any] = {
    "elapsed_ms": 0.0,
    "parse_ms": 0.0,
    "plan_ms": 0.0,
    "queue_ms": 0.0,
    "exec_ms": 0.0,
    "engine": "",
    "estimated_rows": None,
    "rows_scanned": 0,
    "bytes_scanned": 0,
    "stages": 0,
    "tasks": 0,
    "agents": 0,
    "retries": 0,
}


def distributed_stats(prepared: dict[str, Any], plan: DistributedPlan, results: dict[int, list[TaskResult]]) -> dict[str, Any]:
    """What a distributed query did, times apart.

    Args:
        prepared: stats of parsing and planning.
        results: the results of the tasks of each stage.
    """
    everything = [result for stage in results.values() for result in stage]
    engine_rows: dict[str, int] = {}
    for operator in (o for result in everything for o in result.stats):
        rows = max(operator["rows_in"], operator["rows_out"])
        engine_rows[operator["engine"]] = engine_rows.get(operator["engine"], 0) + rows
    reads = [scanned(stage, task) for stage in plan.stages for task in stage.tasks]
    order = sorted(engine_rows, key=lambda name: (ENGINES.index(name) if name in ENGINES else len(ENGINES), name))
    return {
        **EMPTY_STATS,
        **prepared,
        "engine": "+".join(order) or "numba",
        "rows_scanned": sum(rows for rows, _ in reads),
        "bytes_scanned": sum(size for _, size in reads),
        "bytes_shuffled": sum(result.block.size_bytes for result in everything),
        "stages": len(plan.stages),
        "tasks": sum(len(stage.tasks) for stage in plan.stages),
        "agents": len({result.block.agent_id for result in everything}),
        "retries": sum(sum(divmod(result.block.attempt - 1, MAX_ATTEMPTS)) for result in everything),
        "rows_by_engine": engine_rows,
        "bytes_spilled": sum(o.get("bytes_spilled", 0) for result in everything for o in result.stats),
        "peak_memory_bytes": max((result.peak_memory_bytes for result in everything), default=0),
    }
