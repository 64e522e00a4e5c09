"""Join tables that tasks of one stage share: those that run at once in one agent over the same blocks build once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import replace

from sabot_sql.executor.hash_join import JoinBuildSink
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.spill import SpillScope

WAIT_S = 0.02


class SharedBuild:
    """One build side and how many tasks hold it. Its memory and its spill files are its own, as it may outlive the task that
    built it; the memory counts for each of the tasks."""

    def __init__(self, key: Hashable, sink: JoinBuildSink, spill: SpillScope | None) -> None:
        self.key = key
        self.sink = sink
        self.memory = MemoryTracker()
        self.spill = spill
        self.users = 0
        self._built = False
        self._lock = threading.Lock()

    def build(self, run: Callable[[TaskContext], None], context: TaskContext) -> None:
        """Have the table built: by `run`, or by the task that came first. If that one fails, the next one tries."""
        while not self._lock.acquire(timeout=WAIT_S):
            context.check()
        try:
            if not self._built:
                self.memory = _part_of(context)
                run(self._own(context))
                self._built = True
        except BaseException:
            self._free(context)
            raise
        finally:
            self._lock.release()
        context.memory.charge(self.memory.used_bytes, self.memory.peak_bytes)

    def close(self, context: TaskContext) -> None:
        """Free the table; called by the last of its tasks."""
        with self._lock:
            self._free(context)

    def _free(self, context: TaskContext) -> None:
        self._built = False
        self.sink.close(self._own(context))
        self.memory.release(self.memory.used_bytes)
        if self.spill is not None:
            self.spill.close()

    def _own(self, context: TaskContext) -> TaskContext:
        return replace(context, memory=self.memory, spill=self.spill)


def _part_of(context: TaskContext) -> MemoryTracker:
    """A tracker for what an operator of a task may take: its share, beside the batches on their way."""
    limit_bytes = context.memory.limit_bytes
    if not limit_bytes or context.spill is None:
        return MemoryTracker(limit_bytes)
    return MemoryTracker(context.share_bytes + limit_bytes // 8, flow_bytes=limit_bytes // 8)


class SharedBuilds:
    """The tables that are in use in this process, by what they were built from. Thread-safe."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, SharedBuild] = {}
        self._lock = threading.Lock()

    def acquire(self, key: Hashable, make: Callable[[], JoinBuildSink], context: TaskContext) -> SharedBuild:
        """Hold the table of `key`; `make` makes its sink where no other task holds it. To be released."""
        with self._lock:
            if key not in self._entries:
                spill = None if context.spill is None else context.spill.sibling()
                self._entries[key] = SharedBuild(key, make(), spill)
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
