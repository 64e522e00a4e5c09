"""GROUP BY: a sink that keeps one state for each group and then gives the groups out in order of first appearance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor.accumulators import FloatSum, RowCount
from sabot_sql.executor.aggregate_feed import BatchView, FeedState, feeds_of
from sabot_sql.executor.columns import Array, Column, wrap
from sabot_sql.executor.group_table import GroupTable, NumberedRows, group_table
from sabot_sql.executor.kernels import grouping, wide
from sabot_sql.executor.keys import KeyEncoder
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.planner.physical import AggregateCall, HashAggregate
from sabot_sql.types import Lane, Schema

STRING_BITS = 192  # what a string is taken for until the first batch shows how long they are


@dataclass(slots=True)
class AggregateState:
    """One worker's groups."""

    context: TaskContext
    encoder: KeyEncoder
    table: GroupTable | NumberedRows
    rows: RowCount
    feeds: list[FeedState]
    floats: dict[int, Array] = field(default_factory=dict)  # first value of each group, by position of a FLOAT key
    reserved_bytes: int = 0
    rows_in: int = 0
    elapsed_ns: int = 0

    @property
    def size_bytes(self) -> int:
        tables = self.encoder.size_bytes + self.table.size_bytes
        return (
            tables + self.rows.size_bytes + sum(f.size_bytes for f in self.feeds) + sum(a.nbytes for a in self.floats.values())
        )

    def account(self) -> None:
        """Tell the task what this state holds now."""
        change = self.size_bytes - self.reserved_bytes
        if change > 0:
            self.context.memory.reserve(change, "aggregation")
        elif change < 0:
            self.context.memory.release(-change)
        self.reserved_bytes += change

    def release(self) -> None:
        self.context.memory.release(self.reserved_bytes)
        self.reserved_bytes = 0

    def resize(self, num_groups: int) -> None:
        self.rows.resize(num_groups)
        for feed in self.feeds:
            for accumulator in feed.accumulators:
                accumulator.resize(num_groups)

    def group(self, keys: Sequence[Column]) -> Array:
        """The group of each row, int64[n]; new groups are added."""
        known = self.table.count
        groups = self.table.rows(keys, self.encoder)
        count = self.table.count
        if count > known:
            self.resize(count)
            self._keep_floats(keys, groups, known, count)
        return groups

    def keys(self, first: int = 0, last: int | None = None) -> list[Column]:
        """The key columns of the groups [first, last), without `last` of all that follow."""
        last = self.table.count if last is None else last
        columns = self.encoder.decode(self.table.words_of(first, last))
        for position, values in self.floats.items():
            columns[position].values = values[first:last]
        return columns

    def _keep_floats(self, keys: Sequence[Column], groups: Array, known: int, count: int) -> None:
        # zeros of either sign are one group, which is shown as the first of them
        rows = None
        for position, values in self.floats.items():
            if rows is None:
                rows = np.empty(count - known, np.int64)
                grouping.first_rows(groups, known, count, rows)
            if len(values) < count:
                larger = np.empty(max(count, 2 * len(values)), np.float64)
                larger[:known] = values[:known]
                self.floats[position] = values = larger
            key = keys[position].values
            assert key is not None
            values[known:count] = key[rows]

    def absorb(self, other: AggregateState) -> None:
        """Take over the groups of another worker."""
        if self.encoder.types:
            mapping = self.group(other.keys())
        else:
            mapping = np.zeros(1, np.int64)
        self.rows.absorb(mapping, other.rows)
        for mine, theirs in zip(self.feeds, other.feeds):
            mine.absorb(mapping, theirs)


class HashAggregateSink:
    """The sink of a `HashAggregate` node; `batches` gives its output once `combine` was called.

    Args:
        input_types: schema of the incoming batches.
        output: Arrow schema of the batches to give out.
    """

    def __init__(self, node: HashAggregate, input_types: Schema, output: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.schema = output
        self.stats = stats
        self.key_types = tuple(input_types[i].type for i in node.groups)
        self.feeds, self.feed_of_call = feeds_of(node)
        self._merged: AggregateState | None = None

    def new_state(self, context: TaskContext) -> AggregateState:
        encoder = KeyEncoder(self.key_types, growable=True)
        rows = RowCount()
        grouped = bool(self.key_types)
        feeds = [FeedState(f, rows, grouped) for f in self.feeds]
        state = AggregateState(context, encoder, group_table(encoder), rows, feeds)
        state.floats = {i: np.empty(0, np.float64) for i, t in enumerate(self.key_types) if t.lane is Lane.FLOAT}
        if not grouped:
            state.resize(1)
        return state

    def sink(self, morsel: Morsel, state: AggregateState) -> None:
        began = time.perf_counter_ns()
        state.context.check()
        batch = morsel.batch
        if batch.num_rows:
            view = BatchView(batch)
            groups = None
            if self.key_types:
                groups = state.group([view.column(i, t) for i, t in zip(self.node.groups, self.key_types)])
            if state.feeds:
                state.rows.update(groups, batch.num_rows)
            for feed in state.feeds:
                feed.update(groups, view)
            state.account()
        state.rows_in += batch.num_rows
        state.elapsed_ns += time.perf_counter_ns() - began

    def combine(self, states: list[Any], context: TaskContext) -> None:
        merged, *others = states or [self.new_state(context)]
        for state in states:
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
        began = time.perf_counter_ns()
        for other in others:
            context.check()
            merged.absorb(other)
            other.release()
            merged.account()
        for feed in merged.feeds:
            feed.finish()
        merged.account()
        self._merged = merged
        self.stats.elapsed_ns += time.perf_counter_ns() - began

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups, in batches of about `context.morsel_bytes`; once."""
        state, self._merged = self._merged, None
        if state is None:
            raise InternalError("an aggregation was read before its states were combined, or twice")
        began = time.perf_counter_ns()
        try:
            for batch in self._outputs(state, context):
                self.stats.elapsed_ns += time.perf_counter_ns() - began
                self.stats.rows_out += batch.num_rows
                yield batch
                began = time.perf_counter_ns()
        finally:
            state.release()

    def _outputs(self, state: AggregateState, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups, some at a time: what is made of them on the way stays in the cache."""
        num_groups = state.table.count if self.key_types else 1
        first, step = 0, max(1, 8 * context.morsel_bytes // max(1, sum(map(_bits, self.schema.types))))
        while first < num_groups:
            context.check()
            last = min(first + step, num_groups)
            batch = self._output(state, first, last)
            yield batch
            step = max(1, context.morsel_bytes * batch.num_rows // max(1, batch.nbytes))
            first = last

    def _output(self, state: AggregateState, first: int, last: int) -> pa.RecordBatch:
        columns = state.keys(first, last) if self.key_types else []
        for call, feed in zip(self.node.calls, self.feed_of_call):
            columns += self._results(call, state.feeds[feed], first, last)
        return pa.RecordBatch.from_arrays([wrap(c, f.type) for c, f in zip(columns, self.schema)], schema=self.schema)

    def _results(self, call: AggregateCall, feed: FeedState, first: int, last: int) -> list[Column]:
        """The result of a call for the groups [first, last), or in mode `partial` its state."""
        num_groups = last - first
        counts = feed.count.values(last, first)
        counted = Column(Lane.INT, counts, None, None, None, None, num_groups)
        some: Array | None = (counts > 0).view(np.uint8)
        some = None if some is not None and some.all() else some
        match call.function:
            case "count" | "count_star":
                return [counted]
            case "min" | "max":
                return [replace(feed.extremes[call.function].column(last, first), valid=some)]
            case "avg" if self.node.mode != "partial":
                return [_average(call, feed, counts, some, first)]
        if isinstance(feed.sum, FloatSum):
            total = Column(Lane.FLOAT, feed.sum.values(last, first), None, None, None, some, num_groups)
        else:
            assert feed.sum is not None
            low, high = feed.sum.values(last, first)
            total = Column(Lane.WIDE, low, high, None, None, some, num_groups)
        return [total] if call.function == "sum" else [total, counted]


def _bits(t: pa.DataType) -> int:
    try:
        return int(t.bit_width)
    except ValueError:
        return STRING_BITS


def _average(call: AggregateCall, feed: FeedState, counts: Array, some: Array | None, first: int) -> Column:
    assert call.arg_type is not None
    assert feed.sum is not None
    out, last = np.empty(len(counts), np.float64), first + len(counts)
    if isinstance(feed.sum, FloatSum):
        np.divide(feed.sum.values(last, first), np.maximum(counts, 1), out=out)
    else:
        low, high = feed.sum.values(last, first)
        wide.averages(low, high, counts, 10.0**call.arg_type.scale, out)
    return Column(Lane.FLOAT, out, None, None, None, some, len(counts))
