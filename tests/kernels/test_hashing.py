"""Hashes give the published values of their sources, and spread."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels import hashing

XXH64 = {
    "": 0xEF46DB3751D8E999,
    "a": 0xD24EC4F1A98C6E5B,
    "as": 0x1C330FB2D66BE179,
    "asd": 0x631C37CE72A97393,
    "asdf": 0x415872F599CEA71E,
    "Call me Ishmael. Some years ago--never mind how long precisely-": 0x02A2E85470D6FD96,
}

SPLITMIX64 = {
    0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F],
    1234567: [6457827717110365317, 3203168211198807973],
}


def naive_mix(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def naive_combined(values: list[int]) -> int:
    total = 0
    for value in values:
        total = naive_mix((total * 0xD1342543DE82EF95 + value) % 2**64)
    return total


def naive_string(text: bytes) -> int:
    def word(at: int) -> int:
        return int.from_bytes(text[at : at + 8], "little")

    def fold(a: int, b: int) -> int:
        return (a * b) % 2**64 ^ (a * b) >> 64

    size, total, at = len(text), 0x8EBC6AF09C88C6E3 ^ len(text), 0
    if size < 8:
        return naive_mix(int.from_bytes(text, "little") + (size << 56))
    while at + 16 < size:
        total, at = fold(word(at) ^ 0xA0761D6478BD642F, word(at + 8) ^ total), at + 16
    return fold(0xE7037ED1A0B428DB ^ word(size - 16 if size >= 16 else 0), word(size - 8) ^ total)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=9), st.binary(max_size=70)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_strings_have_the_hash_that_is_written_down(texts: list[bytes | None]) -> None:
    array = pa.array([b"--", *texts], pa.large_binary()).slice(1)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[1 : len(texts) + 2]
    data = np.frombuffer(array.buffers()[2], np.uint8)
    hashes = np.zeros(len(texts), np.uint64)
    valid = np.array([t is not None for t in texts], np.uint8)
    hashing.stable_bytes(offsets, data, valid if None in texts else np.empty(0, np.uint8), hashes)
    assert hashes.tolist() == [naive_combined([0x6A09E667F3BCC909 if t is None else naive_string(t)]) for t in texts]


def test_hashes_of_strings_spread() -> None:
    texts = [b"%d" % i for i in range(2048)] + [b"customer number %d" % i for i in range(2048)]
    offsets, hashes = np.cumsum([0, *map(len, texts)]), np.zeros(len(texts), np.uint64)
    hashing.stable_bytes(offsets, np.frombuffer(b"".join(texts), np.uint8), np.empty(0, np.uint8), hashes)
    for bits in (hashes & np.uint64(1023), hashes >> np.uint64(54)):
        assert 1024 - len(np.unique(bits)) < 100


@pytest.mark.parametrize("seed", SPLITMIX64)
def test_the_naive_mix_is_splitmix64(seed: int) -> None:
    assert [naive_mix(seed + i * 0x9E3779B97F4A7C15) for i in range(len(SPLITMIX64[seed]))] == SPLITMIX64[seed]


def test_words_hash_as_splitmix64() -> None:
    hashes = np.zeros(3, np.uint64)
    hashing.stable_words(np.array([0, -1, 7]), np.array([1, 1, 0], np.uint8), hashes)
    hashing.stable_wide(np.array([1, 2, 3], np.uint64), np.array([0, -1, 5]), np.empty(0, np.uint8), hashes)
    null = 0x6A09E667F3BCC909
    wides = [naive_mix((naive_mix(low) * 0xD1342543DE82EF95 + high) % 2**64) for low, high in ((1, 0), (2, 2**64 - 1), (3, 5))]
    assert hashes.tolist() == [naive_combined([v, w]) for v, w in zip((naive_mix(0), naive_mix(2**64 - 1), null), wides)]


@pytest.mark.parametrize("num_words", [1, 2, 3])
@pytest.mark.parametrize("shift", [0, 20, 40, 52])
def test_fast_hashes_spread_in_their_low_and_high_bits(num_words: int, shift: int) -> None:
    count = 4096
    words = np.zeros((num_words, count), np.int64)
    words[num_words // 2] = np.arange(count) << shift
    hashes = np.empty(count, np.uint64)
    hashing.hash_words(words, hashes)
    assert len(np.unique(hashes)) == count
    for bits in (hashes & np.uint64(1023), hashes >> np.uint64(54)):
        # 4096 balls in 1024 bins leave 19 empty on average
        assert 1024 - len(np.unique(bits)) < 100
