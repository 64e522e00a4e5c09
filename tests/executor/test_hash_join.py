"""Joins agree with DuckDB: rows, order, NULLs, many matches, further conditions; and give their memory back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import OutOfMemory
from sabot_sql.executor.hash_join import HashJoinProbe, JoinBuildSink
from sabot_sql.executor.operator import Morsel, TaskContext
from sabot_sql.planner.expressions import Compare, Ref
from sabot_sql.planner.physical import HashJoin, JoinKind, Values
from sabot_sql.types import BIGINT, inner_schema
from tests.executor.tables import (
    VALUES,
    ask_duckdb,
    batch_of_rows,
    cancel_delay,
    cut,
    row_strategy,
    rows_of,
    schema_of,
    stats,
    table_for_duckdb,
    task,
)

KINDS: tuple[JoinKind, ...] = ("inner", "left", "semi", "anti")
Row = tuple[Any, ...]


class Join:
    """A join whose inputs end with a number: keys..., value BIGINT, number BIGINT. Gives (probe number, build number)."""

    def __init__(
        self, types: Sequence[str], kind: JoinKind, null_equal: Sequence[bool] | None = None, residual: bool = False
    ) -> None:
        self.types = [*types, "BIGINT", "BIGINT"]
        self.width = len(self.types)
        keys = tuple(range(len(types)))
        side = schema_of(self.types)
        output = (self.width - 1, 2 * self.width - 1) if kind in ("inner", "left") else (self.width - 1,)
        condition = Compare("<", Ref(self.width - 2, BIGINT), Ref(2 * self.width - 2, BIGINT)) if residual else None
        equal = tuple(null_equal or [False] * len(keys))
        self.node = HashJoin(
            Values(0, side), Values(0, side), kind, keys, keys, equal, condition, output, schema_of(["BIGINT"] * len(output))
        )
        self.build = JoinBuildSink(self.node, side, inner_schema(side), stats())
        self.probe = HashJoinProbe(
            self.node, self.build, side, side, self.less if residual else None, inner_schema(self.node.schema), stats()
        )

    def less(self, batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
        assert batch.num_columns == 2 * self.width
        left, right = (batch.column(i).to_pylist() for i in (self.width - 2, 2 * self.width - 2))
        return np.array([a is not None and b is not None and a < b for a, b in zip(left, right)], np.uint8)

    def load(self, rows: Sequence[Row], context: TaskContext, size: int = 3, workers: int = 2) -> None:
        states = [self.build.new_state(context) for _ in range(workers)]
        for i, batch in enumerate(cut(batch_of_rows(self.types, rows), size)):
            self.build.sink(Morsel(batch, i), states[i % workers])
        self.build.combine(states, context)

    def batches(self, rows: Sequence[Row], size: int) -> list[pa.RecordBatch]:
        return cut(batch_of_rows(self.types, rows), size)

    def run(self, rows: Sequence[Row], context: TaskContext, size: int = 4) -> list[pa.RecordBatch]:
        state = self.probe.new_state(context)
        out = [o for batch in self.batches(rows, size) for o in self.probe.process(batch, state)]
        self.probe.close(state)
        return out


def joined(join: Join, probe: Sequence[Row], build: Sequence[Row]) -> list[Row]:
    context = task()
    join.load(build, context)
    out = join.run(probe, context)
    join.build.close(context)
    join.build.close(context)
    assert context.memory.used_bytes == 0
    assert join.probe.stats.rows_in == len(probe)
    return rows_of(out)


def duckdbs(join: Join, probe: Sequence[Row], build: Sequence[Row]) -> list[Row]:
    node, number, value = join.node, f"c{join.width - 1}", f"c{join.width - 2}"
    on = [f"p.c{i} {'IS NOT DISTINCT FROM' if e else '='} b.c{i}" for i, e in enumerate(node.null_equal)]
    if node.residual is not None:
        on.append(f"p.{value} < b.{value}")
    kinds = {"inner": "JOIN", "left": "LEFT JOIN", "semi": "SEMI JOIN", "anti": "ANTI JOIN"}
    out = f"p.{number}, b.{number}" if len(node.output) == 2 else f"p.{number}"
    sql = f"SELECT {out} FROM p {kinds[node.kind]} b ON {' AND '.join(on)} ORDER BY ALL NULLS LAST"
    return ask_duckdb(sql, p=table_for_duckdb(join.types, probe), b=table_for_duckdb(join.types, build))


def numbered(rows: Sequence[Row]) -> list[Row]:
    return [(*row, i) for i, row in enumerate(rows)]


@settings(max_examples=120, deadline=None)
@given(
    st.data(),
    st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3),
    st.sampled_from(KINDS),
    st.booleans(),
)
def test_join_agrees_with_duckdb(data: st.DataObject, types: list[str], kind: JoinKind, residual: bool) -> None:
    null_equal = data.draw(st.lists(st.booleans(), min_size=len(types), max_size=len(types)))
    rows = st.lists(row_strategy([*types, "TINYINT"]), max_size=25).map(numbered)
    probe, build = data.draw(rows), data.draw(rows)
    join = Join(types, kind, null_equal, residual)
    assert joined(join, probe, build) == duckdbs(join, probe, build)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("spread", "repeats"), [(1, 1), (3, 1), (10**12 + 7, 1), (1, 3), (10**12 + 7, 3)])
def test_join_of_many_keys_agrees_with_duckdb(kind: JoinKind, spread: int, repeats: int) -> None:
    rng = np.random.default_rng(3)
    keys = np.repeat(rng.permutation(3000), repeats) * spread
    rng.shuffle(keys)
    build = numbered([(int(k), 0) for k in keys])
    probe = numbered([(int(k) * spread, 0) for k in rng.integers(-500, 4000, 5000)])
    join = Join(["BIGINT"], kind)
    assert joined(join, probe, build) == duckdbs(join, probe, build)


@pytest.mark.parametrize("kind", KINDS)
def test_large_build_side_that_few_probe_rows_match(kind: JoinKind) -> None:
    rng = np.random.default_rng(4)
    keys = rng.permutation(100_000) * 1_000_003
    probe = numbered([(int(k) * (1 if i % 20 == 0 else -1) - 1, 0) for i, k in enumerate(rng.choice(keys, 4000))])
    build = numbered([(int(k) - 1, 0) for k in keys])
    join, context = Join(["BIGINT"], kind), task()
    join.load(build, context, size=30_000)
    assert rows_of(join.run(probe, context, size=1000)) == duckdbs(join, probe, build)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("residual", [False, True])
def test_skewed_key_comes_out_in_small_batches(kind: JoinKind, residual: bool) -> None:
    build = numbered([(1, i % 7) for i in range(5000)] + [(2, 0)])
    probe = numbered([(1, 3), (9, 0), (1, 9), (2, -1), (1, None), (1, 6)])
    join = Join(["BIGINT"], kind, residual=residual)
    context = task(morsel_bytes=1)
    join.load(build, context, size=1000)
    out = join.run(probe, context, size=6)
    assert all(batch.num_rows <= 1024 for batch in out)
    assert rows_of(out) == duckdbs(join, probe, build)


@pytest.mark.parametrize("kind", KINDS)
def test_join_without_keys_pairs_all_rows(kind: JoinKind) -> None:
    join = Join([], kind, residual=True)
    assert (
        joined(join, numbered([(1,), (5,), (None,)]), numbered([(2,), (3,)]))
        == (
            {"inner": [(0, 0), (0, 1)], "left": [(0, 0), (0, 1), (1, None), (2, None)], "semi": [(0,)], "anti": [(1,), (2,)]}[
                kind
            ]
        )
    )


@pytest.mark.parametrize("kind", KINDS)
def test_empty_sides(kind: JoinKind) -> None:
    rows = numbered([(1, 0), (None, 0)])
    assert joined(Join(["BIGINT"], kind), [], rows) == []
    kept = {"inner": [], "left": [(0, None), (1, None)], "semi": [], "anti": [(0,), (1,)]}[kind]
    assert joined(Join(["BIGINT"], kind), rows, []) == kept
    assert joined(Join(["BIGINT"], kind), rows, numbered([(None, 0)] * 3)) == kept


def test_build_rows_match_in_the_order_of_the_source() -> None:
    join, context = Join(["VARCHAR"], "inner"), task()
    batches = cut(batch_of_rows(join.types, numbered([("x", 0)] * 6)), 1)
    state = join.build.new_state(context)
    for i in (4, 2, 5, 0, 3, 1):
        join.build.sink(Morsel(batches[i], i), state)
    join.build.combine([state], context)
    assert rows_of(join.run([("x", 0, 0)], context)) == [(0, i) for i in range(6)]


def test_output_without_columns_counts_pairs() -> None:
    side = schema_of(["BIGINT"])
    node = HashJoin(Values(0, side), Values(0, side), "inner", (0,), (0,), (False,), None, (), ())
    build = JoinBuildSink(node, side, inner_schema(side), stats())
    context = task()
    state = build.new_state(context)
    build.sink(Morsel(batch_of_rows(["BIGINT"], [(1,), (1,), (2,)]), 0), state)
    build.combine([state], context)
    probe = HashJoinProbe(node, build, side, side, None, pa.schema([]), stats())
    out = list(probe.process(batch_of_rows(["BIGINT"], [(1,), (3,), (2,)]), probe.new_state(context)))
    assert sum(batch.num_rows for batch in out) == 3


@pytest.mark.parametrize("limit_bytes", [30_000, 100_000])
def test_build_side_over_the_memory_limit_fails_and_holds_nothing(limit_bytes: int) -> None:
    join, context = Join(["BIGINT"], "inner"), task(limit_bytes)
    with pytest.raises(OutOfMemory, match="join .HashJoin. needs"):
        join.load(numbered([(i, 0) for i in range(2000)]), context, size=500)
    join.build.close(context)
    assert context.memory.used_bytes == 0


def cancelled_join() -> float:
    def start() -> tuple[TaskContext, Callable[[], object]]:
        join, context = Join(["BIGINT"], "inner"), task()
        join.load(numbered([(1, 0)] * 3000), context, size=3000)
        return context, lambda: join.run(numbered([(1, 0)] * 30_000), context, size=30_000)

    return cancel_delay(start, after_s=0.15)


def test_cancel_stops_a_join_soon() -> None:
    assert min(cancelled_join() for _ in range(8)) < 0.05
