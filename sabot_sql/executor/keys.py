"""Key columns as int64 words, so that tables compare keys of any type word by word; and the hash that places partitions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sabot_sql.executor.columns import Array, Column
from sabot_sql.executor.kernels import grouping, hashing, interning
from sabot_sql.executor.string_numbers import StringNumbers
from sabot_sql.types import Lane, SqlType


class Dictionary:
    """The words of the strings of one key column, and the dictionary of those that are too long (`kernels/interning.py`).

    Attributes:
        num_words: of a string, one or two; until the first strings were seen, None.
    """

    def __init__(self) -> None:
        self.num_words: int | None = None
        self.slots = np.zeros(64, np.uint64)
        self.arena = np.zeros(1024, np.uint8)
        self.counters = np.zeros(2, np.int64)

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return int(self.slots.nbytes + self.arena.nbytes)

    @property
    def shift(self) -> int:
        """64 - log2(number of slots)."""
        return 65 - len(self.slots).bit_length()

    def choose(self, column: Column) -> int:
        """How many words the strings have from now on: two where that saves these the dictionary."""
        if self.num_words is None and column.length:
            assert column.offsets is not None
            longest = int(np.diff(column.offsets).max())
            self.num_words = 2 if interning.SHORT < longest <= interning.PAIR else 1
        return self.num_words or 1

    def encode(self, column: Column, out: Array) -> None:
        """out (int64[num_words, n]) = the words of the strings; new strings are added. The words of NULLs are anything."""
        assert column.offsets is not None
        hashes = self._hashes_of_long(column, out)
        if hashes is None:
            return
        offsets, data, row = column.offsets, column.data, 0
        while True:
            row = interning.intern(offsets, data, hashes, row, self.shift, self.slots, self.arena, self.counters, out[0])
            if row == column.length:
                return
            self._grow(int(column.offsets[row + 1] - column.offsets[row]))

    def lookup(self, column: Column, out: Array, found: Array) -> None:
        """As `encode`, adding nothing: found (uint8[n]) becomes 0 where the dictionary does not have a string."""
        hashes = self._hashes_of_long(column, out)
        if hashes is not None:
            interning.look_up(column.offsets, column.data, hashes, self.shift, self.slots, self.arena, out[0], found)

    def decode(self, words: Array) -> tuple[Array, Array]:
        """Offsets (int64[n + 1]) and bytes (uint8[...]) of the strings that `words` (int64[num_words, n]) stand for."""
        offsets = np.empty(words.shape[1] + 1, np.int64)
        if len(words) == 2:
            interning.pair_offsets(words[0], words[1], self.arena, offsets)
        else:
            interning.word_offsets(words[0], self.arena, offsets)
        data = np.empty(int(offsets[-1]), np.uint8)
        if len(words) == 2:
            interning.pair_bytes(words[0], words[1], self.arena, offsets, data)
        else:
            interning.word_bytes(words[0], self.arena, offsets, data)
        return offsets, data

    def _hashes_of_long(self, column: Column, out: Array) -> Array | None:
        """Fill in the words of strings that need no dictionary; hashes (uint64[n]) of the others, or None when there are
        none."""
        if len(out) == 2:
            most, longer = interning.PAIR, interning.pair_words(column.offsets, column.data, out[0], out[1])
        else:
            most, longer = interning.SHORT, interning.short_words(column.offsets, column.data, out[0])
        if not longer:
            return None
        hashes = np.empty(column.length, np.uint64)
        interning.hash_strings(column.offsets, column.data, column.flags, most, hashes)
        return hashes

    def _grow(self, length: int) -> None:
        """Make room for a string of `length` bytes, and for as much again as there is."""
        count, used = int(self.counters[0]), 8 * int(self.counters[1])
        needed = used + interning.HEADER_BYTES + length + 8
        if needed > len(self.arena):
            arena = np.empty(max(2 * len(self.arena), needed), np.uint8)
            arena[:used] = self.arena[:used]
            self.arena = arena
        if 8 * count >= 5 * len(self.slots):
            before = self.slots
            self.slots = np.zeros((4 if len(before) < 1 << 20 else 2) * len(before), np.uint64)
            grouping.move_slots(before, self.shift, self.slots)


class KeyEncoder:
    """Turns the key columns of batches into rows of words; equal words are equal keys, NULL equal to NULL.

    A single string key that is `growable` has one word, the number of the string or NULL in order of first appearance.
    Otherwise:

    A key has one word (WIDE: two): INT the value; UINT and FLOAT its bits, with one zero and one NaN; BYTES one or two, as the
    first strings are, see `kernels/interning.py`. After the keys come the null words, with bit i set where key i is NULL (its
    own words are 0 there).

    Args:
        types: of the keys.
        growable: True: the null words are added when the first NULL is encoded, so `num_words` may grow once between two calls
            of `encode`; words made before then lack rows of zeros. False: they are there from the start.

    The first call of `encode` with rows says how many words strings have.
    """

    def __init__(self, types: Sequence[SqlType], growable: bool) -> None:
        self.types = tuple(types)
        self.numbers = StringNumbers() if growable and [t.lane for t in self.types] == [Lane.BYTES] else None
        self.null_words = 0 if growable else self._flag_words
        self.dictionaries = [Dictionary() if t.lane is Lane.BYTES else None for t in self.types]
        self._widths = [2 if t.lane is Lane.WIDE else 1 for t in self.types]

    @property
    def _flag_words(self) -> int:
        return (len(self.types) + 63) // 64

    @property
    def key_words(self) -> int:
        """Words of the keys of a row now."""
        return sum(self._widths)

    @property
    def num_words(self) -> int:
        """Words a row has now."""
        return self.key_words + self.null_words

    @property
    def size_bytes(self) -> int:
        """Memory the dictionaries hold."""
        return sum(d.size_bytes for d in (self.numbers, *self.dictionaries) if d is not None)

    def encode(self, columns: Sequence[Column]) -> Array:
        """The words of each row, int64[num_words, n]; new strings are added. One thread at a time.

        The result may be a view of a column.
        """
        if self.numbers is not None:
            return self.numbers.encode(columns[0]).reshape(1, columns[0].length)
        for i, dictionary in enumerate(self.dictionaries):
            if dictionary is not None:
                self._widths[i] = dictionary.choose(columns[i])
        if self.null_words == 0 and any(c.valid is not None for c in columns):
            self.null_words = self._flag_words
        return self._words(columns, None)

    def lookup(self, columns: Sequence[Column]) -> tuple[Array, Array]:
        """The words of each row, int64[num_words, n], and found (uint8[n]): 0 where no encoded row can have this key.

        Adds nothing; any number of threads may look up while nobody encodes.
        """
        found = np.ones(columns[0].length, np.uint8)
        if self.numbers is not None:
            return self.numbers.lookup(columns[0], found).reshape(1, columns[0].length), found
        words = self._words(columns, found)
        if self.null_words == 0:
            for column in columns:
                if column.valid is not None:
                    found &= column.valid
        return words, found

    def decode(self, words: Array) -> list[Column]:
        """The key columns that rows of words (int64[num_words, n]) stand for."""
        if self.numbers is not None:
            return [self.numbers.decode(words[0])]
        length = words.shape[1]
        columns, at = [], 0
        for i, (key, dictionary, width) in enumerate(zip(self.types, self.dictionaries, self._widths)):
            lane = key.lane
            assert lane is not None
            valid = None
            if self.null_words:
                valid = ((words[self.key_words + i // 64] >> (i % 64)) & 1 == 0).view(np.uint8)
                valid = None if valid.all() else valid
            row = np.ascontiguousarray(words[at])
            if lane is Lane.WIDE:
                high = np.ascontiguousarray(words[at + 1])
                columns.append(Column(lane, row.view(np.uint64), high, None, None, valid, length))
            elif dictionary is not None:
                offsets, data = dictionary.decode(words[at : at + width])
                columns.append(Column(lane, None, None, offsets, data, valid, length))
            else:
                dtype = {Lane.INT: np.int64, Lane.UINT: np.uint64, Lane.FLOAT: np.float64}[lane]
                columns.append(Column(lane, row.view(dtype), None, None, None, valid, length))
            at += width
        return columns

    def _words(self, columns: Sequence[Column], found: Array | None) -> Array:
        if self.num_words == 1 and columns[0].lane in (Lane.INT, Lane.UINT) and columns[0].valid is None:
            assert columns[0].values is not None
            return columns[0].values.view(np.int64).reshape(1, columns[0].length)
        words = np.empty((self.num_words, columns[0].length), np.int64)
        if self.null_words:
            words[self.key_words :] = 0
        at = 0
        for i, (column, width) in enumerate(zip(columns, self._widths)):
            self._key(column, i, words[at : at + width], found)
            if column.valid is not None:
                words[at : at + width] *= column.valid
                if self.null_words:
                    words[self.key_words + i // 64] |= (column.valid == 0).astype(np.int64) << (i % 64)
            at += width
        return words

    def _key(self, column: Column, i: int, out: Array, found: Array | None) -> None:
        """out (int64[width, n]) = the words of key `i`."""
        dictionary = self.dictionaries[i]
        if dictionary is not None:
            if found is None:
                dictionary.encode(column, out)
            else:
                dictionary.lookup(column, out, found)
            return
        assert column.values is not None
        if column.lane is Lane.FLOAT:
            hashing.canonical_floats(column.values, column.values.view(np.uint64), out[0])
            return
        out[0] = column.values.view(np.int64)
        if column.lane is Lane.WIDE:
            out[1] = column.high


def partition_hash(columns: Sequence[Column]) -> Array:
    """The stable hash of each row's keys, uint64[n]: the same in every process, on every machine, for equal keys.

    It depends on values only (FLOAT: one zero, one NaN), never on dictionaries; on the order of the columns; and
    NULL is a value of its own.
    """
    hashes = np.zeros(columns[0].length, np.uint64)
    for column in columns:
        match column.lane:
            case Lane.BYTES:
                hashing.stable_bytes(column.offsets, column.data, column.flags, hashes)
            case Lane.WIDE:
                hashing.stable_wide(column.values, column.high, column.flags, hashes)
            case Lane.FLOAT:
                assert column.values is not None
                bits = np.empty(column.length, np.int64)
                hashing.canonical_floats(column.values, column.values.view(np.uint64), bits)
                hashing.stable_words(bits, column.flags, hashes)
            case Lane.INT | Lane.UINT:
                assert column.values is not None
                hashing.stable_words(column.values.view(np.int64), column.flags, hashes)
    return hashes
