"""Names of tables and schemas with dots in them: on every route, by all ways to write them."""

from __future__ import annotations

import duckdb
import pytest

import sabot_sql


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dots")
    with duckdb.connect(str(folder / "x.duckdb")) as con:
        con.execute('CREATE TABLE "a.b" AS SELECT 1 AS x; CREATE SCHEMA s; CREATE TABLE s."c.d" AS SELECT 2 AS x')
        con.execute('CREATE SCHEMA "e.f"; CREATE TABLE "e.f"."g.h" AS SELECT 3 AS x; CREATE TABLE plain AS SELECT 4 AS x')
        con.execute('CREATE TABLE "main.plain" AS SELECT 5 AS x')
    with sabot_sql.connect("embedded:", data=str(folder / "x.duckdb"), num_local_agents=1) as db:
        duckdb.sql("SELECT 6 AS x").to_parquet(str(folder / "my.data.parquet"))
        db.register("my.data", str(folder / "my.data.parquet"))
        yield db


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize(
    ("table", "x"),
    [('"a.b"', 1), ('s."c.d"', 2), ('"e.f"."g.h"', 3), ("plain", 4), ("main.plain", 4), ('"main.plain"', 5), ('"my.data"', 6)],
)
def test_a_name_with_dots_is_the_table_of_that_name(db, table, x, route):
    assert db.execute_sql(f"SELECT x FROM {table}", route=route).scalar() == x
