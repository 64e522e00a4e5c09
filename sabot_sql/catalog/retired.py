"""What belongs to no table any more, and queries may still read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class _GivenUp:
    """Something that is to be removed.

    Attributes:
        holders: ids of the queries that may read it; None until that is known.
    """

    remove: Callable[[], None]
    holders: frozenset[str] | None = None


class Retired:
    """Removes what was given up once all queries have ended that ran then. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up: list[_GivenUp] = []

    def add(self, remove: Callable[[], None]) -> None:
        """Have `remove` called when no query reads it any more; it must not fail."""
        with self._lock:
            self._given_up.append(_GivenUp(remove))

    def sweep(self, running: Callable[[], Iterable[str]]) -> None:
        """Remove what no query reads any more.

        Args:
            running: gives the ids of the queries that run now.
        """
        if not self._given_up:
            return
        with self._lock:
            now = frozenset(running())
            for each in self._given_up:
                each.holders = now if each.holders is None else each.holders & now
            gone = [each for each in self._given_up if not each.holders]
            self._given_up = [each for each in self._given_up if each.holders]
        for each in gone:
            each.remove()

    def clear(self) -> None:
        """Remove all of it now."""
        self.sweep(lambda: ())
