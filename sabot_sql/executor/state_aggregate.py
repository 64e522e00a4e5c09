"""The first step of an aggregate that DuckDB runs: states of groups instead of rows.

Right above a scan, DuckDB aggregates while it reads, and no row leaves it. Above anything else rows are collected up to a
limit, aggregated, and given up; states that have come together are merged, so that a task holds no more than its groups and
some rows. Groups that do not fit go to disk as they would be given out: the next step brings equal ones together in any case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.duckdb_session import duck_session
from sabot_sql.executor.evaluate import conform
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.relational import BATCH_ROWS, ScanThrough, typed_statement
from sabot_sql.executor.spill import SpillFile
from sabot_sql.planner.physical import StateAggregate
from sabot_sql.types import BIGINT, Field

CHUNK_ROWS = 1 << 18
CHUNK_BYTES = 32 << 20

WHAT = "an aggregation (StateAggregate)"

COUNT = Field("rows", BIGINT)


def partial_sql(node: StateAggregate, *more: str) -> str:
    """States of the rows in in0, and `more` columns."""
    by = [f"c{g}" for g in node.groups]
    return _grouped(by, (*node.partial, *more))


def merge_sql(node: StateAggregate) -> str:
    """States of the states in in0."""
    return _grouped([f"c{i}" for i in range(len(node.groups))], node.merge)


def _grouped(by: Sequence[str], texts: Sequence[str]) -> str:
    return f"SELECT {', '.join((*by, *texts))} FROM in0" + (f" GROUP BY {', '.join(by)}" if by else "")


class ScanStates(ScanThrough):
    """A scan whose rows come out as states of groups; each unit gives its own."""

    def statement(self, tail: str) -> str:
        assert isinstance(self.operator, StateAggregate)
        sql, raw = partial_sql(self.operator, "count(*)"), super().statement(tail)
        return typed_statement(sql, [self.node.schema], (*self.operator.schema, COUNT), raw)

    def taken(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
        found, _ = super().taken(batch)
        counts = unwrap(batch.column(len(self.schema)), BIGINT).values
        assert counts is not None
        num_rows = int(counts.sum())
        self.operator_stats.rows_in += num_rows
        self.operator_stats.rows_out += found.num_rows
        return found, num_rows


@dataclass(slots=True)
class _State:
    """One worker's rows that are not yet aggregated, and its states.

    Attributes:
        first: the sequence of the first row.
        merged: groups when states were merged last.
        spilled: states that did not fit.
    """

    context: TaskContext
    first: int = -1
    rows: list[pa.RecordBatch] = field(default_factory=list)
    num_rows: int = 0
    row_bytes: int = 0
    states: list[pa.RecordBatch] = field(default_factory=list)
    num_states: int = 0
    state_bytes: int = 0
    merged: int = 0
    spilled: SpillFile | None = None
    rows_in: int = 0
    elapsed_ns: int = 0


class StateSink:
    """Turns rows into states of groups; `batches` gives them out once `combine` was called."""

    def __init__(self, node: StateAggregate, schema: pa.Schema, stats: OperatorStats) -> None:
        self.schema = schema
        self.stats = stats
        self._partial = typed_statement(partial_sql(node), [node.input.schema], node.schema)
        self._merge = typed_statement(merge_sql(node), [node.schema], node.schema)
        self._made: list[_State] = []

    def new_state(self, context: TaskContext) -> _State:
        return _State(context)

    def sink(self, morsel: Morsel, state: _State) -> None:
        state.context.check()
        batch = morsel.batch
        if state.first < 0:
            state.first = morsel.sequence
        state.context.memory.reserve(batch.nbytes, WHAT)
        state.rows.append(batch)
        state.num_rows += batch.num_rows
        state.row_bytes += batch.nbytes
        state.rows_in += batch.num_rows
        share_bytes = state.context.share_bytes
        if state.num_rows >= CHUNK_ROWS or state.row_bytes >= min(CHUNK_BYTES, share_bytes // 4):
            self._reduce(state)
            if state.num_states > max(CHUNK_ROWS, 2 * state.merged) or state.state_bytes > share_bytes // 4:
                self._merge_states(state)
            if state.state_bytes > share_bytes // 4:
                self._spill(state)

    def combine(self, states: list[_State], context: TaskContext) -> None:
        for state in states:
            if state.rows:
                self._reduce(state)
            if len(state.states) > 1:
                self._merge_states(state)
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
        self._made = sorted(states, key=lambda state: state.first)

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The states of all workers, one after the other."""
        for state in self._made:
            if state.spilled is not None:
                yield from state.spilled.given_back(context, self.stats)
            while state.states:
                batch = state.states.pop(0)
                self.stats.rows_out += batch.num_rows
                yield batch
            context.memory.release(state.state_bytes)
            state.state_bytes = 0

    def _reduce(self, state: _State) -> None:
        """Aggregate the rows collected so far, and give them up."""
        self._put(state, self._run(self._partial, state.rows, state))
        state.context.memory.release(state.row_bytes)
        state.rows, state.num_rows, state.row_bytes = [], 0, 0

    def _merge_states(self, state: _State) -> None:
        """One state a group."""
        merged, before = self._run(self._merge, state.states, state), state.state_bytes
        state.states, state.num_states, state.state_bytes = [], 0, 0
        self._put(state, merged)
        state.context.memory.release(before)
        state.merged = state.num_states

    def _spill(self, state: _State) -> None:
        """Put the states on disk."""
        assert state.context.spill is not None
        if state.spilled is None:
            state.spilled = state.context.spill.create(self.schema, WHAT, self.stats)
        for batch in state.states:
            state.spilled.write(batch)
        state.context.memory.release(state.state_bytes)
        state.states, state.num_states, state.state_bytes, state.merged = [], 0, 0, 0

    def _put(self, state: _State, made: list[pa.RecordBatch]) -> None:
        size = sum(batch.nbytes for batch in made)
        state.context.memory.reserve(size, WHAT)
        state.states += made
        state.num_states += sum(batch.num_rows for batch in made)
        state.state_bytes += size

    def _run(self, sql: str, batches: list[pa.RecordBatch], state: _State) -> list[pa.RecordBatch]:
        began = time.perf_counter_ns()
        found = []
        with duck_session(state.context).cursor(state.context) as cursor:
            cursor.register("raw0", pa.Table.from_batches(batches))
            try:
                for batch in cursor.batches(sql, BATCH_ROWS):
                    columns = [conform(column, f) for column, f in zip(batch.columns, self.schema)]
                    found.append(batch_of(columns, batch.num_rows, self.schema))
            finally:
                cursor.unregister("raw0")
        state.elapsed_ns += time.perf_counter_ns() - began
        return found
