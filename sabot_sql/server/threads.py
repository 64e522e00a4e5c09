"""The threads in which requests call the engine, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sabot_sql.client.contract import is_terminal
from sabot_sql.engine.request import QueryStatus
from sabot_sql.errors import Overloaded
from sabot_sql.jobs.manager import JobManager

T = TypeVar("T")

THREADS = 128
MAX_REQUESTS = 1000  # that wait for a thread or are in one
WAIT_PIECE_S = 1.0  # how long a wait may go without looking whether the server is stopping


Work = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Threads:
    """A bounded pool of threads with a bounded queue before it. An executor's futures would be turned into those of the event
    loop, at the price of two more of the loop's rounds for each request."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0
        self.closing = threading.Event()

    def start(self, call: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs `call` in a thread; to be called in the event loop.

        Raises:
            Overloaded: too many requests are already waiting.
        """
        if self._busy >= MAX_REQUESTS:
            raise Overloaded(f"{self._busy:,} requests are in progress; try again shortly", retryable=True)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._busy += 1
        self._queue.put((future, call, args))
        if self._started < min(self._busy, THREADS):
            self._started += 1
            threading.Thread(target=self._work, name=f"sabot-request-{self._started}").start()
        return future

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            future, call, args = work
            result = error = None
            if not future.cancelled():
                try:
                    result = call(*args)
                except BaseException as exc:  # the edge of a thread: whoever awaits the future gets it
                    error = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                future.get_loop().call_soon_threadsafe(self._end, future, result, error)
            del work, future, call, args, result, error  # not to be held until the next request

    def _end(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._busy -= 1
        if future.done():  # its request was given up
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def close(self) -> None:
        """Lets no more calls in and drops those that no thread has taken; those that wait return within a second."""
        self.closing.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in range(self._started):
            self._queue.put(None)

    def wait_for_end(self, manager: JobManager, query_id: str, wait_s: float) -> QueryStatus:
        """The status of the query at its end, or after `wait_s`; to be called in one of the threads."""
        return self.wait_until(lambda piece_s: manager.status(query_id, piece_s), is_terminal, wait_s)

    def wait_until(self, look: Callable[[float], T], is_over: Callable[[T], bool], wait_s: float) -> T:
        """What `look`, which waits as long as it is told, finds when that is over, after `wait_s`, or when the server stops; to
        be called in one of the threads."""
        deadline = time.monotonic() + wait_s
        while True:
            left = max(0.0, deadline - time.monotonic())
            found = look(min(left, WAIT_PIECE_S))
            if is_over(found) or left <= WAIT_PIECE_S or self.closing.is_set():
                return found
