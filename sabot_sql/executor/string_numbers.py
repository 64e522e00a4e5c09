"""The strings of a key column as numbers: the caller side of `kernels/numbering.py`, with the memory that grows."""

from __future__ import annotations

import numpy as np

from sabot_sql.executor.columns import Array, Column
from sabot_sql.executor.kernels import grouping, interning, numbering
from sabot_sql.types import Lane

INITIAL_SLOTS = 1024


class StringNumbers:
    """Numbers strings, and NULL, in order of first appearance."""

    def __init__(self) -> None:
        self.counters = np.array([0, 0, -1])
        self.slots = np.zeros(INITIAL_SLOTS, np.uint64)
        self.arena = np.empty(32 * INITIAL_SLOTS, np.uint8)
        self.places = np.empty(INITIAL_SLOTS * 5 // 8, np.int64)

    @property
    def count(self) -> int:
        """Numbers so far."""
        return int(self.counters[0])

    @property
    def size_bytes(self) -> int:
        """Memory held; what was not written to yet of the arena takes none."""
        return int(self.slots.nbytes + 8 * self.counters[1] + self.places.nbytes)

    @property
    def shift(self) -> int:
        """64 - log2(number of slots)."""
        return 65 - len(self.slots).bit_length()

    def encode(self, column: Column) -> Array:
        """The number of each string, int64[n]; new strings are added. One thread at a time."""
        assert column.offsets is not None
        offsets, data, hashes = column.offsets, column.data, _hashes(column)
        out, row = np.empty(column.length, np.int64), 0
        while True:
            row = numbering.number(
                offsets, data, hashes, row, self.shift, self.slots, self.arena, self.places, self.counters, out
            )
            if row == column.length:
                return out
            self._grow(int(offsets[row + 1] - offsets[row]))

    def lookup(self, column: Column, found: Array) -> Array:
        """The number of each string, int64[n]; found (uint8[n]) becomes 0 where it has none. Adds nothing."""
        out, null = np.empty(column.length, np.int64), int(self.counters[2])
        hashes = _hashes(column)
        numbering.look_up(column.offsets, column.data, hashes, self.shift, self.slots, self.arena, null, out, found)
        return out

    def decode(self, numbers: Array) -> Column:
        """The strings of numbers (int64[n])."""
        offsets = np.empty(len(numbers) + 1, np.int64)
        numbering.number_offsets(numbers, self.places, self.arena, offsets)
        data = np.empty(int(offsets[-1]), np.uint8)
        numbering.number_bytes(numbers, self.places, self.arena, offsets, data)
        null = numbers == self.counters[2]
        valid = (~null).view(np.uint8) if null.any() else None
        return Column(Lane.BYTES, None, None, offsets, data, valid, len(numbers))

    def _grow(self, length: int) -> None:
        """Make room for a string of `length` bytes, and for several times what there is: the fewer copies the better."""
        used = 8 * int(self.counters[1])
        needed = used + interning.HEADER_BYTES + length + 8
        if needed > len(self.arena):
            arena = np.empty(max(4 * len(self.arena), needed), np.uint8)
            arena[:used] = self.arena[:used]
            self.arena = arena
        if self.count == len(self.places):
            before = self.slots
            self.slots = np.zeros((4 if len(before) < 1 << 20 else 2) * len(before), np.uint64)
            grouping.move_slots(before, self.shift, self.slots)
            places = np.empty(len(self.slots) * 5 // 8, np.int64)
            places[: self.count] = self.places
            self.places = places


def _hashes(column: Column) -> Array:
    hashes = np.empty(column.length, np.uint64)
    numbering.hash_strings(column.offsets, column.data, column.flags, hashes)
    return hashes
