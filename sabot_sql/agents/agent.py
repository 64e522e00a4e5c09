"""What one agent process holds: its slots, the tasks that run in them and its counters."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sabot_sql.agents.block_root import drop_job
from sabot_sql.agents.blocks import FileBlockWriter, Lane
from sabot_sql.agents.messages import AgentReport, Deploy, StagePlan, TaskDone, TaskFailed, TaskOutcome
from sabot_sql.errors import Cancelled, InternalError, OutOfMemory, SabotError
from sabot_sql.executor.exchange import BlockReader
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.task import run_task
from sabot_sql.planner.physical import Task
from sabot_sql.planner.wire import from_wire

log = logging.getLogger(__name__)

GONE_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What every agent of a pool is started with.

    Attributes:
        token: every call must carry it.
        block_root: folder of the pool's block files.
        slots: tasks that run at once.
        lane: how blocks of this machine are read.
    """

    token: str
    block_root: str
    slots: int = 1
    lane: Lane = "file"


@dataclass(eq=False, slots=True)
class _Run:
    """The tasks of one deployment. `outcomes` is fed by the slots; None in it wakes the stream up when it is cancelled."""

    plan: StagePlan
    deadline_s: float | None
    cancelled: threading.Event = field(default_factory=threading.Event)
    outcomes: queue.SimpleQueue[TaskOutcome | None] = field(default_factory=queue.SimpleQueue)

    def cancel(self) -> None:
        self.cancelled.set()
        self.outcomes.put(None)


class Agent:
    """Runs tasks in `config.slots` threads, in the order in which they were deployed.

    Args:
        reader: reads the blocks of other tasks; made by the caller because it may need the agent's Flight connections.
    """

    def __init__(self, agent_id: str, config: AgentConfig, reader: BlockReader) -> None:
        self.agent_id = agent_id
        self.config = config
        self.incarnation = uuid.uuid4().hex
        self.flight_uri = ""
        self._reader = reader
        self._lock = threading.Lock()
        self._runs: set[_Run] = set()
        self._cancelled_runs: dict[str, None] = {}  # a cancel may overtake its deployment
        self._queue: queue.SimpleQueue[tuple[_Run, Task, int]] = queue.SimpleQueue()
        self._num_slots = 0  # threads that were started
        self._used = self._queued = self._done = self._failed = 0

    def deploy(self, message: Deploy, is_gone: Callable[[], bool]) -> Iterator[TaskOutcome]:
        """Run the tasks and give their outcomes as they end. When the run is cancelled the outcomes that are still missing
        come at once, as Cancelled; when `is_gone` says that nobody listens any more, the run is cancelled.
        """
        plan = from_wire(message.plan, StagePlan)
        run = _Run(plan, None if message.timeout_s is None else time.monotonic() + message.timeout_s)
        missing = dict(zip((t.index for t in message.tasks), message.attempts))
        with self._lock:
            self._runs.add(run)
            self._queued += len(message.tasks)
            self._start_slots()
            if plan.run in self._cancelled_runs:
                run.cancel()
        try:
            for task, attempt in zip(message.tasks, message.attempts):
                self._queue.put((run, task, attempt))
            while missing and not run.cancelled.is_set():
                try:
                    outcome = run.outcomes.get(timeout=GONE_CHECK_S)
                except queue.Empty:
                    if is_gone():
                        break
                    continue
                if outcome is not None:
                    del missing[outcome.index]
                    yield outcome
            problem = Cancelled("the query was cancelled").to_problem()
            for index, attempt in missing.items():
                yield TaskFailed(index, attempt, problem)
        finally:
            run.cancelled.set()
            with self._lock:
                self._runs.discard(run)

    def cancel(self, job_id: str, run_name: str | None) -> None:
        """Stop the tasks of a run, also of one that is still on its way here, or of all runs of the job."""
        with self._lock:
            if run_name is not None:
                self._cancelled_runs[run_name] = None
                while len(self._cancelled_runs) > 1000:
                    del self._cancelled_runs[next(iter(self._cancelled_runs))]
            runs = [r for r in self._runs if r.plan.job_id == job_id and run_name in (None, r.plan.run)]
        for run in runs:
            run.cancel()

    def drop(self, job_id: str) -> None:
        """Stop the tasks of a job and remove its blocks."""
        self.cancel(job_id, None)
        drop_job(Path(self.config.block_root), job_id)

    def report(self) -> AgentReport:
        """The agent's state now."""
        with self._lock:
            return AgentReport(
                agent_id=self.agent_id,
                incarnation=self.incarnation,
                pid=os.getpid(),
                slots=self.config.slots,
                slots_used=self._used,
                tasks_queued=self._queued,
                tasks_done=self._done,
                tasks_failed=self._failed,
                rss_bytes=rss_bytes(),
            )

    def _start_slots(self) -> None:
        while self._num_slots < min(self.config.slots, self._used + self._queued):
            self._num_slots += 1
            threading.Thread(target=self._work, name=f"slot-{self._num_slots}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._run_in_slot(*self._queue.get())

    def _run_in_slot(self, run: _Run, task: Task, attempt: int) -> None:
        """Run one task attempt; its error, whatever it is, ends here as its outcome."""
        with self._lock:
            self._queued -= 1
            self._used += 1
        outcome: TaskOutcome
        try:
            outcome = self._run_task(run, task, attempt)
        except SabotError as exc:
            outcome = TaskFailed(task.index, attempt, exc.to_problem())
        except MemoryError:
            error = OutOfMemory("an agent has no memory left", hint="use fewer threads or more memory")
            outcome = TaskFailed(task.index, attempt, error.to_problem())
        except Exception as exc:  # the process edge: a bug of ours must not take the agent down
            name = f"task {task.index} of stage {run.plan.stage.stage_id} of job {run.plan.job_id}"
            log.exception("%s failed", name)
            error_of_ours = InternalError(f"{name} failed: {type(exc).__name__}: {exc}")
            outcome = TaskFailed(task.index, attempt, error_of_ours.to_problem())
        with self._lock:
            self._used -= 1
            self._done += isinstance(outcome, TaskDone)
            self._failed += isinstance(outcome, TaskFailed)
        run.outcomes.put(outcome)

    def _run_task(self, run: _Run, task: Task, attempt: int) -> TaskDone:
        plan, stage_id = run.plan, run.plan.stage.stage_id
        context = TaskContext(
            job_id=plan.job_id,
            stage_id=stage_id,
            task_index=task.index,
            attempt=attempt,
            session=plan.session,
            memory=MemoryTracker(plan.memory_bytes),
            morsel_bytes=plan.morsel_bytes,
            deadline_s=run.deadline_s,
            cancelled=run.cancelled,
        )
        context.check()
        root = Path(self.config.block_root)
        writer = FileBlockWriter(root, plan.job_id, stage_id, task.index, attempt, self.agent_id, self.flight_uri)
        try:
            inputs = {stage: list(blocks) for stage, blocks in plan.inputs.items()}
            result = run_task(plan.stage, task, inputs, self._reader, writer, context)
            context.check()
        except BaseException:
            writer.abort()
            raise
        return TaskDone(task.index, attempt, result)


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
