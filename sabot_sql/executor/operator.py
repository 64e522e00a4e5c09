"""The protocol of operators: a pipeline is a source, streaming operators and a sink (Leis et al., SIGMOD 2014).

Workers pull *units* (a split, a block) from the source; each worker pushes the unit's morsels through the streaming
operators into the sink. Operators are immutable; what they need while running is a state per worker. A sink's states are
combined when all units are done, and most sinks then are the source of the next pipeline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from sabot_sql.errors import Cancelled, OutOfMemory, QueryTimeout
from sabot_sql.planner.physical import Session


@dataclass(slots=True)
class Morsel:
    """A slice of rows on its way through a pipeline. `sequence` orders morsels as the source would give them one by one; a
    worker does not get them in this order."""

    batch: pa.RecordBatch
    sequence: int


class Unit(Protocol):
    """A piece of a source that one worker reads from start to end."""

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]: ...


class Source(Protocol):
    """Where a pipeline begins."""

    schema: pa.Schema

    def units(self, context: TaskContext) -> Sequence[Unit]: ...


class StreamOperator(Protocol):
    """A step that turns a batch into zero or more batches (filter, project, probe)."""

    schema: pa.Schema
    stats: OperatorStats

    def new_state(self, context: TaskContext) -> Any: ...

    def process(self, batch: pa.RecordBatch, state: Any) -> Iterator[pa.RecordBatch]: ...

    def close(self, state: Any) -> None: ...


class Sink(Protocol):
    """Where a pipeline ends (aggregate, sort, build, exchange writer)."""

    stats: OperatorStats

    def new_state(self, context: TaskContext) -> Any: ...

    def sink(self, morsel: Morsel, state: Any) -> None: ...

    def combine(self, states: list[Any], context: TaskContext) -> None:
        """Called once, after every worker is done."""
        ...


@dataclass(slots=True)
class OperatorStats:
    """What EXPLAIN ANALYZE shows of one operator. Times are summed over workers. `node` is the operator's position in the
    stage's tree (pre-order); `engine` who processed the rows; `rows_cached` are those of rows_in that a scan had in memory."""

    node: int
    name: str
    engine: str
    rows_in: int = 0
    rows_out: int = 0
    elapsed_ns: int = 0
    rows_cached: int = 0


@dataclass(slots=True)
class MemoryTracker:
    """Counts the bytes a task holds; `reserve` past the limit raises OutOfMemory. Thread-safe.

    Args:
        limit_bytes: 0 for no limit.
    """

    limit_bytes: int = 0
    used_bytes: int = 0
    peak_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, num_bytes: int, what: str) -> None:
        with self._lock:
            if self.limit_bytes and self.used_bytes + num_bytes > self.limit_bytes:
                raise OutOfMemory(
                    f"{what} needs {num_bytes:,} more bytes; the task holds {self.used_bytes:,} of {self.limit_bytes:,}",
                    hint="raise agents.memory_bytes or use more agents",
                )
            self.used_bytes += num_bytes
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)

    def release(self, num_bytes: int) -> None:
        with self._lock:
            self.used_bytes -= num_bytes


@dataclass(slots=True)
class TaskContext:
    """What a running task shares between its operators.

    Attributes:
        threads: workers a pipeline may use.
        morsel_bytes: target size of a batch; scans and breakers cut their output by it.
        deadline_s: `time.monotonic()` after which the task must stop, or None.
        failed: set when a worker of the present pipeline has failed, so that the others stop.
    """

    job_id: str
    stage_id: int
    task_index: int
    attempt: int
    session: Session
    memory: MemoryTracker
    threads: int = 1
    morsel_bytes: int = 2 << 20
    deadline_s: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    failed: threading.Event = field(default_factory=threading.Event)
    stats: list[OperatorStats] = field(default_factory=list)

    def check(self) -> None:
        """Raise Cancelled or QueryTimeout when the task must stop; called for every morsel."""
        if self.cancelled.is_set():
            raise Cancelled("the query was cancelled")
        if self.failed.is_set():
            raise Cancelled("another worker of the task has failed")
        if self.deadline_s is not None and time.monotonic() > self.deadline_s:
            raise QueryTimeout("the query ran into its time limit")
