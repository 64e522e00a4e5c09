"""Columns that only DuckDB files have: the distributed route answers as DuckDB does, or says which it cannot read."""

from __future__ import annotations

import duckdb
import pytest

import sabot_sql
from sabot_sql.errors import NotSupported


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    path = tmp_path_factory.mktemp("database") / "x.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE words(w VARCHAR COLLATE NOCASE, i INTEGER)")
        con.execute("INSERT INTO words VALUES ('a', 1), ('A', 2)")
        con.execute("CREATE TABLE tagged(u UNION(a INTEGER, b VARCHAR), i INTEGER)")
        con.execute("INSERT INTO tagged VALUES (1, 1), ('x', 2)")
        con.execute("CREATE TABLE marks AS SELECT 's' || range AS name, (range * 7919) % 1000003 AS mark FROM range(400000)")
        con.execute("CREATE TABLE states AS SELECT sum(1) EXPORT_STATE s, 1 AS i")
    with sabot_sql.connect("embedded:", data=str(path), num_local_agents=1) as db:
        yield db


@pytest.mark.parametrize("what", ["w", "count(distinct w)", "min(w)"])
def test_a_collated_column_is_not_read_by_agents(db, what):
    with pytest.raises(NotSupported, match="collation"):
        db.execute_sql(f"select {what} from words", route="distributed")


def test_a_collated_column_keeps_its_meaning_under_auto(db):
    assert db.execute_sql("select count(distinct w) from words", threshold=0).scalar() == 1


@pytest.mark.parametrize("table", ["words", "tagged"])
def test_other_columns_beside_it_are_read_by_agents(db, table):
    result = db.execute_sql(f"select sum(i) from {table}", route="distributed")
    assert (result.scalar(), result.route) == (3, "distributed")


@pytest.mark.parametrize("sql", ["select u from tagged", "select i from states"])
def test_a_type_that_does_not_travel_is_named(db, sql):
    with pytest.raises(NotSupported, match=r"type UNION|type that no statement can write"):
        db.execute_sql(sql, route="distributed")


@pytest.mark.parametrize(
    ("sql", "rows"), [("select 42 as a having 42 > 20", [{"a": 42}]), ("select 42 as a having 42 > 50", [])]
)
def test_having_without_from_gives_one_row_or_none(db, sql, rows):
    assert db.execute_sql(sql, route="distributed").to_pylist() == rows


@pytest.mark.parametrize("call", ["alias(i)", "struct_insert({'a': i}, b := 2)", "struct_update({'a': i}, a := 2)"])
def test_functions_of_their_arguments_names_stay_local(db, call):
    with pytest.raises(NotSupported, match="names of its arguments"):
        db.execute_sql(f"select {call} from tagged", route="distributed")


def test_the_first_rows_of_a_window_are_those_of_a_table_that_is_read_in_parts(db):
    want = db.execute_sql("from marks order by mark desc limit 2", route="local")
    result = db.execute_sql("select * from marks qualify row_number() over (order by mark desc) <= 2", route="distributed")
    assert result.to_arrow().sort_by("mark") == want.to_arrow().sort_by("mark")
