"""Join tables that tasks of one stage share: those that run at once in one agent over the same blocks build once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace

from sabot_sql.executor.hash_join import JoinBuildSink
from sabot_sql.executor.operator import MemoryTracker, TaskContext

WAIT_S = 0.02


class SharedBuild:
    """One build side and how many tasks hold it. Its memory is counted on its own: it may outlive the task that built it."""

    def __init__(self, key: Hashable, sink: JoinBuildSink, limit_bytes: int) -> None:
        self.key = key
        self.sink = sink
        self.memory = MemoryTracker(limit_bytes)
        self.users = 0
        self._built = False
        self._lock = threading.Lock()

    def build(self, run: Callable[[TaskContext], None], context: TaskContext) -> None:
        """Have the table built: by `run`, or by the task that came first. If that one fails, the next one tries."""
        while not self._lock.acquire(timeout=WAIT_S):
            context.check()
        try:
            if not self._built:
                run(replace(context, memory=self.memory))
                self._built = True
        except BaseException:
            self._free(context)
            raise
        finally:
            self._lock.release()

    def close(self, context: TaskContext) -> None:
        """Free the table; called by the last of its tasks."""
        with self._lock:
            self._free(context)

    def _free(self, context: TaskContext) -> None:
        self._built = False
        self.sink.close(replace(context, memory=self.memory))
        self.memory.release(self.memory.used_bytes)


class SharedBuilds:
    """The tables that are in use in this process, by what they were built from. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, SharedBuild] = {}
        self._lock = threading.Lock()

    def acquire(self, key: Hashable, make: Callable[[], JoinBuildSink], context: TaskContext) -> SharedBuild:
        """Hold the table of `key`; `make` makes its sink where no other task holds it. To be released."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = SharedBuild(key, make(), context.memory.limit_bytes)
            found = self._entries[key]
            found.users += 1
            return found

    def release(self, entry: SharedBuild, context: TaskContext) -> None:
        """Let go of a table; without users it is freed."""
        with self._lock:
            entry.users -= 1
            if entry.users:
                return
            del self._entries[entry.key]
        entry.close(context)


SHARED = SharedBuilds()
