"""Groups of an aggregation on disk: a row a group, with its keys and all that its accumulators hold.

What is read back is what was written, to the bit, so that an aggregation which spills computes as one does that merges the
groups of several workers. Values that are kept until the end lie in files of their own, a row a value: distinct ones split by
the keys and the value, as one group may have more of them than fit, those of quantiles by the keys. They are aggregated part by
part, and what that gives is added to the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from sabot_sql.executor.accumulators import Accumulator, RowCount
from sabot_sql.executor.aggregate_feed import Feed, FeedState
from sabot_sql.executor.aggregation import WHAT, AggregateState
from sabot_sql.executor.columns import NO_FLAGS, Array, Column, unwrap, wrap
from sabot_sql.executor.gather import batch_of, concatenate, take
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.spill import SpillFile, SpillScope
from sabot_sql.executor.spill_partitions import LEVELS, SpillPartitions, buffer_bytes
from sabot_sql.types import BIGINT, Field, Lane, SqlType, inner_schema, parse_type

VALUE_BYTES = 128
"""What a distinct value takes beside itself, about, while its table grows."""

LISTED_BYTES = 16
"""The same of a value of a quantile, which is brought beside the others of its group."""

CARRIERS: dict[Lane, tuple[SqlType, Any]] = {
    Lane.INT: (BIGINT, pa.int64()),
    Lane.UINT: (parse_type("UBIGINT"), pa.uint64()),
    Lane.FLOAT: (parse_type("DOUBLE"), pa.float64()),
    Lane.BYTES: (parse_type("BLOB"), pa.large_binary()),
}
"""What carries a column of an accumulator: types of ours and of Arrow's."""


class SpilledGroups:
    """Groups by the hash of their keys. One thread at a time.

    Args:
        keys: types of the keys, and the Arrow fields that carry them.
        level: how often these groups have been split before.

    Raises:
        OutOfMemory: they have been split too often.
    """

    def __init__(
        self,
        keys: tuple[Sequence[SqlType], Sequence[pa.Field]],
        feeds: Sequence[Feed],
        level: int,
        scope: SpillScope,
        stats: OperatorStats,
        context: TaskContext,
    ) -> None:
        self.level = level
        self._types, fields = keys
        self._fields = [pa.field(f"k{i}", f.type) for i, f in enumerate(fields)]
        self._feeds = tuple(feeds)
        self._context = context
        self._scope = scope
        self._stats = stats
        empty = [FeedState(f, RowCount(), True) for f in feeds]
        self._lanes = [lane for a in _accumulators(RowCount(), empty) for lane in a.lanes()]
        held = [pa.field(f"a{i}", CARRIERS[lane][1]) for i, lane in enumerate(self._lanes)]

        schema = pa.schema([*self._fields, *held])
        self._groups = SpillPartitions(scope, schema, range(len(fields)), self._types, level, WHAT, stats, context)
        self._values = {i: self._value_partitions(i, 0) for i, f in enumerate(feeds) if f.keeps_values}

    def _value_partitions(self, feed: int, level: int) -> SpillPartitions:
        """Empty parts for the values that a feed keeps."""
        value = self._feeds[feed].type
        assert value is not None
        schema = pa.schema([*self._fields, *inner_schema((Field("value", value),))])
        types = [*self._types, value] if self._feeds[feed].distinct else list(self._types)
        return SpillPartitions(self._scope, schema, range(len(types)), types, level, WHAT, self._stats, self._context)

    def add(self, state: AggregateState) -> None:
        """Write all groups of `state`."""
        num_groups = state.table.count if self._types else 1
        arrays = [wrap(c, f.type) for c, f in zip(state.keys(), self._fields)]
        keys = batch_of(arrays, num_groups, pa.schema(self._fields))
        for accumulator in _accumulators(state.rows, state.feeds):
            arrays += [wrap(c, CARRIERS[c.lane][1]) for c in accumulator.save(num_groups)]
        self._write(self._groups, batch_of(arrays, num_groups, self._groups.schema))
        for i, partitions in self._values.items():
            held = state.feeds[i].held
            assert held is not None
            for groups, column in held.pieces():
                self._write_values(partitions, keys, groups, column)

    def aggregate_values(self, new_state: Callable[[], AggregateState]) -> None:
        """Aggregate the values that were kept, once all are known, and add what that gives to the groups."""
        for i in tuple(self._values):
            for file in self._fitting(self._values.pop(i), i):
                state = new_state()
                held, value = state.feeds[i].held, self._feeds[i].type
                assert held is not None
                assert value is not None
                for batch in self._batches(file):
                    groups = state.group(self._keys_of(batch)) if self._types else None
                    held.add(groups, unwrap(batch.column(len(self._fields)), value), NO_FLAGS)
                    state.account()
                file.remove()
                state.feeds[i].finish()
                self.add(state)
                state.release()

    def _fitting(self, partitions: SpillPartitions, feed: int) -> Iterator[SpillFile]:
        """Parts of values that fit; those too large are split again. After all rounds a part has few of them, or one group."""
        each = VALUE_BYTES if self._feeds[feed].distinct else LISTED_BYTES
        for file in partitions.finish():
            large = 2 * file.size_bytes + each * file.rows > self._context.share_bytes // 2
            if large and partitions.level + 1 < LEVELS:
                deeper = self._value_partitions(feed, partitions.level + 1)
                for batch in file.batches(self._context):
                    deeper.add(batch)
                file.remove()
                yield from self._fitting(deeper, feed)
            elif file.rows:
                yield file

    def parts(self) -> Iterator[SpillFile]:
        """The parts that have groups, once nothing is added any more; each goes when the next one is asked for."""
        for file in self._groups.finish():
            if file.rows:
                yield file
            file.remove()

    def add_to(self, state: AggregateState, part: SpillFile) -> Iterator[None]:
        """Add a part to `state`, and let the caller look at its size after each batch; it may clear it."""
        for batch in self._batches(part):
            state.add(self._keys_of(batch), *self._groups_of(batch))
            yield

    def _batches(self, file: SpillFile) -> Iterator[pa.RecordBatch]:
        """The batches of a file, small ones together."""
        room = buffer_bytes(self._context.share_bytes)
        pieces: list[pa.RecordBatch] = []
        for batch in file.batches(self._context):
            pieces.append(batch)
            if sum(p.nbytes for p in pieces) >= room:
                yield concatenate(pieces, file.schema)
                pieces = []
        if pieces:
            yield concatenate(pieces, file.schema)

    def _write(self, partitions: SpillPartitions, batch: pa.RecordBatch) -> None:
        room = self._room(batch.nbytes, batch.num_rows)
        for first in range(0, batch.num_rows, room):
            self._context.check()
            partitions.add(batch.slice(first, room))

    def _write_values(self, partitions: SpillPartitions, keys: pa.RecordBatch, groups: Array | None, column: Column) -> None:
        value = wrap(column, partitions.schema.field(len(self._fields)).type)
        room = self._room(keys.nbytes // max(1, keys.num_rows) * len(value) + value.nbytes, len(value))
        for first in range(0, len(value), room):
            self._context.check()
            arrays = [] if groups is None else take(keys, groups[first : first + room], keys.schema).columns
            piece = value.slice(first, room)
            partitions.add(batch_of([*arrays, piece], len(piece), partitions.schema))

    def _room(self, num_bytes: int, num_rows: int) -> int:
        """Rows to be split at a time."""
        return max(1024, buffer_bytes(self._context.share_bytes) // (1 + num_bytes // max(1, num_rows)))

    def _keys_of(self, batch: pa.RecordBatch) -> list[Column]:
        """The key columns of a batch that was read back."""
        return [unwrap(batch.column(i), t) for i, t in enumerate(self._types)]

    def _groups_of(self, batch: pa.RecordBatch) -> tuple[RowCount, list[FeedState]]:
        """What the accumulators held for the groups of a batch that was read back."""
        rows = RowCount()
        feeds = [FeedState(f, rows, True) for f in self._feeds]
        for feed in feeds:
            feed.held = None  # what was kept is aggregated already
        at, width = 0, len(self._fields)
        for accumulator in _accumulators(rows, feeds):
            count = len(accumulator.lanes())
            columns = [unwrap(batch.column(width + i), CARRIERS[self._lanes[i]][0]) for i in range(at, at + count)]
            accumulator.load(columns)
            at += count
        return rows, feeds


def _accumulators(rows: RowCount, feeds: Sequence[FeedState]) -> list[Accumulator]:
    """All that a state holds beside distinct values."""
    return [rows, *(a for f in feeds for a in f.accumulators)]
