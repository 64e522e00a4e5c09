"""Runs are what itertools.groupby finds."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.executor.columns import NO_FLAGS
from sabot_sql.executor.kernels import runs

KEYS = st.sampled_from([None, b"", b"a", b"b", b"ab", b"abcdefgh", b"abcdefgi", b"abcdefghijk", b"abcdefghijl"])


@given(st.lists(KEYS, max_size=30), st.lists(st.none() | st.integers(0, 2), max_size=30))
def test_runs_of_strings_and_words(strings: list[bytes | None], words: list[int | None]) -> None:
    rows = list(zip(strings, words))
    offsets = np.cumsum([0, *(len(s or b"") for s, _ in rows)], dtype=np.int64)
    data = np.frombuffer(b"".join(s or b"" for s, _ in rows), np.uint8)
    starts = np.zeros(len(rows), np.uint8)
    runs.mark_bytes(offsets, data, flags([s for s, _ in rows]), starts)
    runs.mark_words(np.array([w or 0 for _, w in rows], np.int64), flags([w for _, w in rows]), starts)
    groups, firsts = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    count = runs.number_runs(starts, groups, firsts)
    found = [list(part) for _, part in itertools.groupby(range(len(rows)), key=lambda i: rows[i])]
    assert firsts[:count].tolist() == [part[0] for part in found]
    assert groups.tolist() == [run for run, part in enumerate(found) for _ in part]


def flags(values: list[object]) -> np.ndarray:
    return NO_FLAGS if None not in values else np.array([v is not None for v in values], np.uint8)
