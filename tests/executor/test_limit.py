"""LIMIT and OFFSET over batches give the slice of all rows, and say when there are enough."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.errors import Cancelled
from sabot_sql.executor.limit import LimitOperator
from sabot_sql.planner.physical import Limit, Values
from tests.executor.tables import schema_of, stats, task

SCHEMA = schema_of(["BIGINT"])


def operator(limit: int | None, offset: int) -> LimitOperator:
    return LimitOperator(Limit(Values(0, SCHEMA), limit, offset), pa.schema([("c0", pa.int64())]), stats())


@given(st.lists(st.integers(0, 5), max_size=6), st.none() | st.integers(0, 12), st.integers(0, 12))
def test_limit_gives_the_slice(sizes: list[int], limit: int | None, offset: int) -> None:
    limiter = operator(limit, offset)
    state = limiter.new_state(task())
    out, first = [], 0
    for size in sizes:
        batch = pa.record_batch([pa.array(range(first, first + size), pa.int64())], names=["c0"])
        first += size
        out += [v for b in limiter.process(batch, state) for v in b.column(0).to_pylist()]
        if limiter.exhausted(state):
            break
    end = None if limit is None else offset + limit
    assert out == list(range(sum(sizes)))[offset:end]
    assert limiter.exhausted(state) == (end is not None and first >= end) or not sizes
    limiter.close(state)
    assert limiter.stats.rows_out == len(out)


def test_limit_zero_is_exhausted_at_once() -> None:
    limiter = operator(0, 0)
    assert limiter.exhausted(limiter.new_state(task()))


def test_cancel_stops_a_limit() -> None:
    context = task()
    context.cancelled.set()
    limiter = operator(None, 0)
    with pytest.raises(Cancelled):
        list(limiter.process(pa.record_batch([pa.array([1])], names=["c0"]), limiter.new_state(context)))
