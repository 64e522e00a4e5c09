"""ORDER BY and top-n: a sink that keeps the rows, or the first n of them, and gives them back in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sabot_sql.errors import NotSupported
from sabot_sql.executor.columns import Array, unwrap
from sabot_sql.executor.gather import concatenate, select, take
from sabot_sql.executor.kernels import sorting
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.ordering import first_rows, ordered_words
from sabot_sql.planner.physical import Sort
from sabot_sql.types import Lane

SLACK = 8192  # rows a top-n holds beyond the n it needs, at least, before it drops the rest again


@dataclass(frozen=True, slots=True)
class _Bound:
    """The first sort column of the last row among the first n: what comes after it is out."""

    word: int
    null: bool


@dataclass(slots=True)
class _State:
    """Rows of one worker, in the order of their arrival: batches and, a row or a batch, the morsel's sequence."""

    context: TaskContext
    batches: list[pa.RecordBatch] = field(default_factory=list)
    sequences: list[Array | int] = field(default_factory=list)
    rows: int = 0
    rows_in: int = 0
    reserved: int = 0
    elapsed_ns: int = 0
    bound: _Bound | None = None
    last_sequence: int = -1
    in_order: bool = True


class SortSink:
    """Sorts all rows; with a limit it holds at any time only rows that may be among the first offset + limit.

    Args:
        schema: Arrow schema of the input, which is also the output's.
    """

    def __init__(self, node: Sort, schema: pa.Schema, stats: OperatorStats) -> None:
        for key in node.keys:
            if node.schema[key.index].type.lane is None:
                raise NotSupported(f"agents cannot sort by a column of type {node.schema[key.index].type}")
        self.node = node
        self.schema = schema
        self.stats = stats
        self.wanted = None if node.limit is None else node.offset + node.limit
        self.exact_bound = len(node.keys) == 1 and node.schema[node.keys[0].index].type.lane in (
            Lane.INT,
            Lane.UINT,
            Lane.FLOAT,
        )
        self.batch = concatenate([], schema)
        self.order: Array = np.empty(0, np.int64)
        self.states: list[_State] = []
        self.reserved = 0

    def new_state(self, context: TaskContext) -> _State:
        self.states.append(_State(context))
        return self.states[-1]

    def sink(self, morsel: Morsel, state: _State) -> None:
        state.context.check()
        began = time.perf_counter_ns()
        state.rows_in += morsel.batch.num_rows
        if self.wanted != 0 and morsel.batch.num_rows:
            state.in_order = state.in_order and morsel.sequence >= state.last_sequence
            state.last_sequence = morsel.sequence
            batch = morsel.batch if state.bound is None else self._inside(morsel.batch, state, state.bound)
            if batch.num_rows:
                self._keep(batch, morsel.sequence, state)
        state.elapsed_ns += time.perf_counter_ns() - began

    def combine(self, states: list[_State], context: TaskContext) -> None:
        began = time.perf_counter_ns()
        self.reserved = sum(s.reserved for s in states)
        for state in states:
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
            state.reserved = 0
        held = sum(s.rows for s in states)
        self._reserve(self.reserved + 64 * held, context)
        batches, sequences = _by_sequence(states)
        self.batch = concatenate(batches, self.schema)
        batches.clear()
        if len(sequences):
            self.batch = take(self.batch, np.argsort(sequences, kind="stable"), self.schema)
        stop = held if self.wanted is None else min(self.wanted, held)
        order = first_rows(self.batch, self.node.keys, self.node.schema, stop, context)
        self.order = order[min(self.node.offset, stop) : stop]
        self._reserve(self.batch.nbytes + order.nbytes - self.reserved, context)
        self.stats.elapsed_ns += time.perf_counter_ns() - began

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The rows in order, in batches of about `context.morsel_bytes`; afterwards the memory is free."""
        try:
            width = max(1, self.batch.nbytes // max(1, self.batch.num_rows))
            room = max(1024, int(context.morsel_bytes // width))
            for first in range(0, len(self.order), room):
                context.check()
                began = time.perf_counter_ns()
                out = take(self.batch, self.order[first : first + room], self.schema)
                self.stats.rows_out += out.num_rows
                self.stats.elapsed_ns += time.perf_counter_ns() - began
                yield out
        finally:
            self.close(context)

    def close(self, context: TaskContext) -> None:
        """Let go of the rows and their memory, whether `combine` ran or not; may be called twice."""
        self.batch = concatenate([], self.schema)
        self.order = np.empty(0, np.int64)
        for state in self.states:
            state.batches, state.sequences = [], []
            self.reserved += state.reserved
            state.reserved = 0
        self._reserve(-self.reserved, context)

    def _inside(self, batch: pa.RecordBatch, state: _State, bound: _Bound) -> pa.RecordBatch:
        """The rows that do not come after the bound; ties come after it when it is exact and rows arrive in order."""
        key = self.node.keys[0]
        column = unwrap(batch.column(key.index), self.node.schema[key.index].type)
        mask = np.empty(batch.num_rows, np.uint8)
        sorting.within_bound(
            ordered_words(column), column.flags, int(key.descending), int(key.nulls_first), bound.word, int(bound.null),
            0 if self.exact_bound and state.in_order else 1, mask,
        )  # fmt: skip
        return select(batch, mask)

    def _keep(self, batch: pa.RecordBatch, sequence: int, state: _State) -> None:
        state.context.memory.reserve(batch.nbytes, "a sort")
        state.reserved += batch.nbytes
        state.rows += batch.num_rows
        state.batches.append(batch)
        state.sequences.append(sequence)
        if self.wanted is None:
            return
        if state.rows > (self.wanted if state.bound is None else self.wanted + max(3 * self.wanted, SLACK)):
            self._prune(state, self.wanted)

    def _prune(self, state: _State, wanted: int) -> None:
        """Drop all but the first rows; they stay in the source's order."""
        key = self.node.keys[0]
        batch = concatenate(state.batches, self.schema)
        sequences = _row_sequences(state)
        if not state.in_order:  # of equal rows the first of the source are kept, not the first to come
            arrived = np.argsort(sequences, kind="stable")
            batch, sequences = take(batch, arrived, self.schema), sequences[arrived]
        order = first_rows(batch, self.node.keys, self.node.schema, wanted, state.context)
        column = unwrap(batch.column(key.index), self.node.schema[key.index].type)
        last = int(order[wanted - 1])
        null = column.valid is not None and not column.valid[last]
        state.bound = _Bound(int(ordered_words(column)[last]), null)
        kept = np.sort(order[:wanted])
        state.batches = [take(batch, kept, self.schema)]
        state.sequences = [sequences[kept]]
        state.rows = wanted
        state.context.memory.release(state.reserved)
        state.reserved = 0
        state.context.memory.reserve(state.batches[0].nbytes, "a sort")
        state.reserved = state.batches[0].nbytes

    def _reserve(self, num_bytes: int, context: TaskContext) -> None:
        if num_bytes > 0:
            context.memory.reserve(num_bytes, "a sort")
        else:
            context.memory.release(-num_bytes)
        self.reserved += num_bytes


def _row_sequences(state: _State) -> Array:
    """The morsel's sequence of each row a worker holds (int64[n])."""
    return np.concatenate([np.broadcast_to(s, b.num_rows) for s, b in zip(state.sequences, state.batches)])


def _by_sequence(states: list[_State]) -> tuple[list[pa.RecordBatch], Array]:
    """All batches, in the source's order if whole batches can be put in order; else with the sequence of each row."""
    pieces = [piece for s in states for piece in zip(s.sequences, s.batches)]
    whole = [(s, b) for s, b in pieces if isinstance(s, int)]
    if len(whole) == len(pieces):
        sequences: Array = np.empty(0, np.int64)
        batches = [b for _, b in sorted(whole, key=lambda piece: piece[0])]
    else:
        sequences = np.concatenate([_row_sequences(s) for s in states if s.batches])
        batches = [b for _, b in pieces]
    for state in states:
        state.batches, state.sequences, state.rows = [], [], 0
    return batches, sequences
