"""What is remembered of a query while the process lives, and the log of the recent ones."""

from __future__ import annotations

import dataclasses
import datetime as dt
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from sabot_sql.engine.request import TERMINAL_STATES, Progress, QueryRequest, QueryStatus, State, StateChange
from sabot_sql.errors import SabotError

if TYPE_CHECKING:
    from sabot_sql.jobs.trace import QueryTrace

KEY_KEPT_S = 600.0
STEPS: tuple[State, ...] = ("queued", "planning", "running", "finishing")


class QueryRecord:
    """One query, from its submission to its end. Only the thread that runs the query advances it.

    Attributes:
        cancel: set to stop the query.
        ended: set when nothing more will happen to the query in this process.
        lacks_params: the request is known but for its parameters.
        job_id: the name of its latest run with the agents; empty while there was none.
        kept: somebody may ask for the result later, by the query's id.
        closing: the engine is closed while the query runs.
        interrupted: the process gives the query up; a durable one goes on in the next process.
        deadline_s: `time.monotonic()` after which the query must stop.
        accepted: it is planned, and a distributed one is in the job database; or it has ended before.
        stopped_by: why this process stopped the query of itself.
        on_end: told of the query when it has ended, unless it ended in an earlier process.
        trace: what its stages do, of a distributed query that runs or ran in this process.
    """

    __slots__ = (
        "_on_accepted", "_reached_s", "_watchers", "accepted", "cancel", "closing", "deadline_s", "durable",
        "ended", "error", "fingerprint", "finished_s", "interrupted", "job_id", "kept", "lacks_params", "on_end", "progress",
        "query_id", "reason", "request", "route", "started_s", "state", "stats", "stopped_by", "submitted_s",
        "ticks_s", "timed_out", "trace",
    )  # fmt: skip

    def __init__(
        self, query_id: str, request: QueryRequest, cancel: threading.Event | None = None, fingerprint: str = ""
    ) -> None:
        self.query_id = query_id
        self.request = request
        self.fingerprint = fingerprint
        self.cancel = cancel or threading.Event()
        self.ended = threading.Event()
        self.state: State = "queued"
        self.route: Literal["local", "distributed"] | None = None
        self.reason = ""
        self.durable = False
        self.job_id = ""
        self.kept = False
        self.lacks_params = False
        self.closing = False
        self.interrupted = False
        self.timed_out = False
        self.submitted_s = time.time()
        self.ticks_s = time.monotonic()
        self.deadline_s = None if request.timeout_s is None else self.ticks_s + request.timeout_s
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.progress: Progress | None = None
        self.stats: dict[str, Any] = {}
        self.error: SabotError | None = None
        self.accepted = False
        self.stopped_by: SabotError | None = None
        self._reached_s: dict[str, float] = {}
        self.trace: QueryTrace | None = None
        self.on_end: Callable[[QueryRecord], None] | None = None
        self._on_accepted: list[Callable[[], None]] = []
        self._watchers: tuple[Callable[[], None], ...] = ()

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL_STATES

    @property
    def order(self) -> tuple[int, str]:
        """Where it stands in lists: the time of its submission, in microseconds since 1970 as its status tells it, and its
        id."""
        return round(dt.datetime.fromtimestamp(self.submitted_s, dt.UTC).timestamp() * 1e6), self.query_id

    def advance(self, state: State) -> None:
        """Go on to a later state; going back or on from the end changes nothing."""
        if self.state in STEPS and STEPS.index(state) > STEPS.index(self.state):
            self.state = state
            self._reached_s[state] = time.time()
            if state == "running":
                self.started_s = self._reached_s[state]
            self.changed()

    @property
    def watched(self) -> bool:
        """Whether somebody watches the query."""
        return bool(self._watchers)

    def watch(self, call: Callable[[], None]) -> None:
        """Call `call` whenever the query's state, its progress or one of its stages has changed, from whatever thread; it must
        not block, and looks for itself at what is new."""
        self._watchers = (*self._watchers, call)

    def unwatch(self, call: Callable[[], None]) -> None:
        """Do not call `call` any more; by the thread that had it called."""
        self._watchers = tuple(other for other in self._watchers if other != call)

    def changed(self) -> None:
        """Tell those who watch that something is new."""
        for call in self._watchers:
            call()

    def accept(self) -> None:
        """Whoever submitted the query may be answered."""
        self.accepted = True
        for call in self._on_accepted:
            call()

    def when_accepted(self, call: Callable[[], None]) -> None:
        """Call `call` when the query is accepted, from whatever thread, perhaps twice; at once if it is already."""
        self._on_accepted.append(call)
        if self.accepted:
            call()

    def wait_accepted(self) -> None:
        """Wait until the query is accepted."""
        if not self.accepted:
            event = threading.Event()
            self.when_accepted(event.set)
            event.wait()

    def become(self, other: QueryRecord) -> None:
        """Take over what is known of the same query from the job database. What has not ended there is resumed under this
        record."""
        self.fingerprint, self.request = other.fingerprint, other.request
        self.route, self.reason, self.durable, self.stats = other.route, other.reason, other.durable, other.stats
        self.submitted_s, self.started_s, self.finished_s = other.submitted_s, other.started_s, other.finished_s
        if other.terminal:
            self.state, self.error = other.state, other.error
            self.release()
        else:
            self.accept()

    def expire(self) -> None:
        """The result of a finished query is gone."""
        if self.state == "finished":
            self.state = "expired"
            self._reached_s["expired"] = time.time()

    def history(self) -> list[StateChange]:
        """The states that the query has been in, as far as this process knows, with their times."""
        found = [StateChange("queued", as_datetime(self.submitted_s), "")]
        reached_s = {**self._reached_s, "running": self.started_s}
        for state in ("planning", "running", "finishing"):
            if (when_s := reached_s.get(state)) is not None:
                found.append(StateChange(state, as_datetime(when_s), self.reason if state == "running" else ""))
        if self.terminal:
            end: State = "finished" if self.state == "expired" else self.state
            found.append(StateChange(end, as_datetime(self.finished_s), self.error.detail if self.error else ""))
        if self.state == "expired":
            found.append(StateChange("expired", as_datetime(reached_s.get("expired")), "the result is not kept any more"))
        return found

    def finish(self, stats: dict[str, Any]) -> None:
        """The query has its answer."""
        self.stats = stats
        self._end("finished")

    def fail(self, error: SabotError) -> None:
        """The query ended with `error`; the state says whether that was a cancellation."""
        self.error = error
        self._end("cancelled" if error.problem.code == "CANCELLED" else "failed")

    def release(self) -> None:
        """This process does no more for the query, which has not ended."""
        self.accept()
        self.ended.set()
        self.changed()

    def _end(self, state: State) -> None:
        if not self.terminal:
            if self.trace is not None:
                self.trace.close(state)
            self.finished_s = time.time()
            self.state = state  # at last: whoever sees it may read the rest
            if self.on_end is not None:
                self.on_end(self)
        self.release()

    def status(self) -> QueryStatus:
        """The query at this moment."""
        return QueryStatus(
            query_id=self.query_id,
            state=self.state,
            sql=self.request.sql,
            user=self.request.user,
            route=self.route,
            reason=self.reason,
            durable=self.durable,
            submitted_at=as_datetime(self.submitted_s),
            started_at=as_datetime(self.started_s),
            finished_at=as_datetime(self.finished_s),
            progress=dataclasses.replace(self.progress) if self.progress else Progress(),
            stats=self.stats,
            error=self.error,
            tags=self.request.tags,
            history=self.history(),
        )


def as_datetime(seconds: float | None) -> dt.datetime | None:
    """Seconds since 1970 as a time in UTC."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.UTC)


class QueryLog:
    """The recent queries by id. Past `capacity` the oldest ended ones are forgotten; a query under an idempotency key is kept
    for ten minutes after its end (within ten times the capacity).

    Args:
        on_forget: told the id of a forgotten query.
        on_end: told of each remembered query that ends.
    """

    def __init__(
        self,
        capacity: int = 1000,
        on_forget: Callable[[str], None] = lambda query_id: None,
        on_end: Callable[[QueryRecord], None] | None = None,
    ) -> None:
        self._capacity = capacity
        self._on_forget = on_forget
        self._on_end = on_end
        self._lock = threading.Lock()
        self._records: OrderedDict[str, QueryRecord] = OrderedDict()

    def add(self, record: QueryRecord) -> None:
        """Remember a new query."""
        with self._lock:
            self._put(record)

    def get(self, query_id: str) -> QueryRecord | None:
        """The query, if it is remembered."""
        return self._records.get(query_id)

    def get_or_add(self, query_id: str, make: Callable[[], QueryRecord]) -> tuple[QueryRecord, bool]:
        """The query of this id, and whether it was made by this call."""
        with self._lock:
            record = self._records.get(query_id)
            if record is not None:
                return record, False
            record = make()
            self._put(record)
            return record, True

    def forget(self, record: QueryRecord) -> None:
        """Forget a query whose end here says nothing: what the job database has of it holds, and who asks for it again is told
        that."""
        with self._lock:
            if self._records.get(record.query_id) is record:
                del self._records[record.query_id]

    def newest_first(self) -> Iterator[QueryRecord]:
        """All remembered queries."""
        with self._lock:
            records = list(self._records.values())
        return reversed(records)

    def running(self) -> list[QueryRecord]:
        """The queries for which this process still does something."""
        return [r for r in self.newest_first() if not r.ended.is_set()]

    def _put(self, record: QueryRecord) -> None:
        record.on_end = self._on_end
        self._records[record.query_id] = record
        if len(self._records) > self._capacity:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        now = time.time()
        for query_id, record in self._records.items():
            fresh_key = bool(record.fingerprint) and now - (record.finished_s or now) < KEY_KEPT_S
            if record.terminal and (not fresh_key or len(self._records) > 10 * self._capacity):
                del self._records[query_id]
                self._on_forget(query_id)
                return
