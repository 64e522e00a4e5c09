"""ORDER BY and top-n give DuckDB's order, ties as they came, whatever the number of workers; and give their memory back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import NotSupported, OutOfMemory
from sabot_sql.executor.operator import Morsel, TaskContext
from sabot_sql.executor.sort import SortSink
from sabot_sql.planner.physical import Sort, SortKey, Values
from sabot_sql.types import inner_schema
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
    through,
)

Row = tuple[Any, ...]


def sink_of(types: Sequence[str], keys: Sequence[SortKey], limit: int | None = None, offset: int = 0) -> SortSink:
    schema = schema_of(types)
    return SortSink(Sort(Values(0, schema), tuple(keys), limit, offset), inner_schema(schema), stats())


def numbers(
    types: Sequence[str], keys: Sequence[SortKey], rows: Sequence[Row], limit: int | None = None, offset: int = 0,
    workers: int = 1, size: int = 5,
) -> list[int]:  # fmt: skip
    """The arrival numbers of the rows in our order."""
    typed = [*types, "BIGINT"]
    batch = batch_of_rows(typed, [(*row, i) for i, row in enumerate(rows)])
    return [row[-1] for row in rows_of(through(sink_of(typed, keys, limit, offset), cut(batch, size), task(), workers))]


def duckdbs(types: Sequence[str], keys: Sequence[SortKey], rows: Sequence[Row]) -> list[int]:
    typed = [*types, "BIGINT"]
    by = [f"c{k.index} {'DESC' if k.descending else 'ASC'} NULLS {'FIRST' if k.nulls_first else 'LAST'}" for k in keys]
    sql = f"SELECT c{len(types)} FROM t ORDER BY {', '.join([*by, f'c{len(types)}'])}"
    return [n for (n,) in ask_duckdb(sql, t=table_for_duckdb(typed, [(*row, i) for i, row in enumerate(rows)]))]


keys_strategy = st.lists(st.tuples(st.sampled_from(list(VALUES)), st.booleans(), st.booleans()), min_size=1, max_size=4)


@settings(max_examples=120, deadline=None)
@given(st.data(), keys_strategy, st.none() | st.integers(0, 12), st.integers(0, 5), st.integers(1, 3))
def test_order_agrees_with_duckdb(
    data: st.DataObject, chosen: list[tuple[str, bool, bool]], limit: int | None, offset: int, workers: int
) -> None:
    types = [t for t, _, _ in chosen]
    keys = [SortKey(i, descending, first) for i, (_, descending, first) in enumerate(chosen)]
    rows = data.draw(st.lists(row_strategy(types), max_size=40))
    end = None if limit is None else offset + limit
    expected = duckdbs(types, keys, rows)[offset:end]
    assert numbers(types, keys, rows, limit, offset, workers) == expected


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [None, 40, 3000])
@pytest.mark.parametrize("name", ["few", "wide", "text", "long text", "mixed"])
def test_order_of_many_rows_agrees_with_duckdb(name: str, limit: int | None, descending: bool) -> None:
    rng = np.random.default_rng(5)
    size = 30_000
    text = [f"{'common prefix ' * (i % 3)}{i % 977:05d}{'é' * (i % 2)}" for i in rng.integers(0, 10**6, size)]
    columns: dict[str, tuple[list[str], list[list[Any]]]] = {
        "few": (["INTEGER", "TINYINT"], [rng.integers(0, 9, size).tolist(), rng.integers(-5, 5, size).tolist()]),
        "wide": (["BIGINT"], [rng.integers(-(2**63), 2**63 - 1, size).tolist()]),
        "text": (["VARCHAR"], [[str(v) if v % 50 else None for v in rng.integers(0, 5000, size)]]),
        "long text": (["VARCHAR", "DOUBLE"], [text, rng.standard_normal(size).round(1).tolist()]),
        "mixed": (
            ["BOOLEAN", "VARCHAR", "BIGINT"],
            [(rng.random(size) < 0.1).tolist(), text, rng.integers(0, 3, size).tolist()],
        ),
    }
    types, values = columns[name]
    keys = [SortKey(i, descending != (i == 1)) for i in range(len(types))]
    rows = list(zip(*values))
    assert numbers(types, keys, rows, limit, workers=2, size=2000) == duckdbs(types, keys, rows)[:limit]


def test_strings_that_differ_late_and_runs_of_all_lengths() -> None:
    rng = np.random.default_rng(6)
    stem = "the same beginning of every value, longer than any word "
    rows = [(stem + "x" * int(a) + str(b),) for a, b in zip(rng.integers(0, 30, 4000), rng.zipf(1.3, 4000) % 50)]
    assert numbers(["VARCHAR"], [SortKey(0)], rows, size=999) == duckdbs(["VARCHAR"], [SortKey(0)], rows)


def test_ties_keep_the_order_of_the_source_across_workers() -> None:
    rows = [(i % 3,) for i in range(500)]
    expected = sorted(range(500), key=lambda i: i % 3)
    for limit in (None, 50, 400):
        assert numbers(["BIGINT"], [SortKey(0)], rows, limit, workers=3, size=7) == expected[:limit]


def test_top_n_holds_few_rows() -> None:
    context = task()
    sink = sink_of(["BIGINT"], [SortKey(0)], 10)
    rng = np.random.default_rng(7)
    batches = [batch_of_rows(["BIGINT"], [(int(v),) for v in rng.integers(0, 10**9, 20_000)]) for _ in range(10)]
    through(sink, batches, context)
    assert context.memory.peak_bytes < 2 * batches[0].nbytes
    assert sink.stats.rows_in == 200_000
    assert sink.stats.rows_out == 10


def test_rows_that_arrive_worse_and_worse_or_better_and_better() -> None:
    rows = [(i,) for i in range(40_000)]
    for descending in (False, True):
        assert numbers(["BIGINT"], [SortKey(0, descending)], rows, 5, 2, size=1000) == (
            [39_997, 39_996, 39_995, 39_994, 39_993] if descending else [2, 3, 4, 5, 6]
        )


def test_output_is_cut_by_morsel_bytes() -> None:
    batch = batch_of_rows(["BIGINT"], [(i,) for i in range(5000)])
    out = through(sink_of(["BIGINT"], [SortKey(0)]), [batch], task(morsel_bytes=8 * 2000))
    assert [b.num_rows for b in out] == [2000, 2000, 1000]


def test_nothing_to_sort() -> None:
    assert numbers(["BIGINT"], [SortKey(0)], []) == []
    assert numbers(["BIGINT"], [SortKey(0)], [(1,)], limit=0) == []
    assert numbers(["BIGINT"], [SortKey(0)], [(1,)], limit=5, offset=3) == []


def test_sort_by_a_list_is_not_supported() -> None:
    with pytest.raises(NotSupported, match="INTEGER\\[\\]"):
        sink_of(["INTEGER[]"], [SortKey(0)])


@pytest.mark.parametrize("limit_bytes", [30_000, 100_000])
def test_sort_over_the_memory_limit_fails_and_holds_nothing(limit_bytes: int) -> None:
    batch, context = batch_of_rows(["BIGINT"], [(i,) for i in range(5000)]), task(limit_bytes)
    sink = sink_of(["BIGINT"], [SortKey(0)])
    with pytest.raises(OutOfMemory, match=r"a sort \(Sort\) needs"):
        through(sink, cut(batch, 1000), context)
    sink.close(context)
    assert context.memory.used_bytes == 0


def test_memory_is_free_when_the_reader_stops_early() -> None:
    context = task(morsel_bytes=1)
    sink = sink_of(["BIGINT"], [SortKey(0)])
    state = sink.new_state(context)
    sink.sink(Morsel(batch_of_rows(["BIGINT"], [(i,) for i in range(5000)]), 0), state)
    sink.combine([state], context)
    reader = sink.batches(context)
    next(reader)
    assert context.memory.used_bytes > 0
    reader.close()  # type: ignore[attr-defined]
    assert context.memory.used_bytes == 0


def cancelled_sort() -> float:
    values = np.random.default_rng(8).integers(-(2**63), 2**63 - 1, 3_000_000)

    def start() -> tuple[TaskContext, Callable[[], object]]:
        context = task()
        sink = sink_of(["BIGINT"], [SortKey(0)])
        state = sink.new_state(context)
        sink.sink(Morsel(pa.record_batch([pa.array(values)], names=["c0"]), 0), state)
        return context, lambda: sink.combine([state], context)

    return cancel_delay(start, after_s=0.02)


def test_cancel_stops_a_sort_soon() -> None:
    assert min(cancelled_sort() for _ in range(8)) < 0.05
