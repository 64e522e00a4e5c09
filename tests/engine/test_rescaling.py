"""Agents come and go while queries run: no query fails, and every answer is right."""

from __future__ import annotations

import functools
import threading
import time
from pathlib import Path

import pytest

import sabot_sql
from sabot_sql.errors import NotSupported, QueryError
from tests.agents.processes import exists, until, until_gone

QUERIES = (
    "select x % 10 k, count(*) n, sum(y) s from t group by k order by k",
    "select count(*), sum(a.y) from t a join t b on a.x = b.x where b.y > 100",
    "select x, y from t order by y desc, x limit 20",
    "select x, row_number() over (partition by x % 7 order by y, x) r from t qualify r <= 3 order by x",
)


def has_agents(db: sabot_sql.Connection, number: int) -> bool:
    return [agent.state for agent in db.agents()] == ["alive"] * number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    import duckdb

    (tmp_path / "data" / "t").mkdir(parents=True)
    for i in range(4):
        duckdb.sql(f"select i x, (i * 7919) % 10007 y from range({i * 50_000}, {(i + 1) * 50_000}) r(i)").write_parquet(
            str(tmp_path / "data" / "t" / f"{i}.parquet")
        )
    return tmp_path / "data"


def test_queries_run_while_agents_come_and_go(folder: Path) -> None:
    with sabot_sql.connect(data=folder, num_local_agents=1) as db:
        expected = {sql: db.execute_sql(sql, route="local").to_pylist() for sql in QUERIES}
        done, wrong, stop = [0], [], threading.Event()

        def ask(first: int) -> None:
            number = first
            while not stop.is_set():
                sql = QUERIES[number % len(QUERIES)]
                number += 1
                try:
                    found = db.execute_sql(sql, route="distributed").to_pylist()
                    if found != expected[sql]:
                        wrong.append(sql)
                except Exception as exc:  # what the test is to show
                    wrong.append(f"{sql}: {exc}")
                done[0] += 1

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        seen: dict[int, set[int]] = {}
        try:
            for wanted in (4, 2, 3, 1):
                db.scale_agents(wanted)
                until(functools.partial(has_agents, db, wanted), 20)
                enough = done[0] + 6
                while done[0] < enough:
                    time.sleep(0.01)
                seen[wanted] = {a.pid for a in db.agents() if a.tasks_done}
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert len(seen[4]) == 4  # all of them got work
        until_gone(seen[4] - {a.pid for a in db.agents()})
        assert len(db.agents()) == 1


def test_an_agent_is_drained_and_may_be_kept(folder: Path) -> None:
    with sabot_sql.connect(data=folder, num_local_agents=2) as db:
        sql = QUERIES[0]
        expected = db.execute_sql(sql, route="distributed").to_pylist()
        gone = db.agents()[0]
        db.drain_agent(gone.id)
        until(lambda: len(db.agents()) == 1, 10)
        until_gone([gone.pid])
        assert db.execute_sql(sql, route="distributed").to_pylist() == expected
        for call in (db.drain_agent, db.resume_agent):
            with pytest.raises(QueryError, match=f"no agent {gone.id}"):
                call(gone.id)
        db.scale_agents(2)
        until(lambda: [a.state for a in db.agents()] == ["alive", "alive"], 10)
        assert gone.id not in {a.id for a in db.agents()}


def test_a_draining_agent_finishes_its_tasks(folder: Path) -> None:
    with sabot_sql.connect(data=folder, num_local_agents=2) as db:
        sql = "select count(*) from t a join t b on a.x % 400 = b.x % 400 where (a.y * b.y) % 10007 = 5"
        until(functools.partial(has_agents, db, 2), 10)
        handle = db.submit(sql, route="distributed")
        until(lambda: handle.status().state == "running", 10)
        time.sleep(0.3)
        pid = db.agents()[1].pid
        db.drain_agent(db.agents()[1].id)
        result = handle.result()
        assert result.stats["retries"] == 0
        until(lambda: not exists(pid), 10)
        assert result.to_pylist() == db.execute_sql(sql, route="local").to_pylist()


def test_agents_that_have_not_started_yet_can_go(folder: Path) -> None:
    with sabot_sql.connect(data=folder, num_local_agents=1) as db:
        db.scale_agents(4)
        db.scale_agents(2)
        until(functools.partial(has_agents, db, 2), 20)
        time.sleep(0.2)
        assert has_agents(db, 2)


def test_an_engine_without_agents_cannot_be_scaled(folder: Path) -> None:
    with sabot_sql.connect(data=folder, num_local_agents=0) as db:
        with pytest.raises(NotSupported, match="without agents"):
            db.scale_agents(2)
