"""Sort kernels against plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels import sorting
from sabot_sql.executor.kernels.hashing import canonical_floats

Array = np.ndarray[Any, Any]
ALL = np.empty(0, np.uint8)
NONE = np.empty(0, np.int64)
STRINGS = [b"", b"\0", b"a", b"a\0", b"ab", b"abcdef", b"abcdefg", b"abcdefgh", b"abcdefgi", b"b", b"\xff\xff", b"\xff"]


def strings(values: list[bytes]) -> tuple[Array, Array]:
    return np.cumsum([0, *map(len, values)]), np.frombuffer(b"".join(values), np.uint8)


def test_floats_are_ordered_with_nan_greatest() -> None:
    values = np.array([float("-inf"), -1.5, -5e-324, 0.0, 5e-324, 2.0, float("inf"), float("nan")])
    words = np.empty(len(values), np.int64)
    canonical_floats(values, values.view(np.uint64), words)
    sorting.order_floats(words, words)
    assert (np.diff(words.astype(object)) > 0).all()


def test_unsigned_are_ordered() -> None:
    words = np.empty(3, np.int64)
    sorting.order_unsigned(np.array([0, 2**63, 2**64 - 1], np.uint64), words)
    assert words.tolist() == sorted(words.tolist())


def test_prefixes_are_ordered() -> None:
    words = np.empty(len(STRINGS), np.int64)
    sorting.order_prefixes(*strings(STRINGS), words)
    for a, b in itertools.product(range(len(STRINGS)), repeat=2):
        if words[a] < words[b]:
            assert STRINGS[a] < STRINGS[b]


@pytest.mark.parametrize("ties", [0, 1])
@pytest.mark.parametrize("nulls_first", [0, 1])
@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("bound", [None, 3])
def test_within_bound(bound: int | None, descending: int, nulls_first: int, ties: int) -> None:
    values = [1, None, 3, 7]
    out = np.empty(4, np.uint8)
    words = np.array([v or 0 for v in values])
    valid = np.array([v is not None for v in values], np.uint8)
    sorting.within_bound(words, valid, descending, nulls_first, bound or 0, int(bound is None), ties, out)

    def place(value: int | None) -> tuple[int, int]:
        return (-1 if nulls_first else 1, 0) if value is None else (0, -value if descending else value)

    assert out.tolist() == [int(place(v) < place(bound) or (ties == 1 and v == bound)) for v in values]


def test_keys_carry_runs_and_numbers() -> None:
    keys = np.empty(3, np.uint64)
    sorting.start_keys(np.array([0, 1, 1]), 8, 5, keys)
    assert keys.tolist() == [5, 256 + 6, 256 + 7]
    sorting.start_keys(NONE, 8, 5, keys)
    assert keys.tolist() == [5, 6, 7]


@pytest.mark.parametrize("descending", [0, 1])
def test_pack_words_places_a_piece_of_the_code(descending: int) -> None:
    words, valid, rows = np.array([-5, 0, 7, 2]), np.array([1, 1, 1, 0], np.uint8), np.array([3, 2, 0])
    keys = np.array([1, 2, 3], np.uint64)
    sorting.pack_words(words, valid, rows, -5, 7, descending, 1, 0, 1, 7, 4, keys)
    codes = [0, 1 if descending else 13, 13 if descending else 1]
    assert keys.tolist() == [i + 1 | (code >> 1 & 7) << 4 for i, code in enumerate(codes)]


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("nulls_first", [0, 1])
def test_pack_strings_orders_as_bytes_do(size: int, descending: int, nulls_first: int) -> None:
    valid = np.ones(len(STRINGS) + 1, np.uint8)
    valid[-1] = 0
    keys = np.zeros(len(valid), np.uint64)
    rows = np.arange(len(valid))
    sorting.pack_strings(*strings([*STRINGS, b"x"]), valid, rows, 0, size, descending, nulls_first, 0, keys)
    codes = [int(k) for k in keys]
    for a, b in itertools.product(range(len(STRINGS)), repeat=2):
        if codes[a] < codes[b]:
            assert (STRINGS[a] < STRINGS[b]) != bool(descending)
        elif codes[a] == codes[b] and a != b:
            assert STRINGS[a][:size] == STRINGS[b][:size]
            assert min(len(STRINGS[a]), len(STRINGS[b])) > size
            assert codes[a] & 15 == (13 - size if descending else size + 2)
    assert codes[-1] < min(codes[:-1]) if nulls_first else codes[-1] > max(codes[:-1])


def test_shared_bytes_is_the_least_over_runs() -> None:
    offsets, data = strings([b"xxabcd", b"xxabce", b"xxabc", b"xxq", b"xxqq"])
    assert sorting.shared_bytes(offsets, data, np.array([0, 1]), NONE, 2) == 3
    assert sorting.shared_bytes(offsets, data, np.array([0, 1, 3, 4]), np.array([0, 0, 1, 1]), 2) == 1
    assert sorting.shared_bytes(offsets, data, np.array([0, 3]), NONE, 2) == 0
    assert sorting.shared_bytes(offsets, data, np.array([0, 2]), NONE, 2) == 3


def test_digits_are_counted_and_scattered() -> None:
    keys = np.array([0x0305, 0x0104, 0x0303, 0x0102], np.uint64)
    counts = np.zeros(256, np.int64)
    sorting.count_digits(keys, 8, counts)
    assert (counts[1], counts[3], counts.sum()) == (2, 2, 4)
    out = np.empty(4, np.uint64)
    sorting.scatter_digits(keys, 8, np.cumsum(counts) - counts, out)
    assert out.tolist() == [0x0104, 0x0102, 0x0305, 0x0303]


def test_is_ascending() -> None:
    assert sorting.is_ascending(np.array([1, 1, 2**64 - 1], np.uint64)) == 1
    assert sorting.is_ascending(np.array([1, 0], np.uint64)) == 0


def test_place_rows_undoes_the_numbering() -> None:
    order = np.full(6, -1)
    sorting.place_rows(np.array([0x12, 0x30, 0x41], np.uint64), 15, np.array([70, 71, 72]), np.array([1, 2, 5]), order)
    assert order.tolist() == [-1, 72, 70, -1, -1, 71]


def ties(shortest: int, longest: int, stop: int, value: int) -> list[tuple[int, int]]:
    keys = np.array([0x10, 0x11, 0x20, 0x31, 0x32, 0x33, 0x45, 0x46], np.uint64)
    at, runs = np.empty(8, np.int64), np.empty(8, np.int64)
    count = sorting.find_ties(keys, 4, 0xF0, value, shortest, longest, stop, at, runs)
    return list(zip(at[:count].tolist(), runs[:count].tolist()))


def test_ties_are_found_by_class_length_and_position() -> None:
    assert ties(-1, 8, 8, 0x30) == [(0, 0), (1, 0), (6, 1), (7, 1)]
    assert ties(0, 8, 8, 0x30) == [(3, 0), (4, 0), (5, 0)]
    assert ties(0, 2, 8, 0x30) == []
    assert ties(4, 8, 8, 0x30) == []
    assert ties(-1, 8, 6, 0x30) == [(0, 0), (1, 0)]


@pytest.mark.parametrize("descending", [0, 1])
def test_short_runs_are_ordered_by_whole_strings(descending: int) -> None:
    values = [b"pre" + v for v in (b"longer than eight", b"b", b"a", b"b", b"longer than eigh_", b"", b"b", b"z", b"a", b"a")]
    runs = np.array([0] * 7 + [1] * 3)
    order, positions = np.arange(12), np.arange(1, 11)
    order[1:11] = np.arange(10)
    tied, tied_runs = np.empty(10, np.int64), np.empty(10, np.int64)
    count = sorting.sort_short_runs(*strings(values), positions, runs, 3, descending, order, tied, tied_runs)
    expected = [
        row
        for rows in (range(7), range(7, 10))
        for row in sorted(
            rows, key=lambda r: [(-1 if descending else 1) * b for b in values[r]] + [256 if descending else -256]
        )
    ]
    assert order[1:11].tolist() == expected
    places = {tuple(order[tied[:count][tied_runs[:count] == run]]) for run in range(2)}
    assert places == {(1, 3, 6), (8, 9)}


def test_warm_compiles_every_kernel() -> None:
    sorting.warm()
    assert sorting.find_ties.dispatcher is not None
