"""Groups of an aggregation on disk: a row a group, with its keys and all that its accumulators hold.

What is read back is what was written, to the bit, so that an aggregation which spills computes as one does that merges the
groups of several workers. Distinct values lie in files of their own, a row a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.executor.accumulators import Accumulator, RowCount
from sabot_sql.executor.aggregate_feed import Feed, FeedState
from sabot_sql.executor.columns import NO_FLAGS, Array, Column, unwrap, wrap
from sabot_sql.executor.gather import batch_of, concatenate, take
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.spill import SpillFile, SpillScope
from sabot_sql.executor.spill_partitions import SpillPartitions, buffer_bytes
from sabot_sql.types import BIGINT, Field, Lane, Schema, SqlType, inner_schema, parse_type

if TYPE_CHECKING:
    from sabot_sql.executor.hash_aggregate import AggregateState

WHAT = "an aggregation (HashAggregate)"

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
        empty = [FeedState(f, RowCount(), True) for f in feeds]
        self._lanes = [lane for a in _accumulators(RowCount(), empty) for lane in a.lanes()]
        held = [pa.field(f"a{i}", CARRIERS[lane][1]) for i, lane in enumerate(self._lanes)]

        def partitions(more: Sequence[pa.Field]) -> SpillPartitions:
            schema = pa.schema([*self._fields, *more])
            return SpillPartitions(scope, schema, range(len(fields)), self._types, level, WHAT, stats, context)

        self._groups = partitions(held)
        self._values = {i: partitions(_value_fields(f)) for i, f in enumerate(feeds) if f.distinct}

    def add(self, state: AggregateState) -> None:
        """Write all groups of `state`."""
        num_groups = state.table.count
        arrays = [wrap(c, f.type) for c, f in zip(state.keys(), self._fields)]
        keys = batch_of(arrays, num_groups, pa.schema(self._fields))
        for accumulator in _accumulators(state.rows, state.feeds):
            arrays += [wrap(c, CARRIERS[c.lane][1]) for c in accumulator.save(num_groups)]
        self._write(self._groups, batch_of(arrays, num_groups, self._groups.schema))
        for i, partitions in self._values.items():
            distinct = state.feeds[i].distinct
            assert distinct is not None
            groups, column = distinct.values()
            self._write_values(partitions, keys, groups, column)

    def parts(self) -> Iterator[SpilledPart]:
        """The parts that have groups, once nothing is added any more; the files of each go when the next one is asked for."""
        groups = self._groups.finish()
        values = {i: p.finish() for i, p in self._values.items()}
        for number, file in enumerate(groups):
            part = SpilledPart(self, file, {i: files[number] for i, files in values.items()})
            try:
                if file.rows:
                    yield part
            finally:
                part.remove()

    def remove(self) -> None:
        """Give up all files."""
        for partitions in (self._groups, *self._values.values()):
            partitions.remove()

    def _write(self, partitions: SpillPartitions, batch: pa.RecordBatch) -> None:
        room = self._room(batch.nbytes, batch.num_rows)
        for first in range(0, batch.num_rows, room):
            self._context.check()
            partitions.add(batch.slice(first, room))

    def _write_values(self, partitions: SpillPartitions, keys: pa.RecordBatch, groups: Array | None, column: Column) -> None:
        assert groups is not None
        value = wrap(column, partitions.schema.field(len(self._fields)).type)
        room = self._room(keys.nbytes // max(1, keys.num_rows) * len(groups) + value.nbytes, len(groups))
        for first in range(0, len(groups), room):
            self._context.check()
            arrays = take(keys, groups[first : first + room], keys.schema).columns
            piece = value.slice(first, room)
            partitions.add(batch_of([*arrays, piece], len(piece), partitions.schema))

    def _room(self, num_bytes: int, num_rows: int) -> int:
        """Rows to be split at a time."""
        return max(1024, buffer_bytes(self._context.share_bytes) // (1 + num_bytes // max(1, num_rows)))

    def keys_of(self, batch: pa.RecordBatch) -> list[Column]:
        """The key columns of a batch that was read back."""
        return [unwrap(batch.column(i), t) for i, t in enumerate(self._types)]

    def groups_of(self, batch: pa.RecordBatch) -> tuple[RowCount, list[FeedState]]:
        """What the accumulators held for the groups of a batch that was read back."""
        rows = RowCount()
        feeds = [FeedState(f, rows, True) for f in self._feeds]
        at, width = 0, len(self._fields)
        for accumulator in _accumulators(rows, feeds):
            count = len(accumulator.lanes())
            columns = [unwrap(batch.column(width + i), CARRIERS[self._lanes[i]][0]) for i in range(at, at + count)]
            accumulator.load(columns)
            at += count
        return rows, feeds

    def value_of(self, feed: int, batch: pa.RecordBatch) -> Column:
        """The distinct values of a batch that was read back."""
        sql_type = self._feeds[feed].type
        assert sql_type is not None
        return unwrap(batch.column(len(self._fields)), sql_type)


class SpilledPart:
    """One part, to be added to an empty state."""

    def __init__(self, spilled: SpilledGroups, groups: SpillFile, values: dict[int, SpillFile]) -> None:
        self._spilled = spilled
        self._groups = groups
        self._values = values

    def add_to(self, state: AggregateState) -> Iterator[None]:
        """Add it to `state`, and let the caller look at its size after each batch; it may clear it."""
        for batch in self._batches(self._groups, state.context):
            state.add(self._spilled.keys_of(batch), *self._spilled.groups_of(batch))
            yield
        for i, file in self._values.items():
            for batch in self._batches(file, state.context):
                groups = state.group(self._spilled.keys_of(batch))
                distinct = state.feeds[i].distinct
                assert distinct is not None
                distinct.add(groups, self._spilled.value_of(i, batch), NO_FLAGS)
                yield

    def _batches(self, file: SpillFile, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The batches of a file, small ones together."""
        room = buffer_bytes(context.share_bytes)
        pieces: list[pa.RecordBatch] = []
        for batch in file.batches(context):
            pieces.append(batch)
            if sum(p.nbytes for p in pieces) >= room:
                yield concatenate(pieces, file.schema)
                pieces = []
        if pieces:
            yield concatenate(pieces, file.schema)

    def remove(self) -> None:
        for file in (self._groups, *self._values.values()):
            file.remove()


def _accumulators(rows: RowCount, feeds: Sequence[FeedState]) -> list[Accumulator]:
    """What is written of a state; that of distinct feeds is filled at the end only."""
    return [rows, *(a for f in feeds if f.distinct is None for a in f.accumulators)]


def _value_fields(feed: Feed) -> Sequence[pa.Field]:
    assert feed.type is not None
    schema: Schema = (Field("value", feed.type),)
    return list(inner_schema(schema))
