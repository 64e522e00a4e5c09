"""Kernels of the hash join: a table from key words to groups of build rows, its probe, and the pairs that match.

A *group* is the set of build rows with one key. Two tables find a key's group:

- ranks (one word, values close together): bitmap words and the number of set bits before each, side by side in
  `table` (uint64[2 * blocks]); the group is the rank of the key's bit.
- slots (anything else): linear probing over `slots` (int64[2 * 2^b]), pairs of (word or hash, group + 1), 0 is empty; groups
  are numbered by first occurrence.

`usable` (uint8[n]) is 0 for rows whose key cannot match; it may be empty: all can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, OUT_U64, U8, U64, WORDS, i64, inline, kernel, u8, void
from sabot_sql.executor.kernels.hashing import hash_word
from sabot_sql.executor.kernels.memory import prefetch

AHEAD = 16  # rows between the prefetch of a slot and its use
BLOCK = 256  # rows whose slots are asked for before the first is used

_U = np.uint64


@inline
def ones(word: Any) -> Any:
    """The number of set bits of a uint64 (compilers know this form as one instruction)."""
    word = word - ((word >> _U(1)) & _U(0x5555555555555555))
    word = (word & _U(0x3333333333333333)) + ((word >> _U(2)) & _U(0x3333333333333333))
    word = (word + (word >> _U(4))) & _U(0x0F0F0F0F0F0F0F0F)
    return (word * _U(0x0101010101010101)) >> _U(56)


@kernel(i64(I64, U8, OUT_I64))
def key_bounds(words: Any, usable: Any, out: Any) -> Any:
    """out (int64[2]) = least and greatest of the usable words (int64[n]), untouched when there is none.

    Returns:
        The number of usable rows.
    """
    count: Any = np.int64(0)
    low: Any = np.int64(9223372036854775807)
    high: Any = np.int64(-9223372036854775808)
    if len(usable) == 0:
        for i in range(len(words)):
            low = min(low, words[i])
            high = max(high, words[i])
        count = len(words)
    else:
        for i in range(len(words)):
            if usable[i] != 0:
                low = min(low, words[i])
                high = max(high, words[i])
                count += 1
    if count > 0:
        out[0] = low
        out[1] = high
    return count


@kernel(void(I64, U8, i64, i64, i64, OUT_U64))
def rank_mark(words: Any, usable: Any, base: Any, first: Any, last: Any, table: Any) -> None:
    """Set the bits of the usable words in rows [first, last)."""
    for i in range(first, last):
        if len(usable) == 0 or usable[i] != 0:
            at = _U(words[i]) - _U(np.int64(base))
            table[_U(2) * (at >> _U(6))] |= _U(1) << (at & _U(63))


@kernel(i64(OUT_U64))
def rank_count(table: Any) -> Any:
    """Fill in the ranks; returns the number of groups."""
    total = _U(0)
    for block in range(len(table) // 2):
        table[2 * block + 1] = total
        total += ones(table[2 * block])
    return np.int64(total)


@kernel(i64(I64, U8, i64, i64, i64, U64, OUT_I64))
def rank_find(words: Any, usable: Any, base: Any, first: Any, last: Any, table: Any, out: Any) -> Any:
    """out[i] (int64[n]) = the group of each word in rows [first, last), -1 for none; returns how many have one."""
    count: Any = np.int64(0)
    size = _U(len(table)) << _U(5)
    for i in range(first, last):
        at = _U(words[i]) - _U(np.int64(base))
        group = np.int64(-1)
        if at < size and (len(usable) == 0 or usable[i] != 0):
            block = _U(2) * (at >> _U(6))
            bits = table[block]
            if (bits >> (at & _U(63))) & _U(1):
                below = bits & ((_U(1) << (at & _U(63))) - _U(1))
                group = np.int64(table[block + _U(1)] + ones(below))
        out[i] = group
        count += np.int64(group >= 0)
    return count


@kernel(i64(I64, U8, i64, i64, i64, OUT_I64, OUT_I64))
def slot_insert_word(words: Any, usable: Any, first: Any, last: Any, groups: Any, slots: Any, out: Any) -> Any:
    """Enter one-word keys of rows [first, last); `groups` exist already.

    Args:
        out (int64[n]): the group of each row, -1 for rows that are not usable.

    Returns:
        The number of groups now.
    """
    mask = _U(len(slots) // 2 - 1)
    for i in range(first, last):
        if i + AHEAD < last:
            prefetch(slots, np.int64(_U(2) * (hash_word(words[i + AHEAD]) & mask)))
        if len(usable) != 0 and usable[i] == 0:
            out[i] = -1
            continue
        word = words[i]
        at = hash_word(word) & mask
        while True:
            group = slots[_U(2) * at + _U(1)]
            if group == 0:
                groups += 1
                slots[_U(2) * at] = word
                slots[_U(2) * at + _U(1)] = groups
                group = groups
                break
            if slots[_U(2) * at] == word:
                break
            at = (at + _U(1)) & mask
        out[i] = group - 1
    return groups


@kernel(void(I64, U8, i64, i64, OUT_U64))
def filter_mark(words: Any, usable: Any, first: Any, last: Any, bits: Any) -> None:
    """Set a bit of `bits` (uint64[2^b]) for each usable one-word key in rows [first, last), by the upper bits of its hash."""
    mask = _U(np.int64(len(bits) * 64 - 1))
    for i in range(first, last):
        if len(usable) == 0 or usable[i] != 0:
            at = (hash_word(words[i]) >> _U(32)) & mask
            bits[at >> _U(6)] |= _U(1) << (at & _U(63))


@inline
def drop_unusable(usable: Any, first: Any, last: Any, out: Any) -> Any:
    """Set out to -1 where `usable` is 0, in rows [first, last); returns how many rows have a group."""
    count: Any = np.int64(0)
    if len(usable) != 0:
        for i in range(first, last):
            if usable[i] == 0:
                out[i] = -1
    for i in range(first, last):
        count += np.int64(out[i] >= 0)
    return count


@kernel(i64(I64, U8, i64, i64, I64, U64, OUT_I64))
def slot_find_word(words: Any, usable: Any, first: Any, last: Any, slots: Any, bits: Any, out: Any) -> Any:
    """out[i] (int64[n]) = the group of each one-word key in rows [first, last), -1 for none; returns how many have one.

    Rows go in blocks: ask for all slots, look at each once without a branch, then go on with those that must look further.

    Args:
        bits: of `filter_mark`, to leave out most keys that are not in the table before their slots are asked for; or empty.
    """
    mask = _U(len(slots) // 2 - 1)
    bit_mask = _U(np.int64(len(bits) * 64 - 1))
    places = np.empty(BLOCK, np.uint64)
    rows = np.empty(BLOCK, np.int64)
    for start in range(first, last, BLOCK):
        size = min(BLOCK, last - start)
        left = size
        if len(bits) == 0:
            for k in range(size):
                at = hash_word(words[start + k]) & mask
                places[k] = at
                rows[k] = start + k
                prefetch(slots, np.int64(_U(2) * at))
        else:
            left = 0
            for k in range(size):
                hashed = hash_word(words[start + k])
                at = (hashed >> _U(32)) & bit_mask
                places[left] = hashed & mask
                rows[left] = start + k
                out[start + k] = -1
                left += np.int64((bits[at >> _U(6)] >> (at & _U(63))) & _U(1))
            for k in range(left):
                prefetch(slots, np.int64(_U(2) * places[k]))
        while left > 0:
            further: Any = 0
            for k in range(left):
                at = places[k]
                row = rows[k]
                group = slots[_U(2) * at + _U(1)]
                again = (group != 0) & (slots[_U(2) * at] != words[row])
                out[row] = group - 1
                places[further] = (at + _U(1)) & mask
                rows[further] = row
                further += np.int64(again)
            left = further
    return drop_unusable(usable, first, last, out)


@inline
def same_words(left: Any, i: Any, right: Any, j: Any) -> Any:
    """Whether row i of left (int64[k, n]) and row j of right (int64[k, m]) are equal."""
    for k in range(left.shape[0]):  # noqa: SIM110
        if left[k, i] != right[k, j]:
            return False
    return True


@kernel(i64(WORDS, U64, U8, i64, i64, i64, OUT_I64, OUT_I64, OUT_I64))
def slot_insert_row(
    words: Any, hashes: Any, usable: Any, first: Any, last: Any, groups: Any, slots: Any, firsts: Any, out: Any
) -> Any:
    """Enter keys of several words (int64[k, n]) with their hashes (uint64[n]); otherwise as `slot_insert_word`.

    Args:
        firsts (int64[n]): the first row of each group.
    """
    mask = _U(len(slots) // 2 - 1)
    for i in range(first, last):
        if i + AHEAD < last:
            prefetch(slots, np.int64(_U(2) * (hashes[i + AHEAD] & mask)))
        if len(usable) != 0 and usable[i] == 0:
            out[i] = -1
            continue
        hashed = np.int64(hashes[i])
        at = hashes[i] & mask
        while True:
            group = slots[_U(2) * at + _U(1)]
            if group == 0:
                firsts[groups] = i
                groups += 1
                slots[_U(2) * at] = hashed
                slots[_U(2) * at + _U(1)] = groups
                group = groups
                break
            if slots[_U(2) * at] == hashed and same_words(words, i, words, firsts[group - 1]):
                break
            at = (at + _U(1)) & mask
        out[i] = group - 1
    return groups


@kernel(i64(WORDS, U64, U8, i64, i64, I64, I64, WORDS, OUT_I64))
def slot_find_row(
    words: Any, hashes: Any, usable: Any, first: Any, last: Any, slots: Any, firsts: Any, built: Any, out: Any
) -> Any:
    """out[i] (int64[n]) = the group of each key of several words in rows [first, last), -1 for none; returns how many have one.

    Args:
        slots, firsts, built (int64[k, m]): the table, the first row of each group and the words of the build rows.
    """
    mask = _U(len(slots) // 2 - 1)
    for start in range(first, last, BLOCK):
        end = min(start + BLOCK, last)
        for i in range(start, end):
            prefetch(slots, np.int64(_U(2) * (hashes[i] & mask)))
        for i in range(start, end):
            hashed = np.int64(hashes[i])
            at = hashes[i] & mask
            group = slots[_U(2) * at + _U(1)]
            while group != 0:
                if slots[_U(2) * at] == hashed and same_words(words, i, built, firsts[group - 1]):
                    break
                at = (at + _U(1)) & mask
                group = slots[_U(2) * at + _U(1)]
            out[i] = group - 1
    return drop_unusable(usable, first, last, out)


@kernel(void(I64, i64, i64, OUT_I64))
def count_rows(groups: Any, first: Any, last: Any, counts: Any) -> None:
    """counts[g + 1] += the rows of group g among rows [first, last)."""
    for i in range(first, last):
        if groups[i] >= 0:
            counts[_U(groups[i] + 1)] += 1


@kernel(void(I64, i64, i64, OUT_I64, OUT_I64))
def place_rows(groups: Any, first: Any, last: Any, cursors: Any, rows: Any) -> None:
    """Put rows [first, last) after those of their group that came before; cursors (int64[groups]) say where each goes on."""
    for i in range(first, last):
        group = groups[i]
        if group >= 0:
            at = cursors[_U(group)]
            cursors[_U(group)] = at + 1
            rows[_U(at)] = i


@kernel(void(I64, i64, i64, OUT_I64))
def place_single_rows(groups: Any, first: Any, last: Any, rows: Any) -> None:
    """rows[g] = the one row of group g, for rows [first, last)."""
    for i in range(first, last):
        if groups[i] >= 0:
            rows[_U(groups[i])] = i


@kernel(i64(I64, u8, OUT_I64))
def rows_by_match(groups: Any, wanted: Any, out: Any) -> Any:
    """out (int64[n]) = the rows that have a group (wanted 1) or none (wanted 0); returns how many."""
    count: Any = 0
    for i in range(len(groups)):
        out[count] = i
        count += np.int64(np.int64(groups[i] >= 0) == np.int64(wanted))
    return count


@kernel(i64(I64, OUT_I64, OUT_I64))
def pair_unique(groups: Any, out_probe: Any, out_build: Any) -> Any:
    """The pairs of a table where group g is build row g; returns how many."""
    count: Any = 0
    for i in range(len(groups)):
        out_probe[count] = i
        out_build[count] = groups[i]
        count += np.int64(groups[i] >= 0)
    return count


@kernel(i64(I64, I64, u8, OUT_I64, OUT_I64, OUT_I64))
def pair_groups(groups: Any, starts: Any, keep: Any, state: Any, out_probe: Any, out_build: Any) -> Any:
    """The next pairs, as many as the output holds.

    Args:
        groups (int64[n]): of the probe rows; starts (int64[groups + 1]): build rows starts[g] to starts[g + 1] are group g;
            empty: row g is.
        keep: 1 to pair probe rows without group with -1.
        state (int64[2]): the probe row to go on with and how many of its pairs are done; advanced.

    Returns:
        The number of pairs; the end is reached when state[0] is n.
    """
    i, done = state[0], state[1]
    count: Any = 0
    room = len(out_probe)
    while i < len(groups) and count < room:
        group = groups[i]
        if group < 0:
            out_probe[count] = i
            out_build[count] = -1
            count += np.int64(keep)
            i += 1
            continue
        at, end = group, group + 1
        if len(starts) != 0:
            at, end = starts[_U(group)] + done, starts[_U(group + 1)]
        size = min(end - at, room - count)
        for k in range(size):
            out_probe[count + k] = i
            out_build[count + k] = at + k
        count += size
        if at + size == end:
            i += 1
            done = 0
        else:
            done += size
    state[0] = i
    state[1] = done
    return count


@kernel(void(I64, U8, OUT_U8))
def mark_probe(probe: Any, passed: Any, matched: Any) -> None:
    """matched[i] (uint8[n]) becomes 1 for the probe rows (int64[m]) of pairs that passed (uint8[m])."""
    for k in range(len(probe)):
        matched[_U(probe[k])] |= passed[k]


@kernel(i64(I64, I64, U8, i64, OUT_I64, OUT_I64, OUT_I64))
def keep_left(probe: Any, build: Any, passed: Any, unfinished: Any, state: Any, out_probe: Any, out_build: Any) -> Any:
    """Of a left join's candidate pairs those that passed, and (row, -1) for each probe row none of whose pairs did.

    Args:
        unfinished: the last probe row, if more of its pairs follow in the next call; else -1.
        state (int64[1]): whether a pair of the unfinished row has passed already; carried from call to call.

    Returns:
        The number of pairs, at most as many as came in.
    """
    count: Any = 0
    k = 0
    while k < len(probe):
        row = probe[k]
        while k < len(probe) and probe[k] == row:
            if build[k] < 0 or passed[k] != 0:
                out_probe[count] = row
                out_build[count] = build[k]
                count += 1
                state[0] = 1
            k += 1
        if row != unfinished:
            if state[0] == 0:
                out_probe[count] = row
                out_build[count] = -1
                count += 1
            state[0] = 0
    return count


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (
        key_bounds,
        rank_mark,
        rank_count,
        rank_find,
        slot_insert_word,
        filter_mark,
        slot_find_word,
        slot_insert_row,
        slot_find_row,
        count_rows,
        place_rows,
        place_single_rows,
        rows_by_match,
        pair_unique,
        pair_groups,
        mark_probe,
        keep_left,
    ):
        each.load()
