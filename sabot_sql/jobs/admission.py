"""Who may run now: a gate that lets a number of queries in and keeps the others waiting in order."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from sabot_sql.errors import Cancelled, QueryTimeout

POLL_S = 0.05  # how soon a waiting query notices that it was cancelled


@dataclass(eq=False, slots=True)
class _Turn:
    """One that waits."""

    user: str
    priority: int
    come: threading.Event = field(default_factory=threading.Event)


class Gate:
    """At most `limit` inside at once. Of those that wait the highest priority goes first; among equals whoever's user has the
    fewest inside, so that nobody who submits hundreds keeps the others out; then whoever came first.

    `enter` costs one uncontended lock while there is room.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._inside: Counter[str] = Counter()
        self._waiting: list[_Turn] = []  # as they came

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, cancel: threading.Event, deadline_s: float | None = None, user: str = "", priority: int = 0) -> float:
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
                self._inside[user] += 1
                return 0.0
            turn = _Turn(user, priority)
            self._waiting.append(turn)
        begin = time.monotonic()
        try:
            while not turn.come.wait(POLL_S):
                if cancel.is_set():
                    raise Cancelled("the query was cancelled while it waited for its turn")
                if deadline_s is not None and time.monotonic() > deadline_s:
                    raise QueryTimeout("the query ran into its time limit while it waited for its turn")
        except BaseException:
            self._give_up(turn)
            raise
        return time.monotonic() - begin

    def leave(self, user: str = "") -> None:
        """Give the place to the next."""
        with self._lock:
            self._inside[user] -= 1
            if not self._inside[user]:
                del self._inside[user]
            if not self._waiting:
                self._free += 1
                return
            turn = min(self._waiting, key=lambda turn: (-turn.priority, self._inside[turn.user]))
            self._waiting.remove(turn)
            self._inside[turn.user] += 1
            turn.come.set()

    def _give_up(self, turn: _Turn) -> None:
        with self._lock:
            if not turn.come.is_set():
                self._waiting.remove(turn)
                return
        self.leave(turn.user)  # the place came at the same moment
