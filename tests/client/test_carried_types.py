"""Types that Parquet, Polars or pandas cannot hold."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.client.carried_types import Target, refuse_types, write_parquet
from sabot_sql.client.connection import Connection


@pytest.fixture(scope="module")
def db() -> Iterator[Connection]:
    with sabot_sql.connect(data={}, num_local_agents=0) as connection:
        yield connection


@pytest.mark.parametrize("value", ["INTERVAL 1 DAY", "[INTERVAL 1 DAY]", "{'i': INTERVAL 1 DAY}", "MAP {1: INTERVAL 1 DAY}"])
@pytest.mark.parametrize("target", ["Parquet", "Polars"])
def test_interval_is_refused_by_name_however_deep(db: Connection, value: str, target: Target) -> None:
    found = db.execute_sql(f"SELECT 1 AS a, {value} AS i")
    with pytest.raises(
        sabot_sql.NotSupported, match=rf'column "i" is of type .*INTERVAL.*, which {target} cannot hold'
    ) as caught:
        refuse_types(found.to_arrow(), found.sql_types, target)
    assert caught.value.hint == 'cast it: "i"::VARCHAR'


def test_the_cast_of_the_hint_is_written(db: Connection) -> None:
    found = db.execute_sql("SELECT (INTERVAL 1 DAY)::VARCHAR AS i")
    sink = pa.BufferOutputStream()
    write_parquet(found.to_arrow(), found.sql_types, sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).to_pylist() == [{"i": "1 day"}]


def test_polars_and_pandas_refuse_in_our_words(db: Connection) -> None:
    with pytest.raises(sabot_sql.NotSupported, match="Polars"):
        db.execute_sql("SELECT INTERVAL 1 DAY").to_polars()
    with pytest.raises(sabot_sql.NotSupported, match="pandas"):
        db.execute_sql("SELECT union_value(k := 1)").to_pandas()


def test_polars_gets_numbers_for_names_given_twice(db: Connection) -> None:
    assert db.execute_sql("SELECT 1 AS a, 2 AS a").to_polars().to_dicts() == [{"a": 1, "a_1": 2}]


def test_every_other_type_goes_everywhere(db: Connection) -> None:
    table = db.execute_sql('SELECT * EXCLUDE (interval, empty_struct, "union", hugeint, uhugeint) FROM test_all_types()')
    refuse_types(table.to_arrow(), table.sql_types, "Parquet")
    refuse_types(table.to_arrow(), table.sql_types, "Polars")
    refuse_types(table.to_arrow(), table.sql_types, "pandas")


@pytest.mark.parametrize("value", ["'infinity'::TIMESTAMP_S", "['infinity'::TIMESTAMP_S]"])
def test_a_value_beyond_what_parquet_has_names_its_column(db: Connection, value: str) -> None:
    found = db.execute_sql(f"SELECT 1 AS a, {value} AS b")
    with pytest.raises(sabot_sql.NotSupported, match='column "b" has a value of type TIMESTAMP_S.* that Parquet cannot hold'):
        write_parquet(found.to_arrow(), found.sql_types, pa.BufferOutputStream())
