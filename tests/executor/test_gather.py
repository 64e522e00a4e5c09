"""Picking rows gives what Python's lists give, for every type and for slices of columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.executor.gather import batch_of, concatenate, select, take
from tests.executor.tables import VALUES, batch_of_rows, plain, rows_of

NESTED = pa.array([[1, 2], None, [], [3]], pa.large_list(pa.int64()))
ODD = {
    "string": pa.array(["a", None, "", "žluťoučký"], pa.string()),
    "binary": pa.array([b"a", None, b"", b"\xff"], pa.binary()),
    "interval": pa.array([(1, 2, 3), None, (0, 0, 0), (-1, 5, 7)], pa.month_day_nano_interval()),
    "struct": pa.array([{"x": 1}, None, {"x": None}, {"x": 4}], pa.struct([("x", pa.int32())])),
    "list": NESTED,
    "null": pa.nulls(4),
    "int16": pa.array([1, None, 3, -4], pa.int16()),
    "all NULL": pa.array([None] * 4, pa.int64()),
}


def taken(values: list[Any], positions: list[int]) -> list[Any]:
    return [None if p < 0 else values[p] for p in positions]


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("sql_type", list(VALUES))
def test_take_picks_what_a_list_picks(sql_type: str, missing: bool) -> None:
    rng = np.random.default_rng(1)
    values = [None, *VALUES[sql_type]] * 7
    batch = batch_of_rows([sql_type], [(v,) for v in values]).slice(3)
    positions = rng.integers(-1 if missing else 0, batch.num_rows, 61)
    out = take(batch, positions, batch.schema)
    expected = taken(values[3:], positions.tolist())
    assert [plain(v) for (v,) in rows_of([out])] == [plain(v) for v in expected]
    assert out.column(0).null_count == expected.count(None)


@pytest.mark.parametrize("sql_type", list(VALUES))
def test_take_of_columns_without_nulls(sql_type: str) -> None:
    batch = batch_of_rows([sql_type], [(v,) for v in VALUES[sql_type] * 5]).slice(3)
    positions = np.random.default_rng(1).integers(0, batch.num_rows, 61)
    out = take(batch, positions, batch.schema)
    rows = rows_of([batch])
    assert [plain(v) for (v,) in rows_of([out])] == [plain(rows[p][0]) for p in positions]
    assert out.column(0).null_count == 0


@pytest.mark.parametrize("name", list(ODD))
def test_take_of_other_arrow_types(name: str) -> None:
    batch = pa.record_batch([ODD[name]], names=["c0"]).slice(1)
    out = take(batch, np.array([2, -1, 0, 1, 2]), batch.schema)
    assert rows_of([out]) == [(v,) for v in taken(ODD[name].to_pylist()[1:], [2, -1, 0, 1, 2])]


def test_neighbouring_strings_are_copied_as_one() -> None:
    values = [f"value {i}" * (i % 5) for i in range(200)]
    batch = pa.record_batch([pa.array(values, pa.large_string())], names=["c0"])
    positions = np.r_[5:150, 3, 2, 0:200]
    assert rows_of([take(batch, positions, batch.schema)]) == [(values[p],) for p in positions]


def test_take_from_several_batches_numbers_them_through() -> None:
    parts = [batch_of_rows(["BIGINT", "VARCHAR"], [(i, str(i))]) for i in range(5)]
    assert rows_of([take(parts, np.array([4, 0, -1]), parts[0].schema)]) == [(4, "4"), (0, "0"), (None, None)]


def test_take_from_no_rows_gives_nulls() -> None:
    empty = batch_of_rows(["BIGINT", "VARCHAR", "BOOLEAN"], [])
    assert rows_of([take(empty, np.array([-1, -1]), empty.schema)]) == [(None,) * 3] * 2


def test_select_keeps_rows_of_the_mask() -> None:
    batch = batch_of_rows(["BIGINT", "VARCHAR"], [(i, str(i)) for i in range(10)])
    mask = np.array([i % 3 == 0 for i in range(10)], np.uint8)
    assert rows_of([select(batch, mask)]) == [(i, str(i)) for i in range(0, 10, 3)]
    assert select(batch, np.ones(10, np.uint8)) is batch
    assert select(batch, np.zeros(10, np.uint8)).num_rows == 0


def test_rows_without_columns_are_counted() -> None:
    none = batch_of([], 7, pa.schema([]))
    assert select(none, np.array([1, 0, 1, 1, 0, 0, 0], np.uint8)).num_rows == 3
    assert concatenate([none, none], pa.schema([])).num_rows == 14


def test_concatenate_nothing_is_an_empty_batch() -> None:
    schema = batch_of_rows(["DECIMAL(9,2)", "VARCHAR"], []).schema
    assert concatenate([], schema).schema == schema
    assert concatenate([], schema).num_rows == 0


def test_columns_that_nobody_reads_are_not_picked() -> None:
    batch = pa.record_batch([pa.array(["a", "b", "c"], pa.large_string()), pa.array([1, 2, 3])], names=["c0", "c1"])
    out = select(batch, np.array([0, 1, 1], np.uint8), frozenset([1]))
    assert (out.schema, out.num_rows, out.column(1).to_pylist()) == (batch.schema, 2, [2, 3])
    assert out.column(0).buffers()[2].address == batch.column(0).buffers()[2].address
