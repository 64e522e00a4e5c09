from __future__ import annotations

import duckdb
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.executor.local_answer import CLASSES, collect

MIB = 1 << 20


def answer(sql: str, max_bytes: int = 1 << 30):
    with duckdb.connect() as connection:
        return collect(connection.sql(sql).to_arrow_reader(100_000), max_bytes)


def test_answer_is_what_duckdb_gives_at_once() -> None:
    for sql in ("SELECT i, i::VARCHAR s FROM range(250000) t(i)", "SELECT 1 a WHERE false", "SELECT 1.5 a, NULL b"):
        assert answer(sql).equals(duckdb.sql(sql).to_arrow_table())


def test_answer_is_refused_long_before_it_is_whole() -> None:
    with pytest.raises(QueryError, match=r"4\.0 MiB.*results\.max_bytes") as caught:
        answer("SELECT i FROM range(1000000000000) t(i)", 4 * MIB)
    assert caught.value.problem.code == "RESULT_TOO_LARGE"


@pytest.mark.parametrize(
    ("expression", "cls"),
    [
        ("CASE i WHEN 900000 THEN 'x' ELSE '1' END::INTEGER", duckdb.ConversionException),
        ("9223372036854775807 - 900000 + i", duckdb.OutOfRangeException),
        ("1 // (i - 900000)", duckdb.InvalidInputException),
    ],
)
def test_error_on_the_way_has_the_class_of_one_at_the_beginning(expression: str, cls: type[duckdb.Error]) -> None:
    with pytest.raises(duckdb.Error) as late:
        answer(f"SELECT {expression} FROM range(1000000) t(i)")
    with pytest.raises(duckdb.Error) as early:
        answer(f"SELECT {expression} FROM range(900000, 1000000) t(i) WHERE i >= 900000 ORDER BY i")
    assert type(late.value) is type(early.value) is cls


def test_every_class_begins_its_messages_as_it_is_looked_for() -> None:
    with pytest.raises(duckdb.Error) as caught:
        duckdb.sql("SELECT 'x'::INTEGER").fetchall()
    assert CLASSES[str(caught.value).partition(":")[0]] is type(caught.value)
