"""Views, macros and types of DuckDB files."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.errors import PlanError
from tests.catalog.conftest import columns_of

STATEMENTS = (
    "CREATE TABLE t AS SELECT i, i::VARCHAR s FROM range(5) r(i)",
    "CREATE MACRO twice(x) AS 2 * x",
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "CREATE TABLE feelings(m mood)",
    "CREATE VIEW plain AS SELECT i + 1 AS j FROM t WHERE t.i > 2",
    'CREATE VIEW "on top"(k) AS SELECT x.j FROM plain AS x, (WITH q AS (FROM plain) FROM q) y WHERE x.j = y.j',
    "CREATE SCHEMA s2",
    "CREATE TABLE s2.u AS SELECT 7 AS z",
    "CREATE VIEW s2.two AS SELECT z, count(*) AS n FROM s2.u, t GROUP BY z",
    "CREATE VIEW with_macro AS SELECT twice(i) AS d FROM t",
    "CREATE VIEW reads AS SELECT 1 AS a FROM duckdb_tables()",
    "CREATE TABLE gone(a INTEGER)",
    "CREATE VIEW widow AS SELECT a FROM gone",
    "DROP TABLE gone",
)


@pytest.fixture
def path(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        for sql in STATEMENTS:
            connection.execute(sql).fetchall()
    return tmp_path / "x.duckdb"


@pytest.fixture
def db(path):
    with sabot_sql.connect(data=[path], num_local_agents=0) as connection:
        yield connection


def test_views_are_listed_with_their_columns(path, open_catalog):
    catalog = open_catalog(path)
    kinds = {table.name: table.scan.kind for table in catalog.tables()}
    assert kinds == {
        "feelings": "duckdb", "on top": "view", "plain": "view", "s2.two": "view", "s2.u": "duckdb", "t": "duckdb",
    }  # fmt: skip
    assert columns_of(catalog.table("on top")) == [("k", "BIGINT")]
    assert (catalog.table("plain").statistics.rows, catalog.table("plain").statistics.confidence) == (None, "unknown")


def test_what_cannot_be_used_is_named_with_the_reason(path, open_catalog):
    catalog = open_catalog(path)
    assert set(catalog.skipped()) == {
        f"{path}: macro twice: macros of a DuckDB file are not known to statements",
        f"{path}: type mood: its columns are read, but statements cannot name it",
        f"{path}: view with_macro: Scalar Function with name twice does not exist!",
        f"{path}: view reads: it calls the table function duckdb_tables",
        f"{path}: view widow: it names gone, which is not in the file",
    }
    assert catalog.table("t").skipped == catalog.skipped()


def test_asking_for_a_view_that_is_not_read_says_why(path, open_catalog):
    with pytest.raises(PlanError) as caught:
        open_catalog(path).table("widow")
    assert caught.value.hint == "the view is not read: it names gone, which is not in the file"


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("FROM plain ORDER BY j", [(4,), (5,)]),
        ('SELECT k FROM "on top" ORDER BY k', [(4,), (5,)]),
        ("FROM s2.two", [(7, 5)]),
        ("SELECT plain.j, t.s FROM plain JOIN t ON j = i", [(4, "4")]),
        ("SELECT column_name, column_type FROM (DESCRIBE plain)", [("j", "BIGINT")]),
    ],
)
def test_view_gives_what_duckdb_gives(db, path, sql, rows):
    assert list(db.execute_sql(sql)) == rows
    with duckdb.connect(str(path), read_only=True) as oracle:
        assert oracle.sql(sql).fetchall() == rows


def test_view_reads_its_file_whatever_else_has_the_names_of_its_tables(path):
    with sabot_sql.connect(data={"crm": path, "t": pa.table({"i": ["wrong"]})}, num_local_agents=0) as db:
        assert list(db.execute_sql("SELECT j, i FROM crm.plain, t ORDER BY j")) == [(4, "wrong"), (5, "wrong")]


def test_changed_tables_are_seen_through_the_view(db, path):
    assert db.execute_sql("SELECT count(*) FROM plain").scalar() == 2
    with duckdb.connect(str(path.with_name("y.duckdb"))) as other:
        other.execute(f"ATTACH '{path}' AS old (READ_ONLY)").fetchall()
        other.execute("COPY FROM DATABASE old TO y").fetchall()
        other.execute("INSERT INTO t VALUES (9, '9')").fetchall()
    path.with_name("y.duckdb").replace(path)
    assert db.execute_sql("SELECT count(*) FROM plain").scalar() == 3


def test_agents_do_not_read_views(path):
    with sabot_sql.connect(data=path, num_local_agents=1) as db:
        with pytest.raises(sabot_sql.NotSupported, match="plain is a view of a DuckDB file"):
            db.execute_sql("FROM plain", route="distributed")
        found = db.execute_sql("SELECT count(*) FROM plain, t", threshold=0)
        assert (found.scalar(), found.route) == (10, "local")
