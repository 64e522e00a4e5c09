"""The grammar of statements that write: what it takes apart, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from sabot_sql.errors import NotSupported, PlanError, SabotError
from sabot_sql.planner.parse import parse
from sabot_sql.planner.writes import Write, read_write


def read(sql: str) -> Write:
    return read_write(parse(sql), "memory")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create table t as select 1", {"kind": "CREATE TABLE AS", "mode": "create", "if_exists": False}),
        ("CREATE OR REPLACE TABLE main.t AS (SELECT 1)", {"kind": "CREATE TABLE AS", "mode": "replace"}),
        ('create table if not exists memory.main."t" (a, "B b") as values (1, 2);', {"columns": ("a", "B b")}),
        ("create view if not exists t as select 1", {"kind": "CREATE VIEW", "if_exists": True}),
        ("create table t partitioned by (a, b) as from u", {"partition_by": ("a", "b")}),
        ("create table t as select 1 with no data", {"no_data": True}),
        ("create table t (a int, b decimal(10, 2), c struct(x int, y varchar[])) ", {"kind": "CREATE TABLE"}),
        ("create table t (a int null)", {"kind": "CREATE TABLE"}),
        ("insert into t select 1", {"kind": "INSERT", "mode": "append", "columns": ()}),
        ("insert into t (a, b) values (1, 2)", {"columns": ("a", "b")}),
        ("insert into t by name select 1 as a", {"by_name": True}),
        ("insert into t (select 1)", {"columns": ()}),
        ("insert into t with q as (select 1) select * from q", {"kind": "INSERT"}),
        ("create view t as select 1", {"kind": "CREATE VIEW", "mode": "create"}),
        ("create or replace view t(a) as select 1", {"kind": "CREATE VIEW", "mode": "replace", "columns": ("a",)}),
        ("drop table if exists t", {"kind": "DROP TABLE", "if_exists": True, "query": None}),
        ("drop view t -- gone", {"kind": "DROP VIEW", "if_exists": False}),
        ("copy (select 1 as a) to 't.parquet'", {"kind": "COPY", "mode": "replace"}),
        ("copy (select 1 as a) to 't' (format parquet, partition_by (a))", {"partition_by": ("a",)}),
        ("copy (select 1 as a) to 't.parquet' (compression zstd)", {"codec": "zstd"}),
        ("copy u to 't.parquet' with (append true)", {"kind": "COPY", "mode": "append"}),
    ],
)  # fmt: skip
def test_the_head_is_taken_apart(sql: str, expected: dict[str, Any]) -> None:
    found = read(sql)
    assert found.name == "t"
    assert {name: getattr(found, name) for name in expected} == expected


def test_the_query_stands_where_it_stood() -> None:
    sql = "insert into t -- größer\n  select a, nope from u"
    query = read(sql).query
    assert query is not None
    assert query.sql.index("nope") == sql.index("nope")
    assert query.sql.strip() == "select a, nope from u"


@pytest.mark.parametrize(
    "sql",
    [
        "update t set a = 1",
        "delete from t",
        "truncate t",
        "merge into t using u on t.a = u.a when matched then delete",
        "alter table t add column b int",
        "create temp table t as select 1",
        "create schema s",
        "create macro m() as 1",
        "create sequence s",
        "create type e as enum ('a')",
        "create index i on t (a)",
        "create secret s (type s3)",
        "drop schema s",
        "drop table t cascade",
        "create table t (a int primary key)",
        "create table t (a int not null)",
        "create table t (a int default 3)",
        "create table t (a int, check (a > 1))",
        "create table t (a int, b int generated always as (a + 1))",
        "insert or replace into t select 1",
        "insert into t select 1 returning a",
        "insert into t select 1 on conflict do nothing",
        "insert into t default values",
        "with q as (select 1) insert into t select * from q",
        "create table t as describe u",
        "copy (select 1) to 't.csv' (format csv)",
        "copy (select 1) to 't' (format csv)",
        "copy (select 1) to 't.parquet' (format parquet, file_size_bytes 10)",
        "create view t as select $1",
    ],
)
def test_a_form_that_is_not_built_says_so(sql: str) -> None:
    with pytest.raises((NotSupported, PlanError)) as caught:
        read(sql)
    assert caught.value.problem.code in ("NOT_SUPPORTED", "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "target",
    [
        "'../t.parquet'", "'/tmp/t.parquet'", "'a/t.parquet'", "'a\\t.parquet'", "'~t.parquet'", "'..'", "'.parquet'", "''",
        "'s3://b/t.parquet'", "'t*.parquet'", "'file:t.parquet'", "$$t.parquet$$", "e't.parquet'", "'${HOME}.parquet'",
        "stdout", "'/dev/stdout'", "'t.parquet.parquet'",
    ],
)  # fmt: skip
def test_copy_names_a_file_of_the_catalog_and_no_path(target: str) -> None:
    with pytest.raises(SabotError) as caught:
        read(f"copy (select 1) to {target}")
    assert caught.value.problem.code in ("PERMISSION_DENIED", "NOT_SUPPORTED", "SYNTAX_ERROR")


@pytest.mark.parametrize("sql", ["copy t from 'x.parquet'", "copy t (a) from 'x.csv'", "copy from database a to b"])
def test_copy_from_files_is_not_permitted(sql: str) -> None:
    with pytest.raises(SabotError):
        read(sql)


def test_other_schemas_are_not_written() -> None:
    with pytest.raises(PlanError, match="no schema other"):
        read("create table other.t as select 1")
