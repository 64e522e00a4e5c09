"""ORDER BY and top-n: a sink that keeps the rows, or the first n of them, and gives them back in order.

Rows that would take more than the operator's share of the memory, with what sorting them takes, are sorted and go to disk as a
run (`sorted_runs.py`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sabot_sql.errors import NotSupported
from sabot_sql.executor.columns import Array, unwrap
from sabot_sql.executor.gather import batch_of, concatenate, select, take
from sabot_sql.executor.kernels import sorting
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.ordering import first_rows, ordered_words
from sabot_sql.executor.sorted_runs import SortedRuns, sort_bytes
from sabot_sql.executor.spill import free_unused
from sabot_sql.planner.physical import Sort, SortKey
from sabot_sql.types import BIGINT, Field, Lane

WHAT = "a sort (Sort)"
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
        self._runs: SortedRuns | None = None
        self._spilling = threading.Lock()

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
                if sort_bytes(state.reserved, state.rows) > state.context.share_bytes // len(self.states):
                    self._spill(state)
        state.elapsed_ns += time.perf_counter_ns() - began

    def combine(self, states: list[_State], context: TaskContext) -> None:
        began = time.perf_counter_ns()
        held = sum(s.rows for s in states)
        large = sort_bytes(sum(s.reserved for s in states), held) > context.share_bytes
        for state in states:
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
            if large or self._runs is not None:
                self._spill(state)
            self.reserved += state.reserved
            state.reserved = 0
        if self._runs is not None:
            context.memory.unsettle(1)
            self.stats.elapsed_ns += time.perf_counter_ns() - began
            return
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
            if self._runs is not None:
                yield from self._merged(self._runs, context)
                return
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

    def _merged(self, runs: SortedRuns, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The rows of the runs, between offset and limit."""
        skip, left = self.node.offset, self.node.limit
        with contextlib.closing(runs.merged(context)) as batches:
            while left != 0:
                began = time.perf_counter_ns()
                batch = next(batches, None)
                self.stats.elapsed_ns += time.perf_counter_ns() - began
                if batch is None:
                    break
                batch, skip = batch.slice(skip, left), max(0, skip - batch.num_rows)
                if not batch.num_rows:
                    continue
                left = None if left is None else left - batch.num_rows
                self.stats.rows_out += batch.num_rows
                yield batch_of(batch.columns[: len(self.schema)], batch.num_rows, self.schema)
        context.memory.unsettle(-1)

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
        state.context.memory.reserve(batch.nbytes, WHAT)
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
        state.context.memory.reserve(state.batches[0].nbytes, WHAT)
        state.reserved = state.batches[0].nbytes

    def _spill(self, state: _State) -> None:
        """Put the rows of a worker on disk as a run; it has none afterwards."""
        if not state.rows:
            return
        context = state.context
        batch = concatenate(state.batches, self.schema)
        order_bytes = sort_bytes(batch.nbytes, batch.num_rows) - state.reserved
        context.memory.reserve(order_bytes, WHAT)
        keys, types, schema = self.node.keys, self.node.schema, self.schema
        if len(self.states) > 1:  # runs of several workers: of rows with equal keys the one that came first
            keys, types = (*keys, SortKey(len(types), False, False)), (*types, Field("sequence", BIGINT))
            schema = schema.append(pa.field("sequence", pa.int64()))
            batch = batch_of([*batch.columns, pa.array(_row_sequences(state))], batch.num_rows, schema)
        state.batches, state.sequences, state.rows = [], [], 0
        with self._spilling:
            if self._runs is None:
                self._runs = SortedRuns(schema, keys, types, WHAT, self.stats, context)
            self._runs.add(batch, self.wanted, context)
        context.memory.release(order_bytes + state.reserved)
        state.reserved = 0
        del batch
        free_unused()

    def _reserve(self, num_bytes: int, context: TaskContext) -> None:
        if num_bytes > 0:
            context.memory.reserve(num_bytes, WHAT)
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
