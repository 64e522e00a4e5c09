"""Pages of other hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.in_process import sabot
from tests.server.live_server import LiveServer, live_server

APP, OTHER = "https://example.com", "https://example.com:8443"
ASKS = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}


@pytest.fixture(scope="module", params=["", "k" * 20])
def server(request: pytest.FixtureRequest, data: Path) -> Iterator[LiveServer]:
    environment = {"SABOT_SERVER__CORS_ORIGINS": f'["{APP}"]'} | ({"SABOT_API_KEY": request.param} if request.param else {})
    with live_server(data, "--agents", "0", **environment) as server:
        server.http.headers = {"Authorization": f"Bearer {request.param}"} if request.param else {}
        yield server


def test_a_page_that_is_named_may_ask(server: LiveServer) -> None:
    leave = server.request("OPTIONS", "/v1/sql", Origin=APP, **ASKS)
    assert (leave.status, leave.headers["Access-Control-Allow-Origin"]) == (200, APP)
    answer = server.request(
        "POST", "/v1/sql", {"sql": "SELECT 1"}, Origin=APP, Sec_Fetch_Site="cross-site", **server.http.headers
    )
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, APP)


def test_another_page_may_not(server: LiveServer) -> None:
    leave = server.request("OPTIONS", "/v1/sql", Origin=OTHER, **ASKS)
    assert (leave.status, "Access-Control-Allow-Origin" in leave.headers) == (400, False)
    answer = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Origin=OTHER, **server.http.headers)
    assert "Access-Control-Allow-Origin" not in answer.headers
    if not server.http.headers:
        assert answer.json()["code"] == "PERMISSION_DENIED"
        linked = server.request("GET", "/v1/sql?sql=SELECT%201", Sec_Fetch_Site="cross-site")
        assert linked.json()["code"] == "PERMISSION_DENIED"


def test_an_origin_is_a_scheme_and_a_host() -> None:
    for origin in ("*", "https://*.com", "https://example.com/", "example.com"):
        done = sabot("config", "show", SABOT_SERVER__CORS_ORIGINS=f'["{origin}"]')
        assert (done.returncode, "server.cors_origins" in done.err) == (2, True), done.err
    done = sabot("config", "show", SABOT_SERVER__CORS_ORIGINS="https://example.com")
    assert (done.returncode, "Traceback" in done.err, "not JSON" in done.err) == (2, False, True), done.err
