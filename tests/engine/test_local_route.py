"""Local queries that take longer than was thought: promoted to the agents, or on in the large lane, with one right answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.errors import QueryTimeout

# few rows, much work on each: nothing in the statistics tells
SLOW = "select count(*) as n, sum(levenshtein(s, reverse(s))) as d from words"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(11)
    letters = rng.integers(97, 123, size=(40_000, 120), dtype=np.uint8)
    words = pa.array([bytes(row).decode() for row in letters])
    pq.write_table(pa.table({"id": np.arange(len(words)), "s": words}), found / "words.parquet", row_group_size=5_000)
    return found


@pytest.fixture(scope="module")
def db(folder: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=2) as found:
        yield found


def expected(folder: Path, sql: str) -> pa.Table:
    with duckdb.connect() as con:
        con.execute(f"CREATE VIEW words AS SELECT * FROM read_parquet('{folder}/words.parquet')")
        return con.sql(sql).to_arrow_table()


def test_a_query_over_its_budget_is_promoted_once_and_right(db: sabot_sql.Connection, folder: Path) -> None:
    found = db.execute_sql(SLOW)
    assert found.route == "distributed"
    assert found.reason.startswith("promoted after 250 ms: estimated 40,000 rows")
    assert found.stats["promoted"] is True
    assert found.stats["agents"] == 2
    assert found.to_arrow().equals(expected(folder, SLOW))


def test_what_cannot_be_distributed_goes_on_in_the_large_lane(db: sabot_sql.Connection, folder: Path) -> None:
    sql = f"with x as ({SLOW}) select n, d, row_number() over (order by n) as r from x qualify r = 1"
    found = db.execute_sql(sql)
    assert found.route in ("local", "distributed")
    assert found.to_arrow().equals(expected(folder, sql))


def test_a_forced_route_is_never_changed(db: sabot_sql.Connection, folder: Path) -> None:
    found = db.execute_sql(SLOW, route="local")
    assert found.route == "local"
    assert found.reason == 'forced by route="local"'
    assert found.to_arrow().equals(expected(folder, SLOW))


def test_the_time_limit_holds_in_the_large_lane(db: sabot_sql.Connection) -> None:
    begin = time.monotonic()
    with pytest.raises(QueryTimeout):
        db.execute_sql("select sum(levenshtein(a.s, b.s)) from words a, words b", route="local", timeout_s=0.6)
    assert time.monotonic() - begin < 5


def test_a_large_query_can_be_cancelled(db: sabot_sql.Connection) -> None:
    job = db.submit("select sum(levenshtein(a.s, b.s)) from words a, words b", route="local")
    time.sleep(0.7)
    begin = time.monotonic()
    job.cancel()
    job.wait()
    assert job.status().state == "cancelled"
    assert time.monotonic() - begin < 2


def test_small_queries_answer_while_large_ones_fill_their_lane(db: sabot_sql.Connection) -> None:
    jobs = [db.submit("select sum(levenshtein(a.s, b.s)) from words a, words b", route="local") for _ in range(20)]
    try:
        time.sleep(0.5)
        done = threading.Event()

        def ask() -> None:
            for n in range(20):
                assert db.execute_sql(f"select s from words where id = {n}", route="local").scalar() is not None
            done.set()

        asking = threading.Thread(target=ask)
        asking.start()
        assert done.wait(20)
        asking.join()
    finally:
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.wait()
