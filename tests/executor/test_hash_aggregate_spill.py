"""An aggregation that is short of memory goes to disk and gives the same groups."""

from __future__ import annotations

import functools
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import OutOfMemory
from sabot_sql.executor.hash_aggregate import HashAggregateSink
from sabot_sql.executor.operator import TaskContext
from sabot_sql.executor.partial_aggregate import PartialAggregateOperator
from sabot_sql.planner.physical import HashAggregate
from sabot_sql.types import inner_schema
from tests.executor.spilling import files_in, short_task
from tests.executor.tables import cancel_delay, plain, rows_of, stats, streamed, task, through
from tests.executor.test_hash_aggregate import Spec, batches_of, calls_of, node_of, schema_of

KB = 1 << 10


def run(
    node: HashAggregate, batches: Sequence[pa.RecordBatch], context: TaskContext, workers: int = 1
) -> tuple[list[pa.RecordBatch], int]:
    """What the aggregation gives, and how many bytes it spilled."""
    counted = stats()
    sink = HashAggregateSink(node, node.input.schema, inner_schema(node.schema), counted)
    out = through(sink, batches, context, workers)
    assert context.memory.unsettled == 0
    assert counted.rows_out == sum(b.num_rows for b in out)
    return out, counted.bytes_spilled


def multiset(batches: Sequence[pa.RecordBatch]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(plain(v) if not isinstance(v, float) else f"{v + 0.0:.9g}" for v in row) for row in rows_of(batches))


def columns(num_rows: int, num_keys: int, seed: int = 0, skew: float = 0.3) -> dict[str, tuple[str, list[Any]]]:
    """Keys of several types and values, with NULLs; key 0 has `skew` of the rows."""
    random = np.random.default_rng(seed)
    keys = np.where(random.random(num_rows) < skew, 0, random.integers(0, num_keys, num_rows))
    words = [None if k % 11 == 3 else f"a key that is rather long {k}" for k in keys.tolist()]
    doubles = [None if k % 7 == 1 else [math.nan, -0.0, 0.0, 1.5, -math.inf][k % 5] if k < 40 else k / 3 for k in keys.tolist()]
    values = random.integers(-(10**12), 10**12, num_rows).tolist()
    return {
        "i": ("BIGINT", [None if k % 13 == 5 else k for k in keys.tolist()]),
        "s": ("VARCHAR", words),
        "d": ("DOUBLE", doubles),
        "n": ("BIGINT", [None if v % 5 == 0 else v for v in values]),
        "m": ("DECIMAL(38,4)", [None if v % 9 == 0 else v * 10**12 for v in values]),
        "f": ("DOUBLE", [None if v % 6 == 0 else float(v % 1000) for v in values]),
        "t": ("VARCHAR", [None if v % 4 == 0 else f"value {v % 997} of some length" for v in values]),
        "b": ("BOOLEAN", [v % 3 == 0 for v in values]),
    }


CALLS: list[Spec] = [
    ("count", None, False, None),
    ("count", "n", False, "b"),
    ("sum", "n", False, None),
    ("avg", "m", False, None),
    ("sum", "f", False, None),
    ("min", "f", False, None),
    ("max", "m", False, None),
    ("min", "t", False, None),
    ("max", "t", False, "b"),
    ("max", "b", False, None),
]
DISTINCT: list[Spec] = [("count", "t", True, None), ("sum", "n", True, None), ("count", None, False, None)]


@pytest.mark.parametrize("keys", [["i"], ["s"], ["d"], ["i", "s", "d"], ["t", "n"]])
@pytest.mark.parametrize("workers", [1, 2])
def test_groups_that_do_not_fit_are_the_same(keys: list[str], workers: int, tmp_path: Path) -> None:
    data = columns(30_000, 9_000)
    schema = schema_of(data)
    node = node_of(schema, "single", [list(data).index(k) for k in keys], calls_of(schema, CALLS))
    batches = batches_of(data, 500)
    expected, nothing = run(node, batches, task())
    context = short_task(tmp_path, 1500 * KB)
    found, spilled = run(node, batches, context, workers)
    assert multiset(found) == multiset(expected)
    assert (nothing, spilled > 10_000) == (0, True)
    assert context.memory.peak_bytes <= 1500 * KB
    assert not [p for p in files_in(tmp_path) if p.is_file()]


@pytest.mark.parametrize("workers", [1, 3])
def test_distinct_values_that_do_not_fit_are_the_same(workers: int, tmp_path: Path) -> None:
    data = columns(60_000, 3_000, skew=0.01)
    schema = schema_of(data)
    node = node_of(schema, "single", [0], calls_of(schema, DISTINCT))
    batches = batches_of(data, 500)
    found, spilled = run(node, batches, short_task(tmp_path, 6000 * KB), workers)
    assert multiset(found) == multiset(run(node, batches, task())[0])
    assert spilled > 10_000


def test_a_first_step_hands_its_groups_on_and_the_second_brings_them_together(tmp_path: Path) -> None:
    data = columns(20_000, 6_000)
    schema = schema_of(data)
    calls = calls_of(schema, CALLS)
    partial = node_of(schema, "partial", [0, 1], calls)
    batches, schema_out = batches_of(data, 500), inner_schema(partial.schema)
    states = streamed(PartialAggregateOperator(partial, schema, schema_out, stats()), batches, short_task(tmp_path, 1000 * KB))
    assert len(set(map(tuple, rows_of([b.select([0, 1]) for b in states])))) < sum(b.num_rows for b in states) < 20_000
    final = node_of(partial.schema, "final", [0, 1], calls)
    found, spilled = run(final, states, short_task(tmp_path, 1000 * KB))
    assert spilled
    assert multiset(found) == multiset(run(node_of(schema, "single", [0, 1], calls), batches_of(data, 500), task())[0])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4_000), st.sampled_from([300, 600, 2000]), st.integers(1, 2))
def test_whatever_the_memory_the_groups_are_the_same(seed: int, num_keys: int, limit_kb: int, workers: int) -> None:
    data = columns(3_000, num_keys, seed)
    schema = schema_of(data)
    node = node_of(schema, "single", [0, 2], calls_of(schema, CALLS))
    batches = batches_of(data, 250)
    with tempfile.TemporaryDirectory() as folder:
        found, _ = run(node, batches, short_task(Path(folder), limit_kb * KB), workers)
        assert not [p for p in files_in(Path(folder)) if p.is_file()]
    assert multiset(found) == multiset(run(node, batches, task())[0])


@pytest.mark.parametrize("groups", [[], ["g"]])
@pytest.mark.parametrize("workers", [1, 2])
def test_one_group_whose_distinct_values_do_not_fit(groups: list[str], workers: int, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    data: dict[str, tuple[str, list[Any]]] = {
        "g": ("BIGINT", [1 if i % 10 else 2 for i in range(60_000)]),
        "n": ("BIGINT", [None if v % 7 == 0 else v for v in random.integers(0, 50_000, 60_000).tolist()]),
        "m": ("VARCHAR", [f"a text that is rather long {v}" for v in random.integers(0, 9_000, 60_000).tolist()]),
        "w": ("DECIMAL(38,4)", [v * 10**12 for v in random.integers(0, 9_000, 60_000).tolist()]),
    }
    schema = schema_of(data)
    calls = [("count", "n", True, None), ("sum", "n", True, None), ("count", "m", True, None), ("avg", "w", True, None),
             ("count", None, False, None), ("sum", "n", False, None), ("min", "m", False, None)]  # fmt: skip
    node = node_of(schema, "single", [list(data).index(g) for g in groups], calls_of(schema, calls))
    batches = batches_of(data, 500)
    context = short_task(tmp_path, 2000 * KB)
    found, spilled = run(node, batches, context, workers)
    assert multiset(found) == multiset(run(node, batches, task())[0])
    assert spilled > 100_000
    assert not [p for p in files_in(tmp_path) if p.is_file()]


def test_groups_that_no_splitting_makes_fit_name_operator_and_setting(tmp_path: Path) -> None:
    data: dict[str, tuple[str, list[Any]]] = {"g": ("BIGINT", list(range(40))), "m": ("VARCHAR", ["x" * 300_000] * 40)}
    schema = schema_of(data)
    node = node_of(schema, "single", [0], calls_of(schema, [("min", "m", False, None)]))
    with pytest.raises(OutOfMemory, match="HashAggregate") as caught:
        run(node, batches_of(data, 1), short_task(tmp_path, 500 * KB))
    assert "agents.memory_bytes" in caught.value.hint


def test_with_enough_memory_nothing_is_written(tmp_path: Path) -> None:
    data = columns(5_000, 1_000)
    schema = schema_of(data)
    node = node_of(schema, "single", [0, 1], calls_of(schema, CALLS))
    _, spilled = run(node, batches_of(data, 500), short_task(tmp_path, 64 << 20))
    assert (spilled, files_in(tmp_path)) == (0, [])


def test_a_full_area_fails_with_its_setting(tmp_path: Path) -> None:
    data = columns(20_000, 9_000)
    schema = schema_of(data)
    node = node_of(schema, "single", [0, 1], calls_of(schema, CALLS))
    with pytest.raises(OutOfMemory, match=r"agents\.spill_bytes lets this agent put 20,000 bytes"):
        run(node, batches_of(data, 500), short_task(tmp_path, 1000 * KB, spill_bytes=20_000))


def test_a_cancel_ends_spilling_and_merging_at_once(tmp_path: Path) -> None:
    data = columns(50_000, 40_000)
    schema = schema_of(data)
    node = node_of(schema, "single", [0, 1], calls_of(schema, CALLS))
    batches = batches_of(data, 1000)
    run(node, batches[:5], short_task(tmp_path, 1000 * KB))  # loads the kernels

    def start() -> tuple[TaskContext, Callable[[], object]]:
        context = short_task(tmp_path, 1000 * KB)
        return context, functools.partial(run, node, batches * 8, context)

    for after_s in (0.05, 0.5):
        assert cancel_delay(start, after_s) < 0.3
