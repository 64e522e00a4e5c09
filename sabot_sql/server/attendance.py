"""Queries whose clients waited for them and then went away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from sabot_sql.errors import SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.threads import Threads


@dataclass(slots=True)
class _Attended:
    """`asking` requests about a query are under way; the last one ended at `seen_s` of the loop's clock."""

    asking: int
    seen_s: float


class Attendance:
    """Cancels a query that was answered with 202 after a wait, when nobody has asked for it for a while. For use in the
    event loop only.

    Args:
        timeout_s: that while.
    """

    def __init__(self, manager: JobManager, threads: Threads, timeout_s: float) -> None:
        self._manager = manager
        self._threads = threads
        self._timeout_s = timeout_s
        self._queries: dict[str, _Attended] = {}

    def expect(self, query_id: str) -> None:
        """From now on somebody has to ask for the query."""
        loop = asyncio.get_running_loop()
        self._queries[query_id] = _Attended(0, loop.time())
        loop.call_later(self._timeout_s, self._look, query_id)

    @contextlib.contextmanager
    def asking(self, query_id: str) -> Iterator[None]:
        """Somebody asks for the query, for as long as the block takes."""
        attended = self._queries.get(query_id)
        if attended is None:
            yield
            return
        attended.asking += 1
        try:
            yield
        finally:
            attended.asking -= 1
            attended.seen_s = asyncio.get_running_loop().time()

    def _look(self, query_id: str) -> None:
        loop = asyncio.get_running_loop()
        attended = self._queries[query_id]
        left_s = self._timeout_s if attended.asking else attended.seen_s + self._timeout_s - loop.time()
        if left_s > 0:
            loop.call_later(left_s, self._look, query_id)
            return
        try:
            self._threads.start(self._cancel, query_id)
        except SabotError:  # no thread is free just now
            loop.call_later(min(1.0, self._timeout_s), self._look, query_id)
            return
        del self._queries[query_id]

    def _cancel(self, query_id: str) -> None:
        with contextlib.suppress(SabotError):  # nobody knows the query any more
            why = f"the query was cancelled: its client waited for it, and then did not ask for it for {self._timeout_s:g} s"
            self._manager.cancel(query_id, why)
