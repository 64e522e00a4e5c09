"""What clients ask first: lists of tables and columns, and the engine's own state, on every route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.errors import PlanError, QueryError


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sabot_sql.Connection]:
    folder: Path = tmp_path_factory.mktemp("shown")
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", "b"]}), folder / "people.parquet")
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as found:
        yield found


@pytest.mark.parametrize("route", ["auto", "local", "distributed"])
@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("SHOW TABLES", "people"),
        ("show catalogs", "memory"),
        ("SHOW DATABASES;", "memory"),
        ("show schemas", "main"),
        ("SHOW COLUMNS FROM people", "id"),
        ("show columns in main.people", "id"),
        ("DESCRIBE people", "id"),
        ("SUMMARIZE people", "id"),
        ("select table_name from information_schema.tables", "people"),
        ("select column_name from information_schema.columns where ordinal_position = 1", "id"),
        ("select schema_name from information_schema.schemata where catalog_name = 'memory' and schema_name = 'main'", "main"),
        ("select agents.state from system.agents", "alive"),
        ("select a.id from system.agents a", "agent-0"),
        ("with q as (from system.queries) select state from q where sql like 'with q%'", "planning"),
    ],
)
def test_the_catalog_and_the_state_are_answered_on_every_route(
    db: sabot_sql.Connection, sql: str, first: str, route: str
) -> None:
    db.execute_sql("select count(*) from people", route="distributed")  # the agents are there
    found = db.execute_sql(sql, route=route)
    assert found.route == "local"
    assert str(found.to_arrow().column(0)[0].as_py()) == first


def test_all_tables_are_shown_with_their_columns(db: sabot_sql.Connection) -> None:
    (row,) = db.execute_sql("show all tables").to_pylist()
    assert (row["name"], row["column_names"], row["column_types"]) == ("people", ["id", "name"], ["BIGINT", "VARCHAR"])


def test_queries_tell_route_and_error(db: sabot_sql.Connection) -> None:
    with pytest.raises(PlanError):
        db.execute_sql("select nosuch from people -- tagged")
    sql = "select state, error_code from system.queries q where q.sql like '%-- tagged' and q.sql not like '%like%'"
    assert db.execute_sql(sql).to_pylist() == [{"state": "failed", "error_code": "UNDEFINED_COLUMN"}]


def test_state_tables_are_not_listed_among_the_users(db: sabot_sql.Connection) -> None:
    db.execute_sql("select * from system.queries")
    assert [table["name"] for table in db.tables()] == ["people"]
    assert db.execute_sql("show tables").to_pylist() == [{"name": "people"}]


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("set threads = 3", "threads: connect(threads=...)"),
        ("SET GLOBAL memory_limit='1GB'", "memory_limit: the setting local.memory_bytes"),
        ("set time zone 'Europe/Rome'", "timezone"),
        ("reset treads", "for threads: connect(threads=...)"),
        ("set nonsense_at_all = 1", "nonsense_at_all: settings are those of connect()"),
        ("use s", "there is one schema"),
    ],
)
def test_set_is_refused_and_says_what_to_do_instead(db: sabot_sql.Connection, sql: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        db.execute_sql(sql)
    assert caught.value.problem.code == "PERMISSION_DENIED"
    assert hint in str(caught.value.hint)
