"""Strings as words: equal strings get equal words, different strings different ones.

A string of up to seven bytes *is* its word: its length in the top byte, its bytes below. A longer one gets the word
-1 - p, where p is the place of its record in a dictionary. So words of strings are exact, never hashes.

A column may have two words a string instead, so that more strings do without a dictionary: of eight to fifteen bytes the first
eight are the one word, the length in the top byte and the rest below are the other; of all others the other word is 0.

A dictionary keeps records one after the other in `arena` (uint8[...]): the string's length (8 bytes) and its bytes, filled up
to a multiple of eight; places count in units of eight bytes. They are found by linear probing over `slots` (uint64[2^b]): 0 is
empty, else the upper half of the hash and 1 + the place; where to begin is told by the upper bits of the hash (`shift` is
64 - b), so that `grouping.move_slots` fills a larger table in order. `counters` holds the number of records and the place of
the next one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U8, U64, i64, inline, kernel, void
from sabot_sql.executor.kernels.hashing import hash_long, short_bits
from sabot_sql.executor.kernels.memory import load64, prefetch, store64

SHORT = 7
PAIR = 15
HEADER_BYTES = 8
AHEAD = 24

_U = np.uint64
_UPPER = _U(0xFFFFFFFF00000000)
_LOWER = _U(0xFFFFFFFF)


@inline
def record_bytes(length: Any) -> Any:
    """Bytes of a record: header, string, filler."""
    return HEADER_BYTES + ((length + 7) & ~7)


@inline
def stored_length(arena: Any, record: Any) -> Any:
    """Length of the string of the record that begins at byte `record`."""
    return np.int64(load64(arena, record))


@inline
def same_bytes(left: Any, a: Any, right: Any, b: Any, length: Any) -> Any:
    """Whether left[a : a + length] == right[b : b + length]; length is at least 8."""
    k = 0
    while k + 8 <= length:
        if load64(left, a + k) != load64(right, b + k):
            return False
        k += 8
    return load64(left, a + length - 8) == load64(right, b + length - 8)


@inline
def same_string(arena: Any, record: Any, data: Any, start: Any, length: Any) -> Any:
    """Whether a record, the lower half of whose first word is a length, holds the string data[start : start + length]."""
    if np.int64(load64(arena, record) & _LOWER) != length:
        return False
    if length >= 8:
        return same_bytes(arena, record + HEADER_BYTES, data, start, length)
    return length == 0 or load64(arena, record + HEADER_BYTES) == short_bits(data, start, length)


@kernel(i64(I64, U8, OUT_I64))
def short_words(offsets: Any, data: Any, out: Any) -> Any:
    """out (int64[n]) = the words of the strings that have up to seven bytes.

    Args:
        offsets (int64[n + 1]), data (uint8[...]): the strings.

    Returns:
        How many strings are longer; their words are to be had from `intern` or `look_up`.
    """
    n = len(out)
    near_end = n
    while near_end > 0 and offsets[near_end - 1] + 8 > len(data):
        near_end -= 1
    longer = 0
    for i in range(near_end):
        length = offsets[i + 1] - offsets[i]
        longer += 1 if length > SHORT else 0
        kept = min(length, SHORT)
        bits = load64(data, offsets[i]) & ((_U(1) << _U(8 * kept)) - _U(1))
        out[i] = np.int64(bits | (_U(kept) << _U(56)))
    for i in range(near_end, n):
        length = offsets[i + 1] - offsets[i]
        longer += 1 if length > SHORT else 0
        kept = min(length, SHORT)
        bits = _U(kept) << _U(56)
        for k in range(kept):
            bits |= _U(data[offsets[i] + k]) << _U(8 * k)
        out[i] = np.int64(bits)
    return longer


@kernel(i64(I64, U8, OUT_I64, OUT_I64))
def pair_words(offsets: Any, data: Any, first: Any, second: Any) -> Any:
    """first, second (int64[n]) = the two words of the strings that have up to fifteen bytes; 0 for longer ones.

    Args:
        offsets (int64[n + 1]), data (uint8[...]): the strings.

    Returns:
        How many strings are longer; their first words are to be had from `intern` or `look_up`.
    """
    longer = 0
    for i in range(len(first)):
        start = offsets[i]
        length = offsets[i + 1] - start
        word, rest = _U(0), _U(0)
        if length <= SHORT:
            word = short_bits(data, start, length) | (_U(length) << _U(56))
        elif length <= PAIR:
            word = load64(data, start)
            rest = ((load64(data, start + length - 8) >> _U(8)) >> _U(8 * (PAIR - length))) | (_U(length) << _U(56))
        else:
            longer += 1
        first[i] = np.int64(word)
        second[i] = np.int64(rest)
    return longer


@kernel(void(I64, U8, U8, i64, OUT_U64))
def hash_strings(offsets: Any, data: Any, valid: Any, most: Any, hashes: Any) -> None:
    """hashes (uint64[n]) = the fast hash of each string of more than `most` (at least seven) bytes that is not NULL; else 0."""
    for i in range(len(hashes)):
        length = offsets[i + 1] - offsets[i]
        if length > most and (len(valid) == 0 or valid[i] != 0):
            hashes[i] = hash_long(data, offsets[i], length) | _U(1)
        else:
            hashes[i] = _U(0)


@inline
def look_ahead(hashes: Any, i: Any, shift: Any, slots: Any, arena: Any) -> None:
    """Ask for the slot that row i + AHEAD needs and for the record that row i + AHEAD / 2 probably needs."""
    if i + AHEAD < len(hashes):
        prefetch(slots, np.int64(hashes[i + AHEAD] >> _U(shift)))
        slot = slots[np.int64(hashes[i + AHEAD // 2] >> _U(shift))]
        if slot != 0:
            prefetch(arena, 8 * (np.int64(slot & _LOWER) - 1))


@inline
def find(data: Any, start: Any, length: Any, hashed: Any, shift: Any, slots: Any, arena: Any) -> Any:
    """Where a string is in the dictionary: the place of its record, or -1 - (the slot it would get)."""
    mask = len(slots) - 1
    tag = hashed & _UPPER
    at = np.int64(hashed >> _U(shift))
    while True:
        slot = slots[at]
        if slot == 0:
            return -1 - at
        if (slot & _UPPER) == tag:
            place = np.int64(slot & _LOWER) - 1
            if same_string(arena, 8 * place, data, start, length):
                return place
        at = (at + 1) & mask


@inline
def copy_long(data: Any, start: Any, length: Any, out: Any, at: Any) -> None:
    """out[at : at + length] = data[start : start + length]; length is at least 8, and the last words overlap."""
    k = 0
    while k + 8 <= length:
        store64(out, at + k, load64(data, start + k))
        k += 8
    store64(out, at + length - 8, load64(data, start + length - 8))


@kernel(i64(I64, U8, U64, i64, i64, OUT_U64, OUT_U8, OUT_I64, OUT_I64))
def intern(
    offsets: Any, data: Any, hashes: Any, first: Any, shift: Any, slots: Any, arena: Any, counters: Any, out: Any
) -> Any:
    """Turn the long strings from row `first` on into words, adding new ones.

    Args:
        offsets (int64[n + 1]), data (uint8[...]), hashes (uint64[n], by `hash_strings`): the strings.
        shift, slots, arena, counters: the dictionary.
        out (int64[n]): the words.

    Returns:
        The row that found no room in the dictionary, or n.
    """
    for i in range(first, len(out)):
        look_ahead(hashes, i, shift, slots, arena)
        hashed = hashes[i]
        if hashed == 0:
            continue
        start = offsets[i]
        length = offsets[i + 1] - start
        place = find(data, start, length, hashed, shift, slots, arena)
        if place < 0:
            slot = -1 - place
            place = counters[1]
            record = 8 * place
            if 8 * counters[0] >= 5 * len(slots) or record + record_bytes(length) > len(arena):
                return i
            store64(arena, record, _U(length))
            copy_long(data, start, length, arena, record + HEADER_BYTES)
            slots[slot] = (hashed & _UPPER) | _U(place + 1)
            counters[0] += 1
            counters[1] = place + (record_bytes(length) >> 3)
        out[i] = -1 - place
    return len(out)


@kernel(void(I64, U8, U64, i64, U64, U8, OUT_I64, OUT_U8))
def look_up(offsets: Any, data: Any, hashes: Any, shift: Any, slots: Any, arena: Any, out: Any, found: Any) -> None:
    """Turn long strings into words without adding any: found[i] (uint8[n]) becomes 0 for one the dictionary does not have."""
    for i in range(len(out)):
        look_ahead(hashes, i, shift, slots, arena)
        if hashes[i] == 0:
            continue
        place = find(data, offsets[i], offsets[i + 1] - offsets[i], hashes[i], shift, slots, arena)
        if place < 0:
            found[i] = 0
            out[i] = 0
        else:
            out[i] = -1 - place


@kernel(void(I64, U8, OUT_I64))
def word_offsets(words: Any, arena: Any, offsets: Any) -> None:
    """offsets (int64[n + 1]) = where the strings of words (int64[n]) begin and end when laid one after the other."""
    total = 0
    for i in range(len(words)):
        offsets[i] = total
        word = words[i]
        if word >= 0:
            total += word >> 56
        else:
            total += stored_length(arena, 8 * (-1 - word))
    offsets[len(words)] = total


@kernel(void(I64, U8, I64, OUT_U8))
def word_bytes(words: Any, arena: Any, offsets: Any, out: Any) -> None:
    """Write the strings of words (int64[n]) to their places in out (uint8[offsets[n]])."""
    for i in range(len(words)):
        word = words[i]
        at = offsets[i]
        length = offsets[i + 1] - at
        if word >= 0:
            if at + 8 <= len(out):
                store64(out, at, _U(word))  # what is too much is written over by the next string
            else:
                for k in range(length):
                    out[at + k] = (word >> (8 * k)) & 255
        else:
            copy_long(arena, 8 * (-1 - word) + HEADER_BYTES, length, out, at)


@kernel(void(I64, I64, U8, OUT_I64))
def pair_offsets(first: Any, second: Any, arena: Any, offsets: Any) -> None:
    """As `word_offsets`, of strings of two words (int64[n] each)."""
    total = 0
    for i in range(len(first)):
        offsets[i] = total
        if second[i] != 0:
            total += second[i] >> 56
        elif first[i] >= 0:
            total += first[i] >> 56
        else:
            total += stored_length(arena, 8 * (-1 - first[i]))
    offsets[len(first)] = total


@kernel(void(I64, I64, U8, I64, OUT_U8))
def pair_bytes(first: Any, second: Any, arena: Any, offsets: Any, out: Any) -> None:
    """As `word_bytes`, of strings of two words (int64[n] each)."""
    for i in range(len(first)):
        word = first[i]
        at = offsets[i]
        length = offsets[i + 1] - at
        if second[i] == 0 and word < 0:
            copy_long(arena, 8 * (-1 - word) + HEADER_BYTES, length, out, at)
            continue
        rest = word
        if second[i] != 0:
            store64(out, at, _U(word))
            at += 8
            length -= 8
            rest = second[i]
        if at + 8 <= len(out):
            store64(out, at, _U(rest))  # what is too much is written over by the next string
        else:
            for k in range(length):
                out[at + k] = (rest >> (8 * k)) & 255
