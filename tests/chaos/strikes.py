"""Striking agents in the middle of a query, at a moment that a random number tells."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

import sabot_sql
from sabot_sql.agents import stage_run
from sabot_sql.agents.pool import AgentPool
from sabot_sql.agents.scheduler import StageScheduler
from sabot_sql.client.connection import Connection
from sabot_sql.client.difference import difference
from sabot_sql.client.embedded import EmbeddedService
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.errors import SabotError
from sabot_sql.jobs import ledger
from sabot_sql.jobs.manager import JobManager
from sabot_sql.planner.physical import Scan, Stage, operators
from tests.agents.network import Network, network
from tests.agents.processes import until
from tests.agents.standalone import AgentProcess, token_file

Fault = Literal["kill", "stop", "cut off", "cut link"]
Place = Literal["scan", "exchange", "final"]

PLACES: tuple[Place, ...] = ("scan", "exchange", "final")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
PORT = 8615
WHOLE_S = 40.0
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


class World(Protocol):
    """Where agents run.

    Attributes:
        faults: what can be done to them there.
    """

    faults: tuple[Fault, ...]

    def strike(self, fault: Fault, agent: dict[str, Any], number: int) -> None:
        """Do it to an agent, the `number`-th of all by name."""
        ...

    def restore(self, agents: Callable[[], list[dict[str, Any]]], pid: int) -> None:
        """Wait until all agents are there and sound again; `pid` is that of the one that was struck."""
        ...


class OneMachine:
    """Agents that the engine has started, with it on one machine."""

    faults: tuple[Fault, ...] = ("kill", "stop")

    def strike(self, fault: Fault, agent: dict[str, Any], number: int) -> None:
        os.kill(int(agent["pid"]), SIGNALS[fault])

    def restore(self, agents: Callable[[], list[dict[str, Any]]], pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # one that was stopped after its last task is not missed before the next
        until(lambda: all(agent["state"] == "alive" and agent["pid"] != pid for agent in agents()), WHOLE_S)


class Machines:
    """Agents on machines of their own, as far as the network goes: their blocks go with them, and links can be cut."""

    faults: tuple[Fault, ...] = ("kill", "cut off", "cut link")

    def __init__(self, net: Network, token: Path) -> None:
        self.net = net
        self.token = token
        self.listen = f"{net.here}:{PORT}"
        self._agents = [self._start(i) for i in range(len(net.addresses))]

    def settings(self) -> AgentSettings:
        return AgentSettings(provider="static", listen=self.listen, token_file=str(self.token), lane="flight")

    def strike(self, fault: Fault, agent: dict[str, Any], number: int) -> None:
        if fault == "kill":
            self._agents[number].kill()
        elif fault == "cut off":
            self.net.cut(number)
        else:
            self.net.cut(number, (number + 1) % len(self._agents))

    def restore(self, agents: Callable[[], list[dict[str, Any]]], pid: int) -> None:
        self.net.heal()
        for i, agent in enumerate(self._agents):
            if agent.process.poll() is not None:  # as whoever runs it would do
                agent.close()
                self._agents[i] = self._start(i)
        until(lambda: [agent["state"] for agent in agents()] == ["alive"] * len(self._agents), WHOLE_S)

    def close(self) -> None:
        for agent in self._agents:
            agent.close()

    def _start(self, machine: int) -> AgentProcess:
        options = ("--host", self.net.addresses[machine])
        prefix = self.net.enter(machine)
        return AgentProcess(self.listen, self.token, f"agent-{machine}", *options, prefix=prefix, lane="flight")


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
    world: World
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
                self.world.restore(self._agents, strike.pid)
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
        agents = self._agents()
        tasks = len(stage.tasks)
        numbers = [(stage.stage_id + i) % len(agents) for i in range(tasks)] if tasks < len(agents) else range(len(agents))
        number = random.Random(f"{strike.seed} {strike.moment}").choice(list(numbers))
        with contextlib.suppress(ProcessLookupError):
            self.world.strike(strike.fault, agents[number], number)
            strike.pid = int(agents[number]["pid"])

    def _agents(self) -> list[dict[str, Any]]:
        return sorted((dict(agent) for agent in self.db.agents()), key=lambda agent: str(agent["id"]))


@contextlib.contextmanager
def one_machine(folder: Path, agents: int) -> Iterator[Cluster]:
    """A cluster of so many agents on this machine; none of it is left afterwards."""
    with sabot_sql.connect(data=str(folder), num_local_agents=agents) as db, watched(Cluster(db, OneMachine())) as found:
        yield found


@contextlib.contextmanager
def machines(folder: Path, agents: int) -> Iterator[Cluster]:
    """A cluster of so many machines with an agent each; none of it is left afterwards."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network(agents))
        token = token_file(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        world = Machines(net, token)
        stack.callback(world.close)
        manager = JobManager(Settings(agents=world.settings()), str(folder))
        manager.start()
        db = stack.enter_context(Connection(EmbeddedService(manager), "embedded:"))
        world.restore(lambda: [dict(agent) for agent in db.agents()], 0)
        yield stack.enter_context(watched(Cluster(db, world)))


@contextlib.contextmanager
def watched(found: Cluster) -> Iterator[Cluster]:
    """The cluster, told of the stages that its queries run."""
    run_stage: Callable[..., Any] = AgentPool.run_stage

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
