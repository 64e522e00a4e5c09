"""Filter and project: the streaming operators that evaluate expressions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.executor.evaluate import Evaluator, Predicate
from sabot_sql.executor.gather import batch_of, select
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.planner.physical import Filter, Project

_stats_lock = threading.Lock()


@dataclass(slots=True)
class StreamState:
    """What one worker did."""

    context: TaskContext
    rows_in: int = 0
    rows_out: int = 0
    elapsed_ns: int = 0

    def add_to(self, stats: OperatorStats) -> None:
        """Add it to what the operator did and begin again."""
        with _stats_lock:
            stats.rows_in += self.rows_in
            stats.rows_out += self.rows_out
            stats.elapsed_ns += self.elapsed_ns
        self.rows_in = self.rows_out = self.elapsed_ns = 0


class FilterOperator:
    """Keeps the rows where the node's predicate is true; gives no empty batches.

    Args:
        wanted: the columns that the operator above reads (None: all).
    """

    def __init__(self, node: Filter, schema: pa.Schema, stats: OperatorStats, wanted: frozenset[int] | None = None) -> None:
        self.wanted = wanted
        self.predicate = Predicate(node.predicate, node.input.schema)
        self.schema = schema
        self.stats = stats
        stats.engine = self.predicate.engine

    def new_state(self, context: TaskContext) -> StreamState:
        return StreamState(context)

    def process(self, batch: pa.RecordBatch, state: StreamState) -> Iterator[pa.RecordBatch]:
        began = time.perf_counter_ns()
        kept = select(batch, self.predicate.mask(batch, state.context), self.wanted) if batch.num_rows else batch
        state.elapsed_ns += time.perf_counter_ns() - began
        state.rows_in += batch.num_rows
        state.rows_out += kept.num_rows
        if kept.num_rows:
            yield kept

    def drain(self, states: Sequence[StreamState]) -> Iterator[pa.RecordBatch]:
        return iter(())

    def close(self, state: StreamState) -> None:
        state.add_to(self.stats)
        self.stats.rows_fused = self.predicate.fused.rows_done


class ProjectOperator:
    """Computes the node's expressions for every row."""

    def __init__(self, node: Project, schema: pa.Schema, stats: OperatorStats) -> None:
        self.evaluator = Evaluator(node.exprs, node.input.schema, schema)
        self.schema = schema
        self.stats = stats
        stats.engine = self.evaluator.engine

    def new_state(self, context: TaskContext) -> StreamState:
        return StreamState(context)

    def process(self, batch: pa.RecordBatch, state: StreamState) -> Iterator[pa.RecordBatch]:
        began = time.perf_counter_ns()
        out = batch_of(self.evaluator.evaluate(batch, state.context), batch.num_rows, self.schema)
        state.elapsed_ns += time.perf_counter_ns() - began
        state.rows_in += batch.num_rows
        state.rows_out += out.num_rows
        yield out

    def drain(self, states: Sequence[StreamState]) -> Iterator[pa.RecordBatch]:
        return iter(())

    def close(self, state: StreamState) -> None:
        state.add_to(self.stats)
        self.stats.rows_fused = self.evaluator.fused.rows_done
