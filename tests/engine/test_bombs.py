"""Statements made to hurt: through a connection, on both routes, they are answered or refused, and the engine goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.errors import NotSupported, OutOfMemory, PlanError, SabotError

NUMBER = "9" * 100

ANSWERED_OR_REFUSED = {
    "brackets around a table": "select count(*) from " + "(" * 10_000 + "t" + ")" * 10_000,
    "half open brackets": "select " + "(" * 10_000,
    "lists in lists": "select " + "[" * 150 + "1" + "]" * 150,
    "structs in structs": "select " + "{'a': " * 150 + "1" + "}" * 150,
    "types in types": "select null::int" + "[]" * 300,
    "subqueries that read the ones around them": "select " + "(select a from t where a = " * 25 + "1" + ")" * 25,
    "exists in exists": "select 1 where " + "exists (select 1 where " * 100 + "true" + ")" * 100,
    "subqueries that read the ones beside them": "select * from t"
    + "".join(f", lateral (select t.a as x{n}) l{n}" for n in range(100)),
    "subqueries in a row": "select " + " + ".join(["(select max(a) from t)"] * 300),
    "lambdas in lambdas": "select " + "list_transform([1], lambda x: " * 30 + "1" + ")" * 30,
    "or of and": "select count(*) from t where " + " or ".join(f"(a = {n} and a < {n + 1})" for n in range(2_000)),
    "and": "select count(*) from t where " + " and ".join(f"a <> {n + 10}" for n in range(3_000)),
    "joins on one column": "select count(*) from t t0" + "".join(f" join t t{n} on t{n}.a = t{n - 1}.a" for n in range(1, 50)),
    "left joins": "select count(*) from t t0" + "".join(f" left join t t{n} on t{n}.a = t0.a" for n in range(1, 200)),
    "unions in unions": "(select 1 union " * 150 + "select 1" + ")" * 150,
    "a long name": "select a" + ".a" * 10_000 + " from t",
    "a long number": f"select {NUMBER} x from t",
    "statements": ";" * 50_000 + "select 1",
    "queries in WITH that read the one before twice": "with c0 as (select a from t)"
    + "".join(f", c{n} as (select x.a from c{n - 1} x, c{n - 1} y)" for n in range(1, 60))
    + " select count(*) from c59",
    "with in with": "with a as (" * 180 + "select 1" + ") select * from a" * 180,
    "with": "with c0 as (select 1 x)"
    + "".join(f", c{n} as (select * from c{n - 1})" for n in range(1, 400)) + " select * from c399",
}  # fmt: skip


@pytest.fixture(scope="module")
def db() -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data={"t": pa.table({"a": [1, 2]})}, num_local_agents=1) as found:
        found.execute_sql("select sum(a) from t", route="distributed")
        yield found


@pytest.mark.parametrize("route", ["auto", "distributed"])
@pytest.mark.parametrize("name", ANSWERED_OR_REFUSED)
def test_bombs_end_soon_and_the_engine_goes_on(db: sabot_sql.Connection, name: str, route: str) -> None:
    begin, code = time.monotonic(), ""
    try:
        db.execute_sql(ANSWERED_OR_REFUSED[name], route=route, threshold=0, timeout_s=4)
    except SabotError as error:
        code = error.problem.code
    assert code not in ("INTERNAL", "EXECUTION_FAILED", "AGENT_LOST")
    assert time.monotonic() - begin < 8  # a second on an idle machine
    assert db.execute_sql("select sum(a) from t", route=route).scalar() == 3


@pytest.mark.parametrize("dialect", ["postgres", "spark"])
@pytest.mark.parametrize("sql", ["select a" + "[1]" * 20_000 + " from t", "select " + "(" * 50_000 + "1" + ")" * 50_000])
def test_bombs_in_other_dialects_are_refused_at_once(db: sabot_sql.Connection, sql: str, dialect: str) -> None:
    begin = time.monotonic()
    with pytest.raises(PlanError) as caught:
        db.execute_sql(sql, dialect=dialect)
    assert caught.value.problem.code == "STATEMENT_TOO_COMPLEX"
    assert time.monotonic() - begin < 3


def test_brackets_in_texts_and_comments_do_not_count(db: sabot_sql.Connection) -> None:
    text = "(" * 5_000
    assert db.execute_sql(f"select length('{text}') n -- {text}").scalar() == 5_000
    assert db.execute_sql(f"select length($${text}$$) /* {text} */ n").scalar() == 5_000


def test_a_thread_with_a_small_stack_may_ask(db: sabot_sql.Connection) -> None:
    before = threading.stack_size(512 << 10)
    try:
        for name in ("brackets around a table", "exists in exists", "unions in unions", "with", "left joins"):
            asking = threading.Thread(target=test_bombs_end_soon_and_the_engine_goes_on, args=(db, name, "auto"))
            asking.start()
            asking.join()
    finally:
        threading.stack_size(before)


def resident_bytes() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.parametrize(
    "sql",
    [
        "select length(repeat('x', 1500000000))",
        "select length(repeat('x', n)) from (select 1500000000::bigint n)",
        "select len(list_transform(range(20000), lambda x: list_transform(range(20000), lambda y: x + y)))",
        "select length(list_reduce(list_transform(range(40), lambda x: 'ab'), lambda a, b: a || a))",
        "describe select repeat('x', 1500000000)",
        "summarize select list_reduce(list_transform(range(40), lambda x: 'ab'), lambda a, b: a || a)",
    ],
)
def test_values_of_any_size_cost_this_process_nothing(db: sabot_sql.Connection, sql: str) -> None:
    db.execute_sql("select 1")
    before, most = resident_bytes(), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, resident_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for route in ("auto", "local") if " n)) from" in sql else ("auto", "local", "distributed"):
            with pytest.raises((OutOfMemory, PlanError, NotSupported)):
                db.execute_sql(sql, route=route)
            db.explain(sql)
    finally:
        done.set()
        watching.join()
    assert most - before < 64 << 20


def test_others_do_not_notice_a_query_that_eats_memory(db: sabot_sql.Connection) -> None:
    job = db.submit("select length(repeat('x', 300000000 + 0))")
    slowest = 0.0
    for n in range(40):
        begin = time.monotonic()
        assert db.execute_sql(f"select a + {n} as x from t order by 1", route="local").to_pylist()[0] == {"x": 1 + n}
        slowest = max(slowest, time.monotonic() - begin)
    job.cancel()
    job.wait()
    assert slowest < 2


def test_route_engine_and_reason_are_told(db: sabot_sql.Connection) -> None:
    found = db.execute_sql("select repeat('ab', a::int) r from t order by a")
    assert found.to_pylist() == [{"r": "ab"}, {"r": "abab"}]
    assert (found.route, found.stats["engine"]) == ("local", "duckdb-guarded")
    assert "function repeat may make values of any size, so a guarded process runs it" in found.reason
    assert "guarded" in db.explain("select repeat('ab', a::int) r from t").reason
    by_datafusion = db.execute_sql("select repeat('ab', a::int) r from t order by a", engine="datafusion")
    assert by_datafusion.stats["engine"] == "duckdb-guarded"
    with pytest.raises(NotSupported, match="function repeat"):
        db.execute_sql("select repeat('x', 3000000) || a from t", route="distributed")
