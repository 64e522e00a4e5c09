"""A join whose build side does not fit goes to disk, both sides, and gives the same pairs."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import OutOfMemory
from sabot_sql.executor.operator import TaskContext
from sabot_sql.planner.physical import JoinKind
from tests.executor.spilling import files_in, short_task
from tests.executor.tables import VALUES, cancel_delay, row_strategy, rows_of, task
from tests.executor.test_hash_join import KINDS, Join, Row

KB = 1 << 10


def run(join: Join, probe: Sequence[Row], build: Sequence[Row], context: TaskContext, size: int = 400) -> Counter[Row]:
    """The pairs that the join gives."""
    join.load(build, context, size)
    states = [join.probe.new_state(context) for _ in range(2)]
    out = []
    for i, batch in enumerate(join.batches(probe, size)):
        out += list(join.probe.process(batch, states[i % 2]))
    out += list(join.probe.drain(states))
    for state in states:
        join.probe.close(state)
    assert join.probe.stats.rows_in == len(probe)
    assert join.probe.stats.rows_out == sum(b.num_rows for b in out)
    assert join.build.stats.rows_in == len(build)
    join.build.close(context)
    assert (context.memory.used_bytes, context.memory.unsettled) == (0, 0)
    return Counter(rows_of(out))


def sides(types: Sequence[str], num_rows: int, num_keys: int, skew: float = 0.1) -> tuple[list[Row], list[Row]]:
    """Probe and build rows; key 0 has a part of the probe rows, and some keys are NULL."""
    random = np.random.default_rng(1)

    def rows(skewed: float) -> list[Row]:
        keys = np.where(random.random(num_rows) < skewed, 0, random.integers(0, num_keys, num_rows)).tolist()
        values = random.integers(0, 100, num_rows).tolist()
        return [(*(value(t, k) for t in types), v, i) for i, (k, v) in enumerate(zip(keys, values))]

    return rows(skew), rows(0.0)


def value(sql_type: str, key: int) -> Any:
    if key % 10 == 7:
        return None
    return f"a key that is rather long {key}" if sql_type == "VARCHAR" else key


@pytest.mark.parametrize("types", [["BIGINT"], ["VARCHAR"], ["BIGINT", "VARCHAR"]])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residual", [False, True])
def test_sides_that_do_not_fit_give_the_same_pairs(types: list[str], kind: JoinKind, residual: bool, tmp_path: Path) -> None:
    probe, build = sides(types, 8_000, 3_000)
    context = short_task(tmp_path, 1000 * KB)
    join = Join(types, kind, residual=residual)
    found = run(join, probe, build, context)
    assert found == run(Join(types, kind, residual=residual), probe, build, task())
    assert join.build.stats.bytes_spilled > 10_000
    assert join.probe.stats.bytes_spilled > 10_000
    assert context.memory.peak_bytes <= 1000 * KB
    assert not [p for p in files_in(tmp_path) if p.is_file()]


@pytest.mark.parametrize("kind", KINDS)
def test_null_equals_null_also_on_disk(kind: JoinKind, tmp_path: Path) -> None:
    probe, build = sides(["BIGINT", "VARCHAR"], 6_000, 6_000)
    found = run(Join(["BIGINT", "VARCHAR"], kind, [True, False]), probe, build, short_task(tmp_path, 800 * KB))
    assert found == run(Join(["BIGINT", "VARCHAR"], kind, [True, False]), probe, build, task())


@settings(max_examples=60, deadline=None)
@given(
    st.data(), st.sampled_from(KINDS), st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=2), st.booleans(),
    st.integers(1, 40),
)  # fmt: skip
def test_whatever_is_spilled_the_pairs_are_the_same(
    data: st.DataObject, kind: JoinKind, types: list[str], residual: bool, share_kb: int
) -> None:
    row = row_strategy([*types, "TINYINT"])
    probe, build = ([(*r, i) for i, r in enumerate(data.draw(st.lists(row, max_size=60)))] for _ in range(2))
    equal = [data.draw(st.booleans()) for _ in types]
    with tempfile.TemporaryDirectory() as folder:
        context = short_task(Path(folder), 1 << 20)
        context.memory.to_come = [None] * (512 // share_kb - 1)
        found = run(Join(types, kind, equal, residual), probe, build, context, 7)
        assert not [p for p in files_in(Path(folder)) if p.is_file()]
    assert found == run(Join(types, kind, equal, residual), probe, build, task(), 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residual", [False, True])
def test_one_key_with_more_rows_than_fit_is_joined_in_steps(kind: JoinKind, residual: bool, tmp_path: Path) -> None:
    build = [(1, i % 50, i) for i in range(6_000)] + [(i, 0, i) for i in range(100)]
    probe = [(i % 3, (i * 7) % 60, i) for i in range(60)]
    context = short_task(tmp_path, 600 * KB)
    join = Join(["BIGINT"], kind, residual=residual)
    assert run(join, probe, build, context) == run(Join(["BIGINT"], kind, residual=residual), probe, build, task())
    assert join.build.stats.bytes_spilled > 1_000
    assert context.memory.peak_bytes <= 600 * KB


def test_with_enough_memory_nothing_is_written(tmp_path: Path) -> None:
    join = Join(["BIGINT"], "inner")
    run(join, *sides(["BIGINT"], 3_000, 1_000), short_task(tmp_path, 64 << 20))
    assert (join.build.stats.bytes_spilled, join.probe.stats.bytes_spilled, files_in(tmp_path)) == (0, 0, [])


def test_a_full_area_fails_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"of a join \(HashJoin\) has no room to spill: agents\.spill_bytes lets"):
        run(Join(["BIGINT"], "inner"), *sides(["BIGINT"], 8_000, 3_000), short_task(tmp_path, 600 * KB, spill_bytes=50_000))


def test_a_cancel_ends_spilling_and_joining_at_once(tmp_path: Path) -> None:
    probe, build = sides(["BIGINT", "VARCHAR"], 30_000, 30_000)
    run(Join(["BIGINT", "VARCHAR"], "inner"), probe[:3000], build[:9000], short_task(tmp_path, 600 * KB))  # loads the kernels

    def start() -> tuple[TaskContext, Callable[[], object]]:
        context = short_task(tmp_path, 600 * KB)
        return context, functools.partial(run, Join(["BIGINT", "VARCHAR"], "inner"), probe, build, context)

    assert cancel_delay(start, 0.5) < 0.3
