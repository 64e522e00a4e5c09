"""DuckDB files: their tables are the catalog's tables, opened for reading only."""

from __future__ import annotations

import os

import duckdb
import pytest

from sabot_sql.errors import ConfigError, PlanError, ReadError
from tests.catalog.conftest import columns_of


@pytest.fixture
def path(tmp_path):
    run(
        tmp_path / "x.duckdb",
        "CREATE TABLE t AS SELECT i, i::VARCHAR s FROM range(300000) r(i)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SCHEMA s2; CREATE TABLE s2.u(a INTEGER PRIMARY KEY)",
        "CREATE TYPE mood AS ENUM ('a', 'it''s'); CREATE TABLE \"Odd näme\"(m mood, d DECIMAL(5,2), l STRUCT(x INTEGER)[])",
    )
    return tmp_path / "x.duckdb"


def run(path, *statements):
    with duckdb.connect(str(path)) as connection:
        for sql in statements:
            connection.execute(sql).fetchall()


def test_tables_of_all_schemas_are_listed(path, open_catalog):
    catalog = open_catalog(path)
    assert [table.name for table in catalog.tables()] == ["Odd näme", "s2.u", "t", "v"]
    assert catalog.locations() == (str(path),)


def test_types_rows_and_options(path, open_catalog):
    catalog = open_catalog(path)
    table = catalog.table("main.T")
    assert columns_of(table) == [("i", "BIGINT"), ("s", "VARCHAR")]
    assert (table.statistics.rows, table.statistics.confidence) == (300_000, "statistics")
    assert (table.scan.kind, table.scan.options) == ("duckdb", {"schema": "main", "table": "t"})
    assert catalog.resolve(("s2", "u")).scan.options == {"schema": "s2", "table": "u"}
    assert [text for _, text in columns_of(catalog.table("odd näme"))] == [
        "ENUM('a', 'it''s')",
        "DECIMAL(5,2)",
        "STRUCT(x INTEGER)[]",
    ]


def test_changed_file_is_seen(path, open_catalog):
    catalog = open_catalog(path)
    version = catalog.table("t").version
    run(path, "CREATE TABLE fresh AS SELECT 1 AS a", "DROP TABLE s2.u")
    assert columns_of(catalog.table("fresh")) == [("a", "INTEGER")]
    assert catalog.table("t").version > version
    with pytest.raises(PlanError):
        catalog.table("s2.u")


def test_replaced_and_vanished_files_are_seen(path, tmp_path, open_catalog):
    catalog = open_catalog(path)
    run(tmp_path / "other.duckdb", "CREATE TABLE t AS SELECT 'x' AS b")
    os.replace(tmp_path / "other.duckdb", path)
    assert columns_of(catalog.table("t")) == [("b", "VARCHAR")]
    path.unlink()
    with pytest.raises(ReadError, match=r"x\.duckdb is gone"):
        catalog.table("t")
    assert [table.error is not None for table in catalog.tables()] == [True]


def test_the_file_is_not_held_open(path, open_catalog):
    catalog = open_catalog(path)
    catalog.table("t")
    run(path, "INSERT INTO t VALUES (1, 'x')")
    assert catalog.table("t").statistics.rows == 300_001


def test_registered_file_has_its_tables_under_its_name(path, open_catalog):
    catalog = open_catalog()
    catalog.register("crm", path)
    assert catalog.resolve(("crm", "t")).name == "crm.t"
    assert catalog.resolve(("memory", "crm", "t")).statistics.rows == 300_000
    assert catalog.table("crm.s2.u").name == "crm.s2.u"


@pytest.mark.parametrize("content", [b"", b"hello world" * 100, b"SQLite format 3\0" + bytes(100)])
def test_file_that_is_no_database_is_refused_at_once(tmp_path, open_catalog, content):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.db is not a DuckDB file"):
        open_catalog(tmp_path / "x.db")


def test_file_open_for_writing_elsewhere_says_what_to_do(path, open_catalog):
    with duckdb.connect(str(path)), pytest.raises(ConfigError, match="cannot be opened") as caught:
        open_catalog(path)
    assert "open for writing" in str(caught.value)
