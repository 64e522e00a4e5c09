"""Queries whose clients went away end; those of clients that mean to come back go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.event_stream import events_in, open_stream
from tests.server.live_server import LONG_QUERY, LiveServer, clean_environment, live_server

DISTRIBUTED = "SELECT sum(a.i) FROM numbers a JOIN numbers b ON a.i % 2 = b.i % 2 JOIN numbers c ON b.i % 2 = c.i % 2"
VICTIM = "import sys, sabot_sql; sabot_sql.connect(sys.argv[1]).execute_sql(sys.argv[2], route=sys.argv[3])"
STATEMENTS = {"local": LONG_QUERY, "distributed": DISTRIBUTED}


@pytest.fixture(scope="module")
def hasty(data: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "1", SABOT_SERVER__CLIENT_TIMEOUT_S="1") as server:
        yield server


def newest(server: LiveServer) -> dict[str, object]:
    queries = server.request("GET", "/v1/queries?limit=1").json()["queries"]
    return queries[0] if queries else {"state": "none"}


def await_state(server: LiveServer, query_id: str, state: str, timeout_s: float = 15.0) -> dict[str, object]:
    """The query once it is in `state`; looked at in the list, which is not asking for the query."""
    deadline = time.monotonic() + timeout_s
    while True:
        listed = server.request("GET", "/v1/queries").json()["queries"]
        found = next(query for query in listed if query["query_id"] == query_id)
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.slow
def test_query_of_a_killed_python_client_is_cancelled(hasty: LiveServer) -> None:
    before = newest(hasty)
    command = [sys.executable, "-c", VICTIM, hasty.url, DISTRIBUTED, "distributed"]
    client = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
    while (query := newest(hasty)) == before or query["state"] != "running":
        assert client.poll() is None
        time.sleep(0.05)
    time.sleep(2.5)  # the client has got its 202 and asks for the status
    client.send_signal(signal.SIGKILL)
    client.wait()
    await_state(hasty, str(query["query_id"]), "cancelled")


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_query_that_nobody_asks_for_after_its_wait_is_cancelled(hasty: LiveServer, route: str) -> None:
    answer = hasty.request("POST", "/v1/sql", {"sql": STATEMENTS[route], "route": route, "wait_ms": 300})
    assert answer.status == 202
    error = await_state(hasty, answer.json()["query_id"], "cancelled")["error"]
    assert error["code"] == "CANCELLED"
    assert "did not ask for it for 1 s" in error["detail"]


def test_query_that_is_asked_for_goes_on(hasty: LiveServer) -> None:
    query_id = hasty.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 300}).json()["query_id"]
    path = f"/v1/queries/{query_id}"
    assert hasty.request("GET", f"{path}?wait_ms=2000").json()["state"] == "running"
    for _ in range(6):
        time.sleep(0.4)
        assert hasty.request("GET", path).json()["state"] == "running"
    await_state(hasty, query_id, "cancelled")


def test_query_that_is_watched_goes_on_as_long_as_its_client_stays(hasty: LiveServer) -> None:
    query_id = hasty.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 300}).json()["query_id"]
    stream = open_stream(hasty, query_id)
    events = events_in(stream.stream())
    assert next(events).data["state"] == "running"
    time.sleep(2.5)
    await_state(hasty, query_id, "running")
    stream.close()
    await_state(hasty, query_id, "cancelled")


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({"wait_ms": 300, "on_wait_timeout": "continue"}, {}), ({"wait_ms": 0}, {}), ({"wait_ms": 300}, {"Idempotency_Key": "k"})],
    ids=["continue", "no wait", "key"],
)
def test_query_of_a_client_that_means_to_come_back_goes_on(hasty: LiveServer, fields: dict, headers: dict) -> None:
    answer = hasty.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", **fields}, **headers)
    assert answer.status == 202
    query_id = answer.json()["query_id"]
    time.sleep(2)
    assert hasty.request("GET", f"/v1/queries/{query_id}").json()["state"] == "running"
    hasty.request("POST", f"/v1/queries/{query_id}/cancel")
