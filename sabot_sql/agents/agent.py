"""What one agent process holds: its slots, the tasks that run in them and its counters."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sabot_sql.agents.block_budget import BlockBudget, Place
from sabot_sql.agents.block_root import drop_job, job_folder
from sabot_sql.agents.blocks import FileBlockWriter, Lane, adopt_file, block_of, find_block, is_whole
from sabot_sql.agents.messages import (
    AgentReport,
    Deploy,
    FindBlocks,
    StagePlan,
    TaskDone,
    TaskFailed,
    TaskOutcome,
)
from sabot_sql.errors import AgentLost, Cancelled, InternalError, OutOfMemory, SabotError
from sabot_sql.executor.exchange import BlockName, BlockReader
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.owned_folders import remove_folder
from sabot_sql.executor.spill import SpillArea
from sabot_sql.executor.task import run_task
from sabot_sql.planner.physical import Task
from sabot_sql.planner.wire import from_wire

log = logging.getLogger(__name__)

GONE_CHECK_S = 1.0
MORSELS = 32  # batches that the memory of a task has room for, at least


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What every agent of a pool is started with.

    Attributes:
        token: every call must carry it.
        places: where the pool's block files lie.
        slots: tasks that run at once.
        lane: how blocks of this machine are read.
        column_cache_bytes: what an agent may keep of hot columns.
        memory_bytes: what an agent may hold beside these.
        spill_root: the folder with the agents' folders for what operators spill; empty where they must not.
        spill_bytes: what an agent may put there.
        compression: how blocks are compressed on their way to other machines.
        owns_blocks: whether the places are this agent's own, so that its blocks go with it.
    """

    token: str
    places: tuple[Place, ...]
    slots: int = 1
    lane: Lane = "file"
    column_cache_bytes: int = 0
    memory_bytes: int = 4 << 30
    spill_root: str = ""
    spill_bytes: int = 1 << 62
    owns_blocks: bool = False
    compression: Literal["none", "lz4"] = "none"

    @property
    def duckdb_bytes(self) -> int:
        """What DuckDB may hold in an agent, beside cached columns: a quarter, and what it needs to work."""
        return max(self.memory_bytes // 4, 64 << 20)

    @property
    def task_bytes(self) -> int:
        """What the operators of a task may hold."""
        return (self.memory_bytes - self.memory_bytes // 4) // self.slots

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders of the places."""
        return tuple(Path(place.root) for place in self.places)

    @staticmethod
    def from_json(data: dict[str, Any]) -> AgentConfig:
        """The configuration that `asdict` and JSON made `data` of."""
        return AgentConfig(**{**data, "places": tuple(Place(**place) for place in data["places"])})


class Run:
    """The tasks of one deployment.

    Args:
        deliver: called once for each task, in whatever thread has its outcome; must not fail.
        on_end: called after the last of them.
    """

    def __init__(
        self,
        plan: StagePlan,
        deadline_s: float | None,
        missing: dict[int, int],
        deliver: Callable[[TaskOutcome], None],
        on_end: Callable[[Run], None],
    ) -> None:
        self.plan = plan
        self.deadline_s = deadline_s
        self.cancelled = threading.Event()
        self._missing = missing
        self._deliver = deliver
        self._on_end = on_end
        self._lock = threading.Lock()  # held while an outcome is delivered: two never mix

    def end(self, outcome: TaskOutcome) -> None:
        """A task has ended; what comes after the cancellation is dropped."""
        with self._lock:
            if self._missing.pop(outcome.index, None) is None:
                return
            self._deliver(outcome)
            if self._missing:
                return
        self._on_end(self)

    def cancel(self) -> None:
        """Stop the tasks and give the outcomes that are missing at once, as Cancelled."""
        self.cancelled.set()
        with self._lock:
            missing, self._missing = self._missing, {}
            problem = Cancelled("the query was cancelled").to_problem()
            for index, attempt in missing.items():
                self._deliver(TaskFailed(index, attempt, problem))
        if missing:
            self._on_end(self)


class Agent:
    """Runs tasks in `config.slots` threads; deployments take turns, each with its tasks in their order.

    Args:
        reader: reads the blocks of other tasks; made by the caller because it may need the agent's Flight connections.
    """

    def __init__(self, agent_id: str, config: AgentConfig, reader: BlockReader) -> None:
        self.agent_id = agent_id
        self.config = config
        self.incarnation = uuid.uuid4().hex
        self.flight_uri = ""
        self._reader = reader
        self._budget = BlockBudget(config.places)
        self._spill = spill_area(config, agent_id)
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._cancelled_runs: dict[str, None] = {}  # a cancel may overtake its deployment
        self._dropped_jobs: dict[str, None] = {}  # as may the end of a job
        self._deployed = threading.Condition(self._lock)
        self._turns: deque[tuple[Run, deque[tuple[Task, int]]]] = deque()  # what waits for a slot
        self._num_slots = 0  # threads that were started
        self._used = self._queued = self._done = self._failed = 0

    def start(self, message: Deploy, deliver: Callable[[TaskOutcome], None]) -> Run:
        """Run the tasks in the slots and deliver their outcomes as they end.

        Args:
            deliver: called in the threads of the slots, or of whoever cancels the run; must not fail.
        """
        plan = from_wire(message.plan, StagePlan)
        if self.config.owns_blocks:
            self._open_job(plan.job_id)
        missing = dict(zip((t.index for t in message.tasks), message.attempts))
        deadline_s = None if message.timeout_s is None else time.monotonic() + message.timeout_s
        run = Run(plan, deadline_s, missing, deliver, self._forget)
        with self._lock:
            self._runs.add(run)
            self._queued += len(message.tasks)
            self._start_slots()
            cancelled = plan.run in self._cancelled_runs
            if message.tasks:
                self._turns.append((run, deque(zip(message.tasks, message.attempts))))
            self._deployed.notify(len(message.tasks))
        if cancelled:
            run.cancel()
        return run

    def deploy(self, message: Deploy, is_gone: Callable[[], bool]) -> Iterator[TaskOutcome]:
        """Run the tasks and give their outcomes as they end; when `is_gone` says that nobody listens any more, the run is
        cancelled.
        """
        outcomes: queue.SimpleQueue[TaskOutcome] = queue.SimpleQueue()
        run = self.start(message, outcomes.put)
        num_missing = len(message.tasks)
        try:
            while num_missing:
                try:
                    outcome = outcomes.get(timeout=GONE_CHECK_S)
                except queue.Empty:
                    if is_gone():
                        return
                    continue
                num_missing -= 1
                yield outcome
        finally:
            run.cancel()

    def cancel(self, job_id: str, run_name: str | None) -> None:
        """Stop the tasks of a run, also of one that is still on its way here, or of all runs of the job."""
        with self._lock:
            if run_name is not None:
                remember(self._cancelled_runs, run_name)
            runs = [r for r in self._runs if r.plan.job_id == job_id and run_name in (None, r.plan.run)]
        for run in runs:
            run.cancel()

    def drop(self, job_id: str) -> None:
        """Stop the tasks of a job and remove its blocks."""
        with self._lock:
            remember(self._dropped_jobs, job_id)
        self.cancel(job_id, None)
        for root in self.config.roots:
            drop_job(root, job_id)

    def cancel_all(self) -> None:
        """Stop all tasks: nobody is there who would take their outcomes."""
        with self._lock:
            runs = list(self._runs)
        for run in runs:
            run.cancel()

    def jobs(self) -> tuple[str, ...]:
        """The jobs that have a folder here."""
        found = {path.name for root in self.config.roots for path in root.iterdir() if path.is_dir()}
        return tuple(sorted(found))

    def held(self) -> FindBlocks:
        """The block files that are this agent's own, and their sizes."""
        found: dict[BlockName, int] = {}
        if self.config.owns_blocks:
            for path in (path for root in self.config.roots for path in root.glob("*/*.arrow")):
                with contextlib.suppress(OSError):  # its job has just ended
                    found[block_of(path)] = path.stat().st_size
        return FindBlocks(tuple(found), tuple(found.values()))

    def missing(self, wanted: FindBlocks) -> FindBlocks:
        """Those of the blocks that are not here whole."""
        sizes = dict(zip(wanted.names, wanted.sizes))
        gone = {name: size for name, size in sizes.items() if not is_whole(find_block(self.config.roots, *name), size)}
        return FindBlocks(tuple(gone), tuple(gone.values()))

    def adopt(self, name: BlockName, size_bytes: int, chunks: Iterable[tuple[bytes, bool]]) -> None:
        """Keep another agent's block file as one of this agent's; see `adopt_file`."""
        self._open_job(name[0])
        adopt_file(self._budget, name, size_bytes, chunks)

    def _open_job(self, job_id: str) -> None:
        with self._lock:
            if job_id in self._dropped_jobs:
                raise Cancelled("the job was dropped")
            for root in self.config.roots:
                job_folder(root, job_id).mkdir(mode=0o700, exist_ok=True)

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

    def _forget(self, run: Run) -> None:
        with self._lock:
            self._runs.discard(run)

    def _start_slots(self) -> None:
        while self._num_slots < min(self.config.slots, self._used + self._queued):
            self._num_slots += 1
            threading.Thread(target=self._work, name=f"slot-{self._num_slots}", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._run_in_slot(*self._next())

    def _next(self) -> tuple[Run, Task, int]:
        """The next task of the deployment whose turn it is: a long one does not keep others waiting until its end."""
        with self._deployed:
            while not self._turns:
                self._deployed.wait()
            run, tasks = self._turns.popleft()
            task, attempt = tasks.popleft()
            if tasks:
                self._turns.append((run, tasks))
            return run, task, attempt

    def _run_in_slot(self, run: Run, task: Task, attempt: int) -> None:
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
        run.end(outcome)

    def _run_task(self, run: Run, task: Task, attempt: int) -> TaskDone:
        plan, stage_id = run.plan, run.plan.stage.stage_id
        spill = None if self._spill is None else self._spill.scope(plan.job_id)
        context = TaskContext(
            job_id=plan.job_id,
            stage_id=stage_id,
            task_index=task.index,
            attempt=attempt,
            session=plan.session,
            memory=MemoryTracker(self.config.task_bytes),
            morsel_bytes=min(plan.morsel_bytes, self.config.task_bytes // MORSELS),
            deadline_s=run.deadline_s,
            cancelled=run.cancelled,
            spill=spill,
        )
        context.check()
        names = (plan.job_id, stage_id, task.index, attempt, self.agent_id, self.flight_uri)
        owner = self.incarnation if self.config.owns_blocks else ""
        writer = FileBlockWriter(self.config.roots[0], *names, self._budget, owner)
        try:
            inputs = {stage: list(blocks) for stage, blocks in plan.inputs.items()}
            result = run_task(plan.stage, task, inputs, self._reader, writer, context)
            context.check()
        except BaseException as exc:
            writer.abort()
            if isinstance(exc, Cancelled) and not run.cancelled.is_set():
                raise AgentLost("the folder of the job's blocks is gone", retryable=True) from exc
            raise
        return TaskDone(task.index, attempt, result)


def remember(names: dict[str, None], name: str) -> None:
    """Keep the last thousand names."""
    names[name] = None
    while len(names) > 1000:
        del names[next(iter(names))]


def spill_folder(config: AgentConfig, agent_id: str) -> Path | None:
    """The agent's own folder for what is spilled."""
    return Path(config.spill_root) / agent_id if config.spill_root else None


def spill_area(config: AgentConfig, agent_id: str) -> SpillArea | None:
    """The agent's area for what operators spill, made anew: what a predecessor left is removed. DuckDB has half of the room."""
    folder = spill_folder(config, agent_id)
    if folder is None:
        return None
    remove_folder(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    return SpillArea(folder, config.spill_bytes // 2)


def rss_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
