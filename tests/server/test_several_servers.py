"""Two servers behind one PostgreSQL, over HTTP, one of them killed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import urllib3

from sabot_sql.jobs.database import JobDatabase
from tests.jobs.kills import QUERIES, duckdb_answer, make
from tests.jobs.postgres import postgresql
from tests.server.live_server import LiveServer, live_server

CLIENTS = 32


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[str, Path, list[LiveServer]]]:
    """The database, the data, and the servers."""
    make(data := tmp_path / "data")
    with postgresql() as database, contextlib.ExitStack() as stack:
        url = database.get_uri()
        shared = {
            "SABOT_DURABLE__URL": url,
            "SABOT_DURABLE__RESULTS_DIR": str(tmp_path / "results"),
            "SABOT_DURABLE__LEASE_S": "1",
        }
        servers = [
            stack.enter_context(live_server(data, "--agents", "1", "--state-dir", str(tmp_path / name), **shared))
            for name in ("a", "b")
        ]
        yield url, data, servers


def test_one_key_from_many_clients_is_one_job_also_when_a_server_is_killed(pair: tuple[str, Path, list[LiveServer]]) -> None:
    url, data, servers = pair
    found = duckdb_answer(data, QUERIES[6]).to_pylist()
    expected = [[row["name"], row["n"], str(row["total"])] for row in found]
    answers: list[object] = [None] * CLIENTS
    body = {"sql": QUERIES[6], "route": "distributed", "wait_ms": 60_000}

    def ask(number: int) -> None:
        for attempt in range(60):
            server = servers[(number + attempt) % 2]
            try:
                answer = server.request("POST", "/v1/sql", body, Idempotency_Key="one")
            except urllib3.exceptions.HTTPError:
                time.sleep(0.1)
                continue
            if answer.status == 200:
                answers[number] = answer.json()
                return
            time.sleep(0.2)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(0.4)
    servers[0].process.kill()
    for thread in threads:
        thread.join(90)
    assert len({answer["query_id"] for answer in answers if isinstance(answer, dict)}) == 1
    rows = [answer["rows"] for answer in answers if isinstance(answer, dict)]
    assert rows == [expected] * CLIENTS
    engine = JobDatabase(url=url).make_engine(1)
    with engine.connect() as connection:
        jobs = connection.execute(sa.text("SELECT status FROM dbos.workflow_status")).scalars().all()
    engine.dispose()
    assert jobs == ["SUCCESS"]
