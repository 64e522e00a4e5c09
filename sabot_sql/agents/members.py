"""Which agents there are: started together, pinged, replaced when they die."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sabot_sql.agents.agent import AgentConfig
from sabot_sql.agents.blocks import host_name
from sabot_sql.agents.calls import CallThreads
from sabot_sql.agents.flight import AgentConnection
from sabot_sql.agents.info import AgentInfo, AgentState
from sabot_sql.agents.messages import AgentReport
from sabot_sql.agents.providers.local import LocalProvider
from sabot_sql.agents.providers.provider import AgentExited, AgentStarted, PoolProvider, ProviderEvent
from sabot_sql.agents.scheduler import AgentDown, AgentUp
from sabot_sql.agents.socket_lane import socket_path
from sabot_sql.errors import AgentLost, SabotError, ServiceError

log = logging.getLogger(__name__)

STABLE_S = 10.0  # an agent that lived so long is replaced at once
BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
HOPELESS_STARTS = 4  # so many failed starts in a row of every agent end the wait for them
REPLACEMENT_WAIT_S = 0.25  # what a stage waits for a dead agent's replacement before it goes on with the others

Listener = Callable[[AgentUp | AgentDown], None]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How silence is judged: a ping every `interval_s`; suspect and lost after so many seconds without an answer."""

    interval_s: float = 1.0
    suspect_s: float = 3.0
    lost_s: float = 10.0


@dataclass(eq=False, slots=True)
class _Member:
    """What is known of one agent.

    Attributes:
        failures: deaths in a row, each soon after its start and before it did a task.
        unborn: starts in a row that ended before the agent listened.
        how: how it ended, or why it is thought lost.
        answered: whether it has answered since the last tick.
        missed: ticks without an answer.
        silent: whether it was given up for silence, and this told.
    """

    id: str
    state: AgentState = "starting"
    pid: int = 0
    uri: str = ""
    incarnation: str = ""
    connection: AgentConnection | None = None
    started_at: dt.datetime | None = None
    since: float = 0.0
    restart_at: float | None = None
    failures: int = 0
    unborn: int = 0
    how: str = ""
    answered: bool = True
    pinging: bool = False
    missed: int = 0
    silent: bool = False
    tasks_done: int = 0
    tasks_failed: int = 0
    report: AgentReport | None = None


class Members:
    """The agents of a pool. Thread-safe.

    Args:
        count: how many there shall be.
        start_timeout_s: how long an agent may take to listen, and a stage wait for agents.
        log_path: where agents write warnings; None for stderr.
        fork: whether they are forked; None for where that is safe.
    """

    def __init__(
        self,
        count: int,
        config: AgentConfig,
        start_timeout_s: float,
        heartbeat: Heartbeat,
        log_path: Path | None = None,
        fork: bool | None = None,
    ) -> None:
        self._count = count
        self._config = config
        self.start_timeout_s = start_timeout_s
        self._heartbeat = heartbeat
        self._provider: PoolProvider = (
            LocalProvider(config, self._on_event, log_path)
            if fork is None
            else LocalProvider(config, self._on_event, log_path, fork)
        )
        self._changed = threading.Condition(threading.RLock())
        self._members: dict[str, _Member] = {}
        self._listeners: set[Listener] = set()
        self._was_full = False
        self._closed = False
        self._calls = CallThreads("sabot-ping")

    def start(self) -> None:
        """Start all agents at once; does not wait for them."""
        with self._changed:
            now = time.monotonic()
            for agent_id in self._provider.start(self._count):
                self._members[agent_id] = _Member(agent_id, since=now)
        threading.Thread(target=self._watch, name="sabot-heartbeat", daemon=True).start()

    def close(self) -> None:
        """Stop all agents and wait until they are gone."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._provider.close()
        self._calls.close()
        with self._changed:
            for member in self._members.values():
                member.state = "stopped"
                if member.connection is not None:
                    member.connection.close()
                    member.connection = None

    def infos(self) -> list[AgentInfo]:
        """All agents as they are now."""
        with self._changed:
            return [
                AgentInfo(
                    id=m.id,
                    pid=m.pid,
                    state=m.state,
                    flight_uri=m.uri,
                    host=host_name(),
                    incarnation=m.incarnation,
                    slots=self._config.slots,
                    tasks_done=m.tasks_done,
                    tasks_failed=m.tasks_failed,
                    started_at=m.started_at,
                )
                for m in self._members.values()
            ]

    def listen(self, listener: Listener) -> None:
        """Call `listener` for every agent that comes or goes; it must not block."""
        with self._changed:
            self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        with self._changed:
            self._listeners.discard(listener)

    def alive(self) -> dict[str, str]:
        """The incarnation of each agent that takes tasks, by id."""
        with self._changed:
            return {m.id: m.incarnation for m in self._members.values() if m.state == "alive"}

    def uris(self) -> dict[str, str]:
        """Where each agent that takes tasks listens, by id."""
        with self._changed:
            return {m.id: m.uri for m in self._members.values() if m.state == "alive"}

    def connection(self, agent_id: str, incarnation: str) -> AgentConnection | None:
        """The connection to an incarnation of an agent; None when it is gone."""
        with self._changed:
            member = self._members.get(agent_id)
            return member.connection if member is not None and member.incarnation == incarnation else None

    def wait(self, check: Callable[[], None]) -> dict[str, str]:
        """Wait for the agents to be there and return `alive()`. The first stage waits for all of them; later ones wait for
        the replacement of a dead one only briefly, as long as others are there.

        Args:
            check: called now and then; raises to end the wait.

        Raises:
            ServiceError: NO_AGENTS when none comes in time.
        """
        begin = time.monotonic()
        with self._changed:
            while True:
                alive = self.alive()
                waited = time.monotonic() - begin
                if len(alive) == len(self._members) and alive:
                    self._was_full = True
                    return alive
                if alive and waited > (REPLACEMENT_WAIT_S if self._was_full else self.start_timeout_s):
                    return alive
                hopeless = all(m.unborn >= HOPELESS_STARTS for m in self._members.values())
                if not alive and (hopeless or waited > self.start_timeout_s):
                    raise self._no_agents(waited)
                check()
                self._changed.wait(0.02)

    def count_task(self, agent_id: str, done: bool) -> None:
        """Count a task that an agent has answered for."""
        with self._changed:
            if (member := self._members.get(agent_id)) is not None:
                member.tasks_done += done
                member.failures = 0 if done else member.failures  # it works
                member.tasks_failed += not done

    def report_lost(self, agent_id: str, incarnation: str, reason: str) -> None:
        """A call to an agent found it gone: kill what is left of it. Its exit is then told to the listeners."""
        with self._changed:
            member = self._members.get(agent_id)
            if self._closed or member is None or member.incarnation != incarnation:
                return
            if member.state in ("alive", "suspect"):
                member.state, member.how, member.since = "lost", reason, time.monotonic()
                self._provider.stop(member.id)

    def _no_agents(self, waited_s: float) -> ServiceError:
        reasons = sorted({f"{m.id}: {m.how}" for m in self._members.values() if m.how})
        return ServiceError(
            f"no agent started within {waited_s:.1f} s" + (f" ({'; '.join(reasons)})" if reasons else ""),
            code="NO_AGENTS",
            hint="the agents' log says more; raise agents.start_timeout_s on a slow machine",
            retryable=True,
        )

    def _on_event(self, event: ProviderEvent) -> None:
        with self._changed:
            member = self._members.get(event.agent_id)
            if member is None or self._closed:
                return
            if isinstance(event, AgentStarted):
                self._started(member, event)
            else:
                self._exited(member, event)
            self._changed.notify_all()

    def _started(self, member: _Member, event: AgentStarted) -> None:
        member.state, member.pid, member.uri, member.incarnation = "alive", event.pid, event.flight_uri, event.incarnation
        socket = socket_path(self._config, event.incarnation)
        member.connection = AgentConnection(event.flight_uri, self._config.token, f"agent {member.id}", socket)
        member.started_at = dt.datetime.now(dt.UTC)
        member.since, member.unborn = time.monotonic(), 0
        member.answered, member.pinging, member.missed, member.silent, member.report = True, False, 0, False, None
        self._tell(AgentUp(member.id, member.incarnation))

    def _exited(self, member: _Member, event: AgentExited) -> None:
        lived_s = time.monotonic() - member.since
        was_up = member.connection is not None
        member.failures = 1 if was_up and lived_s > STABLE_S else member.failures + 1
        member.unborn += not was_up
        if not member.silent:
            member.how = event.how
            log.warning("agent %s (pid %d) is gone: %s", member.id, event.pid, event.how)
        if member.connection is not None:
            member.connection.close()
            member.connection = None
        member.state = "lost"
        self._tell(AgentDown(member.id, member.incarnation, member.how))
        member.state = "starting"
        delay_s = min(MAX_BACKOFF_S, BACKOFF_S * 2 ** (member.failures - 2)) if member.failures > 1 else 0.0
        member.restart_at = time.monotonic() + delay_s
        if not delay_s:
            self._restart(member)

    def _restart(self, member: _Member) -> None:
        member.restart_at, member.since, member.how = None, time.monotonic(), ""
        try:
            self._provider.restart(member.id)
        except SabotError as exc:
            member.how = exc.detail
            member.failures += 1
            member.unborn += 1
            member.restart_at = time.monotonic() + MAX_BACKOFF_S

    def _lose(self, member: _Member, reason: str) -> None:
        log.warning("agent %s (pid %d) is lost: %s", member.id, member.pid, reason)
        member.state, member.how, member.silent = "lost", reason, True
        self._tell(AgentDown(member.id, member.incarnation, reason))
        self._provider.stop(member.id)

    def _tell(self, event: AgentUp | AgentDown) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    def _watch(self) -> None:
        """The heartbeat's thread: pings, judges silence, restarts what waits for it."""
        next_tick = time.monotonic() + self._heartbeat.interval_s
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                restarts = [m.restart_at for m in self._members.values() if m.restart_at is not None]
                self._changed.wait(max(0.0, min([next_tick, *restarts]) - now))
                now = time.monotonic()
                for member in self._members.values():
                    if member.restart_at is not None and member.restart_at <= now and not self._closed:
                        self._restart(member)
                if now >= next_tick:
                    next_tick = now + self._heartbeat.interval_s
                    for member in self._members.values():
                        self._tick(member, now)

    def _tick(self, member: _Member, now: float) -> None:
        """Count silence in ticks, not in time: a coordinator that was itself stopped does not hold it against its agents."""
        if member.state == "starting" and member.restart_at is None and now - member.since > self.start_timeout_s:
            member.since, member.how = now, f"it did not listen within {self.start_timeout_s:.0f} s"
            self._provider.stop(member.id)
        if member.state == "lost" and not member.silent and now - member.since > self._heartbeat.lost_s:
            self._lose(member, f"{member.how}, and it cannot be killed")
        if member.state not in ("alive", "suspect"):
            return
        member.missed = 0 if member.answered else member.missed + 1
        member.answered = False
        silent_s = (member.missed + 1) * self._heartbeat.interval_s
        if member.missed and silent_s >= self._heartbeat.lost_s:
            self._lose(member, f"it has not answered for {silent_s:.0f} s")
            return
        if member.missed and silent_s >= self._heartbeat.suspect_s and member.state == "alive":
            member.state = "suspect"
        if not member.pinging and member.connection is not None:
            member.pinging = True
            self._calls.submit(functools.partial(self._ping, member, member.connection, member.incarnation))

    def _ping(self, member: _Member, connection: AgentConnection, incarnation: str) -> None:
        try:
            report = connection.ping(self._heartbeat.lost_s)
        except AgentLost:
            report = None
        with self._changed:
            if member.incarnation != incarnation:
                return
            member.pinging = False
            if report is None or report.incarnation != incarnation:
                return
            member.answered, member.report = True, report
            if member.state == "suspect":
                member.state = "alive"
                self._tell(AgentUp(member.id, incarnation))
                self._changed.notify_all()
