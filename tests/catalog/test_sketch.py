"""Distinct counts by sketch and by extrapolation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.catalog.sketch import Seen, Sketch, extrapolate


def hashes(rng, distinct, rows):
    values = rng.integers(0, 2**64, distinct, dtype=np.uint64)
    return pa.array(values[rng.integers(0, distinct, rows)])


@pytest.mark.parametrize("distinct", [10_000, 100_000, 1_000_000])
def test_sketch_is_within_six_per_cent(distinct):
    rng = np.random.default_rng(distinct)
    values = rng.permutation(rng.integers(0, 2**64, distinct, dtype=np.uint64))
    sketch = Sketch()
    for start in range(0, distinct, 50_000):
        batch = values[start : start + 50_000]
        sketch.add(pa.array(np.concatenate([batch, batch[:1000]])))
    assert not sketch.exact
    assert sketch.distinct == pytest.approx(distinct, rel=0.06)


def test_sketch_of_few_values_is_exact():
    sketch = Sketch()
    rng = np.random.default_rng(1)
    batch = hashes(rng, 4_000, 100_000)
    for _ in range(3):
        sketch.add(batch)
    assert sketch.exact
    assert sketch.distinct == len(batch.unique())


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1)))))
def test_sketch_counts_values_once_and_nulls_never(batches):
    sketch = Sketch()
    for batch in batches:
        sketch.add(pa.array(batch, pa.uint64()))
    assert sketch.distinct == len({value for batch in batches for value in batch if value is not None})


def seen_in(blocks):
    """What a sample of these blocks of values shows."""
    values, counts = np.unique(np.concatenate([np.unique(block) for block in blocks]), return_counts=True)
    return Seen(len(values), int((counts == 1).sum()), int((counts == 2).sum()), len(blocks), sum(map(len, blocks)))


ROWS, BLOCKS, BLOCK_ROWS = 1_600_000, 32, 3_000


def blocks_of(column):
    stretch = len(column) // BLOCKS
    return [column[i * stretch : i * stretch + BLOCK_ROWS] for i in range(BLOCKS)]


@pytest.mark.parametrize(
    ("name", "factor"),
    [("unique", 1.01), ("uniform", 1.2), ("few", 1.0), ("sorted", 1.2), ("runs", 1.2), ("zipf", 3.0)],
)
def test_extrapolation_is_within_a_factor(name, factor):
    rng = np.random.default_rng(7)
    column = {
        "unique": lambda: rng.permutation(ROWS),
        "uniform": lambda: rng.integers(0, 500_000, ROWS),
        "few": lambda: rng.integers(0, 50, ROWS),
        "sorted": lambda: np.sort(rng.integers(0, 500_000, ROWS)),
        "runs": lambda: np.repeat(rng.permutation(ROWS // 4), 4),
        "zipf": lambda: rng.zipf(1.3, ROWS) % 1_000_000,
    }[name]()
    true = len(np.unique(column))
    found = extrapolate(seen_in(blocks_of(column)), ROWS)
    assert true / factor <= found <= true * factor


def test_extrapolation_of_the_whole_is_what_was_seen():
    assert extrapolate(Seen(7, 7, 0, 1, 10), 10) == 7
    assert extrapolate(Seen(0, 0, 0, 0, 0), 10) == 0
