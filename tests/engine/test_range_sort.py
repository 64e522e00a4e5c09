"""Large sorts run as ranges that several tasks sort: the same rows in the same order, ties too, as one task gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.client.difference import difference
from sabot_sql.engine.plan_cache import PlanCache
from sabot_sql.planner import adapt, ranges

ROWS = 6_000
COLUMNS = {
    "id": "i",
    "small": "CASE WHEN i % 11 <> 0 THEN (i % 7 - 3)::TINYINT END",
    "heavy": "CASE WHEN i % 10 = 0 THEN i % 1000 ELSE 500 END",
    "often_null": "CASE WHEN i % 5 < 3 THEN i END",
    "most_null": "CASE WHEN i % 9 = 0 THEN i END",
    "one": "5",
    "big": "(i * 100000000000000)::UBIGINT * 9",
    "price": "(hash(i) % 100000)::DECIMAL(15,2) / 100",
    "ratio": "CASE i % 50 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf' WHEN 2 THEN '-inf' WHEN 3 THEN -0.0 WHEN 4 THEN NULL "
    "ELSE (hash(i) % 1000) / 7 - 50 END",
    "half": "CASE WHEN i % 3 <> 0 THEN ((hash(i) % 64) / 8)::FLOAT END",
    "day": "CASE WHEN i % 20 <> 0 THEN DATE '1960-01-01' + (hash(i) % 20000)::INTEGER END",
    "moment": "TIMESTAMP '1969-12-31' + to_milliseconds((hash(i) % 200000000)::BIGINT)",
    "zoned": "TIMESTAMPTZ '1969-12-31 00:00:00+00' + to_seconds((hash(i) % 2000000)::BIGINT)",
    "word": "CASE WHEN i % 13 <> 0 THEN ['', 'é', 'same prefix ' || i % 100, 'Z', '日本語' || i % 9][i % 5 + 1] END",
    "wide": "(i % 100)::DECIMAL(38,0) * 12345678901234567890",
}  # fmt: skip
CUT = [name for name in COLUMNS if name not in ("one", "wide", "most_null")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "t").mkdir()
    con = duckdb.connect()
    columns = ", ".join(f"{sql} AS {name}" for name, sql in COLUMNS.items())
    for part in range(3):
        rows = f"range({part * ROWS // 3}, {(part + 1) * ROWS // 3}) r(i)"
        con.execute(f"COPY (SELECT {columns} FROM {rows}) TO '{folder}/t/{part}.parquet' (ROW_GROUP_SIZE 2048)")
    return folder


@pytest.fixture(scope="module", params=[*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 3])
def db(folder: Path, request: pytest.FixtureRequest) -> Iterator[sabot_sql.Connection]:
    """Agents of two threads, whose engine has learnt how the values lie."""
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=request.param) as db:
        engine = db._service.manager._engine  # type: ignore[attr-defined]
        engine.catalog.learn(engine.catalog.tables())
        assert engine.catalog.wait_learned(60)
        yield db


@pytest.fixture(autouse=True)
def plans_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the planner decides by is changed between two runs of a statement."""
    monkeypatch.setattr(PlanCache, "get", lambda *_: None)


def by_ranges(db: sabot_sql.Connection, sql: str) -> pa.Table:
    """The answer by ranges, which is the one that a single task sorts, ties and all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "FEWEST_ROWS", 10**9)
        want = db.execute_sql(sql, route="distributed").to_arrow()
        patch.setattr(ranges, "FEWEST_ROWS", 1)
        got = db.execute_sql(sql, route="distributed").to_arrow()
        assert difference(want, got, range(want.num_columns)) == ""
    return got


def slots(db: sabot_sql.Connection) -> int:
    settings = db._service.manager._engine.settings.agents  # type: ignore[attr-defined]
    return int(settings.count * settings.slots)


def plan(db: sabot_sql.Connection, sql: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "FEWEST_ROWS", 1)
        return str(db.explain(sql, route="distributed").physical)


@pytest.mark.parametrize("nulls", ["first", "last"])
@pytest.mark.parametrize("way", ["asc", "desc"])
@pytest.mark.parametrize("name", COLUMNS)
def test_sort_by_any_type_is_duckdbs(name: str, way: str, nulls: str, db: sabot_sql.Connection, folder: Path) -> None:
    sql = f"select {name}, small, id from t order by {name} {way} nulls {nulls}, small desc, id"
    want = duckdb.sql(sql.replace("from t", f"from '{folder}/t/*.parquet'")).to_arrow_table()
    assert difference(want, by_ranges(db, sql), range(3)) == ""
    if slots(db) > 1:
        assert (f"range of {name}{' desc' if way == 'desc' else ''} into" in plan(db, sql)) == (name in CUT)


@pytest.mark.parametrize("name", COLUMNS)
def test_ties_keep_the_order_in_which_they_came(name: str, db: sabot_sql.Connection) -> None:
    for way in ("asc nulls first", "desc nulls last"):
        assert by_ranges(db, f"select {name}, id from t order by {name} {way}").num_rows == ROWS


@pytest.mark.parametrize(
    "sql",
    [
        "select id, day from t where day >= date '1990-01-01' and date '2000-01-01' > day order by day, id",
        "select id, price from t where price = 5.5 order by price, id",
        "select id, price from t where price < 0 order by price, id",
        "select price * 2 as p, id from t order by price, id desc",
        "select id from (select id, day from t order by day, id) limit 100 offset 2950",
        "select id, row_number() over () n from (select id, price from t order by price, id)",
        "select list(id)[1:50] l from (select id, price from t order by price desc, id)",
        "select small, list(id)[1:20] l from (select id, small from t order by day desc, id) group by small order by small",
        "select a.id, b.id from (select id, price from t order by price, id) a join t b on a.id = b.id + 1 order by a.id",
        "select * from (select id, price from t order by price, id limit 10) union all (select id, day::int from t limit 0)",
        "select id, price from t order by price, id limit 10 offset 5900",
        "select small, count(*) n from (select small from t order by word, id) group by small order by small",
        "with s as (select id, word from t order by word, id) "
        "select a.id, b.word from s a join s b on a.id = b.id where a.id < 50 order by a.id",
        "select t.id, t.price from t join (select id from t where id % 3 = 0) u on t.id = u.id order by t.price, t.id",
        "select price, count(*) c from t group by price order by price",
        "select day, id from t where id < 0 order by day, id",
    ],
)
def test_whoever_reads_the_ranges_reads_them_in_order(sql: str, db: sabot_sql.Connection, folder: Path) -> None:
    want = duckdb.connect().execute(f"create view t as from '{folder}/t/*.parquet'").sql(sql).to_arrow_table()
    assert difference(want, by_ranges(db, sql), range(want.num_columns)) == ""


def test_answer_is_read_from_the_ranges_without_a_further_stage(db: sabot_sql.Connection) -> None:
    drawn = plan(db, "select id from t order by price")
    assert drawn.count("┌─ stage") == 2
    if slots(db) > 1:
        assert f"stage 1 · {slots(db)} tasks · gather → result" in drawn


@pytest.mark.parametrize("small_bytes", [0, 1 << 30])
def test_ranges_that_one_task_reads_after_all_are_in_order(small_bytes: int, db: sabot_sql.Connection) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "SMALL_BYTES", small_bytes)
        patch.setattr(adapt, "SKEWED_BYTES", 1)
        by_ranges(db, "select heavy, id from t order by heavy desc")
        by_ranges(db, "select most_null, id from t order by most_null nulls first")


def test_values_that_no_histogram_has_seen_are_in_order(tmp_path: Path) -> None:
    """Statistics of a file that was replaced are gone with it; those that hold may be of a sample."""
    con = duckdb.connect()
    (tmp_path / "t").mkdir()
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=2) as db:
        engine = db._service.manager._engine  # type: ignore[attr-defined]
        for shift in (0, 1_000_000):
            con.execute(f"COPY (SELECT i + {shift} AS a FROM range(1000) t(i)) TO '{tmp_path}/t/x.parquet'")
            engine.catalog.learn(engine.catalog.tables())
            assert engine.catalog.wait_learned(60)
            assert by_ranges(db, "select a from t order by a desc").column("a")[0].as_py() == shift + 999


def test_a_small_sort_is_one_tasks(db: sabot_sql.Connection) -> None:
    assert "range" not in db.explain("select id from t order by price", route="distributed").physical
