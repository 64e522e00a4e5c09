"""Striking agents in the middle of a query, at a moment that a random number tells."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

import sabot_sql
from sabot_sql.agents import stage_run
from sabot_sql.agents.pool import AgentPool
from sabot_sql.agents.scheduler import StageScheduler
from sabot_sql.client.difference import difference
from sabot_sql.errors import SabotError
from sabot_sql.jobs import ledger
from sabot_sql.planner.physical import Scan, Stage, operators

Fault = Literal["kill", "stop"]
Place = Literal["scan", "exchange", "final"]

FAULTS: tuple[Fault, ...] = ("kill", "stop")
PLACES: tuple[Place, ...] = ("scan", "exchange", "final")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
WHOLE_S = 30.0
TIMEOUT_S = 120.0


@dataclass(slots=True)
class Strike:
    """A fault that comes once, at a moment of one of a query's stages.

    Attributes:
        moment: how far the stage is, from 0 to 1 of what it took undisturbed.
        pid: of the agent that was struck; 0 before.
    """

    fault: Fault
    place: Place
    moment: float
    seed: int
    pid: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of a query. `wrong` says what differs from the right answer, `error` the code it failed with."""

    elapsed_s: float
    pid: int
    retries: int = 0
    wrong: str = ""
    error: str = ""


@dataclass(eq=False, slots=True)
class Cluster:
    """Agents over a folder, and how long each stage of each query took undisturbed."""

    db: sabot_sql.Connection
    stage_s: dict[tuple[str, int], float] = field(default_factory=dict)
    answers: dict[str, pa.Table] = field(default_factory=dict)
    undisturbed_s: dict[str, float] = field(default_factory=dict)
    _sql: str = ""
    _strike: Strike | None = None
    _timer: threading.Timer | None = None

    def learn(self, sql: str, times: int = 2) -> None:
        """Run a query undisturbed; its answer is the one that is right."""
        self._sql = sql
        for _ in range(times):
            began = time.monotonic()
            self.answers[sql] = self.db.execute_sql(sql, route="distributed").to_arrow()
            self.undisturbed_s[sql] = time.monotonic() - began

    def run(self, sql: str, strike: Strike) -> Outcome:
        """Run a query, struck once."""
        self._sql, self._strike = sql, strike
        began = time.monotonic()
        try:
            result = self.db.execute_sql(sql, route="distributed", timeout_s=TIMEOUT_S)
            elapsed_s = time.monotonic() - began
        except SabotError as error:
            return Outcome(time.monotonic() - began, strike.pid, error=error.problem.code)
        finally:
            self._strike = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer.join()
            if strike.pid:
                self._wait_until_whole(strike.pid)
        return Outcome(elapsed_s, strike.pid, result.stats["retries"], difference(self.answers[sql], result.to_arrow()))

    def stage_begins(self, stage: Stage) -> None:
        """Called when a stage of the query is about to run."""
        strike = self._strike
        if strike is not None and self._place(stage) == strike.place:
            self._strike = None  # it is the first such stage
            delay_s = strike.moment * self.stage_s.get((self._sql, stage.stage_id), 0.0)
            self._timer = threading.Timer(delay_s, self._hit, (strike, stage))
            self._timer.start()

    def stage_ended(self, stage: Stage, took_s: float) -> None:
        """Called when a stage has run."""
        self.stage_s.setdefault((self._sql, stage.stage_id), took_s)

    def _place(self, stage: Stage) -> Place:
        if stage.stage_id == max(number for sql, number in self.stage_s if sql == self._sql):
            return "final"
        return "scan" if any(isinstance(node, Scan) for node in operators(stage.root)) else "exchange"

    def _hit(self, strike: Strike, stage: Stage) -> None:
        """Strike an agent that has, or had, a task of the stage."""
        agents = sorted(self.db.agents(), key=lambda agent: str(agent["id"]))
        tasks = len(stage.tasks)
        busy = [agents[(stage.stage_id + i) % len(agents)] for i in range(tasks)] if tasks < len(agents) else agents
        pid = int(random.Random(f"{strike.seed} {strike.moment}").choice(busy)["pid"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGNALS[strike.fault])
            strike.pid = pid

    def _wait_until_whole(self, gone: int) -> None:
        """Wait until all agents are there and the one that was struck is not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(gone, signal.SIGKILL)  # one that was stopped after its last task is not missed before the next
        deadline = time.monotonic() + WHOLE_S
        while any(agent["state"] != "alive" or agent["pid"] == gone for agent in self.db.agents()):
            if time.monotonic() > deadline:
                raise AssertionError(f"the pool is not whole after {WHOLE_S:.0f} s: {self.db.agents()}")
            time.sleep(0.02)


@contextlib.contextmanager
def cluster(folder: Path, agents: int) -> Iterator[Cluster]:
    """A cluster of so many agents; none of it is left afterwards."""
    run_stage: Callable[..., Any] = AgentPool.run_stage
    with sabot_sql.connect(data=str(folder), num_local_agents=agents) as db:
        found = Cluster(db)

        @functools.wraps(run_stage)
        def told(self: AgentPool, job_id: str, stage: Stage, *args: Any, **more: Any) -> Any:
            found.stage_begins(stage)
            began = time.monotonic()
            results = run_stage(self, job_id, stage, *args, **more)
            found.stage_ended(stage, time.monotonic() - began)
            return results

        AgentPool.run_stage = told  # type: ignore[method-assign]
        try:
            yield found
        finally:
            AgentPool.run_stage = run_stage  # type: ignore[method-assign]


@contextlib.contextmanager
def without_retries() -> Iterator[None]:
    """No task and no stage has a second attempt."""
    scheduler, runs = stage_run.StageScheduler, ledger.MAX_RUNS
    stage_run.StageScheduler = functools.partial(StageScheduler, max_attempts=1)  # type: ignore[misc, assignment]
    ledger.MAX_RUNS = 1
    try:
        yield
    finally:
        stage_run.StageScheduler, ledger.MAX_RUNS = scheduler, runs  # type: ignore[misc]
