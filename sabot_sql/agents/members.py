"""Which agents there are: started or registered, pinged, replaced when they die, drained before they go."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from sabot_sql.agents.calls import CallThreads
from sabot_sql.agents.flight import AgentConnection
from sabot_sql.agents.info import AgentInfo, AgentState
from sabot_sql.agents.messages import AgentReport
from sabot_sql.agents.providers.provider import AgentExited, AgentStarted, PoolProvider, ProviderEvent
from sabot_sql.agents.scheduler import AgentDown, AgentDraining, AgentSuspect, AgentUp
from sabot_sql.errors import AgentLost, SabotError, ServiceError

log = logging.getLogger(__name__)

STABLE_S = 10.0  # an agent that lived so long is replaced at once
BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
HOPELESS_STARTS = 4  # so many failed starts in a row of every agent end the wait for them
REPLACEMENT_WAIT_S = 0.25  # what a stage waits for a dead agent's replacement before it goes on with the others

FORGET_S = 600.0  # how long an agent that nobody here can start again is shown as lost

MakeProvider = Callable[[Callable[[ProviderEvent], None]], PoolProvider]
Change = AgentUp | AgentDown | AgentDraining | AgentSuspect
Listener = Callable[[Change], None]


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
        owns_blocks: whether its blocks go with it.
        ends: whether it will end, whatever is said here.
    """

    id: str
    state: AgentState = "starting"
    pid: int = 0
    uri: str = ""
    incarnation: str = ""
    host: str = ""
    slots: int = 1
    owns_blocks: bool = False
    ends: bool = False
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
    reported_at: dt.datetime | None = None


class Members:
    """The agents of a pool. Thread-safe.

    Args:
        make_provider: makes what the agents come from, given where it tells of them.
        token: every call to an agent carries it.
        start_timeout_s: how long an agent may take to listen, and a stage wait for agents.
        on_leaving: called with the id of an agent that would like to be drained; must not block.
    """

    def __init__(
        self,
        make_provider: MakeProvider,
        token: str,
        start_timeout_s: float,
        heartbeat: Heartbeat,
        on_leaving: Callable[[str], object],
    ) -> None:
        self._token = token
        self.start_timeout_s = start_timeout_s
        self._heartbeat = heartbeat
        self._on_leaving = on_leaving
        self._changed = threading.Condition(threading.RLock())
        self._members: dict[str, _Member] = {}
        self._listeners: set[Listener] = set()
        self._was_full = False
        self._closed = False
        self._calls = CallThreads("sabot-ping")
        self.changes = 0  # of agents and of where blocks are
        self._moved: dict[tuple[str, str], str] = {}  # by incarnation and job: the incarnation that has the blocks now
        with self._changed:  # an agent may register at once
            self._provider = make_provider(self._on_event)

    @property
    def provider(self) -> PoolProvider:
        """What the agents come from."""
        return self._provider

    def add(self, num_agents: int, slots: int) -> None:
        """Start agents with so many slots each, all at once; does not wait for them."""
        with self._changed:
            now = time.monotonic()
            for agent_id in self._provider.start(num_agents):
                self._members[agent_id] = _Member(agent_id, since=now, slots=slots)
            self._changed.notify_all()

    def watch(self) -> None:
        """Begin to look after the agents."""
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
                    host=m.host,
                    incarnation=m.incarnation,
                    slots=m.slots,
                    tasks_done=m.tasks_done,
                    tasks_failed=m.tasks_failed,
                    started_at=m.started_at,
                    slots_used=m.report.slots_used if m.report else None,
                    memory_used_bytes=m.report.rss_bytes if m.report else None,
                    last_heartbeat_at=m.reported_at if m.report else None,
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

    def slots(self) -> dict[str, int]:
        """How many tasks each agent that takes some, or will soon, runs at once, by id."""
        with self._changed:
            return {m.id: m.slots for m in self._expected()}

    def shared_uris(self) -> dict[str, str]:
        """Where each agent listens that serves the blocks of the jobs, whoever wrote them, by id."""
        with self._changed:
            return {m.id: m.uri for m in self._members.values() if m.state in ("alive", "draining") and not m.owns_blocks}

    def owner(self, incarnation: str, job_id: str) -> tuple[str, str] | None:
        """The agent that has the blocks that an incarnation wrote for a job, and its address; None when they are gone."""
        with self._changed:
            while (later := self._moved.get((incarnation, job_id))) is not None:
                incarnation = later
            for m in self._members.values():
                if m.incarnation == incarnation and m.connection is not None:
                    return m.id, m.uri
            return None

    def is_silent(self, incarnation: str, job_id: str) -> bool:
        """Whether the agent that has the blocks of an incarnation for a job is gone, or has not answered for some seconds."""
        with self._changed:
            found = self.owner(incarnation, job_id)
            return found is None or self._members[found[0]].state == "suspect"

    def other_owner(self, incarnation: str, job_id: str) -> tuple[str, AgentConnection] | None:
        """An agent that can take over blocks of a job, by incarnation; another one for other jobs."""
        with self._changed:
            others = [
                m for m in self._members.values() if m.state == "alive" and m.owns_blocks and m.incarnation != incarnation
            ]
            if not others:
                return None
            chosen = others[zlib.crc32(job_id.encode()) % len(others)]
            assert chosen.connection is not None
            return chosen.incarnation, chosen.connection

    def moved(self, incarnation: str, job_id: str, to: str) -> None:
        """Take note that another incarnation has the blocks of a job now."""
        with self._changed:
            self._moved[incarnation, job_id] = to
            self.changes += 1

    def forget_job(self, job_id: str) -> list[AgentConnection]:
        """The connections of the agents that may have blocks of a job of their own, which nobody will ask for again."""
        with self._changed:
            for key in [key for key in self._moved if key[1] == job_id]:
                del self._moved[key]
            return [m.connection for m in self._members.values() if m.owns_blocks and m.connection is not None]

    def drain(self, agent_id: str) -> str | None:
        """Give an agent no more tasks; its incarnation, or None where there is no such agent that takes any. One that has not
        started yet ends at once."""
        with self._changed:
            member = self._members.get(agent_id)
            if member is not None and member.state in ("starting", "lost") and self._provider.restarts:
                self.remove(agent_id)
                return ""
            if member is None or member.state not in ("alive", "suspect"):
                return None
            member.state = "draining"
            self._tell(AgentDraining(member.id, member.incarnation))
            self._changed.notify_all()
            return member.incarnation

    def resume(self, agent_id: str) -> bool:
        """Give an agent that is being drained tasks again; whether there was one, which has not been told to end."""
        with self._changed:
            member = self._members.get(agent_id)
            if member is None or member.state != "draining" or member.ends:
                return False
            member.state = "alive"
            self._tell(AgentUp(member.id, member.incarnation))
            self._changed.notify_all()
            return True

    def is_draining(self, agent_id: str, incarnation: str) -> bool:
        """Whether this incarnation of an agent is there and still to go."""
        with self._changed:
            member = self._members.get(agent_id)
            return member is not None and member.state == "draining" and member.incarnation == incarnation

    def release(self, agent_id: str, incarnation: str) -> bool:
        """Note that an agent that is being drained will end; whether it still is."""
        with self._changed:
            if not self.is_draining(agent_id, incarnation):
                return False
            self._members[agent_id].ends = True
            return True

    def remove(self, agent_id: str) -> None:
        """End an agent for good."""
        with self._changed:
            member = self._members.pop(agent_id, None)
            if member is None or self._closed:
                return
            if member.connection is not None:
                member.connection.close()
                member.connection = None
            self._tell(AgentDown(member.id, member.incarnation, "it was removed"))
            self._provider.remove(agent_id)
            self._changed.notify_all()

    def connection(self, agent_id: str, incarnation: str) -> AgentConnection | None:
        """The connection to an incarnation of an agent; None when it is gone."""
        with self._changed:
            member = self._members.get(agent_id)
            return member.connection if member is not None and member.incarnation == incarnation else None

    def wait(self, check: Callable[[], None]) -> dict[str, str]:
        """Wait for the agents to be there and return `alive()`. The first stage waits for all that were started; later ones
        wait for the replacement of a dead one only briefly, as long as others are there.

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
                if len(alive) == len(self._expected()) and alive:
                    self._was_full = True
                    return alive
                if alive and waited > (REPLACEMENT_WAIT_S if self._was_full else self.start_timeout_s):
                    return alive
                hopeless = bool(self._members) and all(m.unborn >= HOPELESS_STARTS for m in self._members.values())
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
            if member.state in ("alive", "suspect", "draining"):
                member.state, member.how, member.since = "lost", reason, time.monotonic()
                self._provider.stop(member.id)

    def _no_agents(self, waited_s: float) -> ServiceError:
        if any(m.state == "draining" for m in self._members.values()):
            hint = "start others first, or keep one with `sabot-sql agents resume`"
            return ServiceError("all agents are being drained", code="NO_AGENTS", hint=hint, retryable=True)
        reasons = sorted({f"{m.id}: {m.how}" for m in self._expected() if m.how})
        if self._provider.restarts:
            what, hint = "started", "the agents' log says more; raise agents.start_timeout_s on a slow machine"
        else:
            what, hint = "registered", "start agents with: sabot-sql agent --coordinator ADDRESS --token-file FILE"
        return ServiceError(
            f"no agent {what} within {waited_s:.1f} s" + (f" ({'; '.join(reasons)})" if reasons else ""),
            code="NO_AGENTS",
            hint=hint,
            retryable=True,
        )

    def _expected(self) -> list[_Member]:
        """The agents that take tasks or will soon."""
        gone = ("draining", "stopped") if self._provider.restarts else ("draining", "stopped", "lost")
        return [m for m in self._members.values() if m.state not in gone]

    def _on_event(self, event: ProviderEvent) -> None:
        with self._changed:
            if self._closed:
                return
            member = self._members.get(event.agent_id)
            if isinstance(event, AgentStarted):
                if member is None and self._provider.restarts:
                    return  # it was removed while it started
                self._started(self._members.setdefault(event.agent_id, _Member(event.agent_id)), event)
            elif isinstance(event, AgentExited):
                if member is not None:
                    self._exited(member, event)
            elif member is not None:
                self._on_leaving(event.agent_id)
                member.ends = True
            self._changed.notify_all()

    def _started(self, member: _Member, event: AgentStarted) -> None:
        member.state, member.pid, member.uri, member.incarnation = "alive", event.pid, event.flight_uri, event.incarnation
        member.host, member.slots, member.owns_blocks, member.how = event.host, event.slots, event.owns_blocks, ""
        member.ends = False
        if member.connection is not None:
            member.connection.close()
        member.connection = AgentConnection(event.flight_uri, self._token, f"agent {member.id}", event.socket)
        member.started_at = dt.datetime.now(dt.UTC)
        member.since, member.unborn = time.monotonic(), 0
        member.answered, member.pinging, member.missed, member.silent, member.report = True, False, 0, False, None
        self._tell(AgentUp(member.id, member.incarnation))

    def _exited(self, member: _Member, event: AgentExited) -> None:
        lived_s = time.monotonic() - member.since
        was_up = member.connection is not None
        member.failures = 1 if was_up and lived_s > STABLE_S else member.failures + 1
        member.unborn += not was_up
        if not member.silent and (event.how or not member.how):
            member.how = event.how or "it has registered anew"
            log.warning("agent %s (pid %d) is gone: %s", member.id, event.pid, member.how)
        if member.connection is not None:
            member.connection.close()
            member.connection = None
        member.state = "lost"
        self._tell(AgentDown(member.id, member.incarnation, member.how))
        if not self._provider.restarts:
            member.since = time.monotonic()
            return
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

    def _tell(self, event: Change) -> None:
        self.changes += 1
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
                for member in list(self._members.values()):
                    if member.restart_at is not None and member.restart_at <= now and not self._closed:
                        self._restart(member)
                if now >= next_tick:
                    next_tick = now + self._heartbeat.interval_s
                    for member in list(self._members.values()):
                        self._tick(member, now)

    def _tick(self, member: _Member, now: float) -> None:
        """Count silence in ticks, not in time: a coordinator that was itself stopped does not hold it against its agents."""
        if member.state == "starting" and member.restart_at is None and now - member.since > self.start_timeout_s:
            member.since, member.how = now, f"it did not listen within {self.start_timeout_s:.0f} s"
            self._provider.stop(member.id)
        if member.state == "lost" and not self._provider.restarts:
            if now - member.since > FORGET_S:
                del self._members[member.id]
            return
        if member.state == "lost" and not member.silent and now - member.since > self._heartbeat.lost_s:
            self._lose(member, f"{member.how}, and it cannot be killed")
        if member.state not in ("alive", "suspect", "draining"):
            return
        member.missed = 0 if member.answered else member.missed + 1
        member.answered = False
        silent_s = (member.missed + 1) * self._heartbeat.interval_s
        if member.missed and silent_s >= self._heartbeat.lost_s:
            self._lose(member, f"it has not answered for {silent_s:.0f} s")
            return
        if member.missed and silent_s >= self._heartbeat.suspect_s and member.state == "alive":
            member.state = "suspect"
            self._tell(AgentSuspect(member.id, member.incarnation))
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
            member.answered, member.report, member.reported_at = True, report, dt.datetime.now(dt.UTC)
            if member.state == "suspect":
                member.state = "alive"
                self._tell(AgentUp(member.id, incarnation))
                self._changed.notify_all()
