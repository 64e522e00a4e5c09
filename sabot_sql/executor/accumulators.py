"""The running state of aggregates, a value for each group; arrays grow with the number of groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np

from sabot_sql.errors import QueryError
from sabot_sql.executor.columns import NO_FLAGS, Array, Column
from sabot_sql.executor.kernels import aggregates, wide
from sabot_sql.types import Lane

NO_NUMBERS: Array = np.zeros(0, np.int64)
INT64_MAX = np.iinfo(np.int64).max
UINT64_MAX = np.iinfo(np.uint64).max


class Accumulator(Protocol):
    """What holds one value for each group."""

    @property
    def size_bytes(self) -> int: ...

    def resize(self, num_groups: int) -> None:
        """Have room for `num_groups` groups; new ones are empty."""
        ...

    def absorb(self, groups: Array, other: Any) -> None:
        """Take over another accumulator of the same kind, whose group g is groups[g] (int64[...]) here."""
        ...

    def lanes(self) -> tuple[Lane, ...]:
        """Of the columns that `save` gives."""
        ...

    def save(self, num_groups: int) -> list[Column]:
        """All that is held, a row a group, to the bit."""
        ...

    def load(self, columns: Sequence[Column]) -> None:
        """Hold what another one has saved."""
        ...


def saved(array: Array, num_groups: int) -> Column:
    """The first values of an array as a column."""
    lane = {"i": Lane.INT, "u": Lane.UINT, "f": Lane.FLOAT}[array.dtype.kind]
    return Column(lane, array[:num_groups], None, None, None, None, num_groups)


def loaded(column: Column) -> Array:
    """The array that was saved as `column`, free to be written."""
    assert column.values is not None
    return column.values.copy()


def grown(array: Array, num_groups: int, fill: Any) -> Array:
    """`array` with room for `num_groups` values, new ones being `fill`."""
    if len(array) >= num_groups:
        return array
    # fresh zeroed memory costs nothing until it is written to
    larger = np.zeros(max(num_groups, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    if fill != 0:
        larger[len(array) :] = fill
    return larger


class RarelySet:
    """A number for each group that is 0 nearly always: as long as all are, the array is never touched and takes no memory."""

    def __init__(self) -> None:
        self.array = self._zeros = np.zeros(0, np.int64)

    @property
    def is_zero(self) -> bool:
        """Whether no group has another number."""
        return self.array is self._zeros

    @property
    def size_bytes(self) -> int:
        return 0 if self.is_zero else int(self.array.nbytes)

    def resize(self, num_groups: int) -> None:
        if not self.is_zero:
            self.array = grown(self.array, num_groups, 0)
        elif len(self.array) < num_groups:
            self.array = self._zeros = np.zeros(max(num_groups, 2 * len(self.array)), np.int64)

    def written(self) -> Array:
        """The array, to be written to."""
        self._zeros = NO_NUMBERS
        return self.array

    def load(self, numbers: Array) -> None:
        """Hold these numbers."""
        self.array = numbers
        self._zeros = np.zeros(0, np.int64) if numbers.any() else numbers


class RowCount:
    """Rows of each group."""

    def __init__(self) -> None:
        self.totals = np.zeros(0, np.int64)

    @property
    def size_bytes(self) -> int:
        return int(self.totals.nbytes)

    def resize(self, num_groups: int) -> None:
        self.totals = grown(self.totals, num_groups, 0)

    def update(self, groups: Array | None, num_rows: int) -> None:
        if groups is None:
            self.totals[0] += num_rows
        else:
            aggregates.count_rows(groups, self.totals)

    def absorb(self, groups: Array, other: RowCount) -> None:
        aggregates.add_counts(groups, other.totals, 1, self.totals)

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.INT,)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(self.totals, num_groups)]

    def load(self, columns: Sequence[Column]) -> None:
        self.totals = loaded(columns[0])


class Count:
    """Rows of each group with a value: all of its rows less those without one, which are few or none."""

    def __init__(self, rows: RowCount) -> None:
        self.rows = rows
        self.missing = RarelySet()

    @property
    def size_bytes(self) -> int:
        return self.missing.size_bytes

    def resize(self, num_groups: int) -> None:
        self.missing.resize(num_groups)

    def update(self, groups: Array | None, live: Array) -> None:
        """Count rows that `live` (uint8[n] or empty: all) marks."""
        if len(live) == 0:
            return
        if groups is None:
            self.missing.written()[0] += len(live) - np.count_nonzero(live)
        else:
            aggregates.count_missing(groups, live, self.missing.written())

    def merge(self, groups: Array | None, counts: Array) -> None:
        """Count counts[i] for row i."""
        missing = self.missing.written()
        if groups is None:
            missing[0] += len(counts) - counts.sum()
        else:
            aggregates.count_rows(groups, missing)
            aggregates.add_counts(groups, counts, -1, missing)

    def absorb(self, groups: Array, other: Count) -> None:
        if not other.missing.is_zero:
            aggregates.add_counts(groups, other.missing.array, 1, self.missing.written())

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.INT,)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(self.missing.array, num_groups)]

    def load(self, columns: Sequence[Column]) -> None:
        self.missing.load(loaded(columns[0]))

    def values(self, last: int, first: int = 0) -> Array:
        """Of the groups [first, last): int64[last - first]."""
        counts: Array = self.rows.totals[first:last]
        return counts if self.missing.is_zero else counts - self.missing.array[first:last]


class ExactSum:
    """The sum of integers or decimals in 128 bits."""

    def __init__(self) -> None:
        self.low = np.zeros(0, np.int64)
        self.high = RarelySet()

    @property
    def size_bytes(self) -> int:
        return int(self.low.nbytes + self.high.size_bytes)

    def resize(self, num_groups: int) -> None:
        self.low = grown(self.low, num_groups, 0)
        self.high.resize(num_groups)

    def update(self, groups: Array | None, column: Column, live: Array) -> None:
        if column.lane is Lane.INT:
            if groups is None:
                aggregates.sum_int_all(column.values, live, self.low, self.high.written())
            elif aggregates.sum_int(groups, column.values, live, self.low, self.high.array):
                self.high.written()
            return
        groups = np.zeros(column.length, np.int64) if groups is None else groups
        if column.lane is Lane.UINT:
            aggregates.sum_uint(groups, column.values, live, self.low, self.high.written())
        elif aggregates.sum_wide(groups, column.values, column.high, live, self.low, self.high.written()):
            raise _overflow()

    def absorb(self, groups: Array, other: ExactSum) -> None:
        low, high = other.values(len(groups))
        self.update(groups, Column(Lane.WIDE, low, high, None, None, None, len(groups)), NO_FLAGS)

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.INT, Lane.INT)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(self.low, num_groups), saved(self.high.array, num_groups)]

    def load(self, columns: Sequence[Column]) -> None:
        self.low = loaded(columns[0])
        self.high.load(loaded(columns[1]))

    def values(self, last: int, first: int = 0) -> tuple[Array, Array]:
        """Of the groups [first, last): low limbs (uint64[last - first]) and high limbs (int64[last - first]).

        Raises:
            QueryError: a sum has more than 38 digits.
        """
        sums = self.low[first:last]
        if self.high.is_zero:
            return sums.view(np.uint64), sums >> 63
        low, high = np.empty(last - first, np.uint64), np.empty(last - first, np.int64)
        if wide.finish_sums(sums, self.high.array[first:last], low, high):
            raise _overflow()
        return low, high


def _overflow() -> QueryError:
    hint = "cast the argument to DOUBLE for an approximate sum"
    return QueryError("sum overflows: it has more than 38 digits", code="INVALID_VALUE", hint=hint)


class FloatSum:
    """The sum of doubles."""

    def __init__(self) -> None:
        self.totals = np.zeros(0, np.float64)

    @property
    def size_bytes(self) -> int:
        return int(self.totals.nbytes)

    def resize(self, num_groups: int) -> None:
        self.totals = grown(self.totals, num_groups, 0.0)

    def update(self, groups: Array | None, column: Column, live: Array) -> None:
        if groups is None:
            aggregates.sum_float_all(column.values, live, self.totals)
        else:
            aggregates.sum_float(groups, column.values, live, self.totals)

    def absorb(self, groups: Array, other: FloatSum) -> None:
        aggregates.sum_float(groups, other.totals[: len(groups)], NO_FLAGS, self.totals)

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.FLOAT,)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(self.totals, num_groups)]

    def load(self, columns: Sequence[Column]) -> None:
        self.totals = loaded(columns[0])

    def values(self, last: int, first: int = 0) -> Array:
        """Of the groups [first, last): float64[last - first]."""
        return self.totals[first:last]


class Extreme:
    """The least or greatest word of each group; for integers kept flipped when the greatest is asked for, so that both are
    the least of something."""

    def __init__(self, lane: Lane, function: Literal["min", "max"]) -> None:
        self.lane = lane
        self.greatest = function == "max"
        self.flip: Any = np.int64(-1 if self.greatest else 0)
        self.fill: Any = INT64_MAX
        match lane:
            case Lane.FLOAT:
                self.fill = -np.inf if self.greatest else np.nan
                self.best: Array = np.zeros(0, np.float64)
            case Lane.UINT:
                self.fill = UINT64_MAX
                self.best = np.zeros(0, np.uint64)
                self.flip = np.uint64(UINT64_MAX if self.greatest else 0)
            case Lane.WIDE:
                self.best = np.zeros(0, np.uint64)
                self.fill = UINT64_MAX
            case _:
                self.best = np.zeros(0, np.int64)
        self.high = np.zeros(0, np.int64)

    @property
    def size_bytes(self) -> int:
        return int(self.best.nbytes + self.high.nbytes)

    def resize(self, num_groups: int) -> None:
        self.best = grown(self.best, num_groups, self.fill)
        if self.lane is Lane.WIDE:
            self.high = grown(self.high, num_groups, INT64_MAX)

    def update(self, groups: Array | None, column: Column, live: Array) -> None:
        if groups is None:
            if self.lane is Lane.INT:
                aggregates.least_int_all(column.values, live, self.flip, self.best)
                return
            groups = np.zeros(column.length, np.int64)
        match self.lane:
            case Lane.INT:
                aggregates.least_int(groups, column.values, live, self.flip, self.best)
            case Lane.UINT:
                aggregates.least_uint(groups, column.values, live, self.flip, self.best)
            case Lane.WIDE:
                aggregates.least_wide(groups, column.values, column.high, live, self.flip, self.best, self.high)
            case _:
                (aggregates.greatest_float if self.greatest else aggregates.least_float)(groups, column.values, live, self.best)

    def absorb(self, groups: Array, other: Extreme) -> None:
        # an empty group carries the fill, which changes nothing
        self.update(groups, other.column(len(groups)), NO_FLAGS)

    def lanes(self) -> tuple[Lane, ...]:
        match self.lane:
            case Lane.WIDE:
                return (Lane.UINT, Lane.INT)
            case Lane.FLOAT | Lane.UINT:
                return (self.lane,)
        return (Lane.INT,)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(array, num_groups) for array in (self.best, self.high)[: len(self.lanes())]]

    def load(self, columns: Sequence[Column]) -> None:
        self.best = loaded(columns[0])
        if len(columns) > 1:
            self.high = loaded(columns[1])

    def column(self, last: int, first: int = 0) -> Column:
        """What was found in the groups [first, last), without saying which are empty."""
        values, high = self.best[first:last], None
        if self.lane is Lane.WIDE:
            high = self.high[first:last] ^ self.flip
            values = values ^ np.uint64(UINT64_MAX if self.greatest else 0)
        elif self.lane is not Lane.FLOAT:
            values = np.bitwise_xor(values, self.flip)
        return Column(self.lane, values, high, None, None, None, last - first)


class ExtremeBytes:
    """The least or greatest string of each group, by bytes."""

    def __init__(self, function: Literal["min", "max"]) -> None:
        self.sign = 1 if function == "min" else -1
        self.starts = np.zeros(0, np.int64)
        self.lengths = np.zeros(0, np.int64)
        self.arena = np.empty(1024, np.uint8)
        self.used = np.zeros(1, np.int64)

    @property
    def size_bytes(self) -> int:
        return int(self.starts.nbytes + self.lengths.nbytes + self.arena.nbytes)

    def resize(self, num_groups: int) -> None:
        self.starts, self.lengths = grown(self.starts, num_groups, 0), grown(self.lengths, num_groups, -1)

    def update(self, groups: Array | None, column: Column, live: Array) -> None:
        assert column.offsets is not None
        groups = np.zeros(column.length, np.int64) if groups is None else groups
        row = 0
        while True:
            row = aggregates.extreme_bytes(
                groups, column.offsets, column.data, live, row, self.sign, self.starts, self.lengths, self.arena, self.used
            )
            if row == column.length:
                return
            self._make_room(int(column.offsets[row + 1] - column.offsets[row]))

    def absorb(self, groups: Array, other: ExtremeBytes) -> None:
        column = other.column(len(groups))
        self.update(groups, column, (other.lengths[: len(groups)] >= 0).view(np.uint8))

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.BYTES,)

    def save(self, num_groups: int) -> list[Column]:
        return [replace(self.column(num_groups), valid=(self.lengths[:num_groups] >= 0).view(np.uint8))]

    def load(self, columns: Sequence[Column]) -> None:
        (column,) = columns
        assert column.offsets is not None
        assert column.data is not None
        self.starts = column.offsets[:-1].copy()
        self.lengths = np.diff(column.offsets)
        if column.valid is not None:
            self.lengths[column.valid == 0] = -1
        self.arena = column.data
        self.used[0] = len(column.data)

    def column(self, last: int, first: int = 0) -> Column:
        """What was found in the groups [first, last); empty strings for empty groups."""
        offsets, data = self._packed(first, last, 0)
        return Column(Lane.BYTES, None, None, offsets, data, None, last - first)

    def _packed(self, first: int, last: int, spare: int) -> tuple[Array, Array]:
        lengths = np.maximum(self.lengths[first:last], 0)
        offsets = np.zeros(last - first + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = np.empty(int(offsets[-1]) + spare, np.uint8)
        aggregates.pack_strings(lengths, self.arena, self.starts[first:last], offsets, data)
        return offsets, data

    def _make_room(self, length: int) -> None:
        """Drop the strings that were replaced, and have room for as many bytes again and `length`."""
        live = int(np.maximum(self.lengths, 0).sum())
        offsets, self.arena = self._packed(0, len(self.lengths), live + length + 1024)
        self.starts = offsets[:-1].copy()
        self.used[0] = live
