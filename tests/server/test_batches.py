"""Batches and retries over HTTP."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import urllib3

from tests.server.live_server import LONG_QUERY, LiveServer, live_server, shared_data

THREE = {
    "statements": [
        {"sql": "select 1 as one"},
        {"name": "bad", "sql": "select x from nowhere"},
        {"sql": "select $n + 1", "params": {"n": 2}},
    ]
}


def test_a_batch_is_told_statement_by_statement(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/batch", {**THREE, "wait_ms": 10_000})
    found = answer.json()
    assert (answer.status, found["state"]) == (200, "failed")
    assert [(q["name"], q["state"]) for q in found["queries"]] == [("0", "finished"), ("bad", "failed"), ("2", "finished")]
    assert found["queries"][1]["error"]["code"] == "UNDEFINED_TABLE"
    assert answer.headers["location"] == found["links"]["self"] == f"/v1/batches/{found['batch_id']}"
    assert server.request("GET", found["links"]["self"]).json() == found
    assert server.request("GET", f"/v1/queries/{found['queries'][2]['query_id']}/result").json()["rows"] == [[3]]
    assert server.request("POST", found["links"]["cancel"], {}).status == 200


def test_a_batch_under_one_key_is_begun_once(server: LiveServer) -> None:
    first = server.request("POST", "/v1/batch", {**THREE, "idempotency_key": "batch-1"}).json()
    again = server.request("POST", "/v1/batch", THREE, Idempotency_Key="batch-1").json()
    assert again["batch_id"] == first["batch_id"]
    other = server.request("POST", "/v1/batch", {"statements": [{"sql": "select 1"}], "idempotency_key": "batch-1"})
    assert (other.status, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_what_is_no_batch_is_refused_in_words(server: LiveServer) -> None:
    for body, words in (
        ({"statements": []}, "statements"),
        ({"statements": [{"sql": "select 1"}], "order": "random"}, "order"),
        ({"statements": [{"sql": "select 1", "wait_ms": 5}]}, "wait_ms"),
        ({"statements": [{"name": "a", "sql": "select 1"}, {"name": "a", "sql": "select 2"}]}, "one name"),
    ):
        answer = server.request("POST", "/v1/batch", body)
        assert answer.status == 400, answer.json()
        assert words in answer.json()["detail"]
    assert server.request("GET", "/v1/batches/b_none").json()["code"] == "QUERY_NOT_FOUND"


def test_a_query_is_run_once_more(server: LiveServer) -> None:
    first = server.request("POST", "/v1/sql", {"sql": "select 40 + 2 as n", "wait_ms": 0}, Idempotency_Key="again").json()
    server.request("GET", f"/v1/queries/{first['query_id']}?wait_ms=5000")
    again = server.request("POST", f"/v1/queries/{first['query_id']}/retry", {})
    assert again.status == 202
    second = server.request("GET", f"{again.headers['location']}?wait_ms=5000").json()
    assert (second["state"], second["query_id"] != first["query_id"]) == ("finished", True)
    assert server.request("POST", "/v1/queries/q_none/retry", {}).json()["code"] == "QUERY_NOT_FOUND"


def test_priorities_are_taken_within_their_bounds(server: LiveServer) -> None:
    assert server.request("POST", "/v1/sql", {"sql": "select 1", "priority": 5}).status == 200
    assert server.request("POST", "/v1/sql", {"sql": "select 1", "priority": 101}).status == 400


def test_a_request_that_waits_for_a_batch_does_not_hold_a_server_up_that_stops() -> None:
    with live_server(shared_data(), "--agents", "0") as server:
        body = {"statements": [{"sql": LONG_QUERY, "route": "local"}], "wait_ms": 60_000}
        answers: list[int] = []

        def wait() -> None:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                answers.append(server.request("POST", "/v1/batch", body).status)

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not server.request("GET", "/v1/queries?state=running").json()["queries"]:
            assert waiting.is_alive()
            time.sleep(0.05)
        begin_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) in (0, 143)
        assert time.monotonic() - begin_s < 10
        waiting.join(5)
        assert answers in ([202], [])
