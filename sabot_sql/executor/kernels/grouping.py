"""Group tables: every distinct row of words gets a number, in order of first appearance.

Open addressing with linear probing over a power of two of slots, at most 5/8 of them taken. A row's first slot is told by the
upper bits of its hash, so the slots are nearly in the order of the hashes and a larger table is filled from start to end
instead of at random. Empty slots are zero, because fresh zeroed memory costs nothing until it is written to. A table over one
word keeps key and group side by side, slots[2 s] and slots[2 s + 1] (group + 1), so a probe touches one cache line. A table
over several words keeps the upper half of the hash and group + 1 in one word and the keys of group g in keys[g]. The caller
owns all arrays, grows them when a kernel returns early, and goes on from the row returned. `counters` holds the number of
groups; `shift` is 64 - log2(number of slots).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U64, OUT_WORDS, U8, U64, WORDS, i64, inline, kernel, void
from sabot_sql.executor.kernels.hashing import hash_word
from sabot_sql.executor.kernels.memory import prefetch

AHEAD = 24
CACHED_SLOTS = 1 << 14

_U = np.uint64
_UPPER = _U(0xFFFFFFFF00000000)
_LOWER = _U(0xFFFFFFFF)


@inline
def slot_of(word: Any, shift: Any) -> Any:
    return np.int64(hash_word(word) >> _U(shift))


@kernel(i64(I64, U8, i64, i64, OUT_I64, OUT_I64, OUT_I64, OUT_I64))
def group_word(words: Any, live: Any, first: Any, shift: Any, slots: Any, keys: Any, counters: Any, out_groups: Any) -> Any:
    """Number the rows from `first` on by their one word.

    Args:
        words (int64[n]).
        live (uint8[n] or empty): 0 is a row that gets the group -1 and is not entered.
        slots (int64[2 capacity]), keys (int64[5/8 capacity]): the table; keys[g] is the word of group g.
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
            prefetch(slots, 2 * slot_of(words[i + ahead], shift))
        if len(live) != 0 and live[i] == 0:
            out_groups[i] = -1
            continue
        word = words[i]
        at = slot_of(word, shift)
        while True:
            group = slots[2 * at + 1] - 1
            if group < 0:
                if count >= len(keys):
                    counters[0] = count
                    return i
                group = count
                slots[2 * at] = word
                slots[2 * at + 1] = group + 1
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
def move_word_slots(before: Any, shift: Any, slots: Any) -> None:
    """Enter the keys of a smaller table (int64[2 ...]) into empty slots (int64[2 capacity])."""
    mask = (len(slots) >> 1) - 1
    for i in range(len(before) >> 1):
        if before[2 * i + 1] != 0:
            at = slot_of(before[2 * i], shift)
            while slots[2 * at + 1] != 0:
                at = (at + 1) & mask
            slots[2 * at] = before[2 * i]
            slots[2 * at + 1] = before[2 * i + 1]


@inline
def same_key(keys: Any, group: Any, words: Any, row: Any) -> Any:
    differ = (keys[group, 0] ^ words[0, row]) | (keys[group, 1] ^ words[1, row])
    for k in range(2, words.shape[0]):
        differ |= keys[group, k] ^ words[k, row]
    return differ == 0


@kernel(i64(WORDS, U64, U8, i64, i64, OUT_U64, OUT_WORDS, OUT_I64, OUT_I64))
def group_words(
    words: Any, hashes: Any, live: Any, first: Any, shift: Any, slots: Any, keys: Any, counters: Any, out_groups: Any
) -> Any:
    """Number the rows from `first` on by all their words.

    Args:
        words (int64[k, n]), hashes (uint64[n]): the rows and `hash_words` of them.
        live (uint8[n] or empty): 0 is a row that gets the group -1 and is not entered.
        slots (uint64[capacity]), keys (int64[5/8 capacity, k]): the table.
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
            prefetch(slots, np.int64(hashes[i + ahead] >> _U(shift)))
            near = slots[np.int64(hashes[i + AHEAD // 2] >> _U(shift))]
            if near != 0:
                prefetch(flat_keys, (np.int64(near & _LOWER) - 1) * words.shape[0])
        if len(live) != 0 and live[i] == 0:
            out_groups[i] = -1
            continue
        tag = hashes[i] & _UPPER
        at = np.int64(hashes[i] >> _U(shift))
        while True:
            slot = slots[at]
            if slot == 0:
                if count >= keys.shape[0]:
                    counters[0] = count
                    return i
                group = count
                slots[at] = tag | _U(group + 1)
                for k in range(words.shape[0]):
                    keys[group, k] = words[k, i]
                count += 1
                break
            group = np.int64(slot & _LOWER) - 1
            if (slot & _UPPER) == tag and same_key(keys, group, words, i):
                break
            at = (at + 1) & mask
        out_groups[i] = group
    counters[0] = count
    return n


@inline
def enter(slot: Any, shift: Any, slots: Any) -> None:
    """Put a slot's content (tag and number) into the first empty slot from where its tag belongs."""
    at = np.int64((slot & _UPPER) >> _U(shift))
    while slots[at] != 0:
        at = (at + 1) & (len(slots) - 1)
    slots[at] = slot


@kernel(void(U64, i64, OUT_U64))
def move_slots(before: Any, shift: Any, slots: Any) -> None:
    """Enter what the slots of a smaller table (uint64[...]) hold into empty slots (uint64[capacity])."""
    for i in range(len(before)):
        if before[i] != 0:
            enter(before[i], shift, slots)


@kernel(void(U64, i64, OUT_U64))
def fill_slots(hashes: Any, shift: Any, slots: Any) -> None:
    """Enter groups 0, 1, ... by their hashes (uint64[n]) into empty slots (uint64[capacity])."""
    for group in range(len(hashes)):
        enter((hashes[group] & _UPPER) | _U(group + 1), shift, slots)


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
