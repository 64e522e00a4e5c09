"""`register` and `unregister` on a connection to a server do what they do in an engine of this process."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import gzip
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.client.uploads import upload_of
from tests.server.live_server import LiveServer

DAY = dt.date(2026, 1, 1)
SOURCES: dict[str, Callable[[], Any]] = {
    "arrow": lambda: pa.table({"a": [1, None], "s": ["x", "ü"], "l": [[1], []]}),
    "batch": lambda: pa.record_batch({"a": [1, 2]}),
    "reader": lambda: pa.table({"a": range(200_000)}).to_reader(),
    "pandas": lambda: pd.DataFrame(
        {
            "i": [1, 2], "s": ["a", None], "c": pd.Categorical(["u", "v"]), "t": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "z": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), "n": [None, None],
        }, index=[7, 8],
    ),
    "polars": lambda: pl.DataFrame(
        {"i": [1, 2], "s": ["a", None], "c": pl.Series(["u", "v"], dtype=pl.Categorical), "l": [[1], [2, 3]], "d": [DAY, None],
         "x": [decimal.Decimal("1.50"), None], "st": [{"x": 1}, None], "null": [None, None]}
    ),
    "two of one name": lambda: pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "A"]),
    "no rows": lambda: pa.table({"a": pa.array([], pa.int64())}),
    'strange "name"; ü': lambda: pa.table({"select": [1]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def db(server: LiveServer) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect(server.url) as db:
        yield db


@pytest.fixture(scope="module")
def embedded() -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect(data={}, num_local_agents=0) as db:
        yield db


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of each format."""
    table = pa.table({"k": [1, 2], "name": ["x", "ü"]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("k,name\n1,x\n2,ü\n")
    with gzip.open(tmp_path / "z.csv.gz", "wb") as file:
        file.write((tmp_path / "a.csv").read_bytes())
    (tmp_path / "a.tsv").write_text("k\tname\n1\tx\n2\tü\n")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "many").mkdir()
    for number in range(3):
        pq.write_table(table.slice(number % 2), tmp_path / "many" / f"{number}.parquet")
    return tmp_path


def same(db: sabot_sql.Connection, embedded: sabot_sql.Connection, name: str, source: Callable[[], Any]) -> None:
    """Registers a source on both, looks whether they show the same, and takes it out again."""
    quoted = name.replace('"', '""')
    found = []
    for connection in (db, embedded):
        connection.register(name, source())
        result = connection.execute_sql(f'FROM "{quoted}"')
        found.append((result.columns, result.sql_types, result.to_pylist()))
        connection.unregister(name)
        with pytest.raises(sabot_sql.QueryError) as caught:
            connection.unregister(name)
        assert caught.value.problem.code == "UNDEFINED_TABLE"
    assert found[0] == found[1]


@pytest.mark.parametrize("name", SOURCES)
def test_rows_are_the_same_as_embedded(db: sabot_sql.Connection, embedded: sabot_sql.Connection, name: str) -> None:
    same(db, embedded, name, SOURCES[name])


@pytest.mark.parametrize("path", ["a.parquet", "a.csv", "z.csv.gz", "a.tsv", "a.arrow", "many", "many/*.parquet"])
def test_files_are_the_same_as_embedded(
    db: sabot_sql.Connection, embedded: sabot_sql.Connection, folder: Path, path: str
) -> None:
    same(db, embedded, "files", lambda: folder / path)
    same(db, embedded, "files", lambda: [str(folder / path)])


def test_a_table_that_is_there_is_replaced_when_that_is_asked(db: sabot_sql.Connection, embedded: sabot_sql.Connection) -> None:
    for connection in (db, embedded):
        connection.register("again", pa.table({"x": [1]}))
        with pytest.raises(sabot_sql.QueryError) as caught:
            connection.register("Again", pa.table({"x": [2]}))
        assert caught.value.problem.code == "TABLE_EXISTS"
        connection.register("again", pa.table({"y": [2]}), replace=True)
        assert connection.execute_sql("SELECT y FROM again").scalar() == 2
        connection.unregister("again")


def test_a_registered_table_is_read_by_agents(db: sabot_sql.Connection) -> None:
    db.register("for_agents", pa.table({"i": range(10_000)}))
    result = db.execute_sql("SELECT sum(a.i) FROM for_agents a JOIN numbers n ON a.i = n.i", route="distributed")
    assert (int(result.scalar()), result.route) == (sum(range(10_000)), "distributed")
    assert (db.table("for_agents").kind, db.table("for_agents").rows) == ("table", 10_000)
    db.unregister("for_agents")


def test_what_cannot_be_sent_says_why(db: sabot_sql.Connection, folder: Path) -> None:
    (folder / "hive" / "year=2026").mkdir(parents=True)
    pq.write_table(pa.table({"k": [1]}), folder / "hive" / "year=2026" / "a.parquet")
    (folder / "b.csv").write_text("k\n1\n")
    pq.write_table(pa.table({"other": [1]}), folder / "b.parquet")
    (folder / "a.json").write_text('{"k": 1}')
    one = pa.table({"x": [1]})
    for name, source, error, said in (
        ("", one, sabot_sql.ConfigError, "needs a name"),
        ("t", 5, sabot_sql.ConfigError, "cannot be made of a int"),
        ("t", folder / "nothing.csv", sabot_sql.ConfigError, "there is no"),
        ("t", str(folder / "*.feather"), sabot_sql.ConfigError, "nothing matches"),
        ("t", Path(__file__), sabot_sql.ConfigError, "is not known"),
        ("t", [folder / "a.csv", folder / "b.csv"], sabot_sql.NotSupported, "several CSV files"),
        ("t", [folder / "a.parquet", folder / "b.parquet"], sabot_sql.NotSupported, "has other columns"),
        ("t", folder / "a.json", sabot_sql.NotSupported, "json cannot be sent"),
        ("t", folder / "hive", sabot_sql.NotSupported, "Hive"),
        ("t", pd.DataFrame({"x": [1, "a"]}), sabot_sql.NotSupported, "cannot be turned into Arrow"),
        ("t", pd.DataFrame({"x": pd.to_timedelta([1])}), sabot_sql.NotSupported, 'column "x"'),
        ("..", one, sabot_sql.QueryError, "cannot be the name"),
        ("numbers", one, sabot_sql.QueryError, "exists"),
    ):
        with pytest.raises(error, match=said):
            db.register(name, source)
    with pytest.raises(sabot_sql.QueryError, match="started with"):
        db.register("numbers", one, replace=True)
    with pytest.raises(sabot_sql.QueryError, match="started with"):
        db.unregister("numbers")
    assert "t" not in [table.name for table in db.tables()]


def test_a_source_that_fails_in_the_middle_leaves_nothing(db: sabot_sql.Connection) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(20):
            yield pa.record_batch({"i": [number]})
        raise ValueError("the source has failed")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("i", pa.int64())]), batches())
    with pytest.raises(Exception, match="the source has failed"):
        db.register("broken", reader)
    assert "broken" not in [table.name for table in db.tables()]
    assert db.execute_sql("SELECT 1").scalar() == 1


def test_large_tables_are_streamed(db: sabot_sql.Connection, server: LiveServer) -> None:
    rows = 60_000
    batch = pa.record_batch({"i": pa.array(range(rows), pa.int64()), "s": ["a text of some length, as texts are"] * rows})
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = pa.RecordBatchReader.from_batches(batch.schema, (batch for _ in range(100)))
    db.register("streamed", reader)
    assert db.execute_sql("SELECT count(*) FROM streamed").scalar() == 100 * rows
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 150 << 10 < 100 * batch.nbytes >> 10
    anonymous = next(line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if "RssAnon" in line)
    assert int(anonymous.split()[1]) < 1500 << 10
    db.unregister("streamed")


def test_a_server_that_refuses_early_is_heard(server: LiveServer) -> None:
    with sabot_sql.connect(server.url) as db:
        taken = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal taken
            batch = pa.record_batch({"i": pa.array(range(60_000), pa.int64())})
            for _ in range(500):
                taken += 1
                yield batch

        with pytest.raises(sabot_sql.QueryError) as caught:
            db.register("people", pa.RecordBatchReader.from_batches(pa.schema([("i", pa.int64())]), batches()))
        assert (caught.value.problem.code, taken < 500) == ("TABLE_EXISTS", True)
        assert db.execute_sql("SELECT 1").scalar() == 1


def test_asyncio(server: LiveServer) -> None:
    async def run() -> int:
        async with sabot_sql.connect_async(server.url) as db:
            await db.register("awaited", pl.DataFrame({"x": [1, 2]}))
            found = (await db.execute_sql("SELECT sum(x) FROM awaited")).scalar()
            await db.unregister("awaited")
            return int(found)

    assert asyncio.run(run()) == 3


def test_pieces_are_bounded() -> None:
    upload = upload_of("t", pa.table({"s": ["x" * 100] * 500_000}))
    assert max(map(len, upload.pieces())) < 8 << 20
