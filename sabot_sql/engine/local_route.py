"""A query of the local route: in the small lane under a budget, or in the large lane; past its budget it is promoted.

A small query runs in its caller's thread. One that takes longer than a small query may is stopped, and goes to the agents
where it may and can, else to the large lane. A large one goes on while its plan for the agents is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout

from sabot_sql.engine.prepared import Prepared
from sabot_sql.errors import Cancelled
from sabot_sql.executor.local import Answer, LocalEngines, OverBudget
from sabot_sql.executor.local_duckdb import Sink

SMALL_ROWS = 200_000
"""Queries of more work than this are large: one thread needs some ten milliseconds for it."""

SMALL_BYTES = 32 << 20
"""Where the work is unknown, queries that may read more than this are large."""

BUDGET_FACTOR = 10
"""A query is over its budget when it takes so many times what was estimated, and the least budget."""

POLL_S = 0.05


def is_large(prepared: Prepared) -> bool:
    """Whether a local query belongs in the large lane."""
    guess = prepared.estimate
    if guess.confidence == "unknown" or prepared.statement.kind == "SUMMARIZE":
        return sum(t.statistics.size_bytes for t in prepared.tables) > SMALL_BYTES
    return guess.work > SMALL_ROWS


def budget_s(least_s: float, estimated_ms: float) -> float:
    """What a query may take that is estimated to take `estimated_ms`.

    Example:
        >>> budget_s(0.25, 1.0), budget_s(0.25, 400.0)
        (0.25, 4.0)
    """
    return max(least_s, BUDGET_FACTOR * estimated_ms / 1e3)


class LocalRoute:
    """Runs prepared queries on the local engines.

    Args:
        least_budget_s: as in the settings.
        distribute: plans a query for the agents in place, and says whether it can go there.
    """

    def __init__(self, local: LocalEngines, least_budget_s: float, distribute: Callable[[Prepared, str], bool]) -> None:
        self._local = local
        self._least_budget_s = least_budget_s
        self._distribute = distribute

    def run(self, prepared: Prepared, cancel: threading.Event, estimated_ms: float, sink: Sink | None = None) -> Answer | None:
        """The answer; None where the query was over its budget and is to run as `prepared` says now: on the agents, or in the
        large lane.

        Args:
            sink: as in `LocalEngines.run`; what it was given of a query that is stopped is void.
        """
        budget = budget_s(self._least_budget_s, estimated_ms)
        if prepared.lane == "large":
            return self._large(prepared, cancel, budget, sink)
        try:
            return self._local.run(
                prepared.statement,
                prepared.request,
                prepared.tables,
                prepared.session,
                cancel,
                budget_s=budget,
                counts=prepared.counts,
                harmless=prepared.harmless,
                sink=sink,
            )
        except OverBudget as over:
            if not (prepared.may_promote and self._distribute(prepared, over.what)):
                prepared.lane = "large"
            return None

    def _large(self, prepared: Prepared, cancel: threading.Event, budget: float, sink: Sink | None) -> Answer | None:
        """Wait for the large lane. When the budget is over, the query goes to the agents if it can; else it goes on here."""
        stop = threading.Event()
        future = self._local.run_large(
            prepared.statement, prepared.request, prepared.tables, prepared.session, stop, prepared.counts, prepared.harmless,
            sink,
        )  # fmt: skip
        budget_end = time.monotonic() + budget if prepared.may_promote else None
        try:
            while True:
                try:
                    return future.result(POLL_S)
                except FutureTimeout:
                    if future.done():  # just now, or with a TimeoutError of its own
                        return future.result()
                if cancel.is_set():
                    _give_up(future, stop)
                    raise Cancelled("the query was cancelled")
                if budget_end is not None and time.monotonic() > budget_end:
                    budget_end = None
                    if self._distribute(prepared, f"{budget * 1e3:,.0f} ms"):
                        _give_up(future, stop)
                        return None
        finally:
            stop.set()


def _give_up(future: Future[Answer], stop: threading.Event) -> None:
    """Stop the query and wait until it is out of the engine."""
    stop.set()
    if not future.cancel():
        wait((future,))
