"""One job's stages, run on the engine: one after the other, or side by side where one alone leaves agents idle."""

from __future__ import annotations

import contextlib
import functools
import queue
import secrets
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.agents.scheduler import MAX_ATTEMPTS
from sabot_sql.engine.request import Progress, ProgressCallback
from sabot_sql.errors import AgentLost, ReadError
from sabot_sql.executor.answer_size import refuse_larger
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.jobs.ledger import Ledger, encode_results
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.jobs.recorded_plan import decode_plan, encode_plan
from sabot_sql.jobs.trace import QueryTrace
from sabot_sql.planner.adapt import Produced, adapt
from sabot_sql.planner.physical import DistributedPlan, Scan, Stage, Task, operators

if TYPE_CHECKING:
    from sabot_sql.engine.engine import Engine

Emit = Callable[[dict[str, Any]], None]
Lost = dict[str, Any]
"""The output of a step that found the blocks of stages gone."""
Collect = Callable[[DistributedPlan, list[BlockFile]], pa.Table]
Outcome = list[TaskResult] | BaseException
"""How a stage ended."""

HELD_S = 0.05
CANCEL_AGAIN_S = 0.02
"""A stage that was about to begin when the job was cancelled is told again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stage that has ended.

    Attributes:
        plan: as finished stages changed it, where they did since the last of these.
    """

    stage: int
    results: list[TaskResult]
    plan: DistributedPlan | None

    def output(self) -> dict[str, Any]:
        """The output of the step."""
        found = encode_results(self.stage, self.results)
        return found if self.plan is None else found | encode_plan(self.plan)


class JobRun:
    """Runs the stages that a ledger says are missing, until there is a result.

    Args:
        ledger: what is done already; empty for a new job.
        emit: told of each step's output, before the next step starts.
        on_progress: called by one thread at a time, for each task that is done.
        on_deployed: called once, when the agents have the tasks of the first stage or that has failed.
        max_bytes: how large the answer may be.
        collect: takes the blocks of the last stage of a statement that writes, and gives its answer.

    Attributes:
        job_id: the name under which the agents know this run, and no other: of a job that is begun anew or goes on, what an
            earlier run still writes or is removed of must not touch this one.
    """

    def __init__(
        self,
        engine: Engine,
        record: QueryRecord,
        plan: DistributedPlan,
        ledger: Ledger | None = None,
        on_progress: ProgressCallback | None = None,
        on_deployed: Callable[[], None] | None = None,
        max_bytes: int = sys.maxsize,
        collect: Collect | None = None,
    ) -> None:
        self.engine = engine
        self.record = record
        self.job_id = record.job_id = f"{record.query_id}.{secrets.token_hex(3)}"
        self.ledger = ledger or Ledger(tuple(s.stage_id for s in plan.stages))
        self.plan = plan if self.ledger.plan is None else decode_plan(self.ledger.plan)
        self.warnings: list[str] = []
        self.stages_ms: dict[int, float] = {}
        self.collect_ms = 0.0
        self._produced = {stage: produced(self.ledger.results(stage)) for stage in self.ledger.done}
        self._adapted = False  # since the last output
        self._on_progress = on_progress
        self._on_deployed = on_deployed
        self._runs = dict(self.ledger.runs)  # begun, of each stage
        self._max_bytes = max_bytes if collect is None else sys.maxsize
        self._collect = collect
        self.progress = record.progress = Progress()
        self.trace = record.trace = QueryTrace(self.plan, self.results, self.warnings)
        self._lock, self._telling = threading.Lock(), threading.Lock()
        self._earlier = {result.block.job_id for results in self.results.values() for result in results}
        for job_id in self._earlier:
            engine.keep_job(job_id)
        self._number()
        done = [s for s in self.plan.stages if s.stage_id in self.ledger.done]
        self.progress.stages_done, self.progress.tasks_done = len(done), sum(len(s.tasks) for s in done)

    def drop(self) -> None:
        """Remove everything that the job has left with the agents, blocks of earlier runs that this one used among it."""
        for job_id in {self.job_id, *self._earlier}:
            self.engine.drop_job(job_id)

    @property
    def results(self) -> dict[int, list[TaskResult]]:
        """The results of the tasks of each complete stage."""
        return {stage: self.ledger.results(stage) for stage in self.ledger.done}

    def to_end(self, emit: Emit) -> pa.Table:
        """Run what is missing and collect the answer; what is held of the outputs by then is not emitted."""
        outputs = HeldOutputs(emit)
        try:
            while True:
                with contextlib.closing(self._to_last_stage()) as found:
                    for output in found:
                        outputs.put(output)
                lost_or_table = self.collect()
                if isinstance(lost_or_table, pa.Table):
                    return lost_or_table
                outputs.put(lost_or_table)
        except BaseException:
            outputs.release()
            raise

    def step(self) -> dict[str, Any]:
        """Run the next stage, changed by what finished ones produced; returns the step's output: the stage's results, or the
        stages that turned out to be lost."""
        stage = self._next({})
        assert stage is not None
        found = self._lost(stage) or self._ended(stage, self._run(stage, self._inputs(stage), self._first_attempt(stage)))
        assert found is not None
        return found.output() if isinstance(found, Ended) else found

    def _to_last_stage(self) -> Generator[Ended | Lost, None, None]:
        """Run all that is missing, stages side by side where one leaves agents idle; gives the outputs as they come."""
        running: dict[int, Stage] = {}
        ended: queue.SimpleQueue[tuple[Stage, Outcome]] = queue.SimpleQueue()

        def run(*args: Any) -> None:
            ended.put((args[0], self._run(*args)))

        try:
            while (stage := self._next(running)) is not None or running:
                if stage is not None:
                    if lost := self._lost(stage):
                        yield lost
                        continue
                    args = stage, self._inputs(stage), self._first_attempt(stage)
                    running[stage.stage_id] = stage
                    if len(running) > 1 or self._next(running) is not None:
                        threading.Thread(target=run, args=args, name="sabot-stage", daemon=True).start()
                        continue
                    run(*args)  # alone: no thread
                stage, outcome = ended.get()
                del running[stage.stage_id]
                if (output := self._ended(stage, outcome)) is not None:
                    yield output
        finally:
            while running:  # after an error: no stage outlives the job
                self.engine.cancel_job(self.job_id)
                with contextlib.suppress(queue.Empty):
                    del running[ended.get(timeout=CANCEL_AGAIN_S)[0].stage_id]

    def _run(self, stage: Stage, inputs: dict[int, list[BlockFile]], first_attempt: int) -> Outcome:
        """Run a stage, in any thread."""
        begin, record = time.perf_counter(), self.record
        self.trace.began(stage.stage_id)
        if record.watched:
            self.trace.describe()
        record.changed()
        try:
            return self.engine.run_stage(
                self.job_id, self.plan, stage, inputs, record.deadline_s, record.cancel, self._on_task, first_attempt,
                self._deployed,
            )  # fmt: skip
        except BaseException as exc:
            return exc
        finally:
            self._deployed()
            self.stages_ms[stage.stage_id] = (time.perf_counter() - begin) * 1e3

    def _ended(self, stage: Stage, outcome: Outcome) -> Ended | Lost | None:
        """Take note of how a stage ended; what the step has to tell, None where the stage is to run again for what is known.

        Raises:
            BaseException: what the stage failed with.
        """
        if isinstance(outcome, BaseException):
            if isinstance(outcome, ReadError | AgentLost):
                if not self.ledger.done.keys() >= set(stage.inputs):
                    self.trace.lost((stage.stage_id,))
                    return None  # a stage beside this one has told of what is lost
                if lost := self._lost(stage, ask=True):
                    self.trace.lost((stage.stage_id,))
                    return lost
            self.trace.failed(stage.stage_id)
            raise outcome
        number = stage.stage_id
        self.ledger.note(number, outcome)
        self.trace.ended(number, outcome, self.stages_ms[number])
        self._produced[number] = produced(outcome)
        self.progress.stages_done += 1
        self.progress.bytes_shuffled += sum(r.block.size_bytes for r in outcome)
        self._tell()
        adapted, self._adapted = self._adapted, False
        return Ended(number, outcome, self.plan if adapted else None)

    def collect(self) -> pa.Table | Lost:
        """The answer from the last stage's blocks, or an output that says they are lost.

        Raises:
            QueryError: RESULT_TOO_LARGE.
        """
        begin = time.perf_counter()
        last = self.plan.stages[-1]
        blocks = [r.block for r in self.ledger.results(last.stage_id)]
        refuse_larger(sum(block.size_bytes for block in blocks), self._max_bytes)
        try:
            table = (self._collect or self.engine.collect)(self.plan, blocks)
        except (ReadError, AgentLost):
            lost = self.ledger.lost((last.stage_id,), functools.partial(self.engine.lost_blocks, ask=True))
            if lost is None:
                raise
            self._forget(lost)
            return lost
        self.collect_ms = (time.perf_counter() - begin) * 1e3
        return table

    def _next(self, running: Mapping[int, Stage]) -> Stage | None:
        """The stage that may begin now, as finished ones changed the plan; None where those that run come first."""
        while (stage := self._ready(running)) is not None:
            plan = adapt(self.plan, stage, self._produced)
            if plan is self.plan:
                break
            self.plan, self._adapted = plan, True
            self.ledger.stages = tuple(s.stage_id for s in plan.stages)
            self._number()
        return stage

    def _ready(self, running: Mapping[int, Stage]) -> Stage | None:
        done = self.ledger.done.keys()
        if sum(len(s.tasks) for s in running.values()) >= (self.engine.slots if running else 1):
            return None
        for stage in self.plan.stages:
            if stage.stage_id in done or stage.stage_id in running or not done >= set(stage.inputs):
                continue
            if not running or not self._may_change(stage):
                return stage
        return None

    def _may_change(self, stage: Stage) -> bool:
        """Whether a stage that has not ended may show that the rows of this one need not be partitioned."""
        if stage.output.kind != "hash":
            return False
        others = {i for s in self.plan.stages if stage.stage_id in s.inputs for i in s.inputs} - {stage.stage_id}
        return not others <= self.ledger.done.keys()

    def _number(self) -> None:
        stages = self.plan.stages
        self._stages = {s.stage_id: s for s in stages}
        self._tasks = {(s.stage_id, t.index): t for s in stages for t in s.tasks}
        self.progress.stages, self.progress.tasks = len(stages), sum(len(s.tasks) for s in stages)
        self.trace.planned(self.plan)

    def _first_attempt(self, stage: Stage) -> int:
        """The first attempt of the run of a stage that begins now: a task of an earlier run that still writes must not meet
        one of this."""
        runs = self._runs.get(stage.stage_id, 0)
        self._runs[stage.stage_id] = runs + 1
        return 1 + runs * MAX_ATTEMPTS

    def _deployed(self) -> None:
        with self._lock:
            told, self._on_deployed = self._on_deployed, None
        if told is not None:
            told()

    def _inputs(self, stage: Stage) -> dict[int, list[BlockFile]]:
        return {number: [r.block for r in self.ledger.results(number)] for number in stage.inputs}

    def _lost(self, stage: Stage, ask: bool = False) -> Lost | None:
        """The output that says which inputs of `stage` are gone."""
        lost = self.ledger.lost(stage.inputs, functools.partial(self.engine.lost_blocks, ask=ask))
        if lost is not None:
            self._forget(lost)
        return lost

    def _forget(self, lost: Lost) -> None:
        for number in lost["lost"]:
            del self._produced[number]
            with self._lock:
                self.progress.stages_done -= 1
                self.progress.tasks_done -= len(self._stages[number].tasks)
        self.ledger.fold(lost)
        self.trace.lost(lost["lost"], blocks_gone=True)
        self.record.changed()

    def _on_task(self, result: TaskResult) -> None:
        block = result.block
        rows, size = scanned(self._stages[block.stage_id], self._tasks[block.stage_id, block.task_index])
        with self._lock:
            self.progress.tasks_done += 1
            self.progress.rows_read += rows
            self.progress.bytes_read += size
        self.trace.task_done(result)
        self._tell()

    def _tell(self) -> None:
        with self._telling:
            self._tell_now()

    def _tell_now(self) -> None:
        self.record.changed()
        if self._on_progress is None:
            return
        try:
            self._on_progress(self.progress)
        except Exception as exc:  # the edge to the caller's code: what it shows must not end the query
            self._on_progress = None
            self.warnings.append(f"the progress callback raised {type(exc).__name__}: {exc}; it was not called again")


def produced(results: list[TaskResult]) -> Produced:
    """What a finished stage handed on."""
    blocks = sorted((r.block for r in results), key=lambda b: b.task_index)
    partitions = tuple({p.partition: p.size_bytes for p in b.partitions} for b in blocks)
    return Produced(sum(b.rows for b in blocks), sum(b.size_bytes for b in blocks), partitions)


class HeldOutputs:
    """Hands outputs of steps over, but those of the first moments as one, and only when they are over: writing them down
    takes the interpreter from the stages that run meanwhile, and of a job that has its answer by then the end is enough.
    When the process dies, so much at most is to be done again."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._held: list[Ended | Lost] = []
        self._until_s = time.monotonic() + HELD_S

    def put(self, output: Ended | Lost) -> None:
        self._held.append(output)
        if time.monotonic() > self._until_s:
            self.release()

    def release(self) -> None:
        """Hand over what is held."""
        held, self._held = self._held, []
        outputs = [part.output() if isinstance(part, Ended) else part for part in held]
        if outputs:
            self._emit(outputs[0] if len(outputs) == 1 else {"outputs": outputs})


def scanned(stage: Stage, task: Task) -> tuple[int, int]:
    """Rows and bytes of the splits that a task reads, as the catalog knows them; what each task of the stage reads counts for
    the first."""
    rows = size = 0
    first = stage.tasks[0]
    if not task.splits:
        return rows, size
    for node in operators(stage.root):
        if isinstance(node, Scan) and (task is first or task.splits.get(node.scan_id) != first.splits.get(node.scan_id)):
            for split in task.splits.get(node.scan_id, ()):
                whole = node.spec.files[split.file].rows if split.file < len(node.spec.files) else None
                left = max(0, whole - split.first_row) if whole is not None else 0
                rows += left if split.num_rows is None else min(split.num_rows, left or split.num_rows)
                size += split.size_bytes
    return rows, size
