"""An agent is killed: between two queries nothing is noticed, during one it is the right answer or a clear error."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sabot_sql

SQL = """select l_returnflag, count(*) n, sum(l_quantity) q from lineitem, orders, customer
         where l_orderkey = o_orderkey and o_custkey = c_custkey group by 1 order by 1"""


@pytest.fixture
def db(tpch: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data=str(tpch), num_local_agents=2) as db:
        yield db


def kill_one(db: sabot_sql.Connection) -> int:
    pid = int(random.choice([a for a in db.agents() if a["state"] == "alive"])["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


def test_the_query_after_a_kill_gives_the_same_answer(db: sabot_sql.Connection) -> None:
    want = db.execute_sql(SQL, route="distributed").to_pylist()
    killed = kill_one(db)
    assert db.execute_sql(SQL, route="distributed", timeout_s=30).to_pylist() == want
    deadline = time.monotonic() + 10
    while len([a for a in db.agents() if a["state"] == "alive" and a["pid"] != killed]) < 2:
        assert time.monotonic() < deadline, db.agents()
        time.sleep(0.05)


def test_kills_during_queries_never_give_a_wrong_answer_or_a_hang(db: sabot_sql.Connection) -> None:
    want = db.execute_sql(SQL, route="distributed").to_pylist()
    done = threading.Event()

    def kill_now_and_then() -> None:
        while not done.wait(random.uniform(0.05, 0.5)):
            try:
                kill_one(db)
            except (IndexError, ProcessLookupError):
                continue

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    outcomes: list[object] = []
    try:
        for _ in range(12):
            try:
                outcomes.append(db.execute_sql(SQL, route="distributed", timeout_s=30).to_pylist())
            except sabot_sql.SabotError as error:
                outcomes.append(error.problem.code)
    finally:
        done.set()
        killer.join()
    assert all(o == want or o in ("AGENT_LOST", "NO_AGENTS") for o in outcomes)
    assert want in outcomes
    assert db.execute_sql(SQL, route="distributed", timeout_s=30).to_pylist() == want
