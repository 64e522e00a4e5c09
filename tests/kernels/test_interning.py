"""Interning agrees with a Python dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels import interning

NO_FLAGS = np.empty(0, np.uint8)


def laid_out(strings: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(s) for s in strings], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(strings), np.uint8)


@given(st.lists(st.binary(max_size=9)))
@settings(max_examples=50, deadline=None)
def test_short_strings_are_their_length_and_bytes(strings: list[bytes]) -> None:
    offsets, data = laid_out(strings)
    out = np.empty(len(strings), np.int64)
    longer = interning.short_words(offsets, data, out)
    assert longer == sum(len(s) > 7 for s in strings)
    for word, s in zip(out.tolist(), strings):
        if len(s) <= 7:
            assert word == int.from_bytes(s, "little") + (len(s) << 56)


@given(
    st.lists(
        st.one_of(st.binary(min_size=8, max_size=40), st.sampled_from([b"12345678", b"1234567\0", b"x" * 33])), max_size=20
    )
)
@settings(max_examples=50, deadline=None)
def test_long_strings_are_numbered_by_their_bytes(strings: list[bytes]) -> None:
    offsets, data = laid_out(strings)
    hashes = np.empty(len(strings), np.uint64)
    interning.hash_strings(offsets, data, NO_FLAGS, interning.SHORT, hashes)
    slots, arena, counters = np.zeros(64, np.uint64), np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    out = np.empty(len(strings), np.int64)
    assert interning.intern(offsets, data, hashes, 0, 58, slots, arena, counters, out) == len(strings)
    assert [out.tolist().index(w) for w in out.tolist()] == [strings.index(s) for s in strings]
    assert counters[0] == len(set(strings))
    ends = np.empty(len(strings) + 1, np.int64)
    interning.word_offsets(out, arena, ends)
    back = np.empty(int(ends[-1]), np.uint8)
    interning.word_bytes(out, arena, ends, back)
    assert back.tobytes() == b"".join(strings)


@given(st.lists(st.binary(max_size=18), max_size=20))
@settings(max_examples=60, deadline=None)
def test_two_words_hold_strings_of_up_to_fifteen_bytes(strings: list[bytes]) -> None:
    offsets, data = laid_out(strings)
    first, second = np.empty((2, len(strings)), np.int64)
    hashes = np.empty(len(strings), np.uint64)
    assert interning.pair_words(offsets, data, first, second) == sum(len(s) > 15 for s in strings)
    interning.hash_strings(offsets, data, NO_FLAGS, interning.PAIR, hashes)
    slots, arena, counters = np.zeros(64, np.uint64), np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    interning.intern(offsets, data, hashes, 0, 58, slots, arena, counters, first)
    assert counters[0] == len({s for s in strings if len(s) > 15})
    pairs = list(zip(first.tolist(), second.tolist()))
    assert [pairs.index(p) for p in pairs] == [strings.index(s) for s in strings]
    ends = np.empty(len(strings) + 1, np.int64)
    interning.pair_offsets(first, second, arena, ends)
    assert ends.tolist() == offsets.tolist()
    back = np.empty(int(ends[-1]), np.uint8)
    interning.pair_bytes(first, second, arena, ends, back)
    assert back.tobytes() == b"".join(strings)


def test_a_full_dictionary_says_at_which_row() -> None:
    strings = [f"string {i:04}".encode() for i in range(10)]
    offsets, data = laid_out(strings)
    hashes = np.empty(10, np.uint64)
    interning.hash_strings(offsets, data, NO_FLAGS, interning.SHORT, hashes)
    out = np.empty(10, np.int64)
    counters = np.zeros(2, np.int64)
    full_slots = interning.intern(offsets, data, hashes, 0, 61, np.zeros(8, np.uint64), np.zeros(4096, np.uint8), counters, out)
    assert (full_slots, counters[0]) == (5, 5)
    counters[:] = 0
    assert interning.intern(offsets, data, hashes, 0, 58, np.zeros(64, np.uint64), np.zeros(100, np.uint8), counters, out) == 4


def test_equal_hashes_are_not_taken_for_equal_strings() -> None:
    offsets, data = laid_out([b"one string", b"two string", b"one string", b"one string and more"])
    slots, arena, counters = np.zeros(64, np.uint64), np.zeros(4096, np.uint8), np.zeros(2, np.int64)
    out = np.empty(4, np.int64)
    interning.intern(offsets, data, np.full(4, 12345, np.uint64), 0, 58, slots, arena, counters, out)
    assert out[0] == out[2]
    assert len(set(out.tolist())) == 3
