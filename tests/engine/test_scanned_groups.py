"""DuckDB aggregates what it scans where few groups come of many rows: the same answer as by the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

import sabot_sql
from sabot_sql import Connection
from sabot_sql.planner import lower

ROWS = 120_000
TABLE = f"""
    SELECT i % 7 AS g, CASE WHEN i % 5 > 0 THEN 'group ' || i % 11 END AS s, (i % 2 = 0) AS b,
           CASE WHEN i % 13 > 0 THEN (i % 1000)::INTEGER END AS n, (i * 37 % 100000)::DECIMAL(15, 2) / 8 AS small_money,
           (i * 12345678901)::DECIMAL(38, 3) AS large_money, (i % 200)::UTINYINT AS u, i::UBIGINT * 1000000007 AS ub,
           CASE WHEN i % 17 > 0 THEN (i % 97) / 4 END AS f, (i % 31)::FLOAT AS r,
           DATE '2020-01-01' + (i % 400)::INTEGER AS day, TIMESTAMP '2020-01-01' + INTERVAL (i % 3000) MINUTE AS at_,
           (i % 3) * -0.0 AS zero, NULL::INTEGER AS none, i AS id
    FROM range({ROWS}) t(i)"""


@pytest.fixture(scope="module", params=[1, 2])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "t").mkdir()
    for part in (0, 1):
        sql = f"SELECT * FROM ({TABLE}) WHERE id % 2 = {part}"
        duckdb.sql(sql).write_parquet(str(folder / "t" / f"{part}.parquet"), row_group_size=10_240)
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=request.param) as db:
        catalog = db._service.manager._engine.catalog  # type: ignore[attr-defined]
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(60)
        yield db


ALL = [f"{f}({c})" for c in ("n", "small_money", "u", "ub", "b", "r") for f in ("sum", "avg", "min", "max", "count")]
CALLS = [c for c in ALL if c not in ("avg(b)", "sum(ub)", "avg(ub)")]  # DuckDB casts these to wider types


@pytest.mark.parametrize("by", [[], ["g"], ["s"], ["s", "b"], ["day"], ["zero"], ["none"], ["n % 5"]])
def test_few_groups_of_many_rows(db: Connection, by: list[str]) -> None:
    calls = ["count(*)", *CALLS, "min(s)", "max(day)", "min(at_)", "sum(n) FILTER (WHERE b)", "count(*) FILTER (WHERE n > 5)"]
    calls += ["sum(f)", "avg(f)", "max(f)", "sum(small_money * 2)", "count(none)", "sum(none)", "bool_and(n > 3)"]
    columns = ", ".join([*(f"{e} AS k{i}" for i, e in enumerate(by)), *(f"{c} AS c{i}" for i, c in enumerate(calls))])
    group = f" GROUP BY {', '.join(by)} ORDER BY {', '.join(f'{e} NULLS LAST' for e in by)}" if by else ""
    sql = f"SELECT {columns} FROM t WHERE id > 9{group}"
    assert "Aggregate partial" in db.explain(sql, route="distributed").physical
    assert "HashAggregate partial" not in db.explain(sql, route="distributed").physical
    found = db.execute_sql(sql, route="distributed").to_arrow()
    assert found.equals(db.execute_sql(sql, route="local").to_arrow())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, count(*) FROM t GROUP BY id",
        "SELECT g, sum(large_money) FROM t GROUP BY g",
        "SELECT g, count(DISTINCT n) FROM t GROUP BY g",
        "SELECT DISTINCT g FROM t",
        "SELECT g, sum(n) FROM t WHERE id < 10 GROUP BY g",
    ],
)
def test_what_the_kernels_aggregate(db: Connection, sql: str) -> None:
    assert "[duckdb]\n│   Scan" not in db.explain(sql, route="distributed").physical
    found, expected = (db.execute_sql(f"{sql} ORDER BY ALL", route=route).to_arrow() for route in ("distributed", "local"))
    assert found.equals(expected)


def test_no_row_at_all(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "SCANNED_ROWS", 0)
    for sql in ("SELECT count(*), sum(n), min(s) FROM t WHERE n < -5", "SELECT g, sum(n) FROM t WHERE n < -5 GROUP BY g"):
        assert "Aggregate partial" in db.explain(sql, route="distributed").physical
        found, expected = (db.execute_sql(sql, route=route).to_arrow() for route in ("distributed", "local"))
        assert found.equals(expected)
