"""Strings as words: equal strings get equal words, different strings different ones.

A string of up to seven bytes *is* its word: its length in the top byte, its bytes below. A longer one gets the word
-1 - code from a dictionary that numbers strings as they come. So words of strings are exact, never hashes.

A dictionary is a table with linear probing over `slots` (int64[2^b]): -1 is empty, else the upper half of the string's hash
and its code. The bytes of code c are arena[ends[c] : ends[c + 1]]. `counters` holds the number of codes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U8, U64, i64, inline, kernel, void
from sabot_sql.executor.kernels.hashing import hash_long
from sabot_sql.executor.kernels.memory import load64

SHORT = 7

_U = np.uint64
_UPPER = np.int64(~0xFFFFFFFF)
_LOWER = np.int64(0xFFFFFFFF)


@inline
def short_word(data: Any, start: Any, length: Any) -> Any:
    """The word of a string of up to seven bytes: int64."""
    if start + 8 <= len(data):
        bits = load64(data, start) & ((_U(1) << _U(8 * length)) - _U(1))
    else:
        bits = _U(0)
        for k in range(length):
            bits |= _U(data[start + k]) << _U(8 * k)
    return np.int64(bits | (_U(length) << _U(56)))


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
def find(data: Any, start: Any, length: Any, hashed: Any, slots: Any, ends: Any, arena: Any) -> Any:
    """Where a long string is in the table: its code, or -1 - (the slot it would get)."""
    mask = len(slots) - 1
    tag = np.int64(hashed) & _UPPER & np.int64(0x7FFFFFFFFFFFFFFF)
    at = np.int64(hashed) & mask
    while True:
        slot = slots[at]
        if slot < 0:
            return -1 - at
        if (slot & _UPPER) == tag:
            code = slot & _LOWER
            begin = ends[code]
            if ends[code + 1] - begin == length and same_bytes(arena, begin, data, start, length):
                return code
        at = (at + 1) & mask


@kernel(i64(I64, U8, U8, i64, OUT_I64, OUT_I64, OUT_U64, OUT_U8, OUT_I64, OUT_I64))
def intern(
    offsets: Any, data: Any, valid: Any, first: Any, slots: Any, ends: Any, hashes: Any, arena: Any, counters: Any, out: Any
) -> Any:
    """Turn strings from row `first` on into words, adding new ones.

    Args:
        offsets (int64[n + 1]), data (uint8[...]), valid (uint8[n] or empty): the strings; NULL gets the word 0.
        slots, ends (int64[capacity + 1]), hashes (uint64[capacity]), arena, counters: the dictionary.
        out (int64[n]): the words.

    Returns:
        The row that found no room in the dictionary, or n.
    """
    count = counters[0]
    for i in range(first, len(out)):
        if len(valid) != 0 and valid[i] == 0:
            out[i] = 0
            continue
        start = offsets[i]
        length = offsets[i + 1] - start
        if length <= SHORT:
            out[i] = short_word(data, start, length)
            continue
        hashed = hash_long(data, start, length)
        code = find(data, start, length, hashed, slots, ends, arena)
        if code < 0:
            used = ends[count]
            if count >= len(hashes) or 2 * count >= len(slots) or used + length > len(arena):
                counters[0] = count
                return i
            for k in range(length):
                arena[used + k] = data[start + k]
            slots[-1 - code] = (np.int64(hashed) & _UPPER & np.int64(0x7FFFFFFFFFFFFFFF)) | count
            hashes[count] = hashed
            code = count
            count += 1
            ends[count] = used + length
        out[i] = -1 - code
    counters[0] = count
    return len(out)


@kernel(void(I64, U8, U8, I64, I64, U8, OUT_I64, OUT_U8))
def look_up(offsets: Any, data: Any, valid: Any, slots: Any, ends: Any, arena: Any, out: Any, found: Any) -> None:
    """Turn strings into words without adding any: found[i] (uint8[n]) becomes 0 for a string the dictionary does not have."""
    for i in range(len(out)):
        out[i] = 0
        if len(valid) != 0 and valid[i] == 0:
            continue
        start = offsets[i]
        length = offsets[i + 1] - start
        if length <= SHORT:
            out[i] = short_word(data, start, length)
            continue
        code = find(data, start, length, hash_long(data, start, length), slots, ends, arena)
        if code < 0:
            found[i] = 0
        else:
            out[i] = -1 - code


@kernel(void(U64, i64, OUT_I64))
def fill_slots(hashes: Any, count: Any, slots: Any) -> None:
    """Enter the first `count` codes into empty slots."""
    mask = len(slots) - 1
    for code in range(count):
        hashed = np.int64(hashes[code])
        at = hashed & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = (hashed & _UPPER & np.int64(0x7FFFFFFFFFFFFFFF)) | code


@kernel(void(I64, I64, OUT_I64))
def word_offsets(words: Any, ends: Any, offsets: Any) -> None:
    """offsets (int64[n + 1]) = where the strings of words (int64[n]) begin and end when laid one after the other."""
    total = 0
    for i in range(len(words)):
        offsets[i] = total
        word = words[i]
        if word >= 0:
            total += word >> 56
        else:
            total += ends[-word] - ends[-1 - word]
    offsets[len(words)] = total


@kernel(void(I64, I64, U8, I64, OUT_U8))
def word_bytes(words: Any, ends: Any, arena: Any, offsets: Any, out: Any) -> None:
    """Write the strings of words (int64[n]) to their places in out (uint8[offsets[n]])."""
    for i in range(len(words)):
        word = words[i]
        at = offsets[i]
        length = offsets[i + 1] - at
        if word >= 0:
            for k in range(length):
                out[at + k] = (word >> (8 * k)) & 255
        else:
            begin = ends[-1 - word]
            for k in range(length):
                out[at + k] = arena[begin + k]
