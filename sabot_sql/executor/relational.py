"""An operator that DuckDB runs over one partition: sinks that keep the rows of each input, a source that runs the SQL.

Rows that do not fit go to disk, from where DuckDB reads them; what it then cannot hold itself, it spills.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from sabot_sql.catalog.table import Split
from sabot_sql.executor.duckdb_session import Cursor, duck_session
from sabot_sql.executor.evaluate import conform
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext, Unit
from sabot_sql.executor.scan import ScanSource
from sabot_sql.executor.spill import SpillFile, free_unused
from sabot_sql.planner.expressions import Cast, Ref
from sabot_sql.planner.physical import Relational, Scan, StateAggregate
from sabot_sql.planner.render import is_not_carried, render_output
from sabot_sql.types import Schema

BATCH_ROWS = 1 << 16
WHAT = "an operator that DuckDB runs over all its rows (Relational)"


@dataclass(slots=True)
class _State:
    context: TaskContext
    batches: list[tuple[int, pa.RecordBatch]] = field(default_factory=list)
    rows: int = 0
    reserved: int = 0
    spilled: SpillFile | None = None
    sequences: list[int] = field(default_factory=list)  # of the batches on disk


class RelationalSink:
    """Keeps the rows of one input, in the order of their sequence."""

    def __init__(self, types: Schema, schema: pa.Schema, stats: OperatorStats) -> None:
        self.types = types
        self.schema = schema
        self.stats = stats
        self.batches: list[pa.RecordBatch] = []
        self.reserved = 0
        self.spilled: list[tuple[list[int], SpillFile]] = []
        self._workers = 0

    def new_state(self, context: TaskContext) -> _State:
        self._workers += 1
        return _State(context)

    def sink(self, morsel: Morsel, state: _State) -> None:
        state.context.check()
        size = morsel.batch.nbytes
        state.context.memory.reserve(size, WHAT)
        state.reserved += size
        state.batches.append((morsel.sequence, morsel.batch))
        state.rows += morsel.batch.num_rows
        if state.reserved > state.context.share_bytes // self._workers:
            self._spill(state)

    def _spill(self, state: _State) -> None:
        """Put a worker's rows on disk."""
        context = state.context
        assert context.spill is not None
        if state.spilled is None:
            state.spilled = context.spill.create(self.schema, WHAT, self.stats)
        for sequence, batch in state.batches:
            context.check()
            state.spilled.write(batch)
            state.sequences.append(sequence)
        state.batches = []
        context.memory.release(state.reserved)
        state.reserved = 0

    def combine(self, states: list[_State], context: TaskContext) -> None:
        if any(state.spilled is not None for state in states):
            for state in states:
                self._spill(state)
                assert state.spilled is not None
                state.spilled.finish()
                self.spilled.append((state.sequences, state.spilled))
            free_unused()
        kept = sorted((pair for state in states for pair in state.batches), key=lambda pair: pair[0])
        self.batches = [batch for _, batch in kept]
        self.reserved = sum(state.reserved for state in states)
        self.stats.rows_in += sum(state.rows for state in states)

    def table(self, context: TaskContext) -> pa.Table | StoredRows:
        """All rows; a table without columns has one that says how many rows there are."""
        if self.spilled:
            return StoredRows(self.schema, self.spilled, context)
        if len(self.schema):
            return pa.Table.from_batches(self.batches, self.schema)
        return pa.table({"c0": pa.nulls(sum(b.num_rows for b in self.batches), pa.int32())})

    def free(self, context: TaskContext) -> None:
        """Give up the rows."""
        for _, file in self.spilled:
            file.remove()
        self.spilled, self.batches = [], []
        context.memory.release(self.reserved)
        self.reserved = 0


class StoredRows:
    """Rows on disk as DuckDB reads them, as often as it likes: each time in the order of their sequence."""

    def __init__(self, schema: pa.Schema, files: Sequence[tuple[list[int], SpillFile]], context: TaskContext) -> None:
        self.schema = schema
        self.files = files
        self.context = context

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches()).__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        each = (zip(sequences, file.batches(self.context)) for sequences, file in self.files)
        for _, batch in heapq.merge(*each, key=lambda pair: pair[0]):
            yield batch


class RelationalSource:
    """The rows that the operator's SQL gives."""

    def __init__(self, node: Relational, sinks: Sequence[RelationalSink], schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.sinks = sinks
        self.schema = schema
        self.stats = stats
        self.sql = statement(node)

    def units(self, context: TaskContext) -> Sequence[Unit]:
        return [self]

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        began = time.perf_counter_ns()
        with duck_session(context).cursor(context) as cursor:
            try:
                for number, sink in enumerate(self.sinks):
                    cursor.register(f"raw{number}", sink.table(context))
                for batch in self._run(cursor):
                    self.stats.elapsed_ns += time.perf_counter_ns() - began
                    yield batch
                    began = time.perf_counter_ns()
            finally:
                for number, sink in enumerate(self.sinks):
                    cursor.unregister(f"raw{number}")
                    sink.free(context)

    def _run(self, cursor: Cursor) -> Iterator[pa.RecordBatch]:
        for batch in cursor.batches(self.sql, BATCH_ROWS):
            self.stats.rows_out += batch.num_rows
            columns = [conform(column, f) for column, f in zip(batch.columns, self.schema)]
            yield batch_of(columns, batch.num_rows, self.schema)


class ScanThrough(ScanSource):
    """The splits that a task reads of a table, each unit of them through an operator that DuckDB runs while it reads.

    Args:
        schema: of the batches: the inner Arrow types of the operator's columns.
        stats, scan_stats: of the operator, whose time is the scan's, and of the scan.
    """

    def __init__(
        self,
        node: Relational | StateAggregate,
        scan: Scan,
        splits: Sequence[Split],
        schema: pa.Schema,
        stats: OperatorStats,
        scan_stats: OperatorStats,
    ) -> None:
        super().__init__(scan, splits, schema, scan_stats)
        self.operator = node
        self.operator_stats = stats


class ScanTop(ScanThrough):
    """A scan through a `Relational` that may run over any part of the rows: the first ones of a window's partitions."""

    is_below_window = True

    def statement(self, tail: str) -> str:
        assert isinstance(self.operator, Relational)
        return typed_statement(self.operator.sql, [self.node.schema], self.operator.schema, super().statement(tail))

    def taken(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        found, num_rows = super().taken(batch)
        self.operator_stats.rows_in += num_rows
        self.operator_stats.rows_out += num_rows
        return found, num_rows


def statement(node: Relational) -> str:
    """The whole SQL of `node` over the tables raw0, raw1, ...."""
    return typed_statement(node.sql, [one.schema for one in node.inputs], node.schema)


def typed_statement(sql: str, inputs: Sequence[Schema], schema: Schema, raw: str = "") -> str:
    """`sql` over the tables raw0, raw1, ...: its inputs have their SQL types, what it gives the types of `schema`, in the form
    in which agents carry them.

    Args:
        raw: a query that gives the only input; without it raw0, ... are tables.
    """
    tables = [f"raw0 AS ({raw})"] if raw else []
    for number, one in enumerate(inputs):
        columns = [f"CAST(c{i} AS {f.type}) AS c{i}" if is_not_carried(f.type) else f"c{i}" for i, f in enumerate(one)]
        tables.append(f"in{number} AS (SELECT {', '.join(columns) or '*'} FROM raw{number})")
    names = [f"c{i}" for i in range(len(schema))]
    # a cast to the type that is already there costs nothing
    typed = [render_output(Cast(Ref(i, f.type), f.type), names) for i, f in enumerate(schema)]
    given = ", ".join(f"{text} AS c{i}" for i, text in enumerate(typed)) or "1 AS c0"
    result = f"result({', '.join(names)})" if names else "result"
    above = f"WITH {', '.join(tables)} " if tables else ""
    return f"{above}SELECT {given} FROM ({sql}) AS {result}"
