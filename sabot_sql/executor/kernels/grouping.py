"""Group tables: every distinct row of words gets a number, in order of first appearance.

Open addressing with linear probing over a power of two of slots, at most half of them taken. A table over one word keeps key
and group side by side, slots[2 s] and slots[2 s + 1] (group -1: empty), so a probe touches one cache line. A table over several
words keeps the upper half of the hash and the group in one word (-1: empty) and the keys of group g in keys[g]. The caller owns
all arrays, grows them when a kernel returns early, and goes on from the row returned. `counters` holds the number of groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U64, OUT_WORDS, U8, U64, WORDS, i64, inline, kernel, void
from sabot_sql.executor.kernels.hashing import hash_word
from sabot_sql.executor.kernels.memory import prefetch

AHEAD = 24
CACHED_SLOTS = 1 << 14

_UPPER = np.int64(0x7FFFFFFF00000000)
_LOWER = np.int64(0xFFFFFFFF)


@inline
def slot_of(word: Any, mask: Any) -> Any:
    return np.int64(hash_word(word)) & mask


@kernel(i64(I64, U8, i64, OUT_I64, OUT_I64, OUT_I64, OUT_I64))
def group_word(words: Any, live: Any, first: Any, slots: Any, keys: Any, counters: Any, out_groups: Any) -> Any:
    """Number the rows from `first` on by their one word.

    Args:
        words (int64[n]).
        live (uint8[n] or empty): 0 is a row that gets the group -1 and is not entered.
        slots (int64[2 capacity]), keys (int64[capacity // 2]): the table; keys[g] is the word of group g.
        out_groups (int64[n]): the groups.

    Returns:
        The row that found the table full, or n.
    """
    n = len(words)
    mask = (len(slots) >> 1) - 1
    count = counters[0]
    ahead = AHEAD if mask >= CACHED_SLOTS else 0
    for i in range(first, n):
        if ahead != 0 and i + ahead < n:
            prefetch(slots, 2 * slot_of(words[i + ahead], mask))
        if len(live) != 0 and live[i] == 0:
            out_groups[i] = -1
            continue
        word = words[i]
        at = slot_of(word, mask)
        while True:
            group = slots[2 * at + 1]
            if group < 0:
                if count >= len(keys):
                    counters[0] = count
                    return i
                group = count
                slots[2 * at] = word
                slots[2 * at + 1] = group
                keys[group] = word
                count += 1
                break
            if slots[2 * at] == word:
                break
            at = (at + 1) & mask
        out_groups[i] = group
    counters[0] = count
    return n


@kernel(void(I64, i64, OUT_I64))
def fill_word_slots(keys: Any, count: Any, slots: Any) -> None:
    """Enter the first `count` keys into empty slots (int64[2 capacity])."""
    mask = (len(slots) >> 1) - 1
    for group in range(count):
        if group + AHEAD < count:
            prefetch(slots, 2 * slot_of(keys[group + AHEAD], mask))
        at = slot_of(keys[group], mask)
        while slots[2 * at + 1] >= 0:
            at = (at + 1) & mask
        slots[2 * at] = keys[group]
        slots[2 * at + 1] = group


@inline
def same_key(keys: Any, group: Any, words: Any, row: Any) -> Any:
    differ = (keys[group, 0] ^ words[0, row]) | (keys[group, 1] ^ words[1, row])
    for k in range(2, words.shape[0]):
        differ |= keys[group, k] ^ words[k, row]
    return differ == 0


@kernel(i64(WORDS, U64, U8, i64, OUT_I64, OUT_WORDS, OUT_U64, OUT_I64, OUT_I64))
def group_words(
    words: Any, hashes: Any, live: Any, first: Any, slots: Any, keys: Any, key_hashes: Any, counters: Any, out_groups: Any
) -> Any:
    """Number the rows from `first` on by all their words.

    Args:
        words (int64[k, n]), hashes (uint64[n]): the rows and `hash_words` of them.
        live (uint8[n] or empty): 0 is a row that gets the group -1 and is not entered.
        slots (int64[capacity]), keys (int64[capacity // 2, k]), key_hashes (uint64[capacity // 2]): the table.
        out_groups (int64[n]): the groups.

    Returns:
        The row that found the table full, or n.
    """
    n = len(out_groups)
    mask = len(slots) - 1
    count = counters[0]
    ahead = AHEAD if mask >= 2 * CACHED_SLOTS else 0
    flat_keys = keys.reshape(-1)
    for i in range(first, n):
        if ahead != 0 and i + ahead < n:
            prefetch(slots, np.int64(hashes[i + ahead]) & mask)
            near = slots[np.int64(hashes[i + AHEAD // 2]) & mask]
            if near >= 0:
                prefetch(flat_keys, (near & _LOWER) * words.shape[0])
        if len(live) != 0 and live[i] == 0:
            out_groups[i] = -1
            continue
        hashed = np.int64(hashes[i])
        tag = hashed & _UPPER
        at = hashed & mask
        while True:
            slot = slots[at]
            if slot < 0:
                if count >= len(key_hashes):
                    counters[0] = count
                    return i
                group = count
                slots[at] = tag | group
                for k in range(words.shape[0]):
                    keys[group, k] = words[k, i]
                key_hashes[group] = hashes[i]
                count += 1
                break
            group = slot & _LOWER
            if (slot & _UPPER) == tag and same_key(keys, group, words, i):
                break
            at = (at + 1) & mask
        out_groups[i] = group
    counters[0] = count
    return n


@kernel(void(U64, i64, OUT_I64))
def fill_slots(key_hashes: Any, count: Any, slots: Any) -> None:
    """Enter the first `count` groups into empty slots (int64[capacity])."""
    mask = len(slots) - 1
    for group in range(count):
        if group + AHEAD < count:
            prefetch(slots, np.int64(key_hashes[group + AHEAD]) & mask)
        hashed = np.int64(key_hashes[group])
        at = hashed & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = (hashed & _UPPER) | group


@kernel(void(I64, i64, i64, OUT_I64))
def first_rows(groups: Any, old: Any, new: Any, out: Any) -> None:
    """out (int64[new - old]) = the first row of each group from `old` up to `new`, which appear in this order."""
    found = old
    for i in range(len(groups)):
        if found == new:
            break
        if groups[i] == found:
            out[found - old] = i
            found += 1
