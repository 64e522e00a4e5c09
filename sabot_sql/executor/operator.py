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
from sabot_sql.executor.spill import UNLIMITED, SpillScope
from sabot_sql.planner.physical import Session

FLOW_BYTES = 8 << 20
"""What batches on their way through a pipeline may take, at least, where a task has twice that."""


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

    def drain(self, states: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """What is still to come after the last batch, of the states of all workers."""
        ...

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
    stage's tree (pre-order); `engine` who processed the rows; `rows_cached` are those of rows_in that a scan had in memory;
    `rows_fused` those whose expressions a function generated for them worked out; `bytes_spilled` what it wrote to disk because
    memory was short, as it lay there."""

    node: int
    name: str
    engine: str
    rows_in: int = 0
    rows_out: int = 0
    elapsed_ns: int = 0
    rows_cached: int = 0
    rows_fused: int = 0
    bytes_spilled: int = 0


@dataclass(slots=True)
class MemoryTracker:
    """Counts the bytes a task holds; `reserve` past the limit raises OutOfMemory. Thread-safe.

    Operators that can spill keep within their share of what those that are done leave: a part equal to that of each that is
    still to grow, as far as these need it. As one pipeline runs at a time, these are the sinks of the pipelines to come, and
    operators that have spilled and read back later.

    Args:
        limit_bytes: 0 for no limit.

    Attributes:
        flow_bytes: what of it is for batches on their way; None for an eighth, or as much of `FLOW_BYTES` as half of it.
        settled_bytes: what the pipelines before this one hold.
        to_come: for each later pipeline what its sink will need at most; None where that is not known.
        unsettled: operators of ended pipelines that have spilled.
    """

    limit_bytes: int = 0
    used_bytes: int = 0
    peak_bytes: int = 0
    flow_bytes: int | None = None
    settled_bytes: int = 0
    to_come: Sequence[int | None] = ()
    unsettled: int = 0
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

    def charge(self, num_bytes: int, peak_bytes: int) -> None:
        """Count what another tracker has reserved; `peak_bytes` is the most that it held."""
        with self._lock:
            self.peak_bytes = max(self.peak_bytes, self.used_bytes + max(num_bytes, peak_bytes))
            self.used_bytes += num_bytes

    def begin(self, to_come: Sequence[int | None]) -> None:
        """A pipeline begins; `to_come` is what the later ones will need."""
        with self._lock:
            self.settled_bytes, self.to_come = self.used_bytes, to_come

    @property
    def share_bytes(self) -> int:
        """What an operator that can spill may hold now, with all that it needs for a moment."""
        if not self.limit_bytes:
            return UNLIMITED
        limit, flow = self.limit_bytes, self.flow_bytes
        if flow is None:
            flow = max(limit // 8, min(limit // 2, FLOW_BYTES))
        left, parts = max(0, limit - flow - self.settled_bytes), 1 + self.unsettled + len(self.to_come)
        for need in sorted(need for need in self.to_come if need is not None):
            if need >= left // parts:
                break
            left, parts = left - need, parts - 1
        return left // parts

    def unsettle(self, change: int) -> None:
        """An operator has spilled and will read back (1), or has done so (-1)."""
        with self._lock:
            self.unsettled += change

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
        spill: where operators put rows that do not fit; None where they must not.
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
    spill: SpillScope | None = None

    @property
    def share_bytes(self) -> int:
        """What an operator may hold before it must spill; no limit where it cannot."""
        return self.memory.share_bytes if self.spill is not None else UNLIMITED

    def check(self) -> None:
        """Raise Cancelled or QueryTimeout when the task must stop; called for every morsel."""
        if self.cancelled.is_set():
            raise Cancelled("the query was cancelled")
        if self.failed.is_set():
            raise Cancelled("another worker of the task has failed")
        if self.deadline_s is not None and time.monotonic() > self.deadline_s:
            raise QueryTimeout("the query ran into its time limit")
