"""Join kernels against plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels import joining
from sabot_sql.executor.kernels.hashing import hash_words

Array = np.ndarray[Any, Any]
ALL = np.empty(0, np.uint8)
LOWEST, HIGHEST = -(2**63), 2**63 - 1

BUILD = np.array([5, -3, 5, 60, 61, 200, -3, 5, 64])
PROBE = np.array([-3, 5, 7, 200, 201, -4, 61, 64, LOWEST, HIGHEST])
USABLE = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1], np.uint8)


def same_groups(built: Array, probed: Array, build: list[Any], probe: list[Any], usable: Array) -> None:
    """Rows of equal keys, and only they, have one group; the rest has none."""
    group: dict[Any, int] = {}
    for key, found, can in zip(build, built, usable if len(usable) else [1] * len(build)):
        assert found == group.setdefault(key, found) if can else found == -1
    assert sorted(group.values()) == list(range(len(group)))
    assert probed.tolist() == [group.get(key, -1) for key in probe]


@pytest.mark.parametrize("usable", [ALL, USABLE])
def test_key_bounds(usable: Array) -> None:
    out = np.zeros(2, np.int64)
    assert joining.key_bounds(BUILD, usable, out) == ((len(usable) and 7) or 9)
    assert out.tolist() == [-3, 64 if len(usable) else 200]
    assert joining.key_bounds(BUILD, np.zeros(9, np.uint8), out) == 0


@pytest.mark.parametrize("usable", [ALL, USABLE])
def test_ranks_find_groups(usable: Array) -> None:
    table = np.zeros(2 * 4, np.uint64)
    joining.rank_mark(BUILD, usable, -3, 0, len(BUILD), table)
    count = joining.rank_count(table)
    built, probed = np.empty(len(BUILD), np.int64), np.empty(len(PROBE), np.int64)
    joining.rank_find(BUILD, usable, -3, 0, len(BUILD), table, built)
    found = joining.rank_find(PROBE, ALL, -3, 0, len(PROBE), table, probed)
    assert count == len({int(k) for k, u in zip(BUILD, usable if len(usable) else [1] * 9) if u})
    assert found == int((probed >= 0).sum())
    same_groups(built, probed, BUILD.tolist(), PROBE.tolist(), usable)


@pytest.mark.parametrize("usable", [ALL, USABLE])
def test_slots_of_one_word_find_groups(usable: Array) -> None:
    slots = np.zeros(2 * 16, np.int64)
    built, probed = np.empty(len(BUILD), np.int64), np.empty(len(PROBE), np.int64)
    groups = joining.slot_insert_word(BUILD, usable, 0, 4, 0, slots, built)
    joining.slot_insert_word(BUILD, usable, 4, len(BUILD), groups, slots, built)
    bits = np.zeros(1, np.uint64)
    joining.filter_mark(BUILD, usable, 0, len(BUILD), bits)
    for each in (np.empty(0, np.uint64), bits):
        joining.slot_find_word(PROBE, ALL, 0, len(PROBE), slots, each, probed)
        same_groups(built, probed, BUILD.tolist(), PROBE.tolist(), usable)
    assert joining.slot_find_word(BUILD, USABLE, 0, len(BUILD), slots, bits, built) == int((built >= 0).sum())
    assert (built[USABLE == 0] == -1).all()


@pytest.mark.parametrize("usable", [ALL, USABLE])
@pytest.mark.parametrize("one_hash", [False, True])
def test_slots_of_several_words_find_groups(usable: Array, one_hash: bool) -> None:
    build, probe = np.stack([BUILD % 3, BUILD]), np.stack([PROBE % 3, PROBE])
    slots, firsts = np.zeros(2 * 16, np.int64), np.empty(len(BUILD), np.int64)
    hashes = [np.empty(w.shape[1], np.uint64) for w in (build, probe)]
    for words, out in zip((build, probe), hashes):
        hash_words(words, out)
        out[:] = 7 if one_hash else out
    built, probed = np.empty(len(BUILD), np.int64), np.empty(len(PROBE), np.int64)
    joining.slot_insert_row(build, hashes[0], usable, 0, len(BUILD), 0, slots, firsts, built)
    joining.slot_find_row(probe, hashes[1], ALL, 0, len(PROBE), slots, firsts, build, probed)
    same_groups(built, probed, list(zip(*build.tolist())), list(zip(*probe.tolist())), usable)


def test_rows_of_groups_keep_their_order() -> None:
    groups = np.array([2, 0, -1, 2, 1, 0, 2])
    starts = np.zeros(4, np.int64)
    joining.count_rows(groups, 0, 3, starts)
    joining.count_rows(groups, 3, 7, starts)
    starts = np.cumsum(starts)
    rows = np.empty(6, np.int64)
    joining.place_rows(groups, 0, 7, starts[:-1].copy(), rows)
    assert starts.tolist() == [0, 2, 3, 6]
    assert rows.tolist() == [1, 5, 4, 0, 3, 6]
    single = np.empty(3, np.int64)
    joining.place_single_rows(np.array([1, -1, 0, 2]), 0, 4, single)
    assert single.tolist() == [2, 0, 3]


def test_rows_by_match() -> None:
    groups, out = np.array([0, -1, 3, -1]), np.empty(4, np.int64)
    assert out[: joining.rows_by_match(groups, 1, out)].tolist() == [0, 2]
    assert out[: joining.rows_by_match(groups, 0, out)].tolist() == [1, 3]


def test_pair_unique() -> None:
    groups = np.array([0, -1, 3, 1])
    probe, build = np.empty(4, np.int64), np.empty(4, np.int64)
    assert joining.pair_unique(groups, probe, build) == 3
    assert probe[:3].tolist() == [0, 2, 3]
    assert build[:3].tolist() == [0, 3, 1]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("room", [1, 2, 3, 100])
@pytest.mark.parametrize("single", [False, True])
def test_pair_groups_in_pieces(keep: int, room: int, single: bool) -> None:
    groups, starts = np.array([1, -1, 0, 1, -1]), np.array([] if single else [0, 2, 5], np.int64)
    state, pairs = np.zeros(2, np.int64), []
    while state[0] < len(groups):
        probe, build = np.empty(room, np.int64), np.empty(room, np.int64)
        count = joining.pair_groups(groups, starts, keep, state, probe, build)
        pairs += zip(probe[:count].tolist(), build[:count].tolist())
    rows = {0: [0], 1: [1]} if single else {0: [0, 1], 1: [2, 3, 4]}
    rows[-1] = [-1] if keep else []
    assert pairs == [(i, row) for i, group in enumerate(groups.tolist()) for row in rows[group]]


def test_mark_probe() -> None:
    matched = np.zeros(3, np.uint8)
    joining.mark_probe(np.array([0, 0, 2]), np.array([0, 1, 0], np.uint8), matched)
    assert matched.tolist() == [1, 0, 0]


@pytest.mark.parametrize("cut", range(8))
def test_keep_left_in_two_calls(cut: int) -> None:
    probe, build = np.array([0, 0, 1, 2, 2, 2, 3]), np.array([5, 6, -1, 7, 8, 9, 4])
    passed = np.array([0, 1, 0, 0, 0, 0, 0], np.uint8)
    state, pairs = np.zeros(1, np.int64), []
    for part in (slice(0, cut), slice(cut, 7)):
        p, b = probe[part], build[part]
        unfinished = int(p[-1]) if len(p) and part.stop == cut < 7 and probe[cut] == p[-1] else -1
        out_probe, out_build = np.empty(len(p), np.int64), np.empty(len(p), np.int64)
        count = joining.keep_left(p, b, passed[part], unfinished, state, out_probe, out_build)
        pairs += zip(out_probe[:count].tolist(), out_build[:count].tolist())
    assert pairs == [(0, 6), (1, -1), (2, -1), (3, -1)]


def test_warm_compiles_every_kernel() -> None:
    joining.warm()
    assert joining.keep_left.dispatcher is not None
