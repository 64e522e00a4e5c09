"""The pool of agents as the engine sees it: run a stage, read its blocks, cancel, drop, stop."""

from __future__ import annotations

import atexit
import functools
import itertools
import logging
import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.agents.agent import remember
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.blocks import LaneReader, LocalBlockReader, lost_files
from sabot_sql.agents.calls import CallThreads
from sabot_sql.agents.flight import AgentConnection, FlightBlockReader
from sabot_sql.agents.info import AgentInfo
from sabot_sql.agents.members import Heartbeat, MakeProvider, Members
from sabot_sql.agents.messages import AdoptBlocks, FindBlocks, Registered, Registration
from sabot_sql.agents.providers.local import LocalProvider, local_config
from sabot_sql.agents.providers.static import StaticProvider, read_token
from sabot_sql.agents.scheduler import MAX_ATTEMPTS
from sabot_sql.agents.stage_run import REREAD_PAUSE_S, OnTask, StageRun, quietly, readdress
from sabot_sql.config import AgentSettings
from sabot_sql.errors import AgentLost, Cancelled, ConfigError, InternalError, NotSupported, SabotError, ServiceError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.physical import Session, Stage

log = logging.getLogger(__name__)

DRAIN_PAUSE_S, RETRY_S = 0.1, 1.0
HAND_OVER_S = 300.0  # in which the blocks of a job must be with another agent


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
        running.open_job(job_id)
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
                batches = running.reader.read(readdress([block], running.members)[0], partition)
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

    def keep_job(self, job_id: str) -> None:
        """Have agents that were started elsewhere keep what they hold of a job that no stage of this pool ran."""
        self._start().keep_job(job_id)

    def drop_job(self, job_id: str) -> None:
        """Remove the blocks of a job, after ending what still runs of it. Batches that were read stay valid."""
        self.cancel(job_id)
        running = self._running
        if running is not None:
            running.drop_job(job_id)

    def lost(self, blocks: Sequence[BlockFile], ask: bool = False) -> list[BlockFile]:
        """Those of the blocks that cannot be read any more.

        Args:
            ask: whether agents are asked for the files of their own; without, they are there as long as their agent is.
        """
        return self._start().lost(blocks, ask)

    def scale(self, num_agents: int) -> None:
        """Have so many agents: start more, or drain the newest and end them; does not wait for it. Stages that begin later use
        the new set.

        Raises:
            NotSupported: the agents were started elsewhere.
        """
        running = self._start()
        if not running.members.provider.scales:
            raise NotSupported(
                "agents that were started elsewhere cannot be started or ended from here",
                hint="start more with `sabot-sql agent`, or end some; they are drained",
            )
        if num_agents < 1:
            raise ServiceError("a pool has at least one agent", code="INVALID_PARAMETER")
        with self._lock:
            ids = [a.id for a in running.members.infos() if a.state != "draining"]
            running.members.add(max(0, num_agents - len(ids)), self._settings.slots)
        for agent_id in ids[num_agents:]:
            running.drain(agent_id)

    def drain(self, agent_id: str) -> bool:
        """Give an agent no more tasks, let it finish those it has, have other agents take over its blocks, and end it; does
        not wait for it. Whether there is such an agent.

        Raises:
            ServiceError: it is the last one that was started from here.
        """
        running = self._start()
        others = [a for a in running.members.infos() if a.state != "draining" and a.id != agent_id]
        if running.members.provider.scales and not others:
            raise ServiceError(f"agent {agent_id} is the last one", code="INVALID_PARAMETER", hint="start another one first")
        return running.drain(agent_id)

    def resume(self, agent_id: str) -> bool:
        """Keep an agent that is being drained; whether there is one."""
        return self._start().members.resume(agent_id)

    def slots(self) -> int:
        """Tasks that run at once over all agents."""
        running = self._running
        if running is not None and (slots := sum(running.members.slots().values())):
            return slots
        return self._settings.started_slots

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
    """What a started pool has.

    Attributes:
        root: where blocks lie that belong to the jobs; None where agents were started elsewhere and have their own.
    """

    def __init__(self, settings: AgentSettings, state_dir: Path | None, heartbeat: Heartbeat, fork: bool | None) -> None:
        if settings.provider != "static" and settings.count < 1:
            raise ServiceError(
                "the query is to run on agents, but this engine has none",
                code="NO_AGENTS",
                hint="give num_local_agents (or --agents) of at least 1, or use route='local'",
            )
        self._settings = settings
        self._open_jobs: set[str] = set()
        self._released: set[str] = set()  # incarnations
        self._ended_jobs: dict[str, None] = {}
        self._unknown_s: dict[str, float] = {}  # jobs that agents have and nobody here knows, since when
        self._lock = threading.Lock()
        self._log_path = state_dir / "agents.log" if state_dir is not None and settings.provider == "local" else None
        self.root: BlockRoot | None = None
        self.calls = CallThreads("sabot-deploy")
        if settings.provider == "local":
            token = secrets.token_urlsafe(32)
            self.root = BlockRoot(state_dir, settings)
            config = local_config(settings, token, self.root)
            ways: dict[str, Any] = {} if fork is None else {"fork": fork}
            make: MakeProvider = functools.partial(LocalProvider, config, log_path=self._log_path, **ways)
        elif settings.provider == "ray" and settings.token_file is None:
            token = secrets.token_urlsafe(32)
        else:
            token = read_token(settings.token_file)
        if settings.provider == "static":
            make = functools.partial(StaticProvider, token, settings.listen, self._answer)
        if settings.provider == "ray":
            try:
                from sabot_sql.agents.providers.ray import RayProvider
            except ModuleNotFoundError as exc:
                raise ConfigError(f"agents on Ray need {exc.name}", hint="pip install 'sabot-sql[ray]'") from exc
            make = functools.partial(RayProvider, token, settings, self._answer)
        self._token = token
        self._remote = FlightBlockReader(token)
        self._members: Members | None = None
        self.reader = LaneReader(settings.lane, LocalBlockReader(), self._remote)
        try:
            self.members = self._members = Members(make, token, settings.start_timeout_s, heartbeat, self.drain)
            if self.members.provider.scales:
                self.members.add(settings.count, settings.slots)
            self.members.watch()
        except BaseException:
            self.close()
            raise

    def keep_job(self, job_id: str) -> None:
        with self._lock:
            self._open_jobs.add(job_id)

    def open_job(self, job_id: str) -> None:
        self.keep_job(job_id)
        if self.root is not None:
            self.root.open_job(job_id)

    def drop_job(self, job_id: str) -> None:
        with self._lock:
            self._open_jobs.discard(job_id)
            remember(self._ended_jobs, job_id)
        if self.root is not None:
            self.root.drop_job(job_id)
        for connection in self.members.forget_job(job_id):  # whom this does not reach is told when it registers next
            self.calls.submit(functools.partial(quietly, connection.drop, job_id))

    def lost(self, blocks: Sequence[BlockFile], ask: bool) -> list[BlockFile]:
        gone, asked = lost_files(block for block in blocks if not block.owner), defaultdict(list)
        for block in (block for block in blocks if block.owner and block.partitions):
            found = self.members.owner(block.owner, block.job_id)
            if found is None or (ask and self.members.is_silent(block.owner, block.job_id)):
                gone.append(block)
            elif ask:
                asked[found].append(block)
        for (agent_id, uri), theirs in asked.items():
            gone += self._ask(agent_id, uri, theirs)
        return gone

    def _ask(self, agent_id: str, uri: str, blocks: list[BlockFile]) -> list[BlockFile]:
        """Those of an agent's blocks that it does not have; all of them where it does not answer."""
        connection = AgentConnection(uri, self._token, f"agent {agent_id}")
        named = {block.name: block for block in blocks}
        try:
            found = connection.missing(FindBlocks(tuple(named), tuple(block.size_bytes for block in blocks)))
        except AgentLost:
            return blocks
        finally:
            connection.close()
        return [named[name] for name in found.names]

    def drain(self, agent_id: str) -> bool:
        incarnation = self.members.drain(agent_id)
        if incarnation is None:
            return False
        if incarnation:
            self.calls.submit(functools.partial(self._drain, agent_id, incarnation))
        return True

    def _drain(self, agent_id: str, incarnation: str) -> None:
        """Wait for the agent's tasks, have its blocks taken over, and end it."""
        moved: set[str] = set()
        while self.members.is_draining(agent_id, incarnation):
            connection = self.members.connection(agent_id, incarnation)
            if connection is None:
                return
            try:
                idle = connection.is_idle()
                if idle and self._hand_over(connection, incarnation, moved):
                    if not self.members.release(agent_id, incarnation):
                        return
                    with self._lock:
                        self._released.add(incarnation)
                    if self.members.provider.scales:
                        self.members.remove(agent_id)
                    return
            except SabotError as exc:
                log.warning("agent %s is being drained: %s; trying again", agent_id, exc.detail)
                time.sleep(RETRY_S)
            time.sleep(DRAIN_PAUSE_S)

    def _hand_over(self, source: AgentConnection, incarnation: str, moved: set[str]) -> bool:
        """Have other agents copy the blocks that an agent has of open jobs; whether all of them are elsewhere."""
        held = source.held()
        for job_id in sorted({name[0] for name in held.names}):
            with self._lock:
                is_open = job_id in self._open_jobs
            if not is_open or job_id in moved:
                continue
            to = self.members.other_owner(incarnation, job_id)
            if to is None:
                return False
            target_incarnation, target = to
            of_job = [(name, size) for name, size in zip(held.names, held.sizes) if name[0] == job_id]
            names, sizes = tuple(name for name, _ in of_job), tuple(size for _, size in of_job)
            target.adopt(AdoptBlocks(source.uri, names, sizes), HAND_OVER_S)
            missing = target.missing(FindBlocks(names, sizes))
            if missing.names:
                raise InternalError(f"{len(missing.names)} of {len(names)} blocks of job {job_id} did not arrive")
            self.members.moved(incarnation, job_id, target_incarnation)
            moved.add(job_id)
        return True

    def _answer(self, message: Registration) -> Registered:
        """What an agent that was started elsewhere is told when it registers, each second."""
        now = time.monotonic()
        with self._lock:
            drop = []
            for job_id in [job for job, since_s in self._unknown_s.items() if now - since_s > 2 * self._settings.lease_s]:
                del self._unknown_s[job_id]  # of an agent that is gone
            for job_id in message.jobs:
                if job_id in self._open_jobs:
                    self._unknown_s.pop(job_id, None)
                elif job_id in self._ended_jobs or now - self._unknown_s.setdefault(job_id, now) > self._settings.lease_s:
                    self._unknown_s.pop(job_id, None)
                    drop.append(job_id)
            released = message.incarnation in self._released
        if released:  # it ends now
            self.calls.submit(functools.partial(self.members.remove, message.agent_id))
        return Registered(drop=tuple(drop), released=released)

    def close(self) -> None:
        if self._members is not None:
            self._members.close()
        self.calls.close()
        self._remote.close()
        if self.root is not None:
            self.root.remove()
        if self._log_path is not None:
            self._log_path.unlink(missing_ok=True)


def shutting_down() -> ServiceError:
    """What is said to those who come after the stop."""
    return ServiceError("the pool of agents is shutting down", code="SHUTTING_DOWN", retryable=True)
