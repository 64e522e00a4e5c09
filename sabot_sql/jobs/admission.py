"""Who may run now: a gate that lets a number of queries in and keeps the others waiting in order."""

from __future__ import annotations

import threading
import time
from collections import deque

from sabot_sql.errors import Cancelled, QueryTimeout

POLL_S = 0.05  # how soon a waiting query notices that it was cancelled


class Gate:
    """At most `limit` inside at once, first come first served.

    `enter` costs one uncontended lock while there is room.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._waiting: deque[threading.Event] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, cancel: threading.Event, deadline_s: float | None = None) -> float:
        """Wait for a place; returns the seconds waited.

        Args:
            deadline_s: `time.monotonic()` after which waiting is in vain.

        Raises:
            Cancelled: `cancel` was set meanwhile.
            QueryTimeout: the deadline passed.
        """
        with self._lock:
            if self._free > 0 and not self._waiting:
                self._free -= 1
                return 0.0
            turn = threading.Event()
            self._waiting.append(turn)
        begin = time.monotonic()
        try:
            while not turn.wait(POLL_S):
                if cancel.is_set():
                    raise Cancelled("the query was cancelled while it waited for its turn")
                if deadline_s is not None and time.monotonic() > deadline_s:
                    raise QueryTimeout("the query ran into its time limit while it waited for its turn")
        except BaseException:
            self._give_up(turn)
            raise
        return time.monotonic() - begin

    def leave(self) -> None:
        """Give the place to the next."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def _give_up(self, turn: threading.Event) -> None:
        with self._lock:
            if not turn.is_set():
                self._waiting.remove(turn)
                return
        self.leave()  # the place came at the same moment
