"""NOT IN over columns that have no NULL is an anti join; over others it keeps the meaning that SQL gives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql import Connection

TABLES = {
    "a": "SELECT i AS id, i % 30 AS k, 'n' || i % 30 AS s FROM range(1000) t(i)",
    "b": "SELECT i * 2 AS k, 'n' || i AS s, i % 3 AS g FROM range(12) t(i)",
    "n": "SELECT CASE WHEN i % 5 > 0 THEN i END AS k, i % 3 AS g FROM range(20) t(i)",
    "e": "SELECT i AS k FROM range(0) t(i)",
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder: Path = tmp_path_factory.mktemp("data")
    for name, sql in TABLES.items():
        duckdb.sql(sql).write_parquet(str(folder / f"{name}.parquet"))
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as db:
        yield db


@pytest.mark.parametrize(
    ("condition", "anti"),
    [
        ("k NOT IN (SELECT k FROM b)", True),
        ("s NOT IN (SELECT s FROM b WHERE g = 1)", True),
        ("(k, s) NOT IN (SELECT k, s FROM b)", True),
        ("k NOT IN (SELECT k FROM n WHERE k IS NOT NULL)", True),
        ("k NOT IN (SELECT k FROM n WHERE k > 7)", True),
        ("k NOT IN (SELECT k FROM n)", False),
        ("k NOT IN (SELECT k FROM n WHERE g = 5)", False),
        ("k NOT IN (SELECT k FROM e)", True),
        ("k NOT IN (SELECT b.k FROM b LEFT JOIN n ON b.k = n.k)", True),
        ("k NOT IN (SELECT n.k FROM b LEFT JOIN n ON b.k = n.k)", False),
        ("k NOT IN (SELECT k FROM b UNION ALL SELECT k + 1 FROM b)", False),
        ("k NOT IN (SELECT k FROM b UNION ALL SELECT g FROM n)", True),
        ("k NOT IN (SELECT max(k) FROM b GROUP BY g)", False),
        ("k NOT IN (SELECT g FROM b GROUP BY g)", True),
        ("NULLIF(k, 3) NOT IN (SELECT k FROM b)", False),
        ("k NOT IN (SELECT k FROM b WHERE b.g = a.id % 3)", None),
        ("k NOT IN (SELECT k FROM b) OR k = 4", None),
        ("k NOT IN (SELECT k FROM n) OR k = 4", None),
        ("k IN (SELECT k FROM b) IS NOT TRUE", None),
        ("(k IN (SELECT k FROM n)) IS NULL", None),
    ],
)
def test_not_in(db: Connection, condition: str, anti: bool | None) -> None:
    sql = f"SELECT * FROM a WHERE {condition} ORDER BY id"
    found, expected = (db.execute_sql(sql, route=route).to_arrow() for route in ("distributed", "local"))
    assert found.equals(expected)
    if anti is not None:
        assert ("HashJoin anti" in db.explain(sql, route="distributed").physical) == anti
