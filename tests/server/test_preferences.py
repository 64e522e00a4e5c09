"""The header `Prefer`, and what answers say of their times."""

from __future__ import annotations

import json
import time

import pytest

from sabot_sql.server.preferences import Preferences, read_preferences
from tests.server.live_server import LONG_QUERY, LiveServer


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Preferences()),
        ("", Preferences()),
        ("wait=5", Preferences(5)),
        ("Respond-Async", Preferences(None, True)),
        ('respond-async, wait = "7"; a=b, wait=9', Preferences(7, True)),
        ("return=minimal; wait=3", Preferences()),
        ("waiting=3, await=4, wait=soon", Preferences()),
        ("wait=-1", Preferences()),
        (',,=;\x00"', Preferences()),
    ],
)
def test_preferences_are_read_as_the_rfc_writes_them(header: str | None, expected: Preferences) -> None:
    assert read_preferences(header) == expected


def test_what_was_preferred_is_applied_and_said(server: LiveServer) -> None:
    begin = time.monotonic()
    body = {"sql": LONG_QUERY, "route": "local", "timeout_ms": 20_000}
    answer = server.request("POST", "/v1/sql", body, Prefer="respond-async, wait=1")
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async, wait=1")
    assert 1.0 <= time.monotonic() - begin < 5.0
    url = answer.headers["Location"]
    again = server.request("GET", url, Prefer="wait=1")
    assert (again.json()["state"], again.headers["Preference-Applied"]) == ("running", "wait=1")
    assert 2.0 <= time.monotonic() - begin < 8.0
    server.request("DELETE", url)


def test_a_wait_that_is_given_outright_counts(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/sql", {"sql": "SELECT 1", "wait_ms": 5000}, Prefer="respond-async")
    assert (answer.status, "Preference-Applied" in answer.headers) == (200, False)
    url = f"/v1/queries/{answer.json()['query_id']}"
    assert "Preference-Applied" not in server.request("GET", f"{url}?wait_ms=0", Prefer="wait=5").headers


def test_status_of_a_query_that_has_ended_has_its_stats_in_the_headers(server: LiveServer) -> None:
    found = server.sql("SELECT count(*) FROM numbers")
    answer = server.request("GET", f"/v1/queries/{found['query_id']}")
    assert json.loads(answer.headers["X-Sabot-Stats"]) == answer.json()["stats"]
    assert [part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")] == ["parse", "plan", "queue", "exec"]


def test_what_is_left_is_told_while_tasks_are_done(server: LiveServer) -> None:
    done = server.request("GET", f"/v1/queries/{server.sql('SELECT 1')['query_id']}").json()
    assert (done["progress"]["fraction"], done["progress"]["eta_ms"]) == (1.0, None)
