"""The table of a hash join: from key words to the build rows that have them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.columns import Array
from sabot_sql.executor.kernels import joining
from sabot_sql.executor.kernels.hashing import hash_words
from sabot_sql.executor.operator import TaskContext

STEP = 1 << 19  # rows a kernel takes between two looks at the cancel flag
RANK_SPAN = 64  # values of the key's range a row may cost in a table of ranks: 16 bytes a row
FILTERED = 1 << 16  # build rows from which a filter before the slots pays, when few probe rows match
NO_ROWS: Array = np.empty(0, np.int64)
NO_BITS: Array = np.empty(0, np.uint64)


def steps(num_rows: int, context: TaskContext) -> Iterator[tuple[int, int]]:
    """Ranges of rows, with a look at the cancel flag before each."""
    for first in range(0, num_rows, STEP):
        context.check()
        yield first, min(first + STEP, num_rows)


class JoinTable:
    """From key words to groups of build rows (`kernels/joining.py`).

    Args:
        words (int64[k, n]): of the build rows.
        usable (uint8[n]): 0 for rows that match nothing; may be empty.
        pairs: whether `rows` and `starts` will be asked for, not only which groups there are.

    Attributes:
        rows: the build rows that can match, by group, in each in order; empty when they are so already.
        starts: the group g has starts[g] to starts[g + 1] of these; empty when it has one, number g.
    """

    def __init__(self, words: Array, usable: Array, pairs: bool, context: TaskContext) -> None:
        self.ranked = False
        self.base = 0
        self.table = np.zeros(2, np.uint64)
        self.slots = np.zeros(2, np.int64)
        self.words = words
        self.firsts = NO_ROWS
        self.bits = NO_BITS
        num_rows = words.shape[1]
        groups = np.empty(num_rows, np.int64)
        bounds = np.zeros(2, np.int64)
        self.num_rows = int(joining.key_bounds(words[0], usable, bounds))
        span = int(bounds[1]) - int(bounds[0]) + 1
        if len(words) == 1 and span <= max(4096, RANK_SPAN * self.num_rows):
            num_groups = self._rank(words[0], usable, int(bounds[0]), span, groups, context)
        else:
            num_groups = self._insert(words, usable, groups, context)
        unique = num_groups == self.num_rows
        self.starts = self.rows = NO_ROWS
        if pairs and (not unique or self.ranked or num_groups != num_rows):
            self._list_rows(groups, num_groups, unique, context)

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        arrays = (self.table, self.slots, self.words, self.firsts, self.starts, self.rows, self.bits)
        return sum(a.nbytes for a in arrays)

    @staticmethod
    def needed_bytes(num_words: int, num_rows: int) -> int:
        """Memory that building may take, at most."""
        return num_rows * (8 * num_words + 32 + 64)

    def find(self, words: Array, usable: Array, selective: bool, context: TaskContext) -> tuple[Array, int]:
        """The group of each row of words (int64[k, n]), -1 for none, and how many rows have one.

        Args:
            selective: whether most rows are thought to have none; changes the way, not the answer.
        """
        bits = self.bits if selective else NO_BITS
        num_rows = words.shape[1]
        groups = np.empty(num_rows, np.int64)
        found = 0
        hashes = np.empty(0 if len(words) == 1 else num_rows, np.uint64)
        if len(words) > 1:
            hash_words(words, hashes)
        for first, last in steps(num_rows, context):
            if self.ranked:
                found += joining.rank_find(words[0], usable, self.base, first, last, self.table, groups)
            elif len(words) == 1:
                found += joining.slot_find_word(words[0], usable, first, last, self.slots, bits, groups)
            else:
                found += joining.slot_find_row(words, hashes, usable, first, last, self.slots, self.firsts, self.words, groups)
        return groups, found

    def _rank(self, words: Array, usable: Array, base: int, span: int, groups: Array, context: TaskContext) -> int:
        self.ranked = True
        self.base = base
        self.words = np.empty((1, 0), np.int64)
        self.table = np.zeros(2 * ((span + 63) // 64), np.uint64)
        for first, last in steps(len(words), context):
            joining.rank_mark(words, usable, base, first, last, self.table)
        num_groups = int(joining.rank_count(self.table))
        for first, last in steps(len(words), context):
            joining.rank_find(words, usable, base, first, last, self.table, groups)
        return num_groups

    def _insert(self, words: Array, usable: Array, groups: Array, context: TaskContext) -> int:
        num_rows = words.shape[1]
        self.slots = np.zeros(2 << max(1, (2 * self.num_rows - 1).bit_length()), np.int64)
        num_groups = 0
        if len(words) == 1:
            self.words = np.empty((1, 0), np.int64)
            for first, last in steps(num_rows, context):
                num_groups = joining.slot_insert_word(words[0], usable, first, last, num_groups, self.slots, groups)
            if self.num_rows >= FILTERED:
                self.bits = np.zeros(len(self.slots) // 32, np.uint64)
                for first, last in steps(num_rows, context):
                    joining.filter_mark(words[0], usable, first, last, self.bits)
            return int(num_groups)
        hashes = np.empty(num_rows, np.uint64)
        hash_words(words, hashes)
        self.firsts = np.empty(num_rows, np.int64)
        for first, last in steps(num_rows, context):
            num_groups = joining.slot_insert_row(
                words, hashes, usable, first, last, num_groups, self.slots, self.firsts, groups
            )
        return int(num_groups)

    def _list_rows(self, groups: Array, num_groups: int, unique: bool, context: TaskContext) -> None:
        self.rows = np.empty(self.num_rows, np.int64)
        if unique:
            for first, last in steps(len(groups), context):
                joining.place_single_rows(groups, first, last, self.rows)
            if len(groups) == len(self.rows) and np.array_equal(self.rows, np.arange(len(self.rows))):
                self.rows = NO_ROWS
            return
        starts = np.zeros(num_groups + 1, np.int64)
        for first, last in steps(len(groups), context):
            joining.count_rows(groups, first, last, starts)
        self.starts = np.cumsum(starts)
        cursors = self.starts[:-1].copy()
        for first, last in steps(len(groups), context):
            joining.place_rows(groups, first, last, cursors, self.rows)
