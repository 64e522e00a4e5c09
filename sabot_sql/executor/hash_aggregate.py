"""GROUP BY: a sink that keeps one state for each group and then gives the groups out in order of first appearance.

When the groups take half of the operator's share of the memory they go to disk (the other half is for what growing and giving
out copy). A first step (mode `partial`) writes them as it would give them out: the second step brings equal ones together in
any case. Otherwise they are split by their keys (`spilled_groups.py`) and each part is merged by itself at the end.
"""

from __future__ import annotations

import threading
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
from sabot_sql.executor.spill import SpillFile, free_unused
from sabot_sql.executor.spilled_groups import WHAT, SpilledGroups
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
            self.context.memory.reserve(change, WHAT)
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
        self.add(other.keys(), other.rows, other.feeds)

    def add(self, keys: Sequence[Column], rows: RowCount, feeds: Sequence[FeedState]) -> None:
        """Take over groups by their keys."""
        mapping = self.group(keys) if self.encoder.types else np.zeros(len(rows.totals), np.int64)
        self.rows.absorb(mapping, rows)
        for mine, theirs in zip(self.feeds, feeds):
            mine.absorb(mapping, theirs)

    def clear(self) -> None:
        """Begin again without groups; what was counted stays reserved until `account`."""
        encoder = KeyEncoder(self.encoder.types, growable=True)
        self.encoder, self.table = encoder, group_table(encoder)
        self.rows = RowCount()
        self.feeds = [FeedState(f.feed, self.rows, bool(encoder.types)) for f in self.feeds]
        self.floats = dict.fromkeys(self.floats, np.empty(0, np.float64))
        if not encoder.types:
            self.resize(1)


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
        self._workers = 0
        self._spilling = threading.Lock()
        self._spilled: SpilledGroups | None = None
        self._given: SpillFile | None = None  # in mode partial

    def new_state(self, context: TaskContext) -> AggregateState:
        self._workers += 1
        return self._empty(context)

    def _empty(self, context: TaskContext) -> AggregateState:
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
            if self._is_large(state.size_bytes * self._workers, state.context):
                self._spill(state)
            state.account()
        state.rows_in += batch.num_rows
        state.elapsed_ns += time.perf_counter_ns() - began

    def combine(self, states: list[Any], context: TaskContext) -> None:
        states = states or [self.new_state(context)]
        for state in states:
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
        began = time.perf_counter_ns()
        if self._spilled is not None or self._is_large(sum(s.size_bytes for s in states), context):
            for state in states:
                self._spill(state)
                state.account()
        merged, *others = states
        for other in others:
            context.check()
            merged.absorb(other)
            other.release()
            merged.account()
        if self._spilled is not None:
            context.memory.unsettle(1)
        else:
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
        if self._given is not None:
            yield from self._given.given_back(context, self.stats)
        if self._spilled is None:
            yield from self._groups_of(state, context)
            return
        state.release()
        yield from self._merge(self._spilled, context)
        context.memory.unsettle(-1)

    def _groups_of(self, state: AggregateState, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups of a state, which is given up."""
        began = time.perf_counter_ns()
        try:
            for batch in self._outputs(state, context):
                self.stats.elapsed_ns += time.perf_counter_ns() - began
                self.stats.rows_out += batch.num_rows
                yield batch
                began = time.perf_counter_ns()
        finally:
            state.release()

    def needed_bytes(self, size_bytes: int, num_rows: int) -> int:
        """What groups take at most, about, if each row is one: arrays are twice as large as what is in them, and as much again
        is for growing and giving out."""
        return 4 * (size_bytes + 8 * num_rows * (2 + len(self.feeds)))

    def _is_large(self, size_bytes: int, context: TaskContext) -> bool:
        """Whether groups of that size must go to disk."""
        can_spill = bool(self.key_types) or any(f.distinct for f in self.feeds)
        return can_spill and size_bytes > context.share_bytes // 2

    def _spill(self, state: AggregateState) -> None:
        """Put the groups of a state on disk; it has none afterwards."""
        context = state.context
        assert context.spill is not None
        with self._spilling:
            if self.node.mode == "partial" and not any(f.distinct for f in self.feeds):
                if self._given is None:
                    self._given = context.spill.create(self.schema, WHAT, self.stats)
                for batch in self._outputs(state, context):
                    self._given.write(batch)
            else:
                if self._spilled is None:
                    self._spilled = self._new_spilled(0, context)
                self._spilled.add(state)
        state.clear()
        free_unused()

    def _new_spilled(self, level: int, context: TaskContext) -> SpilledGroups:
        assert context.spill is not None
        keys = self.key_types, list(self.schema)[: len(self.key_types)]
        return SpilledGroups(keys, self.feeds, level, context.spill, self.stats, context)

    def _merge(self, spilled: SpilledGroups, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups of each part; what is too large is split again."""
        spilled.count_values(lambda: self._empty(context))
        for part in spilled.parts():
            began = time.perf_counter_ns()
            state = self._empty(context)
            deeper: SpilledGroups | None = None
            for _ in spilled.add_to(state, part):
                if self._is_large(state.size_bytes, context):
                    deeper = deeper or self._new_spilled(spilled.level + 1, context)
                    deeper.add(state)
                    state.clear()
                state.account()
            if deeper is not None:
                deeper.add(state)
            else:
                for feed in state.feeds:
                    feed.finish()
                state.account()
            self.stats.elapsed_ns += time.perf_counter_ns() - began
            if deeper is None:
                yield from self._groups_of(state, context)
            else:
                state.release()
                yield from self._merge(deeper, context)

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
