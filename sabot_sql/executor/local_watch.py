"""One thread that stops local queries: at their time limit, past their budget, or when their cancel event is set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

TICK_S = 0.02
"""How often running queries are looked at; a query shorter than this is never seen."""

IDLE_TICKS = 50
"""Ticks without a query after which the thread sleeps until the next one."""


@dataclass(slots=True, eq=False)
class Guarded:
    """A running query: how to interrupt it, and why it was."""

    interrupt: Callable[[], None]
    deadline_s: float | None
    budget_end_s: float | None
    cancel: threading.Event | None
    stopped: Literal["timeout", "budget", "cancel"] | None = None

    def due(self, now_s: float) -> bool:
        """Whether the query must stop; `stopped` then says why."""
        if self.stopped is None:
            if self.cancel is not None and self.cancel.is_set():
                self.stopped = "cancel"
            elif self.deadline_s is not None and now_s >= self.deadline_s:
                self.stopped = "timeout"
            elif self.budget_end_s is not None and now_s >= self.budget_end_s:
                self.stopped = "budget"
        return self.stopped is not None


class Watch:
    """Interrupts the queries it guards. The thread starts with the first one that has a limit."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._guarded: set[Guarded] = set()
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._closed = False

    @contextmanager
    def guard(
        self,
        interrupt: Callable[[], None],
        timeout_s: float | None,
        cancel: threading.Event | None,
        budget_s: float | None = None,
    ) -> Iterator[Guarded]:
        """Guard what runs inside the block. `interrupt` is called again each tick until the block ends: an interrupt that
        comes before the engine starts is lost."""
        now_s = time.monotonic()
        ends = [None if limit is None else now_s + limit for limit in (timeout_s, budget_s)]
        found = Guarded(interrupt, ends[0], ends[1], cancel)
        if timeout_s is None and budget_s is None and cancel is None:
            yield found
            return
        with self._lock:
            self._guarded.add(found)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="sabot-local-watch", daemon=True)
                self._thread.start()
            elif self._asleep:
                self._lock.notify()
        try:
            yield found
        finally:
            with self._lock:
                self._guarded.discard(found)

    def _run(self) -> None:
        idle = 0
        while True:
            with self._lock:
                idle = 0 if self._guarded else idle + 1
                self._asleep = idle > IDLE_TICKS
                self._lock.wait(None if self._asleep else TICK_S)
                self._asleep = False
                if self._closed:
                    return
                now_s = time.monotonic()
                # under the lock: a query that has left its block is never interrupted, nor is its closed cursor
                for query in self._guarded:
                    if query.due(now_s):
                        query.interrupt()

    def close(self) -> None:
        """Stop the thread."""
        with self._lock:
            self._closed = True
            self._lock.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
