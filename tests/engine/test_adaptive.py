"""Joins whose inputs turn out other than expected: the plan changes while it runs, says so, and gives DuckDB's answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import pytest

import sabot_sql
from sabot_sql.client.difference import difference
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.job_run import JobRun
from sabot_sql.jobs.ledger import Ledger
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.planner import adapt

ROWS = 200_000
NONE_OF_IT = "hash(b.k + b.v) % 1000 <= 1"  # a third is expected, a thousandth comes


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Tables `a` and `b` of unique keys, and `skewed`, whose key is 7 in nine rows of ten."""
    con = duckdb.connect()
    con.execute(f"CREATE TABLE a AS SELECT i AS k, i % 13 AS v, i % 5 AS g FROM range({ROWS}) t(i)")
    con.execute(f"CREATE TABLE b AS SELECT i * 2 AS k, i % 11 AS v, 'text ' || i AS s FROM range({ROWS}) t(i)")
    con.execute(
        f"CREATE TABLE skewed AS SELECT CASE WHEN i % 10 = 0 THEN i ELSE 7 END AS k, i AS v FROM range({3 * ROWS}) t(i)"
    )
    folder = tmp_path_factory.mktemp("data")
    con.execute("CREATE TABLE names AS SELECT i AS g, 'name ' || i AS s FROM range(25) t(i)")
    for name in ("a", "b", "skewed", "names"):
        con.execute(f"COPY {name} TO '{folder / name}.parquet' (ROW_GROUP_SIZE 20000)")
    con.execute(f"SET VARIABLE folder = '{folder}'")
    return con


@pytest.fixture(scope="module")
def db(oracle: duckdb.DuckDBPyConnection) -> Iterator[sabot_sql.Connection]:
    folder = oracle.execute("SELECT getvariable('folder')").fetchall()[0][0]
    with sabot_sql.connect("embedded:", data=folder, num_local_agents=4) as db:
        yield db


def changes(db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """How the plan of `sql` changed while it ran; its answer is DuckDB's."""
    answer = db.execute_sql(sql, route="distributed", timeout_s=60)
    assert difference(oracle.sql(sql).to_arrow_table(), answer.to_arrow()) == ""
    return [c for s in db.explain(sql, route="distributed", analyze=True).stages for c in s.get("changes", ())]


@pytest.mark.parametrize("kind", ["join", "left join", "semi join", "anti join"])
def test_small_build_side_is_broadcast(kind: str, db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection) -> None:
    sql = (
        f"select a.g, count(*) n, sum(a.v) v from a {kind} (from b where {NONE_OF_IT}) b on a.k = b.k group by a.g order by a.g"
    )
    assert any("build side broadcast, not partitioned" in c for c in changes(db, oracle, sql))


def test_large_build_side_is_partitioned(
    db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "TOO_LARGE", 0.01)
    all_of_it = " and ".join(f"hash(b.k + {i}) is not null and (b.v + {i}) % 100 < 99" for i in range(8))
    joined = f"skewed s join (from b where {all_of_it}) b on s.k = b.k"
    sql = f"select s.v % 5 g, count(*) n, min(b.s) s from {joined} group by 1 order by 1"
    assert any("both sides partitioned, build side not broadcast" in c for c in changes(db, oracle, sql))


def test_skewed_partition_is_split(
    db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "SKEWED_BYTES", 1 << 20)
    sql = "select a.g, count(*) n, sum(s.v) v from skewed s join a on a.k = s.k group by a.g order by a.g"
    assert any("tasks, not 4: the largest has" in c for c in changes(db, oracle, sql))


def test_small_partitions_are_read_by_one_task(db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection) -> None:
    sql = f"select k, count(*) n, count(distinct v) v from b where {NONE_OF_IT} group by k order by k"
    assert any(c.startswith("1 task, not 4") for c in changes(db, oracle, sql))


def test_what_one_task_makes_of_little_is_made_where_it_is_read(
    db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection
) -> None:
    sql = "select count(*) n, min(k) k from b where k > (select avg(v) from skewed where hash(k) % 7 <> 9)"
    assert any("was merged into this one: " in c for c in changes(db, oracle, sql))


def test_small_table_is_read_by_each_task_that_joins_with_it(
    db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection
) -> None:
    sql = "select s, count(*) n from skewed join names on v % 25 = g group by s order by s"
    stages = db.explain(sql, route="distributed").stages
    assert [sum("names" in o for o in stage["operators"]) for stage in stages] == [1, 0]
    assert stages[0]["tasks"]["total"] > 1
    answer = db.execute_sql(sql, route="distributed", timeout_s=60)
    assert difference(oracle.sql(sql).to_arrow_table(), answer.to_arrow()) == ""
    assert answer.stats["rows_scanned"] == 3 * ROWS + 25


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("select count(distinct x) n from skewed join (select g, random() x from names) on v % 25 = g", 25),
        (
            "select count(distinct x) n from b, (select *, random() x from (select distinct v % 9 g from a)) where g = v % 9",
            9,
        ),
    ],
    ids=["small table", "small stage"],
)
def test_random_values_are_made_once(sql: str, values: int, db: sabot_sql.Connection) -> None:
    assert db.execute_sql(sql, route="distributed", timeout_s=60).to_arrow().to_pylist() == [{"n": values}]


def test_resumed_job_goes_on_by_the_changed_plan(db: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection) -> None:
    sql = f"select a.g, count(*) n from a join (from b where {NONE_OF_IT}) b on a.k = b.k group by a.g order by a.g"
    request = QueryRequest(sql, route="distributed")
    engine = db._service.manager._engine
    plan = engine.prepare(request).plan
    assert plan is not None
    first = JobRun(engine, QueryRecord("q_adaptive", request), plan)
    ledger = Ledger(tuple(s.stage_id for s in plan.stages))
    while ledger.plan is None:
        ledger.fold(json.loads(json.dumps(first.step())))
    second = JobRun(engine, QueryRecord("q_adaptive", request), plan, ledger.copy())
    assert second.plan == first.plan != plan
    assert difference(oracle.sql(sql).to_arrow_table(), second.to_end(ledger.fold)) == ""
    assert ledger.next() is None
    engine.drop_job("q_adaptive")
