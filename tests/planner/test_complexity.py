"""Statements too deep or too wide for a parser's stack are refused in less than a second, on both routes, and nothing dies."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.errors import SabotError

BOMBS = {
    "brackets": "select " + "(" * 10_000 + "1" + ")" * 10_000,
    "a list of 60,000": "select 1 where 5 in (" + ",".join(map(str, range(60_000))) + ")",
    "5 MB": "select '" + "x" * 5_000_000 + "'",
    "200 joins": "select count(*) from " + ", ".join(f"t t{i}" for i in range(200)),
    "case in case": "select " + "case when 1=1 then " * 500 + "1" + " end" * 500,
    "subqueries": "select * from " + "(select * from " * 500 + "t" + ")" * 500,
    "minus": "select " + "- " * 20_000 + "1",
    "not": "select " + "not " * 20_000 + "true",
    "lists": "select " + "[" * 5_000 + "1" + "]" * 5_000,
    "queries in WITH": "with "
    + ", ".join(f"c{i} as (select * from {f'c{i - 1}' if i else 't'})" for i in range(2_000))
    + " select count(*) from c1999",
    "unions": " union all ".join(["select 1"] * 3_000),
    "sums": "select " + "+".join(["1"] * 20_000),
    "calls": "select " + "abs(" * 5_000 + "1" + ")" * 5_000,
    "subscripts": "select t.a" + "[1]" * 20_000 + " from t",
}


@pytest.fixture(scope="module")
def db() -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data={"t": pa.table({"a": [1, 2]})}, num_local_agents=1) as found:
        found.execute_sql("select sum(a) from t", route="distributed")
        yield found


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_and_the_engine_goes_on(db: sabot_sql.Connection, name: str, route: str) -> None:
    begin = time.monotonic()
    with pytest.raises(SabotError) as caught:
        db.execute_sql(BOMBS[name], route=route)
    assert caught.value.problem.code in ("STATEMENT_TOO_COMPLEX", "STATEMENT_TOO_LARGE")
    assert time.monotonic() - begin < 5  # on a busy machine
    assert db.execute_sql("select sum(a) from t", route=route).scalar() == 3


@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("select count(*) from t where a in (" + ",".join(map(str, range(10_000))) + ")", 2),
        ("select " + "+".join(["a"] * 200) + " from t where a = 1", 200),
        ("select count(*) from " + " join ".join(f"t t{i}" + (" using (a)" if i else "") for i in range(20)), 2),
        ("select " + "case when a = 7 then 0 else " * 100 + "a" + " end" * 100 + " from t where a = 2", 2),
        ("select sum(x) from (" + " union all ".join(["select 1 as x"] * 100) + ")", 100),
    ],
)
def test_what_is_merely_long_is_answered(db: sabot_sql.Connection, sql: str, answer: int, route: str) -> None:
    assert db.execute_sql(sql, route=route).scalar() == answer
