"""A table that numbers distinct rows of words: the caller side of `kernels/grouping.py`, with the memory that grows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sabot_sql.executor.columns import NO_FLAGS, Array, Column
from sabot_sql.executor.direct_groups import DirectGroups
from sabot_sql.executor.kernels import grouping, hashing
from sabot_sql.executor.keys import KeyEncoder

INITIAL_SLOTS = 1024

FORECAST_GROUPS = 1 << 15
"""Groups from which it is worth to know how many there will be: growing step by step takes as long as finding them."""


class NumberedRows:
    """Stands for a `GroupTable` where the one word of a row is its number in order of first appearance."""

    size_bytes = capacity = 0

    def __init__(self) -> None:
        self.count = self.rows_expected = 0

    def words_of(self, first: int, last: int) -> Array:
        """As `GroupTable.words_of`."""
        return np.arange(first, last).reshape(1, last - first)

    def rows(self, columns: Sequence[Column], encoder: KeyEncoder) -> Array:
        """As `GroupTable.rows`."""
        return self.group(encoder.encode(columns))

    def group(self, words: Array) -> Array:
        """As `GroupTable.group`."""
        groups: Array = words[0]
        self.count = max(self.count, int(groups.max(initial=-1)) + 1)
        return groups


class GroupTable:
    """Numbers rows of `num_words` words in order of first appearance.

    Attributes:
        rows_expected: how many rows will come, where that is known and there is memory for as many groups; else 0.
    """

    def __init__(self, num_words: int) -> None:
        self.num_words = num_words
        self.counters = np.zeros(1, np.int64)
        self.hashes = np.empty(0, np.uint64)
        self.keys = np.empty((0, num_words), np.int64)
        self.direct = DirectGroups()
        self.rows_expected = 0
        self._rows_seen = 0
        self._allocate(INITIAL_SLOTS)

    @property
    def count(self) -> int:
        """Groups so far."""
        return int(self.counters[0])

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return int(self.slots.nbytes + self.keys.nbytes + self.hashes.nbytes) + self.direct.size_bytes

    @property
    def capacity(self) -> int:
        """Groups for which there is room."""
        return len(self.keys)

    @property
    def words(self) -> Array:
        """The rows of words that have a number, int64[num_words, count]."""
        return self.words_of(0, self.count)

    def words_of(self, first: int, last: int) -> Array:
        """The rows of words of the numbers [first, last), int64[num_words, last - first]."""
        return np.ascontiguousarray(self.keys[first:last].T)

    def rows(self, columns: Sequence[Column], encoder: KeyEncoder) -> Array:
        """The number of each row of key columns, int64[n]; new ones are added by the words that `encoder` gives."""
        groups = self.direct.find(columns)
        if groups is not None:
            self._rows_seen += len(groups)
            return groups
        groups = self.group(encoder.encode(columns))
        self.direct.learn(columns, groups)
        return groups

    def group(self, words: Array, live: Array = NO_FLAGS) -> Array:
        """The number of each row of words (int64[num_words, n]), int64[n]; -1 where `live` (uint8[n]) is 0."""
        if words.shape[0] != self.num_words:
            self._widen(words.shape[0])
        num_rows = words.shape[1]
        groups = np.empty(num_rows, np.int64)
        row = 0
        if self.num_words == 1:
            while True:
                keys = self.keys.reshape(-1)
                row = grouping.group_word(words[0], live, row, self.shift, self.slots, keys, self.counters, groups)
                if row == num_rows:
                    self._rows_seen += num_rows
                    return groups
                self._grow(row)
        if len(self.hashes) < num_rows:
            self.hashes = np.empty(num_rows, np.uint64)
        hashes = self.hashes[:num_rows]
        hashing.hash_words(words, hashes)
        while True:
            row = grouping.group_words(words, hashes, live, row, self.shift, self.slots, self.keys, self.counters, groups)
            if row == num_rows:
                self._rows_seen += num_rows
                return groups
            self._grow(row)

    def _allocate(self, num_slots: int) -> None:
        """Have so many empty slots, and room for the keys that they may lead to; the keys so far are kept."""
        self.slots = np.zeros(2 * num_slots, np.int64) if self.num_words == 1 else np.zeros(num_slots, np.uint64)
        self.shift = 64 - (num_slots - 1).bit_length()
        keys = np.empty((num_slots * 5 // 8, self.num_words), np.int64)
        keys[: self.count] = self.keys[: self.count]
        self.keys = keys

    def _grow(self, row: int) -> None:
        """Have more slots, so many rows into a call of `group`."""
        before = self.slots
        num_slots = 1 << (64 - self.shift)
        larger = num_slots * (8 if num_slots < 1 << 15 else 4 if num_slots < 1 << 19 else 2)
        if self.count >= FORECAST_GROUPS:
            forecast = groups_to_come(self.count, self._rows_seen + row, self.rows_expected)
            larger = max(larger, 1 << (forecast * 8 // 5).bit_length())
        self._allocate(larger)
        (grouping.move_word_slots if self.num_words == 1 else grouping.move_slots)(before, self.shift, self.slots)

    def _widen(self, num_words: int) -> None:
        """Give the rows so far more words, all zero, as a `KeyEncoder` has found its first NULL."""
        count, words = self.count, np.zeros((num_words, self.count), np.int64)
        words[: self.num_words] = self.keys[:count].T
        self.num_words = num_words
        self.keys = np.ascontiguousarray(words.T)
        self._allocate(1 << (64 - self.shift))
        hashes = np.empty(count, np.uint64)
        hashing.hash_words(words, hashes)
        grouping.fill_slots(hashes, self.shift, self.slots)


def groups_to_come(groups: int, rows: int, rows_expected: int) -> int:
    """How many groups there will be after all rows, if each row falls into one of d groups at random, and d is such that the
    first `rows` are in `groups` of them; 0 where `rows_expected` are no more than these."""
    if rows_expected <= rows or not 0 < groups <= rows:
        return 0
    share, low, high = groups / rows, 1e-9, 1.0
    for _ in range(40):  # x = groups / d, where share = x / -log(1 - x)
        x = (low + high) / 2
        low, high = (low, x) if x == 1.0 or x / -math.log1p(-x) < share else (x, high)
    domain = groups / low
    return min(rows_expected, round(domain * -math.expm1(-rows_expected / domain)))


def group_table(encoder: KeyEncoder) -> GroupTable | NumberedRows:
    """A table for what a growable `encoder` gives."""
    return GroupTable(max(1, encoder.num_words)) if encoder.numbers is None else NumberedRows()
