"""The large lane: threads of low priority in which large local queries run, so that small ones are not kept waiting."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

NICENESS = 10
"""How much lower the priority is: the kernel gives such a thread about a tenth of a normal one's share, and all that nobody
else wants."""

T = TypeVar("T")


class LargeLane:
    """Runs functions in threads of low priority, `limit` at once, the others in their order. Thread-safe.

    Threads that such a function starts have the same priority, DuckDB's workers among them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Have `function` called; its answer or error is the future's."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the lane is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._limit, thread_name_prefix="sabot-large", initializer=lower_priority)
            return self._pool.submit(function)

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def lower_priority() -> None:
    """Lower this thread's priority, where threads have their own (Linux)."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
