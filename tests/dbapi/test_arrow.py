"""Arrow out of a cursor: ADBC's methods, pandas and Polars."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.io.database._arrow_registry import ARROW_DRIVER_REGISTRY

from sabot_sql import dbapi
from sabot_sql.dbapi.cursor import Cursor

PEOPLE = "SELECT id, name FROM people ORDER BY id"


def test_rest_of_the_rows_as_a_table(connection: dbapi.Connection) -> None:
    cursor = connection.execute(PEOPLE)
    assert cursor.fetchone() == (1, "Ada")
    table = cursor.fetch_arrow_table()
    assert isinstance(table, pa.Table)
    assert table.column("id").to_pylist() == [2, 3]
    assert cursor.fetchall() == []
    assert cursor.fetch_arrow_table().num_rows == 0


def test_record_batches(connection: dbapi.Connection) -> None:
    reader = connection.execute("SELECT i FROM numbers ORDER BY i").fetch_record_batch(4_000)
    assert isinstance(reader, pa.RecordBatchReader)
    batches = list(reader)
    assert max(batch.num_rows for batch in batches) <= 4_000
    assert pa.Table.from_batches(batches).column("i").to_pylist() == list(range(10_000))


def test_data_frames(connection: dbapi.Connection) -> None:
    frame = connection.execute(PEOPLE).fetch_df()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["id"]) == [1, 2, 3]
    polars = connection.execute("SELECT 1 AS a, 2 AS a").fetch_polars()
    assert polars.to_dict(as_series=False) == {"a": [1], "a_1": [2]}


def test_cursor_is_an_arrow_stream(connection: dbapi.Connection) -> None:
    assert pa.table(connection.execute(PEOPLE)).num_rows == 3
    assert pl.DataFrame(connection.execute(PEOPLE)).height == 3


def test_polars_cannot_hold_an_interval(embedded: dbapi.Connection) -> None:
    with pytest.raises(dbapi.NotSupportedError, match="INTERVAL"):
        embedded.execute("SELECT INTERVAL 1 MONTH AS i").fetch_polars()


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy:UserWarning")
def test_pandas_reads_sql(connection: dbapi.Connection) -> None:
    frame = pd.read_sql("SELECT * FROM people WHERE id < ? ORDER BY id", connection, params=[3])
    assert list(frame["id"]) == [1, 2]
    chunks = list(pd.read_sql("SELECT i FROM numbers ORDER BY i", connection, chunksize=4_000))
    assert [len(chunk) for chunk in chunks] == [4_000, 4_000, 2_000]


def test_polars_reads_a_database_through_arrow(connection: dbapi.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Cursor) -> None:
        raise AssertionError("rows were asked for")

    monkeypatch.setattr(Cursor, "fetchall", refuse)
    frame = pl.read_database("SELECT id, name, 1.5::DECIMAL(10,2) AS d FROM people ORDER BY id", connection)
    assert frame.schema == {"id": pl.Int64, "name": pl.String, "d": pl.Decimal(10, 2)}
    batches = pl.read_database("SELECT i FROM numbers", connection.cursor(), iter_batches=True, batch_size=4_000)
    assert sum(batch.height for batch in batches) == 10_000


def test_polars_reads_rows_where_it_knows_no_arrow_of_ours(
    connection: dbapi.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARROW_DRIVER_REGISTRY, "sabot_sql", [])
    frame = pl.read_database("SELECT id, name, 1.5::DECIMAL(10,2) AS d FROM people ORDER BY id", connection)
    assert frame.schema == {"id": pl.Int64, "name": pl.String, "d": pl.Decimal(10, 2)}


HEAVY = ("duckdb", "numba", "pandas", "polars", "dbos", "sqlglot", "sqlalchemy")


def test_import_loads_no_engine_and_no_frames() -> None:
    code = f"import sys, sabot_sql.dbapi; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
