"""Queries over batches are planned once for a connection and read each batch as it is."""

from __future__ import annotations

import datetime as dt
import threading

import pyarrow as pa
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.executor.duckdb_session import MAX_PREPARED, duck_session
from tests.executor.tables import task


def numbers(*values: int | None) -> pa.RecordBatch:
    return pa.record_batch([pa.array(values, pa.int64())], ["c0"])


def test_one_plan_serves_batches_of_any_length() -> None:
    context = task()
    with duck_session(context).cursor(context) as cursor:
        before = cursor.pooled.count
        many = numbers(*range(200_000))
        for batch in (numbers(1, None, 3), numbers(), many, many.slice(77, 2), numbers(5)):
            expected = [None if v is None else 2 * v for v in batch.column(0).to_pylist()]
            assert cursor.over("SELECT c0 * 2 AS r FROM ", batch).column(0).to_pylist() == expected
        assert cursor.pooled.count <= before + 1
        assert all(morsel.batch is None for morsel in cursor.pooled.prepared.values())


def test_batches_of_another_schema_have_another_plan() -> None:
    context = task()
    with duck_session(context).cursor(context) as cursor:
        for array in (
            pa.array([1], pa.int64()),
            pa.array(["a"], pa.large_string()),
            pa.array(["b"], pa.string()),
            pa.array([True]),
        ):
            found = cursor.over("SELECT typeof(c0) AS t, c0 AS r FROM ", pa.record_batch([array], ["c0"]))
            assert found.column(1).to_pylist() == array.to_pylist()


def test_plans_of_a_connection_are_bounded() -> None:
    context = task()
    with duck_session(context).cursor(context) as cursor:
        for i in range(MAX_PREPARED + 5):
            assert cursor.over(f"SELECT c0 + {i} AS r FROM ", numbers(1)).column(0).to_pylist() == [1 + i]
        assert len(cursor.pooled.prepared) == MAX_PREPARED
        assert cursor.scalar("SELECT count(*) FROM duckdb_prepared_statements()") == MAX_PREPARED
        assert cursor.scalar("SELECT count(*) FROM duckdb_views() WHERE view_name LIKE 'morsel%'") == MAX_PREPARED
        first = cursor.over("SELECT c0 + 0 AS r FROM ", numbers(1))  # which had to go
        assert first.column(0).to_pylist() == [1]


def test_what_changes_from_call_to_call_is_not_planned_in() -> None:
    context = task()
    with duck_session(context).cursor(context) as cursor:
        found = [cursor.over("SELECT random() AS r, now() AS t FROM ", numbers(1, 2)) for _ in range(2)]
    values = [v for table in found for v in table.column(0).to_pylist()]
    assert len(set(values)) == 4
    (first,), (second,) = (set(table.column(1).to_pylist()) for table in found)
    assert dt.timedelta(0) < second - first


def test_query_that_failed_can_be_run_again() -> None:
    context, select = task(), "SELECT CAST(c0 AS BIGINT) AS r FROM "
    texts = [pa.record_batch([pa.array(v, pa.large_string())], ["c0"]) for v in (["1"], ["x"], ["2"])]
    for _ in range(2):
        with duck_session(context).cursor(context) as cursor:
            assert cursor.over(select, texts[0]).column(0).to_pylist() == [1]
        with pytest.raises(QueryError, match="'x'"), duck_session(context).cursor(context) as cursor:
            cursor.over(select, texts[1])
        with duck_session(context).cursor(context) as cursor:
            assert cursor.over(select, texts[2]).column(0).to_pylist() == [2]


def test_threads_do_not_see_each_others_batches() -> None:
    wrong: list[int] = []

    def run(number: int) -> None:
        context = task()
        for i in range(40):
            with duck_session(context).cursor(context) as cursor:
                if cursor.over("SELECT c0 + 1 AS r FROM ", numbers(number, i)).column(0).to_pylist() != [number + 1, i + 1]:
                    wrong.append(number)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
