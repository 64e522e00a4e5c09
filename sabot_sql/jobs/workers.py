"""Threads that run work in the background; they are reused, and none keeps the process alive."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable

Work = Callable[[], None]
IDLE_S = 30.0


class Workers:
    """Runs each piece of work at once, on an idle thread or a new one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[Work | None]] = []
        self._numbers = itertools.count(1)

    def run(self, work: Work) -> None:
        """Start `work`, which must handle its own errors."""
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is not None:
            inbox.put(work)
            return
        threading.Thread(target=self._loop, args=(work,), name=f"{self._name}-{next(self._numbers)}", daemon=True).start()

    def close(self) -> None:
        """End the idle threads."""
        with self._lock:
            idle, self._idle = self._idle, []
        for inbox in idle:
            inbox.put(None)

    def _loop(self, work: Work | None) -> None:
        inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        while work is not None:
            work()
            work = None
            with self._lock:
                self._idle.append(inbox)
            try:
                work = inbox.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                work = inbox.get()  # handed over at the same moment


class Alarms:
    """Calls back at points in time, from one thread that starts with the first alarm."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def at(self, when_s: float, call: Work) -> None:
        """Call `call`, which must be quick, at `time.monotonic()` == when_s."""
        with self._changed:
            heapq.heappush(self._heap, (when_s, next(self._numbers), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="sabot-alarms", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Forget all alarms."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if self._closed:
                    return
                if not self._heap or self._heap[0][0] > now:
                    self._changed.wait(self._heap[0][0] - now if self._heap else None)
                    continue
                call = heapq.heappop(self._heap)[2]
            call()
