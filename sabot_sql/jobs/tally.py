"""What the queries of a process came to, counted from its start on."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sabot_sql.jobs.record import QueryRecord

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the buckets of durations."""

TOTALS = ("tasks", "retries", "rows_scanned", "bytes_scanned", "bytes_shuffled", "bytes_spilled")
"""Stats of queries that are summed up."""


@dataclass(slots=True)
class Durations:
    """A histogram: how many durations are in each bucket, the last without a bound, and their sum."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, duration_s: float) -> None:
        """Count one; a bound belongs to the bucket below it."""
        self.buckets[bisect.bisect_left(BOUNDS_S, duration_s)] += 1
        self.sum_s += duration_s


@dataclass(frozen=True, slots=True)
class Counts:
    """A tally at one moment.

    Attributes:
        queries: by route (`none` for those that were not planned) and state.
        errors: failed queries by the code of their error.
        durations: from submission to the end, by route.
        totals: sums of stats, by the names in `TOTALS`.
    """

    queries: dict[tuple[str, str], int]
    errors: dict[str, int]
    durations: dict[str, Durations]
    totals: dict[str, int]


class Tally:
    """Counts queries at their ends. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queries: Counter[tuple[str, str]] = Counter()
        self._errors: Counter[str] = Counter()
        self._durations: dict[str, Durations] = {}
        self._totals: Counter[str] = Counter()

    def ended(self, record: QueryRecord) -> None:
        """A query has ended."""
        route, duration_s = record.route or "none", time.monotonic() - record.ticks_s
        with self._lock:
            self._queries[route, record.state] += 1
            if record.state == "failed" and record.error is not None:
                self._errors[record.error.problem.code] += 1
            if (durations := self._durations.get(route)) is None:
                durations = self._durations[route] = Durations()
            durations.add(duration_s)
            for name in TOTALS:
                if value := record.stats.get(name):
                    self._totals[name] += value

    def counts(self) -> Counts:
        """What was counted so far."""
        with self._lock:
            durations = {route: Durations(list(d.buckets), d.sum_s) for route, d in self._durations.items()}
            totals = {name: self._totals[name] for name in TOTALS}
            return Counts(dict(self._queries), dict(self._errors), durations, totals)


@dataclass(frozen=True, slots=True)
class Load:
    """What a manager has to do and keeps at one moment.

    Attributes:
        states: queries that have not ended, by state.
        waiting: those of them that wait for their turn, by route.
        result_memory_bytes, result_disk_bytes: kept answers; in files those of all who share the state folder.
        scales: whether agents can be started and ended from here.
    """

    states: dict[str, int]
    waiting: dict[str, int]
    result_memory_bytes: int
    result_disk_bytes: int
    provider: str
    scales: bool
