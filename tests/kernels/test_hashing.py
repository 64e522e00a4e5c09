"""Hashes give the published values of their sources, and spread."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("text", XXH64)
def test_strings_hash_as_xxh64_publishes(text: str) -> None:
    data = np.frombuffer(b"--" + text.encode(), np.uint8)
    hashes = np.zeros(1, np.uint64)
    hashing.stable_bytes(np.array([2, len(data)]), data, np.empty(0, np.uint8), hashes)
    assert hashes.tolist() == [naive_combined([XXH64[text]])]


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
