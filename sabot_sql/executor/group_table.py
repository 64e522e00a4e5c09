"""A table that numbers distinct rows of words: the caller side of `kernels/grouping.py`, with the memory that grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sabot_sql.executor.columns import NO_FLAGS, Array, Column
from sabot_sql.executor.direct_groups import DirectGroups
from sabot_sql.executor.kernels import grouping, hashing
from sabot_sql.executor.keys import KeyEncoder

INITIAL_SLOTS = 1024


class NumberedRows:
    """Stands for a `GroupTable` where the one word of a row is its number in order of first appearance."""

    size_bytes = 0

    def __init__(self) -> None:
        self.count = 0

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
    """Numbers rows of `num_words` words in order of first appearance."""

    def __init__(self, num_words: int) -> None:
        self.num_words = num_words
        self.counters = np.zeros(1, np.int64)
        self.hashes = np.empty(0, np.uint64)
        self.keys = np.empty((0, num_words), np.int64)
        self.direct = DirectGroups()
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
    def words(self) -> Array:
        """The rows of words that have a number, int64[num_words, count]."""
        return self.words_of(0, self.count)

    def words_of(self, first: int, last: int) -> Array:
        """The rows of words of the numbers [first, last), int64[num_words, last - first]."""
        return np.ascontiguousarray(self.keys[first:last].T)

    def rows(self, columns: Sequence[Column], encoder: KeyEncoder) -> Array:
        """The number of each row of key columns, int64[n]; new ones are added by the words that `encoder` gives."""
        groups = self.direct.find(columns)
        if groups is None:
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
                    return groups
                self._grow()
        if len(self.hashes) < num_rows:
            self.hashes = np.empty(num_rows, np.uint64)
        hashes = self.hashes[:num_rows]
        hashing.hash_words(words, hashes)
        while True:
            row = grouping.group_words(words, hashes, live, row, self.shift, self.slots, self.keys, self.counters, groups)
            if row == num_rows:
                return groups
            self._grow()

    def _allocate(self, num_slots: int) -> None:
        """Have so many empty slots, and room for the keys that they may lead to; the keys so far are kept."""
        self.slots = np.zeros(2 * num_slots, np.int64) if self.num_words == 1 else np.zeros(num_slots, np.uint64)
        self.shift = 64 - (num_slots - 1).bit_length()
        keys = np.empty((num_slots * 5 // 8, self.num_words), np.int64)
        keys[: self.count] = self.keys[: self.count]
        self.keys = keys

    def _grow(self) -> None:
        before = self.slots
        num_slots = 1 << (64 - self.shift)
        self._allocate(num_slots * (8 if num_slots < 1 << 15 else 4 if num_slots < 1 << 19 else 2))
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


def group_table(encoder: KeyEncoder) -> GroupTable | NumberedRows:
    """A table for what a growable `encoder` gives."""
    return GroupTable(max(1, encoder.num_words)) if encoder.numbers is None else NumberedRows()
