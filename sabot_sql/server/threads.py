"""The threads in which requests call the engine, off the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sabot_sql.client.contract import is_terminal
from sabot_sql.engine.request import QueryStatus
from sabot_sql.errors import Overloaded
from sabot_sql.jobs.manager import JobManager

T = TypeVar("T")

THREADS = 128
MAX_REQUESTS = 1000  # that wait for a thread or are in one
WAIT_PIECE_S = 1.0  # how long a wait may go without looking whether the server is stopping


class Threads:
    """A bounded pool of threads with a bounded queue before it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sabot-request")
        self._busy = 0
        self.closing = threading.Event()

    def start(self, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs `call` in a thread.

        Raises:
            Overloaded: too many requests are already waiting.
        """
        if self._busy >= MAX_REQUESTS:
            raise Overloaded(f"{self._busy:,} requests are in progress; try again shortly", retryable=True)
        self._busy += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, call, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        self._busy -= 1

    def close(self) -> None:
        """Lets no more calls in; those that wait return within a second."""
        self.closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def wait_for_end(self, manager: JobManager, query_id: str, wait_s: float) -> QueryStatus:
        """The status of the query at its end, or after `wait_s`; to be called in one of the threads."""
        deadline = time.monotonic() + wait_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            status = manager.status(query_id, min(left, WAIT_PIECE_S))
            if is_terminal(status) or left <= WAIT_PIECE_S or self.closing.is_set():
                return status
