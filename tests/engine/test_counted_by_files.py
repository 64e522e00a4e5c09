"""Counts of whole tables come from the files' own footers where these count, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql import Connection

ROWS = 1000
TABLE = pa.table(
    {
        "a": pa.array(range(ROWS), pa.int64()),
        "n": pa.array([None if i % 3 == 0 else i for i in range(ROWS)], pa.int32()),
        "s": pa.array([None if i % 7 == 0 else "x" * (i % 90) for i in range(ROWS)]),
        "f": pa.array([[1.5, float("nan"), None, float("inf")][i % 4] for i in range(ROWS)]),
        "none": pa.array([None] * ROWS, pa.int64()),
        "l": pa.array([None if i % 5 == 0 else [i, None] for i in range(ROWS)]),
        "r": pa.array([None if i % 4 == 0 else {"x": None} for i in range(ROWS)], pa.struct([("x", pa.int64())])),
    }
)

TYPED = """
    SELECT i - 2000 AS a, CASE WHEN i % 3 = 0 THEN i END::INTEGER AS n, DATE '1960-02-29' + i::INTEGER AS day,
           TIMESTAMP '1969-12-31 23:59:59.123456' + INTERVAL (i) MILLISECOND AS moment,
           TIMESTAMPTZ '1969-12-31 20:59:59.5+00' + INTERVAL (i) HOUR AS zoned, (i % 91 - 45)::DECIMAL(18, 4) AS money,
           (i % 200 - 100)::TINYINT AS small, (i::UBIGINT * 4611686018427387) AS unsigned
    FROM range(4000) t(i)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of every sort: several groups and files, without statistics, without rows, of different columns, in folders."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("t", "plain", "empty", "differ", "retyped", "hive/k=1", "hive/k=2", "text", "written", "typed"):
        (folder / name).mkdir(parents=True)
    pq.write_table(TABLE, folder / "t" / "1.parquet", row_group_size=300)
    pq.write_table(TABLE.slice(10, 333), folder / "t" / "2.parquet")
    pq.write_table(TABLE.slice(0, 0), folder / "t" / "3.parquet")
    pq.write_table(TABLE, folder / "plain" / "1.parquet")
    pq.write_table(TABLE, folder / "plain" / "2.parquet", write_statistics=["a"])
    pq.write_table(TABLE.slice(0, 0), folder / "empty" / "1.parquet")
    pq.write_table(TABLE, folder / "differ" / "1.parquet")
    pq.write_table(TABLE.select(["a"]), folder / "differ" / "2.parquet")
    pq.write_table(TABLE.select(["n"]), folder / "retyped" / "1.parquet")
    pq.write_table(pa.table({"n": pa.array([1.5, None])}), folder / "retyped" / "2.parquet")
    for key in (1, 2):
        pq.write_table(TABLE.select(["a", "n"]).slice(0, 10 * key), folder / f"hive/k={key}" / "x.parquet")
    duckdb.sql(TYPED).write_parquet(str(folder / "typed" / "1.parquet"), row_group_size=2048)
    pq.write_table(duckdb.sql(f"{TYPED} LIMIT 77").to_arrow_table(), folder / "typed" / "2.parquet")
    duckdb.from_arrow(TABLE.select(["a", "n"])).write_csv(str(folder / "text" / "1.csv"))
    duckdb.from_arrow(TABLE).write_parquet(str(folder / "written" / "1.parquet"), row_group_size=2048)
    return folder


@pytest.fixture(scope="module")
def db(folder: Path) -> Iterator[Connection]:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as db:
        db.register("mine", TABLE)
        learn(db)
        yield db


def learn(db: Connection) -> None:
    catalog = db._service.manager._engine.catalog  # type: ignore[attr-defined]
    catalog.learn(catalog.tables())
    assert catalog.wait_learned(60)


def scans(db: Connection, sql: str) -> bool:
    return "Scan " in db.explain(sql, route="distributed").physical


def both(db: Connection, sql: str) -> list[dict[str, object]]:
    """The answer of the agents, which is that of DuckDB."""
    found = db.execute_sql(sql, route="distributed").to_arrow()
    assert found.equals(db.execute_sql(sql, route="local").to_arrow())
    return found.to_pylist()


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) c from t",
        "select count(*), count(a), count(n), count(s), count(f), count(none) from t",
        "select count(n) * 2 + 1 from t",
        "select count(1) from t",
        "select count(*) from (select n + 1 as m from t order by a)",
        "select count(m) from (select n as m, a from t)",
        "select a, (select count(n) from t) from written where a < 3 order by a",
        "select count(*) from t having count(*) > 5",
        "select count(*) from t union all select count(s) from written order by 1",
        "select count(*) from plain",
        "select count(a) from plain",
        "select count(*), count(n) from empty",
        "select count(*) from differ",
        "select count(*) from retyped",
        "select max(n), min(a), max(a) from differ",
        "select count(*), count(a), count(n) from hive",
        "select count(*) from hive, (select 1 as one)",
        "select count(*), count(a), count(n), count(s), count(f), count(none) from written",
        "select count(*) from mine",
        "select count(*) from t a, (select count(*) from t) b where a.a < 5",
        "with c as (select count(*) n from t) select x.n, y.n from c x, c y",
    ],
)
def test_counts_are_those_of_duckdb(db: Connection, sql: str) -> None:
    assert both(db, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from t",
        "select count(*), count(n), count(s), count(f), count(none) from t",
        "select count(n) from empty",
        "select count(*) from differ",
        "select count(n) from written",
        "select count(*) from mine",
        "select count(n) from hive",
    ],
)
def test_counts_of_whole_tables_are_read_nowhere(db: Connection, sql: str) -> None:
    table = sql.split()[-1]
    assert f"Values 1 row, counted by the files of {table} [numba]" in db.explain(sql, route="distributed").physical
    assert not scans(db, sql)
    both(db, sql)


@pytest.mark.parametrize("column", ["a", "n", "day", "moment", "zoned", "money", "small", "unsigned"])
def test_bounds_that_are_values_are_read_nowhere(db: Connection, column: str) -> None:
    sql = f"select min({column}) low, max({column}) high, count({column}), max({column}) from typed"
    assert "counted by the files of typed" in db.explain(sql, route="distributed").physical
    assert both(db, sql)


def test_bounds_are_values_where_every_chunk_of_the_files_says_so(db: Connection) -> None:
    catalog = db._service.manager._engine.catalog  # type: ignore[attr-defined]
    assert catalog.table("typed").statistics.columns["n"].attained
    assert not catalog.table("plain").statistics.columns["n"].attained
    assert not catalog.table("text").statistics.columns["n"].attained


def test_bounds_are_read_until_they_are_known_to_be_values(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(TABLE, tmp_path / "t" / "x.parquet")
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        sql = "select min(a), max(n) from t"
        assert scans(db, sql)
        learn(db)
        assert not scans(db, sql)
        both(db, sql)
        pq.write_table(TABLE.slice(7), tmp_path / "t" / "x.parquet")
        assert scans(db, sql)
        assert both(db, sql) == [{"min(a)": 7, "max(n)": 998}]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from t where a > 5",
        "select count(*) from (select a from t limit 5)",
        "select count(*) from (select distinct a from t)",
        "select count(*) from t group by n % 2",
        "select count(*) filter (n > 5) from t",
        "select count(distinct n) from t",
        "select count(*), sum(a) from t",
        "select min(f) from t",
        "select max(s) from t",
        "select min(none) from t",
        "select max(a), max(s) from t",
        "select min(a + 1) from t",
        "select min(a) filter (a > 5) from t",
        "select min(a) from t where a > 5",
        "select max(n) from plain",
        "select max(n) from retyped",
        "select max(k) from hive",
        "select min(n) from empty",
        "select min(a) from mine",
        "select min(a) from text",
        "select count(n + 1) from t",
        "select count(l) from t",
        "select count(r) from t",
        "select count(s) from plain",
        "select count(n) from differ",
        "select count(n) from retyped",
        "select count(k) from hive",
        "select count(*) from hive where k = 1",
        "select count(*), count(n) from text",
        "select count(n) from mine",
        "select count(*) from t tablesample 10 rows",
    ],
)
def test_what_the_files_do_not_prove_is_read(db: Connection, sql: str) -> None:
    assert scans(db, sql)
    both(db, sql)


def test_replaced_file_is_seen_by_the_next_query(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        for rows in (10, 20, 10, 0):
            pq.write_table(TABLE.slice(0, rows), tmp_path / "t" / "x.parquet")
            nulls = -(-rows // 3)
            assert both(db, "select count(*) c, count(n) n from t") == [{"c": rows, "n": rows - nulls}]


def test_learnt_statistics_are_no_proof(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(TABLE, tmp_path / "t" / "x.parquet", write_statistics=False)
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        engine = db._service.manager._engine  # type: ignore[attr-defined]
        learn(db)
        assert engine.catalog.table("t").statistics.columns["n"].null_count == 334
        assert scans(db, "select count(n) from t")
