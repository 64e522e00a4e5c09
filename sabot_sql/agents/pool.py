"""The pool of agents as the engine sees it: run a stage, read its blocks, cancel, drop, stop."""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from sabot_sql.agents.agent import AgentConfig
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.blocks import LaneReader, LocalBlockReader
from sabot_sql.agents.calls import CallThreads
from sabot_sql.agents.flight import FlightBlockReader
from sabot_sql.agents.info import AgentInfo
from sabot_sql.agents.machine_memory import column_cache_bytes
from sabot_sql.agents.members import Heartbeat, Members
from sabot_sql.agents.scheduler import MAX_ATTEMPTS
from sabot_sql.agents.stage_run import REREAD_PAUSE_S, OnTask, StageRun, readdress
from sabot_sql.config import AgentSettings
from sabot_sql.errors import AgentLost, Cancelled, ServiceError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.physical import Session, Stage


class AgentPool:
    """Agents that are started once, stay between jobs and are replaced when they die. Thread-safe.

    Args:
        state_dir: where the agents' log lies and the blocks that do not fit into shared memory; None for stderr and a
            temporary folder.
        heartbeat: how an agent's silence is judged.
        fork: whether agents are forked; None for where that is safe.

    Example:
        pool = AgentPool(AgentSettings(count=2), None)
        results = pool.run_stage("job-1", stage, {}, Session())
        batches = [b for r in results for b in pool.read(r.block, 0)]
        pool.drop_job("job-1")
        pool.stop()
    """

    def __init__(
        self,
        settings: AgentSettings,
        state_dir: Path | None = None,
        *,
        heartbeat: Heartbeat | None = None,
        fork: bool | None = None,
    ) -> None:
        self._settings = settings
        self._state_dir = state_dir
        self._heartbeat = heartbeat or Heartbeat()
        self._fork = fork
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._stopped = False
        self._running: _Running | None = None
        self._runs: set[StageRun] = set()

    def start(self, wait: bool = False) -> None:
        """Start the agents unless they are there; with `wait` return when they listen.

        Raises:
            ServiceError: NO_AGENTS when there are none to start or they do not start in time.
        """
        running = self._start()
        if wait:
            running.members.wait(self._check_running)

    def agents(self) -> list[AgentInfo]:
        """The agents as they are now; none before the start and after the stop."""
        running = self._running
        return running.members.infos() if running is not None else []

    def run_stage(
        self,
        job_id: str,
        stage: Stage,
        inputs: dict[int, list[BlockFile]],
        session: Session,
        deadline_s: float | None = None,
        cancel: threading.Event | None = None,
        on_task: OnTask | None = None,
        first_attempt: int = 1,
        on_deployed: Callable[[], None] | None = None,
    ) -> list[TaskResult]:
        """Run the tasks of a stage; the results are in the order of the tasks. Starts the agents if need be.

        A task of an agent that dies runs again elsewhere, at most three times in all (the block of a result tells its
        attempt); a task that fails ends the run with its error.

        Args:
            inputs: the blocks of each stage that this one reads.
            deadline_s: `time.monotonic()` at which the run ends, or None.
            cancel: ends the run when set.
            on_task: called in this thread for each task that is done.
            first_attempt: number of each task's first attempt; higher than those used before when a stage of the job is run
                again, so that old and new blocks are never mixed.
            on_deployed: called once in this thread when the agents have their tasks and the wait for them begins.

        Raises:
            Cancelled, QueryTimeout: the run was ended; the agents are told and not waited for.
            AgentLost: a task was lost too often, or no agent is left.
            ServiceError: NO_AGENTS, SHUTTING_DOWN.
            SabotError: what a task failed with.
        """
        running = self._start()
        running.root.open_job(job_id)
        run = StageRun(
            running.members,
            running.calls,
            job_id,
            stage,
            inputs,
            session,
            self._settings.morsel_bytes,
            deadline_s,
            cancel or threading.Event(),
            on_task,
            first_attempt,
            on_deployed,
        )
        with self._lock:
            self._check_running()
            self._runs.add(run)
        try:
            return run.run()
        finally:
            with self._lock:
                self._runs.discard(run)

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition of a block, in sequence. When its agent goes away meanwhile, another one goes on.

        Raises:
            ReadError: the block is missing or has fewer rows than announced.
            AgentLost: no agent that has it can be reached.
        """
        running, num_given = self._start(), 0
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                batches = running.reader.read(readdress(block, running.members.uris()), partition)
                for batch in itertools.islice(batches, num_given, None):
                    num_given += 1
                    yield batch
                return
            except AgentLost:
                if attempt == MAX_ATTEMPTS:
                    raise
                time.sleep(REREAD_PAUSE_S)
                running.members.wait(self._check_running)

    def cancel(self, job_id: str) -> None:
        """End all running stages of a job."""
        for run in self._runs_of(job_id):
            run.abort(Cancelled("the query was cancelled"))

    def drop_job(self, job_id: str) -> None:
        """Remove the blocks of a job, after ending what still runs of it. Batches that were read stay valid."""
        self.cancel(job_id)
        running = self._running
        if running is not None:
            running.root.drop_job(job_id)

    def stop(self) -> None:
        """End all runs, stop the agents and remove their blocks; returns when all are gone. A stopped pool stays so."""
        if os.getpid() != self._pid:
            return  # a forked copy of the coordinator owns nothing of this
        with self._lock:
            self._stopped = True
            running, self._running = self._running, None
            runs = list(self._runs)
        for run in runs:
            run.abort(shutting_down())
        if running is not None:
            running.close()
            atexit.unregister(self.stop)

    def _start(self) -> _Running:
        running = self._running
        if running is not None:
            return running
        with self._lock:
            self._check_running()
            if self._running is None:
                self._running = _Running(self._settings, self._state_dir, self._heartbeat, self._fork)
                atexit.register(self.stop)
            return self._running

    def _check_running(self) -> None:
        if self._stopped:
            raise shutting_down()

    def _runs_of(self, job_id: str) -> list[StageRun]:
        with self._lock:
            return [r for r in self._runs if r.job_id == job_id]


class _Running:
    """What a started pool has."""

    def __init__(self, settings: AgentSettings, state_dir: Path | None, heartbeat: Heartbeat, fork: bool | None) -> None:
        if settings.count < 1:
            raise ServiceError(
                "the query is to run on agents, but this engine has none",
                code="NO_AGENTS",
                hint="give num_local_agents (or --agents) of at least 1, or use route='local'",
            )
        token = secrets.token_urlsafe(32)
        self.root = BlockRoot(state_dir, settings)
        cache_bytes = column_cache_bytes(settings.column_cache_bytes) // settings.count
        config = AgentConfig(
            token,
            self.root.places,
            settings.slots,
            settings.lane,
            cache_bytes,
            settings.memory_bytes,
            str(self.root.spill),
            self.root.spill_bytes // settings.count,
        )
        self._log_path = state_dir / "agents.log" if state_dir is not None else None
        self.calls = CallThreads("sabot-deploy")
        self._remote = FlightBlockReader(token)
        self.reader = LaneReader(settings.lane, LocalBlockReader(), self._remote)
        self.members = Members(settings.count, config, settings.start_timeout_s, heartbeat, self._log_path, fork)
        try:
            self.members.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.members.close()
        self.calls.close()
        self._remote.close()
        self.root.remove()
        if self._log_path is not None:
            self._log_path.unlink(missing_ok=True)


def shutting_down() -> ServiceError:
    """What is said to those who come after the stop."""
    return ServiceError("the pool of agents is shutting down", code="SHUTTING_DOWN", retryable=True)
