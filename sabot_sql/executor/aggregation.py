"""The groups of an aggregation and what they give, in one step or in two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from sabot_sql.executor.accumulators import FloatSum, RowCount
from sabot_sql.executor.aggregate_feed import BatchView, FeedState, feeds_of
from sabot_sql.executor.columns import Array, Column, unwrap, wrap
from sabot_sql.executor.gather import batch_of, take_array
from sabot_sql.executor.group_table import GroupTable, NumberedRows, group_table
from sabot_sql.executor.kernels import grouping, runs, wide
from sabot_sql.executor.keys import KeyEncoder
from sabot_sql.executor.operator import TaskContext
from sabot_sql.planner.physical import AggregateCall, HashAggregate
from sabot_sql.types import Lane, Schema

WHAT = "an aggregation (HashAggregate)"

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

    def account(self, size_bytes: int | None = None) -> None:
        """Tell the task what this state holds now.

        Args:
            size_bytes: it, where it is known.
        """
        change = (self.size_bytes if size_bytes is None else size_bytes) - self.reserved_bytes
        if change > 0:
            self.context.memory.reserve(change, WHAT)
        elif change < 0:
            self.context.memory.release(-change)
        self.reserved_bytes += change

    def release(self) -> None:
        self.context.memory.release(self.reserved_bytes)
        self.reserved_bytes = 0

    def expect(self, num_rows: int) -> None:
        """So many rows will come, where there is memory for as many groups."""
        self.table.rows_expected = num_rows

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
            self.resize(max(count, self.table.capacity) if self.table.rows_expected else count)
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

    def finish(self) -> None:
        """Aggregate the values that were kept, now that all are known."""
        for feed in self.feeds:
            feed.finish()

    def clear(self) -> None:
        """Begin again without groups; what was counted stays reserved until `account`."""
        encoder = KeyEncoder(self.encoder.types, growable=True)
        self.encoder, self.table = encoder, group_table(encoder)
        self.rows = RowCount()
        self.feeds = [FeedState(f.feed, self.rows, bool(encoder.types)) for f in self.feeds]
        self.floats = dict.fromkeys(self.floats, np.empty(0, np.float64))
        if not encoder.types:
            self.resize(1)


class Aggregation:
    """A `HashAggregate` node: makes states, feeds them, and gives out what is in them.

    Args:
        input_types: schema of the incoming batches.
        schema: Arrow schema of the batches to give out.
    """

    def __init__(self, node: HashAggregate, input_types: Schema, schema: pa.Schema) -> None:
        self.node = node
        self.schema = schema
        self.key_types = tuple(input_types[i].type for i in node.groups)
        self.feeds, self.feed_of_call = feeds_of(node)

    def empty(self, context: TaskContext) -> AggregateState:
        """A state without groups; without keys, of one group without rows."""
        encoder = KeyEncoder(self.key_types, growable=True)
        rows = RowCount()
        grouped = bool(self.key_types)
        feeds = [FeedState(f, rows, grouped) for f in self.feeds]
        state = AggregateState(context, encoder, group_table(encoder), rows, feeds)
        state.floats = {i: np.empty(0, np.float64) for i, t in enumerate(self.key_types) if t.lane is Lane.FLOAT}
        if not grouped:
            state.resize(1)
        return state

    def add(self, batch: pa.RecordBatch, state: AggregateState) -> None:
        """Take rows into the groups of `state`."""
        view = BatchView(batch)
        groups = None
        if self.key_types:
            groups = state.group([view.column(i, t) for i, t in zip(self.node.groups, self.key_types)])
        if state.feeds:
            state.rows.update(groups, batch.num_rows)
        for feed in state.feeds:
            feed.update(groups, view)

    def each_row(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The states of the rows of `batch` if each is a group of its own; of mode `partial`."""
        view = BatchView(batch)
        keys = [batch.column(i) for i in self.node.groups]
        columns = [c for call in self.node.calls for c in _states_of_rows(call, view)]
        states = [wrap(c, f.type) for c, f in zip(columns, list(self.schema)[len(keys) :])]
        return batch_of([*keys, *states], batch.num_rows, self.schema)

    def runs(self, batch: pa.RecordBatch) -> tuple[Array, Array]:
        """The run of each row (int64[n]), which is of rows with equal keys one after the other, and where each run begins."""
        starts = np.zeros(batch.num_rows, np.uint8)
        for i, t in zip(self.node.groups, self.key_types):
            column = unwrap(batch.column(i), t)
            if column.lane is Lane.BYTES:
                runs.mark_bytes(column.offsets, column.data, column.flags, starts)
                continue
            for words in (column.values, column.high):
                if words is not None:
                    runs.mark_words(words.view(np.int64), column.flags, starts)
        groups, firsts = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        return groups, firsts[: runs.number_runs(starts, groups, firsts)]

    def each_run(self, batch: pa.RecordBatch, groups: Array, firsts: Array) -> pa.RecordBatch:
        """The states of the runs of `batch`, as `runs` gives them; of mode `partial`."""
        num_groups, view, rows = len(firsts), BatchView(batch), RowCount()
        feeds = [FeedState(f, rows, True) for f in self.feeds]
        for accumulator in (rows, *(a for feed in feeds for a in feed.accumulators)):
            accumulator.resize(num_groups)
        rows.update(groups, batch.num_rows)
        columns: list[Column] = []
        for feed in feeds:
            feed.update(groups, view)
        for call, place in zip(self.node.calls, self.feed_of_call):
            columns += self._results(call, feeds[place], 0, num_groups)
        keys = [take_array(batch.column(i), firsts, False) for i in self.node.groups]
        states = [wrap(c, f.type) for c, f in zip(columns, list(self.schema)[len(keys) :])]
        return batch_of([*keys, *states], num_groups, self.schema)

    def outputs(self, state: AggregateState) -> Iterator[pa.RecordBatch]:
        """The groups, some at a time: what is made of them on the way stays in the cache."""
        context = state.context
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
            case "var_samp" | "var_pop" | "stddev_samp" | "stddev_pop":
                assert feed.moments is not None
                return [feed.moments.variance(last, first, call.function)]
            case "quantile_cont":
                assert feed.quantiles is not None
                assert call.fraction is not None
                return [feed.quantiles.column(last, first, call.fraction)]
            case "avg" if self.node.mode != "partial":
                return [_average(call, feed, counts, some, first)]
        if isinstance(feed.sum, FloatSum):
            total = Column(Lane.FLOAT, feed.sum.values(last, first), None, None, None, some, num_groups)
        else:
            assert feed.sum is not None
            low, high = feed.sum.values(last, first)
            total = Column(Lane.WIDE, low, high, None, None, some, num_groups)
        return [total] if call.function == "sum" else [total, counted]


def _states_of_rows(call: AggregateCall, view: BatchView) -> list[Column]:
    """The columns of `state_types` of each row alone."""
    length = view.batch.num_rows
    column = None if call.arg is None or call.arg_type is None else view.column(call.arg, call.arg_type)
    live = view.live(column, call.filter)
    counts = live.astype(np.int64) if len(live) else np.ones(length, np.int64)
    counted = Column(Lane.INT, counts, None, None, None, None, length)
    if column is None or call.function == "count":
        return [counted]
    value = replace(column, valid=live if len(live) else None)
    if call.function in ("min", "max"):
        return [value]
    if column.lane in (Lane.INT, Lane.UINT):
        assert column.values is not None
        high = column.values >> 63 if column.lane is Lane.INT else np.zeros(length, np.int64)
        value = replace(value, lane=Lane.WIDE, values=column.values.view(np.uint64), high=high)
    return [value] if call.function == "sum" else [value, counted]


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
