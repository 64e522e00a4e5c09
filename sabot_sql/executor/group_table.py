"""A table that numbers distinct rows of words: the caller side of `kernels/grouping.py`, with the memory that grows."""

from __future__ import annotations

import numpy as np

from sabot_sql.executor.columns import NO_FLAGS, Array
from sabot_sql.executor.kernels import grouping, hashing

INITIAL_SLOTS = 1024


class GroupTable:
    """Numbers rows of `num_words` words in order of first appearance."""

    def __init__(self, num_words: int) -> None:
        self.num_words = num_words
        self.counters = np.zeros(1, np.int64)
        self.hashes = np.empty(0, np.uint64)
        self._allocate(INITIAL_SLOTS)

    @property
    def count(self) -> int:
        """Groups so far."""
        return int(self.counters[0])

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return int(self.slots.nbytes + self.keys.nbytes + self.key_hashes.nbytes + self.hashes.nbytes)

    @property
    def words(self) -> Array:
        """The rows of words that have a number, int64[num_words, count]."""
        return np.ascontiguousarray(self.keys[: self.count].T)

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
                row = grouping.group_word(words[0], live, row, self.slots, keys, self.counters, groups)
                if row == num_rows:
                    return groups
                self._grow()
        if len(self.hashes) < num_rows:
            self.hashes = np.empty(num_rows, np.uint64)
        hashes = self.hashes[:num_rows]
        hashing.hash_words(words, hashes)
        while True:
            row = grouping.group_words(words, hashes, live, row, self.slots, self.keys, self.key_hashes, self.counters, groups)
            if row == num_rows:
                return groups
            self._grow()

    def _allocate(self, num_slots: int) -> None:
        self.keys = np.empty((num_slots // 2, self.num_words), np.int64)
        if self.num_words == 1:
            self.slots = np.full(2 * num_slots, -1, np.int64)
            self.key_hashes = np.empty(0, np.uint64)
        else:
            self.slots = np.full(num_slots, -1, np.int64)
            self.key_hashes = np.empty(num_slots // 2, np.uint64)

    def _grow(self) -> None:
        keys, key_hashes, count = self.keys, self.key_hashes, self.count
        capacity = len(keys)
        self._allocate(2 * capacity * (8 if capacity < 1 << 14 else 4 if capacity < 1 << 18 else 2))
        self.keys[:count] = keys
        if self.num_words == 1:
            grouping.fill_word_slots(self.keys.reshape(-1), count, self.slots)
        else:
            self.key_hashes[:count] = key_hashes
            grouping.fill_slots(self.key_hashes, count, self.slots)

    def _widen(self, num_words: int) -> None:
        """Give the rows so far more words, all zero, as a `KeyEncoder` has found its first NULL."""
        count, words = self.count, np.zeros((num_words, self.count), np.int64)
        words[: self.num_words] = self.keys[:count].T
        capacity = len(self.keys)
        self.num_words = num_words
        self._allocate(2 * capacity)
        self.keys[:count] = words.T
        if num_words > 1:
            hashes = np.empty(count, np.uint64)
            hashing.hash_words(words, hashes)
            self.key_hashes[:count] = hashes
            grouping.fill_slots(self.key_hashes, count, self.slots)
