"""A statement that is asked again is planned once, as long as all that its plan depends on is the same."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql.planner.bind import Binder

SQL = "select k, count(*) n, sum(v) s from t group by k order by k"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "data" / "t.parquet", 1000)
    return tmp_path / "data"


def write(path: Path, rows: int, more: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    duckdb.execute(f"COPY (SELECT i % 3 AS k, i AS v {more} FROM range({rows}) t(i)) TO '{path}'").fetchall()
    moment = time.time_ns() - 10**10 + rows
    os.utime(path, ns=(moment, moment))


@pytest.fixture
def db(folder: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as db:
        yield db


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were bound."""
    texts: list[str] = []
    bind = Binder.bind

    def counted(self: Binder, sql: str, *args: object) -> object:
        if "FROM" in sql.upper():
            texts.append(sql)
        return bind(self, sql, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Binder, "bind", counted)
    return texts


def rows(db: sabot_sql.Connection, sql: str, **options: object) -> list[dict[str, object]]:
    return db.execute_sql(sql, route="distributed", timeout_s=60, **options).to_arrow().to_pylist()  # type: ignore[arg-type]


def learned(db: sabot_sql.Connection) -> None:
    """Until the statistics of the tables are known, which makes the tables new ones."""
    rows(db, "select count(*) + max(v) + max(k) from t")
    assert db._service.manager._engine.catalog.wait_learned(30)  # type: ignore[attr-defined]


def test_plan_is_made_once(db: sabot_sql.Connection, bound: list[str]) -> None:
    learned(db)
    first = rows(db, SQL)
    bound.clear()
    assert rows(db, SQL) == rows(db, SQL) == first
    assert bound == []
    assert rows(db, SQL.replace("k, count(*)", "k as key, count(*)"))[0].keys() == {"key", "n", "s"}
    assert len(bound) == 1


def test_plan_follows_the_files_and_the_statistics(db: sabot_sql.Connection, folder: Path, bound: list[str]) -> None:
    before = rows(db, SQL)
    learned(db)
    bound.clear()
    assert rows(db, SQL) == before
    assert len(bound) == 1
    write(folder / "t.parquet", 2000, ", 'x' AS more")
    assert [r["n"] for r in rows(db, SQL)] == [667, 667, 666]
    assert rows(db, "select count(more) n from t") == [{"n": 2000}]


def test_constants_are_part_of_the_plan(db: sabot_sql.Connection) -> None:
    sql = "select count(*) n from t where v < $limit"
    assert [rows(db, sql, params={"limit": n}) for n in (10, 20, 10)] == [[{"n": 10}], [{"n": 20}], [{"n": 10}]]


@pytest.mark.parametrize("time_of_query", ["now()", "current_timestamp", "get_current_timestamp()"])
def test_each_query_has_its_own_time(time_of_query: str, db: sabot_sql.Connection) -> None:
    sql = f"select distinct epoch_us({time_of_query}) t from t"
    (first,), (second,) = rows(db, sql), rows(db, sql)
    assert first["t"] < second["t"]  # type: ignore[operator]


def test_time_zones_have_plans_of_their_own(db: sabot_sql.Connection) -> None:
    sql = "select strftime(max(to_timestamp(v)), '%H') h from t"
    found = [rows(db, sql, timezone=zone) for zone in ("UTC", "Asia/Tokyo", "UTC")]
    assert found == [[{"h": "00"}], [{"h": "09"}], [{"h": "00"}]]
