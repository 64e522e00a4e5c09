"""An engine small enough to see through: the interface of `sabot_sql.engine.engine.Engine`, real block files, no agents.

The statement `sum <n>` has the answer 0 + 1 + ... + n-1. On the distributed route stage 0 writes the numbers in four tasks,
stage 1 adds each task's up, stage 2 adds those. What shall go wrong or slowly is told by tags.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.agents.blocks import FileBlockWriter, LocalBlockReader, lost_files
from sabot_sql.config import Settings
from sabot_sql.engine.request import AgentInfo, Explanation, QueryRequest, QueryResult
from sabot_sql.errors import AgentLost, Cancelled, ParseError, QueryTimeout, ReadError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task import TaskResult
from sabot_sql.jobs.manager import JobManager
from sabot_sql.planner.physical import DistributedPlan, Exchange, ExchangeRead, Session, Stage, Task, Values
from sabot_sql.types import BIGINT, Field

TASKS = 4
SCHEMA = (Field("s", BIGINT),)


@dataclass
class Prepared:
    request: QueryRequest
    route: str
    reason: str
    plan: DistributedPlan | None
    statement_type: str = "SELECT"
    columns: tuple[Field, ...] = SCHEMA
    analyze: bool = False
    lane: str = "small"
    counts: Any = None
    write: Any = None
    stats: dict[str, Any] = field(default_factory=lambda: {"parse_ms": 0.1, "plan_ms": 0.2, "estimated_rows": 7})


class HandEngine:
    """Tags: `stage_s` seconds each stage takes, `fail_stage` the stage that fails and `fail` how, `lose` a stage whose blocks
    vanish once when the next one has begun, `local_s` seconds a local query takes."""

    def __init__(self, settings: Settings, data: Any, scratch_dir: Path, blocks: Path) -> None:
        self.blocks = blocks
        self.scratch_dir = scratch_dir
        self.ran: list[tuple[str, int]] = []
        self.dropped: list[str] = []
        self.cancelled: list[str] = []
        self.running = self.most_running = 0
        self.closed = False
        self._lost: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        pass

    @property
    def slots(self) -> int:
        return TASKS

    def prepare(self, request: QueryRequest, finely: bool = False, query_id: str = "") -> Prepared:
        if not request.sql.startswith("sum "):
            raise ParseError(f"cannot parse {request.sql!r}")
        route = "distributed" if request.route == "distributed" else "local"
        return Prepared(request, route, f"asked for {route}", make_plan(request) if route == "distributed" else None)

    def run_local(self, prepared: Prepared, query_id: str, cancel: threading.Event) -> QueryResult:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            if cancel.wait(float(prepared.request.tags.get("local_s", 0))) and prepared.request.tags:
                raise Cancelled("stopped")
        finally:
            with self._lock:
                self.running -= 1
        table = pa.table({"s": [sum(range(int(prepared.request.sql[4:])))]})
        return QueryResult(query_id, table, SCHEMA, "local", prepared.reason, {"engine": "duckdb", **prepared.stats})

    def record_ran(self, prepared: Prepared, result: QueryResult, results: dict[int, list[TaskResult]] | None = None) -> None:
        pass

    def run_stage(
        self, job_id, plan, stage, blocks, deadline_s, cancel, on_task, first_attempt=1, on_deployed=None
    ) -> list[TaskResult]:
        tags = json.loads(plan.session.timezone)
        with open(self.blocks / "ran.txt", "a") as log:
            log.write(f"{stage.stage_id}\n")
        self.ran.append((job_id, stage.stage_id))
        if tags.get("lose") == str(stage.stage_id - 1) and query_of(job_id) not in self._lost:
            self._lost.add(query_of(job_id))
            for block in blocks[stage.stage_id - 1]:
                Path(block.path).unlink()
        if tags.get("fail_stage") == str(stage.stage_id):
            raise {"lost": AgentLost("all agents were lost"), "read": ReadError("corrupt"), "bug": ValueError("oops")}[
                tags["fail"]
            ]
        end = time.monotonic() + float(tags.get("stage_s", 0))
        while time.monotonic() < end:
            if cancel.wait(0.01):
                raise Cancelled("stopped")
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise QueryTimeout("too late")
        (self.blocks / job_id).mkdir(exist_ok=True)
        results = []
        for task in stage.tasks:
            results.append(self._task(job_id, stage, task.index, first_attempt, blocks))
            on_task(results[-1])
        return results

    def _task(self, job_id: str, stage: Stage, index: int, attempt: int, blocks: dict[int, list[BlockFile]]) -> TaskResult:
        writer = FileBlockWriter(self.blocks, job_id, stage.stage_id, index, attempt, f"a{index % 2}", "grpc://nowhere")
        if stage.stage_id == 0:
            numbers = list(range(index, stage.root.num_rows, TASKS))
        else:
            mine = blocks[stage.stage_id - 1] if stage.stage_id == 2 else [blocks[0][index]]
            numbers = [sum(n for b in mine for n in read(b))]
        writer.write(0, pa.record_batch({"c0": pa.array(numbers, pa.int64())}))
        stats = {"node": 0, "name": "hand", "engine": "numba", "rows_in": len(numbers), "rows_out": 1, "elapsed_ns": 5}
        return TaskResult(writer.finish(), (stats,), 1000)

    def collect(self, plan: DistributedPlan, blocks: list[BlockFile]) -> pa.Table:
        return pa.table({"s": [n for b in blocks for n in read(b)]})

    def lost_blocks(self, blocks: list[BlockFile], ask: bool = False) -> list[BlockFile]:
        return lost_files(blocks)

    def keep_job(self, job_id: str) -> None:
        pass

    def sweep(self, running: Callable[[], Iterable[str]]) -> None:
        pass

    def drop_job(self, job_id: str) -> None:
        self.dropped.append(job_id)
        for path in (self.blocks / job_id).glob("*"):
            path.unlink()

    def cancel_job(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def explain(self, request: QueryRequest) -> Explanation:
        return Explanation("local", "asked", {}, "SELECT", (), "hand")

    def explain_analyzed(self, prepared, results, stats) -> Explanation:
        return Explanation(
            prepared.route, prepared.reason, {}, "SELECT", (), f"{len(results)} stages, {len(stats['stage_ms'])} times"
        )

    def agents(self) -> list[AgentInfo]:
        return []

    def info(self) -> dict[str, Any]:
        return {"engines": {"hand": "1"}}

    def ready(self) -> dict[str, Any]:
        return {"engine": "ok", "agents": "0/0 alive"}

    def close(self) -> None:
        self.closed = True


def query_of(job_id: str) -> str:
    """The query of which the agents know a run under this name."""
    return job_id.partition(".")[0]


def make_plan(request: QueryRequest) -> DistributedPlan:
    gather = Exchange("gather")
    each = tuple(Task(i) for i in range(TASKS))
    stages = (
        Stage(0, Values(int(request.sql[4:]), SCHEMA), gather, (), each),
        Stage(1, ExchangeRead(0, SCHEMA), gather, (0,), tuple(Task(i, producers={0: (i, i + 1)}) for i in range(TASKS))),
        Stage(2, ExchangeRead(1, SCHEMA), gather, (1,), (Task(0),)),
    )
    return DistributedPlan(stages, ("s",), SCHEMA, Session(json.dumps(request.tags)))


def read(block: BlockFile) -> list[int]:
    return [n for batch in LocalBlockReader().read(block, 0) for n in batch.column(0).to_pylist()]


class HandManager(JobManager):
    """A manager on a `HandEngine`, whose blocks outlive the process where the state folder does."""

    engine: HandEngine

    def _make_engine(self, settings: Settings, data: Any) -> HandEngine:
        blocks = self._folder.path / "blocks"
        blocks.mkdir(exist_ok=True)
        self.engine = HandEngine(settings, data, self._scratch, blocks)
        return self.engine


def query(n: int = 10, **tags: object) -> QueryRequest:
    return QueryRequest(f"sum {n}", tags={k: str(v) for k, v in tags.items()})


def job(n: int = 10, **tags: object) -> QueryRequest:
    return QueryRequest(f"sum {n}", route="distributed", tags={k: str(v) for k, v in tags.items()})
