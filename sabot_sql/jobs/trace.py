"""What the stages of one query do and did, for whoever watches it, while the process lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sabot_sql.agents.scheduler import MAX_ATTEMPTS
from sabot_sql.engine.analysis import stage_runs
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.explain import StageRun, draw_stages, plan_edges, preorder, stage_records
from sabot_sql.planner.physical import DistributedPlan, Stage, Task

StageState = Literal["waiting", "running", "finished", "failed", "cancelled"]

NO_SPLITS = Task(0)


@dataclass(frozen=True, slots=True)
class TaskTrace:
    """What one task did; `rows_in` is what it read, of files and of other stages. `retried`: an earlier attempt was lost, or
    overtaken by this one."""

    agent_id: str
    rows_in: int
    rows_out: int
    bytes_out: int
    retried: bool


@dataclass(slots=True)
class StageTrace:
    """One stage so far. `run` is what its operators did, once the query has ended; until then it follows from `results`."""

    leaves: frozenset[int]
    state: StageState = "waiting"
    started_s: float | None = None
    elapsed_ms: float | None = None
    tasks: list[TaskTrace] = field(default_factory=list)
    results: list[TaskResult] = field(default_factory=list)
    run: StageRun | None = None


class QueryTrace:
    """The stages of a distributed query, told of by its run and read by anybody. Thread-safe.

    Of the plan the splits are left out, and at the end the blocks of the tasks: what stays is small.

    Args:
        results: of the stages that were complete before this process.
        warnings: of the run, which adds to them.
    """

    def __init__(self, plan: DistributedPlan, results: Mapping[int, Sequence[TaskResult]], warnings: list[str]) -> None:
        self._lock = threading.Lock()
        self._warnings = warnings
        self._told: list[str] = []
        self._stages: dict[int, StageTrace] = {}
        self._plan = plan
        self._descriptions: tuple[DistributedPlan, dict[int, dict[str, Any]]] | None = None
        self.planned(plan)
        for number in results.keys() & self._stages.keys():
            self.ended(number, results[number], None)

    # told by the run

    def planned(self, plan: DistributedPlan) -> None:
        """The plan as it is now: finished stages may have changed what is to come."""
        with self._lock:
            self._plan = replace(plan, stages=tuple(map(without_splits, plan.stages)))
            known, self._stages = self._stages, {}
            for stage in plan.stages:
                leaves = frozenset(number for number, node, _ in preorder(stage.root) if not node.inputs)
                found = known.get(stage.stage_id)
                self._stages[stage.stage_id] = StageTrace(leaves) if found is None else replace(found, leaves=leaves)

    def began(self, number: int) -> None:
        """A stage begins, perhaps again."""
        with self._lock:
            stage = self._stages[number]
            self._stages[number] = StageTrace(stage.leaves, "running", time.time())

    def task_done(self, result: TaskResult) -> None:
        """A task of a running stage is done."""
        with self._lock:
            stage = self._stages[result.block.stage_id]
            stage.tasks.append(task_trace(result, stage.leaves))

    def ended(self, number: int, results: Sequence[TaskResult], elapsed_ms: float | None) -> None:
        """A stage is complete."""
        with self._lock:
            stage = self._stages[number]
            stage.state, stage.elapsed_ms, stage.results = "finished", elapsed_ms, list(results)
            stage.tasks = [task_trace(result, stage.leaves) for result in results]

    def failed(self, number: int) -> None:
        """A stage ended with an error that ends the query."""
        with self._lock:
            self._stages[number].state = "failed"

    def lost(self, numbers: Iterable[int], blocks_gone: bool = False) -> None:
        """Stages are to run again: they were broken off, or their blocks are gone."""
        with self._lock:
            for number in numbers:
                self._stages[number] = StageTrace(self._stages[number].leaves)
                if blocks_gone:
                    self._told.append(f"stage {number} runs again: its rows are gone with an agent")

    def close(self, state: str) -> None:
        """The query has ended in `state`."""
        with self._lock:
            runs = self._runs()
            for number, stage in self._stages.items():
                if stage.state in ("running", "failed"):
                    stage.elapsed_ms = elapsed_ms(stage)
                if stage.state == "running" or (state == "cancelled" and stage.state == "failed"):
                    stage.state = "cancelled"
                stage.run, stage.results = runs.get(number), []

    # read by others

    def states(self) -> dict[int, StageState]:
        """The state of each stage, by its number."""
        with self._lock:
            return {number: stage.state for number, stage in self._stages.items()}

    def warnings(self) -> list[str]:
        """What went well but not quite as planned, in its order."""
        return [*self._told, *self._warnings]

    def stages(self, only: Container[int] | None = None) -> list[dict[str, Any]]:
        """The stages as `GET /v1/queries/{id}/plan` lists them, or those of them with the numbers `only`; times in seconds
        since 1970 (`started_s`)."""
        plan, stages = self._snapshot()
        described = self._described(plan)
        found = []
        for planned in plan.stages:
            number, rows = planned.stage_id, planned.rows
            if only is not None and number not in only:
                continue
            stage = stages[number]
            tasks = stage.tasks
            now = {
                "state": stage.state,
                "tasks": {
                    "total": len(planned.tasks),
                    "done": len(tasks),
                    "failed": 1 if stage.state == "failed" else 0,
                    "retried": sum(task.retried for task in tasks),
                },
                "rows_in": sum(task.rows_in for task in tasks),
                "rows_out": sum(task.rows_out for task in tasks),
                "rows_expected": None if rows is None else round(min(rows, 1e18)),
                "bytes_out": sum(task.bytes_out for task in tasks),
                "started_s": stage.started_s,
                "elapsed_ms": elapsed_ms(stage),
                "skew": skew(tasks),
                "agents": sorted({task.agent_id for task in tasks}),
            }
            found.append(described[number] | now)
        return found

    def edges(self) -> list[dict[str, Any]]:
        """Which stage reads which, and how its rows are distributed; `bytes` is what was written, as far as it is."""
        plan, stages = self._snapshot()
        sizes = {number: sum(task.bytes_out for task in stage.tasks) for number, stage in stages.items()}
        return [{**edge, "bytes": sizes[edge["from"]]} for edge in plan_edges(plan)]

    def text(self) -> str:
        """The stages drawn as EXPLAIN ANALYZE does, with what those did that are finished."""
        with self._lock:
            plan, runs = self._plan, self._runs()
        return draw_stages(plan, runs)

    def describe(self) -> None:
        """Have the stages described, which takes some milliseconds where a statement is long, before somebody asks who must
        not wait."""
        self._described(self._plan)

    def _snapshot(self) -> tuple[DistributedPlan, dict[int, StageTrace]]:
        """The plan, and copies of the stages."""
        with self._lock:
            copies = {number: replace(stage, tasks=list(stage.tasks)) for number, stage in self._stages.items()}
            return self._plan, copies

    def _described(self, plan: DistributedPlan) -> dict[int, dict[str, Any]]:
        """Of each stage of `plan` what does not change while it runs, worked out once."""
        known = self._descriptions
        if known is None or known[0] is not plan:
            known = self._descriptions = plan, {stage["id"]: stage for stage in stage_records(plan)}
        return known[1]

    def _runs(self) -> dict[int, StageRun]:
        ended = {n: stage for n, stage in self._stages.items() if stage.results}
        found = stage_runs({n: s.results for n, s in ended.items()}, {n: s.elapsed_ms or 0.0 for n, s in ended.items()})
        return {n: s.run for n, s in self._stages.items() if s.run is not None} | found


def without_splits(stage: Stage) -> Stage:
    """`stage` with as many tasks, which read nothing."""
    return replace(stage, tasks=(NO_SPLITS,) * len(stage.tasks))


def task_trace(result: TaskResult, leaves: frozenset[int]) -> TaskTrace:
    """What is kept of a task; `leaves` are the operators that read."""
    block = result.block
    rows_in = sum(max(o["rows_in"], o["rows_out"]) for o in result.stats if o["node"] in leaves)
    return TaskTrace(block.agent_id, rows_in, block.rows, block.size_bytes, (block.attempt - 1) % MAX_ATTEMPTS > 0)


def elapsed_ms(stage: StageTrace) -> float | None:
    """How long a stage took, or has been running."""
    if stage.elapsed_ms is not None:
        return round(stage.elapsed_ms, 3)
    if stage.state in ("running", "failed") and stage.started_s is not None:
        return round((time.time() - stage.started_s) * 1e3, 3)
    return None


def skew(tasks: Sequence[TaskTrace]) -> float | None:
    """The most rows that a task read over the mean of all: 1 where all read the same; None where none read any."""
    total = sum(task.rows_in for task in tasks)
    return round(max(task.rows_in for task in tasks) * len(tasks) / total, 3) if total else None
