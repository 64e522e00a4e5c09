"""Writing an exchange: the sink at the top of every stage."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa

from sabot_sql.executor.exchange import BlockWriter
from sabot_sql.executor.gather import concatenate
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.partition import Partitioner, RangePartitioner
from sabot_sql.planner.physical import Exchange
from sabot_sql.types import Schema


@dataclass(slots=True)
class _Pending:
    """What is not yet written of one partition: (sequence, batch, its size in bytes)."""

    batches: list[tuple[int, pa.RecordBatch, int]] = field(default_factory=list)
    size_bytes: int = 0


@dataclass(slots=True)
class WriteState:
    """One worker's share."""

    context: TaskContext
    pending: defaultdict[int, _Pending] = field(default_factory=lambda: defaultdict(_Pending))
    pending_bytes: int = 0
    rows: int = 0
    elapsed_ns: int = 0


class ExchangeWriteSink:
    """Sorts rows into partitions and writes them in the order of their sequence.

    Small pieces are put together to batches of about `morsel_bytes`. One worker writes as it goes; several keep all pieces
    until the end, where they are put into order.

    Args:
        types: the columns that are written.
    """

    def __init__(self, output: Exchange, types: Schema, schema: pa.Schema, writer: BlockWriter, stats: OperatorStats) -> None:
        self.schema = schema
        self.writer = writer
        self.stats = stats
        self.partitioner: Partitioner | RangePartitioner | None = None
        if output.kind == "hash" and output.keys and output.partitions > 1:
            self.partitioner = Partitioner(output.keys, [f.type for f in types], output.partitions)
        elif output.order is not None:
            self.partitioner = RangePartitioner(output.order, types[output.order.index].type, output.bounds, output.partitions)
        self._output = output
        self._lock = threading.Lock()

    def new_state(self, context: TaskContext) -> WriteState:
        return WriteState(context)

    def sink(self, morsel: Morsel, state: WriteState) -> None:
        began = time.perf_counter_ns()
        context, batch = state.context, morsel.batch
        context.check()
        if not batch.num_rows:
            return
        parts = [(self._own(context), batch)] if self.partitioner is None else self.partitioner.split(batch)
        each_row = batch.nbytes / batch.num_rows
        for partition, part in parts:
            pending = state.pending[partition]
            size_bytes = int(part.num_rows * each_row)  # its own `nbytes` takes longer than to copy a small part
            if not pending.batches and 2 * size_bytes >= context.morsel_bytes and context.threads == 1:
                self._write(partition, part)
                continue
            context.memory.reserve(size_bytes, "an exchange")
            pending.batches.append((morsel.sequence, part, size_bytes))
            pending.size_bytes += size_bytes
            state.pending_bytes += size_bytes
            if pending.size_bytes >= context.morsel_bytes and context.threads == 1:
                state.pending_bytes -= pending.size_bytes
                self._flush(partition, pending, context)
        if state.pending_bytes > context.share_bytes // 2 and context.threads == 1:
            for partition, pending in state.pending.items():
                self._flush(partition, pending, context)
            state.pending_bytes = 0
        state.rows += batch.num_rows
        state.elapsed_ns += time.perf_counter_ns() - began

    def needed_bytes(self, context: TaskContext) -> int:
        """What one worker holds at most: a batch a partition, half as much as it asks for."""
        return 2 * context.morsel_bytes * self._output.partitions

    def _own(self, context: TaskContext) -> int:
        """The partition for all rows of the task."""
        return context.task_index * self._output.partitions // self._output.tasks if self._output.kind == "forward" else 0

    def combine(self, states: list[WriteState], context: TaskContext) -> None:
        began = time.perf_counter_ns()
        together: defaultdict[int, _Pending] = defaultdict(_Pending)
        for state in states:
            self.stats.rows_in += state.rows
            self.stats.rows_out += state.rows
            self.stats.elapsed_ns += state.elapsed_ns
            for partition, pending in state.pending.items():
                together[partition].batches += pending.batches
                together[partition].size_bytes += pending.size_bytes
            state.pending.clear()
        for partition in sorted(together):
            context.check()
            self._flush(partition, together[partition], context)
        self.stats.elapsed_ns += time.perf_counter_ns() - began

    def _flush(self, partition: int, pending: _Pending, context: TaskContext) -> None:
        """Write what is pending, in batches of about a morsel."""
        pieces = sorted(pending.batches, key=lambda piece: piece[0])
        start, size = 0, 0
        for end, (_, _, size_bytes) in enumerate(pieces, 1):
            size += size_bytes
            if size >= context.morsel_bytes or end == len(pieces):
                self._write(partition, concatenate([batch for _, batch, _ in pieces[start:end]], self.schema))
                start, size = end, 0
        context.memory.release(pending.size_bytes)
        pending.batches, pending.size_bytes = [], 0

    def _write(self, partition: int, batch: pa.RecordBatch) -> None:
        with self._lock:
            self.writer.write(partition, batch)
