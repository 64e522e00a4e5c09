"""A sort that is short of memory writes sorted runs, and merges them into the same order, ties as they came."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import OutOfMemory
from sabot_sql.executor import sorted_runs
from sabot_sql.executor.operator import Morsel, TaskContext
from sabot_sql.planner.physical import SortKey
from tests.executor.spilling import files_in, short_task
from tests.executor.tables import batch_of_rows, cancel_delay, cut, row_strategy, rows_of, task, through
from tests.executor.test_sort import Row, duckdbs, keys_strategy, sink_of

KB = 1 << 10
TYPES = ["BIGINT", "VARCHAR", "DOUBLE", "DECIMAL(38,4)", "BIGINT"]


def run(
    keys: Sequence[SortKey], batches: Sequence[pa.RecordBatch], context: TaskContext, limit: int | None = None,
    offset: int = 0, workers: int = 1, types: Sequence[str] = TYPES,
) -> tuple[list[Row], int]:  # fmt: skip
    """The rows in order, and how many bytes were spilled."""
    sink = sink_of(types, keys, limit, offset)
    out = through(sink, batches, context, workers)
    assert context.memory.unsettled == 0
    assert sink.stats.rows_out == sum(b.num_rows for b in out)
    return rows_of(out), sink.stats.bytes_spilled


@functools.cache
def many(num_rows: int = 20_000) -> pa.RecordBatch:
    """Rows with many ties and NULLs, the last column numbers them."""
    rng = np.random.default_rng(3)
    rows = [
        (
            None if k % 17 == 0 else k % 300,
            None if k % 13 == 0 else f"text of some length {k % 700:03d}",
            None if k % 11 == 0 else [float("nan"), -0.0, 0.0, k / 7][k % 4],
            None if k % 19 == 0 else k * 10**9,
            i,
        )
        for i, k in enumerate(rng.integers(0, 10**5, num_rows).tolist())
    ]
    return batch_of_rows(TYPES, rows)


ORDERS = [
    [SortKey(0)],
    [SortKey(1, True, True), SortKey(0)],
    [SortKey(2, False, True), SortKey(3, True)],
    [SortKey(3), SortKey(1), SortKey(0, True, False)],
    [SortKey(4, True)],
]


@pytest.mark.parametrize("keys", ORDERS)
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("limit", [None, 9000])
def test_rows_that_do_not_fit_have_the_same_order(keys: list[SortKey], workers: int, limit: int | None, tmp_path: Path) -> None:
    batches = cut(many(), 500)
    context = short_task(tmp_path, 1000 * KB)
    found, spilled = run(keys, batches, context, limit, 100, workers)
    assert list(map(str, found)) == list(map(str, run(keys, batches, task(), limit, 100, workers)[0]))
    assert spilled > 100_000
    assert context.memory.peak_bytes <= 1000 * KB
    assert not [p for p in files_in(tmp_path) if p.is_file()]


def test_more_runs_than_are_merged_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_runs, "FAN_IN", 3)
    found, _ = run([SortKey(0)], cut(many(), 200), short_task(tmp_path, 600 * KB))
    assert [r[-1] for r in found] == [r[-1] for r in run([SortKey(0)], [many()], task())[0]]
    assert not [p for p in files_in(tmp_path) if p.is_file()]


@settings(max_examples=60, deadline=None)
@given(st.data(), keys_strategy, st.none() | st.integers(0, 60), st.integers(0, 5), st.integers(1, 3))
def test_whatever_is_spilled_the_order_is_duckdbs(
    data: st.DataObject, chosen: list[tuple[str, bool, bool]], limit: int | None, offset: int, workers: int
) -> None:
    types = [t for t, _, _ in chosen]
    keys = [SortKey(i, descending, first) for i, (_, descending, first) in enumerate(chosen)]
    rows = data.draw(st.lists(row_strategy(types), max_size=60))
    typed = [*types, "BIGINT"]
    batches = cut(batch_of_rows(typed, [(*row, i) for i, row in enumerate(rows)]), 5)
    end = None if limit is None else offset + limit
    with tempfile.TemporaryDirectory() as folder:
        context = short_task(Path(folder), 1 << 20)
        context.memory.to_come = [None] * 249  # a share of some 2 kB
        found, _ = run(keys, batches, context, limit, offset, workers, typed)
    assert [r[-1] for r in found] == duckdbs(types, keys, rows)[offset:end]


def test_with_enough_memory_nothing_is_written(tmp_path: Path) -> None:
    _, spilled = run([SortKey(0)], cut(many(), 500), short_task(tmp_path, 64 << 20))
    assert (spilled, files_in(tmp_path)) == (0, [])


def test_a_full_area_fails_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"a sort \(Sort\) has no room to spill: agents\.spill_bytes lets"):
        run([SortKey(0)], cut(many(), 500), short_task(tmp_path, 1000 * KB, spill_bytes=50_000))


def test_a_reader_that_stops_early_leaves_nothing(tmp_path: Path) -> None:
    context = short_task(tmp_path, 1000 * KB)
    sink = sink_of(TYPES, [SortKey(0)])
    state = sink.new_state(context)
    for i, batch in enumerate(cut(many(), 500)):
        sink.sink(Morsel(batch, i), state)
    sink.combine([state], context)
    assert next(sink.batches(context)).num_rows
    assert context.spill is not None
    context.spill.close()
    assert files_in(tmp_path) == []


def test_a_cancel_ends_spilling_and_merging_at_once(tmp_path: Path) -> None:
    batches = cut(many(), 500)
    run([SortKey(1)], batches, short_task(tmp_path, 1000 * KB))  # loads the kernels

    def start() -> tuple[TaskContext, Callable[[], object]]:
        context = short_task(tmp_path, 1000 * KB)
        return context, functools.partial(run, [SortKey(1)], batches * 8, context)

    for after_s in (0.05, 0.8):
        assert cancel_delay(start, after_s) < 0.3
