"""Strings as numbers: every different string gets the next number, in order of first appearance, and so does NULL.

Records stand one after the other in `arena` (uint8[...]): a word with the string's length (lower half) and number (upper half),
then its bytes, filled up with zeros to a multiple of eight. `places` (int64[...]) holds where the record of each number begins,
in units of eight bytes; -1 for NULL, which has no record. Records are found by linear probing over `slots` (uint64[2^b]), as in
`interning.py`: 0 is empty, else the upper half of the hash and 1 + the place; `shift` is 64 - b. `counters` holds how many
numbers there are, the next place and the number of NULL, or -1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U8, U64, i64, kernel, void
from sabot_sql.executor.kernels.hashing import hash_long, hash_word, short_bits
from sabot_sql.executor.kernels.interning import HEADER_BYTES, copy_long, find, look_ahead, record_bytes
from sabot_sql.executor.kernels.memory import load64, store64

_U = np.uint64
_UPPER = _U(0xFFFFFFFF00000000)
_LOWER = _U(0xFFFFFFFF)


@kernel(void(I64, U8, U8, OUT_U64))
def hash_strings(offsets: Any, data: Any, valid: Any, hashes: Any) -> None:
    """hashes (uint64[n]) = a hash of each string, 0 only for NULL (`valid`, uint8[n] or empty, is 0)."""
    for i in range(len(hashes)):
        start = offsets[i]
        length = offsets[i + 1] - start
        if len(valid) != 0 and valid[i] == 0:
            hashes[i] = _U(0)
        elif length >= 8:
            hashes[i] = hash_long(data, start, length) | _U(1)
        else:
            hashes[i] = hash_word(short_bits(data, start, length) | (_U(length + 1) << _U(56))) | _U(1)


@kernel(i64(I64, U8, U64, i64, i64, OUT_U64, OUT_U8, OUT_I64, OUT_I64, OUT_I64))
def number(
    offsets: Any, data: Any, hashes: Any, first: Any, shift: Any, slots: Any, arena: Any, places: Any, counters: Any, out: Any
) -> Any:
    """Number the strings from row `first` on, adding new ones.

    Args:
        offsets (int64[n + 1]), data (uint8[...]), hashes (uint64[n], by `hash_strings`): the strings.
        shift, slots, arena, places, counters: what is known.
        out (int64[n]): the numbers.

    Returns:
        The row that found no room, or n.
    """
    for i in range(first, len(out)):
        look_ahead(hashes, i, shift, slots, arena)
        hashed = hashes[i]
        start = offsets[i]
        length = offsets[i + 1] - start
        if hashed == 0:
            if counters[2] < 0:
                if counters[0] >= len(places):
                    return i
                counters[2] = counters[0]
                places[counters[0]] = -1
                counters[0] += 1
            out[i] = counters[2]
            continue
        place = find(data, start, length, hashed, shift, slots, arena)
        record = 8 * place
        if place < 0:
            record = 8 * counters[1]
            if counters[0] >= len(places) or record + record_bytes(length) > len(arena):
                return i
            store64(arena, record, _U(length) | (_U(counters[0]) << _U(32)))
            if length >= 8:
                copy_long(data, start, length, arena, record + HEADER_BYTES)
            elif length > 0:
                store64(arena, record + HEADER_BYTES, short_bits(data, start, length))
            slots[-1 - place] = (hashed & _UPPER) | _U(counters[1] + 1)
            places[counters[0]] = counters[1]
            counters[0] += 1
            counters[1] += record_bytes(length) >> 3
        out[i] = np.int64(load64(arena, record) >> _U(32))
    return len(out)


@kernel(void(I64, U8, U64, i64, U64, U8, i64, OUT_I64, OUT_U8))
def look_up(offsets: Any, data: Any, hashes: Any, shift: Any, slots: Any, arena: Any, null: Any, out: Any, found: Any) -> None:
    """out (int64[n]) = the numbers of strings, without adding any; found (uint8[n]) becomes 0 where there is none.

    Args:
        null: the number of NULL, or -1.
    """
    for i in range(len(out)):
        look_ahead(hashes, i, shift, slots, arena)
        if hashes[i] == 0:
            out[i] = max(null, 0)
            found[i] &= np.uint8(null >= 0)
            continue
        place = find(data, offsets[i], offsets[i + 1] - offsets[i], hashes[i], shift, slots, arena)
        if place < 0:
            out[i] = 0
            found[i] = 0
        else:
            out[i] = np.int64(load64(arena, 8 * place) >> _U(32))


@kernel(void(I64, I64, U8, OUT_I64))
def number_offsets(numbers: Any, places: Any, arena: Any, offsets: Any) -> None:
    """offsets (int64[n + 1]) = where the strings of numbers (int64[n]) begin and end when laid one after the other."""
    total = np.int64(0)
    for i in range(len(numbers)):
        offsets[i] = total
        place = places[numbers[i]]
        if place >= 0:
            total += np.int64(load64(arena, 8 * place) & _LOWER)
    offsets[len(numbers)] = total


@kernel(void(I64, I64, U8, I64, OUT_U8))
def number_bytes(numbers: Any, places: Any, arena: Any, offsets: Any, out: Any) -> None:
    """Write the strings of numbers (int64[n]) to their places in out (uint8[offsets[n]])."""
    for i in range(len(numbers)):
        at = offsets[i]
        length = offsets[i + 1] - at
        if length == 0:
            continue
        begin = 8 * places[numbers[i]] + HEADER_BYTES
        if length >= 8:
            copy_long(arena, begin, length, out, at)
        elif at + 8 <= len(out):
            store64(out, at, load64(arena, begin))  # what is too much is written over by the next string
        else:
            for k in range(length):
                out[at + k] = arena[begin + k]
