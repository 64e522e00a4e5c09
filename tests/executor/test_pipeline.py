"""Pipelines: order, errors, stopping early and stopping at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.errors import Cancelled, OutOfMemory, QueryTimeout
from sabot_sql.executor.filter_project import FilterOperator
from sabot_sql.executor.limit import LimitOperator
from sabot_sql.executor.operator import MemoryTracker, Morsel, OperatorStats, TaskContext
from sabot_sql.executor.pipeline import Branch, run_pipeline
from sabot_sql.planner.expressions import Compare, Const, Ref
from sabot_sql.planner.physical import Filter, Limit, Session, Values
from sabot_sql.types import BIGINT, Field
from tests.executor.tables import stats

ONE = (Field("x", BIGINT),)
SCHEMA = pa.schema([pa.field("c0", pa.int64())])


@dataclass
class Numbers:
    """Units of batches of numbers; `closed` counts units that were left, `fail_at` is a number that cannot be read."""

    units_of: list[list[list[int]]]
    fail_at: int | None = None
    schema: pa.Schema = SCHEMA
    opened: int = 0
    closed: int = 0

    def units(self, context: TaskContext) -> Sequence[Any]:
        return [NumbersUnit(self, batches) for batches in self.units_of]


@dataclass
class NumbersUnit:
    source: Numbers
    lists: list[list[int]]

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        self.source.opened += 1
        try:
            for numbers in self.lists:
                if self.source.fail_at in numbers:
                    raise ValueError(f"cannot read {self.source.fail_at}")
                yield pa.record_batch([pa.array(numbers, pa.int64())], schema=SCHEMA)
        finally:
            self.source.closed += 1


@dataclass
class Collect:
    """Keeps what it sees, by sequence."""

    stats: OperatorStats = field(default_factory=stats)
    rows: list[int] | None = None
    workers: int = 0
    threads: set[str] = field(default_factory=set)

    def new_state(self, context: TaskContext) -> list[tuple[int, list[int]]]:
        return []

    def sink(self, morsel: Morsel, state: list[tuple[int, list[int]]]) -> None:
        self.threads.add(threading.current_thread().name)
        state.append((morsel.sequence, morsel.batch.column(0).to_pylist()))

    def combine(self, states: list[Any], context: TaskContext) -> None:
        self.workers = len(states)
        self.rows = [x for _, rows in sorted(pair for s in states for pair in s) for x in rows]


def context(threads: int = 1, limit_bytes: int = 0) -> TaskContext:
    return TaskContext("job", 0, 0, 0, Session(), MemoryTracker(limit_bytes), threads)


def endless() -> Iterator[list[int]]:
    while True:
        yield [1]


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_keep_the_order_of_units_and_batches(threads: int) -> None:
    source, sink, where = Numbers([[[i, i + 1], [], [i + 2]] for i in range(0, 30, 3)]), Collect(), context(threads)
    run_pipeline([Branch(source)], sink, where)
    assert sink.rows == list(range(30))
    assert (sink.workers, source.opened, source.closed, where.memory.used_bytes) == (threads, 10, 10, 0)


def test_one_thread_runs_in_the_callers() -> None:
    sink = Collect()
    run_pipeline([Branch(Numbers([[[1]], [[2]]]))], sink, context())
    assert sink.threads == {threading.current_thread().name}


def test_branches_follow_each_other() -> None:
    sink = Collect()
    run_pipeline([Branch(Numbers([[[1]], [[2]]])), Branch(Numbers([])), Branch(Numbers([[[3]]]))], sink, context(2))
    assert sink.rows == [1, 2, 3]


def test_pipeline_without_units_still_combines_one_state() -> None:
    sink = Collect()
    run_pipeline([Branch(Numbers([]))], sink, context(4))
    assert (sink.rows, sink.workers) == ([], 1)


def test_operators_of_all_branches_count_once() -> None:
    counters = stats()
    keep = FilterOperator(Filter(Values(0, ONE), Compare(">", Ref(0, BIGINT), Const(1, BIGINT))), SCHEMA, counters)
    sink = Collect()
    run_pipeline([Branch(Numbers([[[1, 2]]])).then(keep), Branch(Numbers([[[3], [0]]])).then(keep)], sink, context())
    assert (sink.rows, counters.rows_in, counters.rows_out) == ([2, 3], 4, 2)


def limit(rows: int | None, offset: int = 0) -> LimitOperator:
    return LimitOperator(Limit(Values(0, ONE), rows, offset), SCHEMA, stats())


def test_limit_stops_reading() -> None:
    source, sink, where = Numbers([[[i, i + 1]] for i in range(0, 100, 2)]), Collect(), context(4)
    run_pipeline([Branch(source).then(limit(3, 2))], sink, where)
    assert (sink.rows, source.opened, source.closed, where.memory.used_bytes) == ([2, 3, 4], 3, 3, 0)


def test_limit_inside_a_unit_leaves_it() -> None:
    source = Numbers([[]])
    source.units_of[0] = endless()  # type: ignore[assignment]
    run_pipeline([Branch(source).then(limit(5))], sink := Collect(), context())
    assert (sink.rows, source.closed) == ([1] * 5, 1)


def test_limit_of_nothing_reads_nothing() -> None:
    source, sink = Numbers([[[1]]]), Collect()
    run_pipeline([Branch(source).then(limit(0))], sink, context())
    assert (sink.rows, source.opened) == ([], 0)


def test_limit_counts_over_all_branches() -> None:
    sink, few = Collect(), limit(3)
    run_pipeline([Branch(Numbers([[[1, 2]]])).then(few), Branch(Numbers([[[3, 4]]])).then(few)], sink, context())
    assert sink.rows == [1, 2, 3]


@pytest.mark.parametrize("threads", [1, 3])
def test_first_error_ends_all_workers_and_is_raised(threads: int) -> None:
    source, sink, where = Numbers([[[i]] for i in range(50)], fail_at=7), Collect(), context(threads)
    with pytest.raises(ValueError, match="cannot read 7"):
        run_pipeline([Branch(source)], sink, where)
    assert (sink.rows, source.opened == source.closed, where.memory.used_bytes) == (None, True, 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_cancel_ends_an_endless_pipeline_at_once(threads: int) -> None:
    took_s = []
    for _ in range(3):  # the machine may have been busy with something else
        source, where = Numbers([[], []]), context(threads)
        source.units_of = [endless(), endless()]  # type: ignore[list-item]
        timer = threading.Timer(0.1, where.cancelled.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            run_pipeline([Branch(source)], Collect(), where)
        took_s.append(time.monotonic() - began)
        assert (source.opened == source.closed, where.memory.used_bytes) == (True, 0)
        timer.join()
    assert min(took_s) < 0.1 + 0.5


def test_deadline_ends_an_endless_pipeline() -> None:
    source, where = Numbers([[]]), context()
    source.units_of = [endless()]  # type: ignore[list-item]
    where.deadline_s = time.monotonic() + 0.05
    with pytest.raises(QueryTimeout):
        run_pipeline([Branch(source)], Collect(), where)


def test_batches_on_their_way_are_memory_of_the_task() -> None:
    where = context(limit_bytes=100)
    with pytest.raises(OutOfMemory, match="a batch"):
        run_pipeline([Branch(Numbers([[[1] * 50]]))], Collect(), where)
    run_pipeline([Branch(Numbers([[[1] * 10]] * 20))], Collect(), where)
    assert (where.memory.peak_bytes, where.memory.used_bytes) == (80, 0)
