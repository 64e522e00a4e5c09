"""Small tables of every type that kernels see, for Hypothesis and for the operators' tests."""

from __future__ import annotations

import datetime as dt
import functools
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import strategies as st

from sabot_sql.errors import Cancelled
from sabot_sql.executor.operator import MemoryTracker, Morsel, OperatorStats, TaskContext
from sabot_sql.planner.physical import Session
from sabot_sql.types import Field, Schema, arrow_type, inner_schema, parse_type

VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "TINYINT": [0, 1, -1, 127, -128],
    "INTEGER": [0, 1, -1, 7, 2**31 - 1, -(2**31)],
    "BIGINT": [0, 1, -1, 5, 2**63 - 1, -(2**63), 1 << 40],
    "UBIGINT": [0, 1, 2**64 - 1, 2**63, 2**63 - 1],
    "DOUBLE": [0.0, -0.0, 1.5, -1.5, float("nan"), float("inf"), float("-inf"), 5e-324],
    "FLOAT": [0.0, -0.0, 0.25, float("nan"), float("-inf")],
    "DATE": [dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29)],
    "TIMESTAMP": [dt.datetime(1970, 1, 1), dt.datetime(1900, 1, 1, 1, 2, 3, 4), dt.datetime(2262, 1, 1)],
    "DECIMAL(9,2)": [Decimal("0.00"), Decimal("-1.25"), Decimal("9999999.99")],
    "DECIMAL(18,3)": [Decimal("0.000"), Decimal("-0.001"), Decimal("999999999999999.999")],
    "DECIMAL(38,4)": [Decimal("0.0000"), Decimal("-1.0000"), Decimal("9" * 34 + ".9999"), Decimal(-(2**64)), Decimal(2**64)],
    "VARCHAR": [
        "", "a", "ab", "a\0", "a\0\0", "abcdefg", "abcdefgh", "abcdefgi", "abcdefghij", "a string that is rather long",
        "a string that is rather longer", "žluťoučký kůň", "日本語", "zz" * 40,
    ],
    "BLOB": [b"", b"\0", b"\xff\xff", b"\xff", b"0123456789abcdef"],
}  # fmt: skip


def schema_of(types: Sequence[str]) -> Schema:
    return tuple(Field(f"c{i}", parse_type(t)) for i, t in enumerate(types))


def batch_of_rows(types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """The rows with Arrow's inner types, as operators get them."""
    schema = inner_schema(schema_of(types))
    return pa.RecordBatch.from_arrays([pa.array([r[i] for r in rows], f.type) for i, f in enumerate(schema)], schema=schema)


def cut(batch: pa.RecordBatch, rows: int) -> list[pa.RecordBatch]:
    return [batch.slice(at, rows) for at in range(0, batch.num_rows, rows)]


def table_for_duckdb(types: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """The same rows with the types DuckDB itself uses."""
    columns = [pa.array([r[i] for r in rows], arrow_type(parse_type(t))) for i, t in enumerate(types)]
    return pa.table(columns, names=[f"c{i}" for i in range(len(types))])


@functools.cache
def oracle() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


def ask_duckdb(sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    with oracle().cursor() as cursor:
        for name, table in tables.items():
            cursor.register(name, table)
        return cursor.sql(sql).fetchall()


def row_strategy(types: Sequence[str]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(st.sampled_from([None, *VALUES[t]]) for t in types))


def rows_of(batches: Sequence[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    out: list[tuple[Any, ...]] = []
    for batch in batches:
        batch.validate(full=True)
        columns = [column.to_pylist() for column in batch.columns]
        out += zip(*columns) if columns else [()] * batch.num_rows
    return out


def plain(value: Any) -> Any:
    """A value that equals itself: NaN as text, zero without sign."""
    if isinstance(value, float):
        return "NaN" if value != value else value + 0.0
    return value


def task(limit_bytes: int = 0, morsel_bytes: int = 2 << 20) -> TaskContext:
    return TaskContext("job", 0, 0, 0, Session(), MemoryTracker(limit_bytes), morsel_bytes=morsel_bytes)


def stats() -> OperatorStats:
    return OperatorStats(0, "operator", "numba")


def through(sink: Any, batches: Sequence[pa.RecordBatch], context: TaskContext, workers: int = 1) -> list[pa.RecordBatch]:
    """What a sink gives of `batches`, dealt out to workers; afterwards the task holds nothing."""
    states = [sink.new_state(context) for _ in range(workers)]
    for i, batch in enumerate(batches):
        sink.sink(Morsel(batch, i), states[i % workers])
    sink.combine(states, context)
    out = list(sink.batches(context))
    assert context.memory.used_bytes == 0
    return out


def streamed(operator: Any, batches: Sequence[pa.RecordBatch], context: TaskContext, workers: int = 1) -> list[pa.RecordBatch]:
    """What a streaming operator gives of `batches`, dealt out to workers; afterwards the task holds nothing."""
    states = [operator.new_state(context) for _ in range(workers)]
    out: list[pa.RecordBatch] = []
    for i, batch in enumerate(batches):
        out += operator.process(batch, states[i % workers])
    out += operator.drain(states)
    for state in states:
        operator.close(state)
    assert context.memory.used_bytes == 0
    return out


def cancel_delay(start: Callable[[], tuple[TaskContext, Callable[[], object]]], after_s: float) -> float:
    """Seconds from a cancel, `after_s` after the beginning of the work that `start` gives, to its end.

    Where the work had ended by then, it is begun anew and cancelled sooner.
    """
    while True:
        context, work = start()
        cancelled_at: list[float] = []

        def cancel(context: TaskContext = context, cancelled_at: list[float] = cancelled_at) -> None:
            cancelled_at.append(time.perf_counter())
            context.cancelled.set()

        timer = threading.Timer(after_s, cancel)
        timer.start()
        try:
            work()
        except Cancelled:
            return time.perf_counter() - cancelled_at[0]
        finally:
            timer.cancel()
            timer.join()
        after_s /= 2
        assert after_s > 0.01, "no cancel ended the work"
