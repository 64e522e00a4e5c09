"""What the calls of an aggregation read, each thing once, and what is kept for it: sum(x), avg(x), count(x) share one feed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from sabot_sql.executor.accumulators import Accumulator, Count, ExactSum, Extreme, ExtremeBytes, FloatSum, RowCount
from sabot_sql.executor.columns import NO_FLAGS, Array, Column, unwrap
from sabot_sql.executor.group_table import GroupTable
from sabot_sql.executor.keys import KeyEncoder
from sabot_sql.executor.quantiles import ListedValues, Moments, Quantiles
from sabot_sql.planner.physical import AggregateCall, HashAggregate, state_types
from sabot_sql.types import BIGINT, BOOLEAN, Lane, SqlType

Want = Literal["sum", "min", "max", "moments"]


@dataclass(frozen=True, slots=True)
class Feed:
    """What one or several calls read: a column, a filter, and whether equal values of a group count once.

    Attributes:
        arg, type: the column; None for rows.
        counts: a column of counts to add up in place of counting rows (mode `final`).
        wants: accumulators beside the count.
        fractions: the quantiles that are asked for: all values are kept until the end, equal ones too.
    """

    arg: int | None
    type: SqlType | None
    filter: int | None = None
    distinct: bool = False
    counts: int | None = None
    wants: frozenset[Want] = frozenset()
    fractions: frozenset[float] = frozenset()

    @property
    def keeps_values(self) -> bool:
        """Whether values are kept as they are until all are known."""
        return self.distinct or bool(self.fractions)

    def is_like(self, other: Feed) -> bool:
        """Whether both read the same and keep it alike."""
        mine, theirs = (replace(f, wants=frozenset(), fractions=frozenset()) for f in (self, other))
        return mine == theirs and bool(self.fractions) == bool(other.fractions)


def feeds_of(node: HashAggregate) -> tuple[tuple[Feed, ...], tuple[int, ...]]:
    """The feeds of an aggregation, each once, and the feed of each call."""
    feeds: list[Feed] = []
    of_call = []
    position = len(node.groups)
    for call in node.calls:
        feed = _final_feed(call, position) if node.mode == "final" else _feed(call)
        position += len(state_types(call))
        for i, known in enumerate(feeds):
            if known.is_like(feed):
                feeds[i] = replace(known, wants=known.wants | feed.wants, fractions=known.fractions | feed.fractions)
                of_call.append(i)
                break
        else:
            of_call.append(len(feeds))
            feeds.append(feed)
    return tuple(feeds), tuple(of_call)


def _feed(call: AggregateCall) -> Feed:
    distinct = call.distinct and call.function not in ("min", "max", "count_star")
    fractions = frozenset(() if call.fraction is None else (call.fraction,))
    return Feed(call.arg, call.arg_type, call.filter, distinct, wants=_wants(call), fractions=fractions)


def _final_feed(call: AggregateCall, position: int) -> Feed:
    """The same over partial states, which stand at `position` and after."""
    match call.function:
        case "count" | "count_star":
            return Feed(None, None, counts=position)
        case "avg":
            return Feed(position, state_types(call)[0], counts=position + 1, wants=_wants(call))
    return Feed(position, state_types(call)[0], wants=_wants(call))


def _wants(call: AggregateCall) -> frozenset[Want]:
    match call.function:
        case "sum" | "avg":
            return frozenset(("sum",))
        case "min":
            return frozenset(("min",))
        case "max":
            return frozenset(("max",))
        case "var_samp" | "var_pop" | "stddev_samp" | "stddev_pop":
            return frozenset(("moments",))
    return frozenset()


class BatchView:
    """A batch with its columns unwrapped on demand, once."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.columns: dict[int, Column] = {}

    def column(self, index: int, sql_type: SqlType) -> Column:
        found = self.columns.get(index)
        if found is None:
            found = self.columns[index] = unwrap(self.batch.column(index), sql_type)
        return found

    def live(self, column: Column | None, filter_index: int | None) -> Array:
        """uint8[n], 1 where the column is not NULL and the filter is true; empty when all rows are."""
        valid = None if column is None else column.valid
        if filter_index is None:
            return NO_FLAGS if valid is None else valid
        condition = self.column(filter_index, BOOLEAN)
        assert condition.values is not None
        flags: Array = (condition.values != 0).view(np.uint8)
        for also in (condition.valid, valid):
            if also is not None:
                flags &= also
        return flags


class DistinctValues:
    """The different values of each group, in order of first appearance."""

    def __init__(self, sql_type: SqlType, grouped: bool) -> None:
        self.grouped = grouped
        self.encoder = KeyEncoder((sql_type,), growable=True)
        self.table = GroupTable(self.encoder.num_words + grouped)

    @property
    def size_bytes(self) -> int:
        return self.encoder.size_bytes + self.table.size_bytes

    def add(self, groups: Array | None, column: Column, live: Array) -> None:
        words = self.encoder.encode([replace(column, valid=None)])
        if groups is not None:
            words = np.concatenate((groups.reshape(1, -1), words))
        self.table.group(words, live)

    def pieces(self) -> Iterator[tuple[Array | None, Column]]:
        """The group (int64[m]) and the value of each pair."""
        words = self.table.words
        groups = words[0] if self.grouped else None
        yield groups, self.encoder.decode(words[1:] if self.grouped else words)[0]

    def absorb(self, mapping: Array, other: DistinctValues) -> None:
        for groups, column in other.pieces():
            self.add(None if groups is None else mapping[groups], column, NO_FLAGS)


class FeedState:
    """The accumulators of one feed."""

    def __init__(self, feed: Feed, rows: RowCount, grouped: bool) -> None:
        self.feed = feed
        self.held: DistinctValues | ListedValues | None = None
        if feed.distinct:
            assert feed.type is not None
            self.held = DistinctValues(feed.type, grouped)
        elif feed.fractions:
            self.held = ListedValues()
        if feed.keeps_values:
            rows = RowCount()
        self.rows = rows
        self.count = Count(rows)
        self.sum: ExactSum | FloatSum | None = None
        self.extremes: dict[str, Extreme | ExtremeBytes] = {}
        self.moments: Moments | None = None
        self.quantiles = Quantiles(sorted(feed.fractions)) if feed.fractions else None
        for want in sorted(feed.wants):
            lane = feed.type.lane if feed.type is not None else None
            assert lane is not None
            if want == "sum":
                self.sum = FloatSum() if lane is Lane.FLOAT else ExactSum()
            elif want == "moments":
                self.moments = Moments()
            else:
                self.extremes[want] = ExtremeBytes(want) if lane is Lane.BYTES else Extreme(lane, want)
        self.accumulators: list[Accumulator] = [self.count, *self.extremes.values()]
        self.accumulators += [a for a in (self.sum, self.moments, self.quantiles) if a is not None]
        if feed.keeps_values:
            self.accumulators.append(rows)

    @property
    def size_bytes(self) -> int:
        return sum(a.size_bytes for a in self.accumulators) + (self.held.size_bytes if self.held else 0)

    def update(self, groups: Array | None, view: BatchView) -> None:
        feed = self.feed
        column = None
        if feed.arg is not None:
            assert feed.type is not None
            column = view.column(feed.arg, feed.type)
        live = view.live(column, feed.filter)
        if self.held is not None:
            assert column is not None
            self.held.add(groups, column, live)
            return
        if feed.counts is not None:
            counts = view.column(feed.counts, BIGINT).values
            assert counts is not None
            self.count.merge(groups, counts)
        else:
            self.count.update(groups, live)
        self._accumulate(groups, column, live)

    def _accumulate(self, groups: Array | None, column: Column | None, live: Array) -> None:
        if column is None:
            return
        if self.sum is not None:
            self.sum.update(groups, column, live)
        if self.moments is not None:
            self.moments.update(groups, column, live)
        for extreme in self.extremes.values():
            extreme.update(groups, column, live)

    def absorb(self, mapping: Array, other: FeedState) -> None:
        match self.held, other.held:
            case (DistinctValues() as mine, DistinctValues() as theirs):
                mine.absorb(mapping, theirs)
                return
            case (ListedValues() as mine, ListedValues() as theirs):
                mine.absorb(mapping, theirs)
                return
        for own, others in zip(self.accumulators, other.accumulators):
            own.absorb(mapping, others)

    def finish(self) -> None:
        """Aggregate the values that were kept, now that all are known."""
        if isinstance(self.held, ListedValues):
            assert self.quantiles is not None
            self.quantiles.work_out(self.held)
        elif self.held is not None:
            for groups, column in self.held.pieces():
                self.rows.update(groups, column.length)
                self._accumulate(groups, column, NO_FLAGS)
