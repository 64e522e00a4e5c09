"""What happens to one query, as events for whoever watches it.

A feed is level-triggered: the query's threads only say that something is new, the event loop looks what. So a query is never
held up by those who watch it, and of progress nobody gets more than is worth showing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sabot_sql.client.contract import status_to_json
from sabot_sql.engine.request import Progress, QueryStatus, State
from sabot_sql.errors import Overloaded
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.server.plan_document import stage_to_json

MAX_CLIENTS = 1000
PAUSE_S = 0.1  # between two looks at a query that runs
KEPT_EVENTS = 2000  # of a feed
KEPT_S = 60.0  # how long the feed of a query that has ended is kept for clients that come back


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its id, its kind (state, progress, stage, warning, end) and its data as JSON."""

    id: int
    kind: str
    data: str

    def encode(self) -> bytes:
        """The event as server-sent events are written."""
        return f"id: {self.id}\nevent: {self.kind}\ndata: {self.data}\n\n".encode()


class EventFeed:
    """The events of one query, from its first client on. For use in the event loop only, but for what the record calls.

    Args:
        on_end: called when no more events come, perhaps at once.

    Attributes:
        clients: how many read it.
        ended: no more events come.
    """

    def __init__(self, record: QueryRecord, on_end: Callable[[], object] = lambda: None) -> None:
        self.clients = 0
        self.ended = False
        self._record = record
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        # ids go on increasing when a feed is made anew, by this process or the next: nobody sends a thousand events a second
        self._ids = itertools.count(int(time.time() * 1000))
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._progress: Event | None = None
        self._told: Progress | None = None
        self._state: State | None = None
        self._stages: dict[int, str] = {}
        self._warnings = 0
        self._news = asyncio.Event()
        self._posted = False  # the loop is told, and has not come to it
        self._later: asyncio.TimerHandle | None = None
        self._looked_s = 0.0
        record.watch(self._changed)
        self._look()

    def after(self, event_id: int) -> list[Event]:
        """The events since that of an id, as far as they are kept; of progress only the latest."""
        found = [event for event in self._events if event.id > event_id]
        if self._progress is not None and self._progress.id > event_id and not self.ended:
            found.append(self._progress)
            found.sort(key=lambda event: event.id)
        return found

    @property
    def last_id(self) -> int:
        """The id of the newest event that stays."""
        return self._events[-1].id

    @property
    def news(self) -> asyncio.Event:
        """Set when there is an event that `after` has not given yet."""
        return self._news

    def _changed(self) -> None:
        """Something is new; called by whatever thread."""
        if not self._posted:
            self._posted = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._look_soon)

    def _look_soon(self) -> None:
        """Look at once at a new state, at all else after the pause."""
        self._posted = False
        left_s = self._looked_s + PAUSE_S - self._loop.time()
        if left_s <= 0 or self._record.state != self._state:
            self._look()
        elif self._later is None:
            self._later = self._loop.call_later(left_s, self._look)

    def _look(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._looked_s = self._loop.time()
        if self.ended:
            return
        record = self._record
        terminal = record.terminal  # before the rest is looked at, which is then complete
        before = self._progress, len(self._events), self._events[-1] if self._events else None
        status = record.status()
        if not terminal:
            self._look_at_state(status)
        self._look_at_stages(record)
        if record.progress is not None and not terminal and self._told != status.progress:
            self._told = status.progress
            self._progress = Event(next(self._ids), "progress", dump(status_to_json(status)["progress"]))
        if terminal:
            self._look_at_state(status)
            self._add("end", status_to_json(status))
            self.ended = True
            record.unwatch(self._changed)
            self._on_end()
        if before != (self._progress, len(self._events), self._events[-1]):
            self._news.set()
            self._news = asyncio.Event()

    def _look_at_state(self, status: QueryStatus) -> None:
        if status.state != self._state:
            self._state = status.state
            self._add("state", status_to_json(status))

    def _look_at_stages(self, record: QueryRecord) -> None:
        trace = record.trace
        if trace is None:
            return
        states = trace.states()
        new = [n for n, state in states.items() if state != self._stages.get(n, "waiting")]
        if new:
            for stage in trace.stages(new):
                self._stages[stage["id"]] = stage["state"]
                self._add("stage", stage_to_json(stage))
        warnings = trace.warnings()
        for warning in warnings[self._warnings :]:
            self._add("warning", {"query_id": record.query_id, "warning": warning})
        self._warnings = len(warnings)

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        self._events.append(Event(next(self._ids), kind, dump(data)))


class EventFeeds:
    """The feeds of a server. For use in the event loop only, but for `close`."""

    def __init__(self, max_clients: int = MAX_CLIENTS) -> None:
        self._max_clients = max_clients
        self._feeds: dict[str, EventFeed] = {}
        self._closing = False
        self._closed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.clients = 0

    @contextlib.contextmanager
    def reading(self, record: QueryRecord) -> Iterator[EventFeed]:
        """The feed of a query, for a client that reads it for as long as the block takes.

        Raises:
            Overloaded: too many clients read feeds.
        """
        if self.clients >= self._max_clients:
            raise Overloaded(f"{self.clients:,} clients watch queries already; ask for the status instead", retryable=True)
        query_id = record.query_id
        feed = self._feeds.get(query_id)
        if feed is None:
            feed = self._feeds[query_id] = EventFeed(record, functools.partial(self._drop_later, query_id))
        self.clients += 1
        feed.clients += 1
        try:
            yield feed
        finally:
            self.clients -= 1
            feed.clients -= 1

    def _drop_later(self, query_id: str) -> None:
        asyncio.get_running_loop().call_later(KEPT_S, self._drop, query_id)

    def _drop(self, query_id: str) -> None:
        if self._feeds[query_id].clients:
            self._drop_later(query_id)
        else:
            del self._feeds[query_id]

    async def closing(self) -> None:
        """Wait until the server stops."""
        if self._closed is None:
            self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        if not self._closing:  # after the event is there, which `close` sets
            await self._closed.wait()

    def close(self) -> None:
        """End all streams, those that begin later too; to be called from any thread, and from a signal handler."""
        self._closing = True
        if self._loop is not None and self._closed is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._closed.set)


def dump(value: dict[str, Any]) -> str:
    """`value` as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
