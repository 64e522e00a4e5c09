"""Conditions on window functions run in DuckDB's own query, and the first rows of a partition are found where the rows are."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

import sabot_sql
from sabot_sql import Connection

TABLE = """
    SELECT i AS id, CASE WHEN i % 11 > 0 THEN i % 50 END AS g, 'name ' || i % 7 AS s, (i * 7919) % 20011 AS o,
           CASE WHEN i % 13 > 0 THEN i % 100 END AS v
    FROM range(20000) t(i)"""


@pytest.fixture(scope="module", params=[1, 2])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "t").mkdir()
    for part in range(4):
        sql = f"SELECT * FROM ({TABLE}) WHERE id % 4 = {part}"
        duckdb.sql(sql).write_parquet(str(folder / "t" / f"{part}.parquet"), row_group_size=2048)
    wide = ", ".join(f"(i * {n}) % 1009 AS c{n}" for n in range(20))
    wide = f"SELECT i AS id, i % 977 AS g, {wide} FROM range(120000) t(i)"
    duckdb.sql(wide).write_parquet(str(folder / "wide.parquet"), row_group_size=40_960)
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=request.param) as db:
        catalog = db._service.manager._engine.catalog  # type: ignore[attr-defined]
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(60)
        yield db


def both(db: Connection, sql: str) -> str:
    """The plan of a statement whose answer is the same on both routes."""
    found, expected = (db.execute_sql(f"{sql} ORDER BY ALL", route=route).to_arrow() for route in ("distributed", "local"))
    assert found.equals(expected)
    assert found.num_rows
    return db.explain(sql, route="distributed").physical


def test_first_rows_in_parts_of_a_file_with_many_columns(db: Connection) -> None:
    sql = "SELECT c7 FROM (SELECT c7, row_number() OVER (PARTITION BY g ORDER BY id) AS n FROM wide) WHERE n < 3"
    assert "Window top" in both(db, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= 3",
        "SELECT id, g FROM t QUALIFY row_number() OVER (PARTITION BY g, s ORDER BY v DESC NULLS FIRST, id) < 3",
        "SELECT id, v FROM t QUALIFY rank() OVER (PARTITION BY s ORDER BY v) <= 2",
        "SELECT id, v, dense_rank() OVER (PARTITION BY s ORDER BY v DESC) AS d FROM t QUALIFY d = 2",
        "SELECT id FROM t WHERE v > 20 QUALIFY row_number() OVER (PARTITION BY g ORDER BY o DESC, id) = 1 AND v < 90",
        "SELECT id FROM t QUALIFY rank() OVER (ORDER BY o) <= 5",
        "SELECT g + 1 AS h, max(n) AS m FROM (SELECT g, o + 1 AS n FROM t QUALIFY rank() OVER (PARTITION BY g ORDER BY o) <= 2)"
        " GROUP BY ALL",
    ],
)
def test_first_rows_of_partitions(db: Connection, sql: str) -> None:
    plan = both(db, sql)
    assert "Window top" in plan
    assert "Filter" not in plan


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) >= 350",
        "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= 3 OR v = 7",
        "SELECT id, sum(v) OVER (PARTITION BY g) AS w FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= 3",
        "SELECT id FROM t QUALIFY count(*) OVER (PARTITION BY g ORDER BY o, id) <= 3",
        "SELECT id FROM t QUALIFY ntile(100) OVER (PARTITION BY g ORDER BY o, id) <= 3",
        "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= v",
        "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= 3000",
        "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g % 7 ORDER BY o, id) <= 0 OR id < 3",
    ],
)
def test_other_conditions_see_all_rows(db: Connection, sql: str) -> None:
    assert "Window top" not in both(db, sql)


def test_nothing_is_kept(db: Connection) -> None:
    sql = "SELECT id FROM t QUALIFY row_number() OVER (PARTITION BY g ORDER BY o, id) <= 0"
    found, expected = (db.execute_sql(sql, route=route).to_arrow() for route in ("distributed", "local"))
    assert found.equals(expected)
    assert not found.num_rows
