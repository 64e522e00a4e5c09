"""Gathering kernels against plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels import gathering

POSITIONS = np.array([3, -1, 0, 0, 9, 4, 5, 6, -1, 2, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_take_fixed(dtype: Any) -> None:
    values = (np.arange(10) * 25).astype(dtype)
    out = np.empty(len(POSITIONS), dtype)
    gathering.take_fixed(values, POSITIONS, out)
    assert out.tolist() == [0 if p < 0 else int(values[p]) for p in POSITIONS]


def test_take_pairs() -> None:
    values = np.arange(20, dtype=np.uint64)
    out = np.empty(2 * len(POSITIONS), np.uint64)
    gathering.take_pairs(values, POSITIONS, out)
    assert out.tolist() == [w for p in POSITIONS for w in ((0, 0) if p < 0 else (2 * p, 2 * p + 1))]


@pytest.mark.parametrize("offset", [0, 3, 8])
def test_take_bits_and_present_bits(offset: int) -> None:
    flags = np.random.default_rng(0).integers(0, 2, 32).astype(np.uint8)
    out = np.empty(2, np.uint8)
    expected = [0 if p < 0 else int(flags[offset + p]) for p in POSITIONS]
    assert gathering.take_bits(np.packbits(flags, bitorder="little"), offset, POSITIONS, out) == sum(expected)
    assert np.unpackbits(out, count=len(POSITIONS), bitorder="little").tolist() == expected
    assert gathering.present_bits(POSITIONS, out) == 9
    assert np.unpackbits(out, count=len(POSITIONS), bitorder="little").tolist() == [int(p >= 0) for p in POSITIONS]


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_take_strings(dtype: Any) -> None:
    strings = [b"", b"a", b"bc", b"12345678", b"123456789", b"0123456789abcdefX", b"z" * 32, b"y" * 33, b"x" * 100, b"end"]
    offsets = np.cumsum([0, *map(len, strings)]).astype(dtype)
    data = np.frombuffer(b"".join(strings), np.uint8)
    out_offsets = np.empty(len(POSITIONS) + 1, np.int64)
    gathering.take_lengths(offsets, POSITIONS, out_offsets)
    out = np.empty(int(out_offsets[-1]), np.uint8)
    gathering.take_bytes(offsets, data, POSITIONS, out_offsets, out)
    found = [out[a:b].tobytes() for a, b in itertools.pairwise(out_offsets)]
    assert found == [b"" if p < 0 else strings[p] for p in POSITIONS]


@given(st.lists(st.one_of(st.binary(max_size=8), st.binary(max_size=50)), min_size=1, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_strings_of_any_length_are_taken_from_anywhere(strings: list[bytes], data: st.DataObject) -> None:
    offsets, joined = np.cumsum([0, *map(len, strings)]), np.frombuffer(b"".join(strings), np.uint8)
    positions = np.array(data.draw(st.lists(st.integers(-1, len(strings) - 1), max_size=20)), np.int64)
    out_offsets = np.empty(len(positions) + 1, np.int64)
    gathering.take_lengths(offsets, positions, out_offsets)
    out = np.empty(int(out_offsets[-1]), np.uint8)
    gathering.take_bytes(offsets, joined, positions, out_offsets, out)
    assert out.tobytes() == b"".join(strings[p] for p in positions if p >= 0)


def test_masks() -> None:
    mask = np.array([1, 0, 0, 1, 1, 0], np.uint8)
    out = np.empty(6, np.int64)
    assert gathering.count_ones(mask) == 3
    assert out[: gathering.mask_positions(mask, out)].tolist() == [0, 3, 4]


def test_has_missing() -> None:
    assert gathering.has_missing(POSITIONS) == 1
    assert gathering.has_missing(np.arange(5)) == 0
    assert gathering.has_missing(np.empty(0, np.int64)) == 0


def test_warm_compiles_every_kernel() -> None:
    gathering.warm()
    assert gathering.take_fixed.dispatcher is not None
