"""Threads for calls that block: kept between calls, daemons, so that a call to a dead peer never holds up the interpreter's
end (concurrent.futures joins its threads there)."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class CallThreads:
    """As many threads as calls were ever running at once; a call waits for no other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._num_threads = 0

    def submit(self, call: Callable[[], None]) -> None:
        """Run `call` in a thread. It has to deal with its own errors."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._num_threads += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._num_threads}", daemon=True).start()
        self._calls.put(call)

    def close(self) -> None:
        """End the threads, each after its present call."""
        with self._lock:
            for _ in range(self._num_threads):
                self._calls.put(None)
            self._num_threads = self._idle = 0

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception:  # the edge of a thread: the next call needs it
                log.exception("a call in thread %s failed", threading.current_thread().name)
            with self._lock:
                self._idle += 1
