"""Hashes: a stable one that agrees between processes and machines (partitions), a fast one for tables in memory.

The two are independent of each other: rows of one partition share bits of the stable hash and must still spread in a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import F64, I64, OUT_I64, OUT_U64, U8, U64, WORDS, inline, kernel, void
from sabot_sql.executor.kernels.memory import load32, load64, multiply_high

_U = np.uint64

GOLDEN = _U(0x9E3779B97F4A7C15)
MIX_1 = _U(0xBF58476D1CE4E5B9)
MIX_2 = _U(0x94D049BB133111EB)
ODD = _U(0xD1342543DE82EF95)
NULL_HASH = _U(0x6A09E667F3BCC909)
NAN_BITS = _U(0x7FF8000000000000)

P1 = _U(0x9E3779B185EBCA87)
P2 = _U(0xC2B2AE3D27D4EB4F)
P3 = _U(0x165667B19E3779F9)
P4 = _U(0x85EBCA77C2B2AE63)
P5 = _U(0x27D4EB2F165667C5)

SECRET_0 = _U(0xA0761D6478BD642F)
SECRET_1 = _U(0xE7037ED1A0B428DB)
SECRET_2 = _U(0x8EBC6AF09C88C6E3)


@inline
def mix64(word: Any) -> Any:
    """One step of splitmix64 from the state `word` (Steele, Lea, Flood 2014): uint64 -> uint64, bijective."""
    word = word + GOLDEN
    word = (word ^ (word >> _U(30))) * MIX_1
    word = (word ^ (word >> _U(27))) * MIX_2
    return word ^ (word >> _U(31))


@inline
def rotate(word: Any, bits: Any) -> Any:
    return (word << _U(bits)) | (word >> _U(64 - bits))


@inline
def xxh64(data: Any, start: Any, length: Any) -> Any:
    """XXH64 with seed 0 of data[start : start + length] (the specification in github.com/Cyan4973/xxHash/doc)."""
    at = start
    end = start + length
    if length >= 32:
        a, b, c, d = P1 + P2, P2, _U(0), _U(0) - P1
        while at + 32 <= end:
            a = rotate(a + load64(data, at) * P2, 31) * P1
            b = rotate(b + load64(data, at + 8) * P2, 31) * P1
            c = rotate(c + load64(data, at + 16) * P2, 31) * P1
            d = rotate(d + load64(data, at + 24) * P2, 31) * P1
            at += 32
        total = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)
        total = (total ^ (rotate(a * P2, 31) * P1)) * P1 + P4
        total = (total ^ (rotate(b * P2, 31) * P1)) * P1 + P4
        total = (total ^ (rotate(c * P2, 31) * P1)) * P1 + P4
        total = (total ^ (rotate(d * P2, 31) * P1)) * P1 + P4
    else:
        total = P5
    total = total + _U(length)
    while at + 8 <= end:
        total = rotate(total ^ (rotate(load64(data, at) * P2, 31) * P1), 27) * P1 + P4
        at += 8
    if at + 4 <= end:
        total = rotate(total ^ (_U(load32(data, at)) * P1), 23) * P2 + P3
        at += 4
    while at < end:
        total = rotate(total ^ (_U(data[at]) * P5), 11) * P1
        at += 1
    total = (total ^ (total >> _U(33))) * P2
    total = (total ^ (total >> _U(29))) * P3
    return total ^ (total >> _U(32))


@inline
def fold(a: Any, b: Any) -> Any:
    """The two halves of the 128-bit product of a and b (uint64), folded into one."""
    return (a * b) ^ multiply_high(a, b)


@inline
def hash_word(word: Any) -> Any:
    """The fast hash of one word: int64 or uint64 -> uint64, bijective. Never leaves the process."""
    mixed = _U(word)
    mixed = (mixed ^ (mixed >> _U(32))) * GOLDEN
    return mixed ^ (mixed >> _U(32))


@inline
def hash_long(data: Any, start: Any, length: Any) -> Any:
    """The hash of at least eight bytes, after wyhash (Wang Yi, 2019): uint64."""
    at = start
    end = start + length
    total = SECRET_2 ^ _U(length)
    while at + 16 < end:
        total = fold(load64(data, at) ^ SECRET_0, load64(data, at + 8) ^ total)
        at += 16
    if length >= 16:
        return fold(SECRET_1 ^ load64(data, end - 16), load64(data, end - 8) ^ total)
    return fold(SECRET_1 ^ load64(data, start), load64(data, end - 8) ^ total)


@inline
def short_bits(data: Any, start: Any, length: Any) -> Any:
    """The bytes of a string of up to seven, as the lower bytes of a uint64."""
    if start + 8 <= len(data):
        return load64(data, start) & ((_U(1) << _U(8 * length)) - _U(1))
    bits = _U(0)
    for k in range(length):
        bits |= _U(data[start + k]) << _U(8 * k)
    return bits


@inline
def combined(total: Any, value: Any) -> Any:
    """The stable hash of a row so far with the next column's: order matters, equal ones do not cancel."""
    return mix64(total * ODD + value)


@kernel(void(WORDS, OUT_U64))
def hash_words(words: Any, out: Any) -> None:
    """out (uint64[n]) = the fast hash of each row of words (int64[k, n])."""
    num_words, num_rows = words.shape
    if num_words == 1:
        for i in range(num_rows):
            out[i] = hash_word(words[0, i])
    elif num_words == 2:
        for i in range(num_rows):
            out[i] = hash_word(_U(words[0, i]) ^ hash_word(words[1, i]))
    else:
        for i in range(num_rows):
            out[i] = hash_word(words[num_words - 1, i])
        for k in range(num_words - 1):
            for i in range(num_rows):
                out[i] = hash_word(_U(words[k, i]) ^ out[i])


@kernel(void(I64, U8, OUT_U64))
def stable_words(values: Any, valid: Any, hashes: Any) -> None:
    """Combine a column of words into hashes (uint64[n]); `valid` (uint8[n]) may be empty: no NULLs."""
    if len(valid) == 0:
        for i in range(len(hashes)):
            hashes[i] = combined(hashes[i], mix64(_U(values[i])))
    else:
        for i in range(len(hashes)):
            hashes[i] = combined(hashes[i], mix64(_U(values[i])) if valid[i] != 0 else NULL_HASH)


@kernel(void(U64, I64, U8, OUT_U64))
def stable_wide(low: Any, high: Any, valid: Any, hashes: Any) -> None:
    """Combine a column of 128-bit integers into hashes (uint64[n]); `valid` may be empty: no NULLs."""
    for i in range(len(hashes)):
        value = mix64(mix64(low[i]) * ODD + _U(high[i]))
        hashes[i] = combined(hashes[i], value if len(valid) == 0 or valid[i] != 0 else NULL_HASH)


@inline
def stable_string(data: Any, start: Any, length: Any) -> Any:
    """The stable hash of a byte string."""
    if length >= 8:
        return hash_long(data, start, length)
    return mix64(short_bits(data, start, length) | (_U(length) << _U(56)))


@kernel(void(I64, U8, U8, OUT_U64))
def stable_bytes(offsets: Any, data: Any, valid: Any, hashes: Any) -> None:
    """Combine a column of byte strings into hashes (uint64[n]); `valid` may be empty: no NULLs.

    Up to seven bytes are one number, with the length in its top byte; longer strings have the hash of `hash_long`.
    """
    n = len(hashes)
    near_end = n
    while near_end > 0 and offsets[near_end - 1] + 8 > len(data):
        near_end -= 1
    if len(valid) == 0:
        for i in range(near_end):
            length = offsets[i + 1] - offsets[i]
            if length >= 8:
                value = hash_long(data, offsets[i], length)
            else:
                bits = load64(data, offsets[i]) & ((_U(1) << _U(8 * length)) - _U(1))
                value = mix64(bits | (_U(length) << _U(56)))
            hashes[i] = combined(hashes[i], value)
    for i in range(near_end if len(valid) == 0 else 0, n):
        if len(valid) == 0 or valid[i] != 0:
            hashes[i] = combined(hashes[i], stable_string(data, offsets[i], offsets[i + 1] - offsets[i]))
        else:
            hashes[i] = combined(hashes[i], NULL_HASH)


@kernel(void(F64, U64, OUT_I64))
def canonical_floats(values: Any, raw: Any, out: Any) -> None:
    """out (int64[n]) = the bits of values (float64[n], `raw` is the same memory as uint64[n]) with one zero and one NaN."""
    for i in range(len(out)):
        value = values[i]
        if value != value:
            out[i] = np.int64(NAN_BITS)
        elif value == 0.0:
            out[i] = 0
        else:
            out[i] = np.int64(raw[i])
