"""The servers behind one PostgreSQL: each holds a lease, and takes over the jobs of those whose lease has run out.

A server says every second that it is there, by the database's clock. Jobs that run under a name without a valid lease belong to
nobody: one server at a time, under an advisory lock, makes them waiting again, and whoever is free goes on with them where
their record ends. So it does with jobs of a server that is there and runs them no more: it gave them up when the database was
away. A server that was away and comes back writes nothing any more: DBOS compares the owner at each write.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from sabot_sql.jobs.database import TAKEOVER_LOCK, JobDatabase

log = logging.getLogger(__name__)

BEATS_A_LEASE = 5
MAX_TAKEOVERS = 5
FORGET_S = 3600.0
DOWN_S = 2.0
"""Seconds without an answer after which the database counts as down."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job in the database that some server runs, or ran."""

    query_id: str
    executor_id: str
    version: str


class Forsaken:
    """The jobs that are recorded as this server's, and which it does nothing for, because the database did not take what it
    had to write.

    Args:
        after_s: so long it must have been so; at one moment a job may be about to begin, or to be recorded as ended.
        most_s: a job that is given up again and again goes on after twice the time each time, up to this.
    """

    def __init__(self, after_s: float, most_s: float) -> None:
        self._after_s, self._most_s = after_s, most_s
        self._idle_s: dict[str, float] = {}  # since when nothing is done for it
        self._went_on: dict[str, tuple[int, float]] = {}  # how often, and when last

    def among(self, idle: Iterable[str], now_s: float) -> list[str]:
        """Those that are to go on now, of the jobs for which nothing is done now."""
        self._idle_s = {query_id: self._idle_s.get(query_id, now_s) for query_id in idle}
        self._went_on = {q: (tries, s) for q, (tries, s) in self._went_on.items() if now_s - s < 3 * self._most_s}
        found = []
        for query_id, idle_s in self._idle_s.items():
            tries, last_s = self._went_on.get(query_id, (0, -math.inf))
            pause_s = min(self._most_s, self._after_s * 2**tries)
            if now_s - idle_s >= self._after_s and now_s - last_s >= pause_s:
                found.append(query_id)
                self._went_on[query_id] = tries + 1, now_s
        return found


class Servers:
    """This server among the others.

    Args:
        executor_id: the name under which its jobs are recorded.
        version: of the plans that it can run.
        unfinished: the jobs that are recorded as running.
        runs: whether this server works on one.
        resume: makes jobs waiting again, for any server of that version.
        cancel: ends jobs that nobody will run.
        notice: called with every heartbeat.
    """

    def __init__(
        self,
        database: JobDatabase,
        executor_id: str,
        version: str,
        lease_s: float,
        unfinished: Callable[[], Iterable[Unfinished]],
        runs: Callable[[str], bool],
        resume: Callable[[list[str]], None],
        cancel: Callable[[list[str]], None],
        notice: Callable[[], None],
    ) -> None:
        self._engine = database.make_engine(1)
        self._me = {"id": executor_id, "host": platform.node() or "localhost", "pid": os.getpid(), "version": version}
        self._lease_s = lease_s
        self._unfinished, self._runs = unfinished, runs
        self._resume, self._cancel, self._notice = resume, cancel, notice
        self._forsaken = Forsaken(lease_s / BEATS_A_LEASE, lease_s)
        self._ended = threading.Event()
        self._answered_s = time.monotonic()
        self._thread: threading.Thread | None = None

    @property
    def down_s(self) -> float:
        """For how long the database has not answered; 0 while it does."""
        silent_s = time.monotonic() - self._answered_s - self._lease_s / BEATS_A_LEASE
        return silent_s if silent_s > DOWN_S else 0.0

    def enter(self) -> None:
        """Take the lease, before anything is recorded under this name."""
        with self._engine.begin() as connection:
            self._beat(connection)
            self._end_leases_of_dead_neighbours(connection)

    def start(self) -> None:
        """Hold the lease and look after the others, until `leave`."""
        self._thread = threading.Thread(target=self._run, name="sabot-lease", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Give the lease up: what this server has not finished belongs to the others now."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._lease_s)
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM sabot_sql.servers WHERE executor_id = :id"), self._me)
        except sa.exc.SQLAlchemyError as exc:
            log.info("the lease ends by itself: %s", exc)  # the others wait for that
        self._engine.dispose()

    def reason(self, query_id: str) -> str | None:
        """Why a job was given up, if it was."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.text("SELECT reason FROM sabot_sql.takeovers WHERE query_id = :id"), {"id": query_id})
            return found.scalar()

    def _run(self) -> None:
        while not self._ended.wait(self._lease_s / BEATS_A_LEASE):
            try:
                with self._engine.begin() as connection:
                    self._beat(connection)
                self._answered_s = time.monotonic()
                self._take_over()
                self._notice()
            except Exception as exc:  # the edge of a thread: the next round tries again
                log.warning("the job database: %s", str(exc).splitlines()[0] if str(exc) else type(exc).__name__)

    def _beat(self, connection: sa.Connection) -> None:
        connection.execute(
            sa.text("""INSERT INTO sabot_sql.servers (executor_id, host, pid, version) VALUES (:id, :host, :pid, :version)
                       ON CONFLICT (executor_id) DO UPDATE SET heartbeat_at = now()"""),
            self._me,
        )

    def _end_leases_of_dead_neighbours(self, connection: sa.Connection) -> None:
        """A server that was killed and started again goes on at once, and need not wait for its old lease."""
        if self._me["host"] == "localhost":  # many machines have that name
            return
        rows = connection.execute(sa.text("SELECT executor_id, pid FROM sabot_sql.servers WHERE host = :host"), self._me).all()
        for executor_id, pid in rows:
            if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
                connection.execute(sa.text("DELETE FROM sabot_sql.servers WHERE executor_id = :id"), {"id": executor_id})

    def _take_over(self) -> None:
        """Make the jobs of dead servers waiting again, if no other server is about to."""
        with self._engine.begin() as connection:
            if not connection.scalar(sa.text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": TAKEOVER_LOCK}):
                return
            rows = connection.execute(
                sa.text(
                    "SELECT executor_id, version FROM sabot_sql.servers WHERE heartbeat_at > now() - :lease * interval '1 s'"
                ),
                {"lease": self._lease_s},
            ).all()
            alive, versions = {row[0] for row in rows}, {row[1] for row in rows}
            unfinished = list(self._unfinished())
            lost = [job for job in unfinished if job.executor_id not in alive]
            mine = [job.query_id for job in lost if job.version == self._me["version"]]
            idle = [j.query_id for j in unfinished if j.executor_id == self._me["id"] and not self._runs(j.query_id)]
            given_up = dict.fromkeys(self._counted(connection, mine), "the servers that ran the job ended again and again")
            foreign = {
                job.query_id: f"the job was planned by a release with {job.version}, and no server of that is left"
                for job in lost
                if job.version not in (*versions, self._me["version"])
            }
            for query_id, reason in {**given_up, **foreign}.items():
                self._note(connection, query_id, reason)
                self._cancel([query_id])
            resumed = [query_id for query_id in mine if query_id not in given_up] + self._forsaken.among(idle, time.monotonic())
            if resumed:
                log.warning("jobs that nobody runs go on: %s", ", ".join(resumed))
                self._resume(resumed)
            connection.execute(
                sa.text("DELETE FROM sabot_sql.servers WHERE heartbeat_at < now() - :old * interval '1 s'"),
                {"old": max(FORGET_S, 10 * self._lease_s)},
            )
            connection.execute(sa.text("DELETE FROM sabot_sql.takeovers WHERE at < now() - interval '7 days'"))

    def _counted(self, connection: sa.Connection, query_ids: list[str]) -> list[str]:
        """Count one takeover of each; those that had too many."""
        over = []
        for query_id in query_ids:
            count = connection.scalar(
                sa.text("""INSERT INTO sabot_sql.takeovers (query_id, count) VALUES (:id, 1) ON CONFLICT (query_id)
                           DO UPDATE SET count = sabot_sql.takeovers.count + 1, at = now() RETURNING count"""),
                {"id": query_id},
            )
            if count is not None and count > MAX_TAKEOVERS:
                over.append(query_id)
        return over

    @staticmethod
    def _note(connection: sa.Connection, query_id: str, reason: str) -> None:
        connection.execute(
            sa.text("""INSERT INTO sabot_sql.takeovers (query_id, reason) VALUES (:id, :reason)
                       ON CONFLICT (query_id) DO UPDATE SET reason = :reason"""),
            {"id": query_id, "reason": reason},
        )
