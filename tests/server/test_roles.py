"""Every route with no key, a wrong one, a reader's and an admin's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql.client.contract import PROBLEM
from tests.server.live_server import LiveServer, live_server

OPERATOR, ADA, EVE, ZOE, WIM = (f"{name}-{'k' * 16}" for name in ("operator", "ada", "eve", "zoe", "wim"))
FOR_ADMINS = {
    ("POST", "/v1/agents/{agent_id}/drain"), ("POST", "/v1/agents/{agent_id}/resume"), ("DELETE", "/v1/agents/{agent_id}"),
    ("PUT", "/v1/cluster/agents"), ("POST", "/v1/tables"),
}  # fmt: skip
FOR_WRITERS = {("PUT", "/v1/tables/{catalog}/{schema}/{table}/data"), ("DELETE", "/v1/tables/{catalog}/{schema}/{table}")}
OPEN = {"/livez", "/readyz", "/healthz"}


@pytest.fixture(scope="module")
def server(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"ada:{ADA}\neve:admin:{EVE}\nzoe:{ZOE}\nwim:writer:{WIM}\n")
    with live_server(data, "--agents", "0", "--api-keys-file", str(keys), SABOT_API_KEY=OPERATOR) as server:
        yield server


def routes(server: LiveServer) -> list[tuple[str, str]]:
    paths = server.request("GET", "/openapi.json", Authorization=f"Bearer {ADA}").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def ask(server: LiveServer, method: str, path: str, **headers: str) -> tuple[int, str]:
    body = {"desired": 1} if method == "PUT" else {} if method == "POST" else None
    answer = server.request(method, re.sub(r"{\w+}", "0", path), body, **headers)
    is_problem = answer.headers.get("Content-Type", "") == PROBLEM
    return answer.status, answer.json()["code"] if is_problem else ""


def test_every_route_but_health_needs_a_key(server: LiveServer) -> None:
    found = routes(server)
    assert len(found) > 25
    for method, path in found:
        for headers in (
            {}, {"Authorization": f"Bearer {ADA}x"}, {"Authorization": f"Basic {ADA}"}, {"Authorization": ADA},
            {"Authorization": "Bearer"}, {"Cookie": f"key={ADA}"},
        ):  # fmt: skip
            expected = (401, "UNAUTHENTICATED")
            assert path in OPEN or ask(server, method, path, **headers) == expected, (method, path, headers)
        if path in OPEN:
            assert ask(server, method, path)[0] == 200


@pytest.mark.parametrize(
    "path", ["//v1/queries", "/v1/%71ueries", "/v1/queries/", "/docs", "/openapi.json", "/livez/../v1/queries"]
)
def test_no_spelling_of_a_path_goes_past_the_keys(server: LiveServer, path: str) -> None:
    assert server.request("GET", path).status == 401
    assert server.request("OPTIONS", path).status == 401
    assert server.request("HEAD", path).status == 401


def test_agents_are_for_admins_and_tables_for_writers(server: LiveServer) -> None:
    assert set(routes(server)) >= FOR_ADMINS | FOR_WRITERS
    for method, path in routes(server):
        for key, refused in ((ADA, FOR_ADMINS | FOR_WRITERS), (WIM, FOR_ADMINS)):
            status, code = ask(server, method, path, Authorization=f"Bearer {key}")
            if (method, path) in refused:
                assert (status, code) == (403, "PERMISSION_DENIED"), path
            else:
                assert status not in (401, 403), path
        assert ask(server, method, path, Authorization=f"Bearer {EVE}")[0] not in (401, 403), path


def test_an_admin_sees_and_cancels_the_queries_of_all(server: LiveServer) -> None:
    def as_(key: str, method: str, path: str) -> tuple[int, dict[str, object]]:
        answer = server.request(method, path, Authorization=f"Bearer {key}")
        return answer.status, answer.json()

    ids = {}
    for key in (ADA, ZOE):
        answer = server.request("POST", "/v1/sql", {"sql": f"SELECT '{key}'"}, Authorization=f"Bearer {key}")
        ids[key] = answer.json()["query_id"]
    for admin in (EVE, OPERATOR):
        for key, query_id in ids.items():
            status, found = as_(admin, "GET", f"/v1/queries/{query_id}")
            assert (status, found["user"]) == (200, key.split("-")[0])
            assert as_(admin, "GET", f"/v1/queries/{query_id}/plan")[0] == 200
            assert as_(admin, "POST", f"/v1/queries/{query_id}/cancel")[0] == 200
    listed = {q["query_id"] for q in as_(EVE, "GET", "/v1/queries")[1]["queries"]}  # type: ignore[attr-defined]
    assert listed >= set(ids.values())
    of_ada = as_(EVE, "GET", "/v1/queries?user=ada")[1]["queries"]
    assert {q["user"] for q in of_ada} == {"ada"}  # type: ignore[attr-defined]
    own = as_(ADA, "GET", "/v1/queries")[1]["queries"]
    assert {q["user"] for q in own} == {"ada"}  # type: ignore[attr-defined]
    assert as_(ADA, "GET", "/v1/queries?user=zoe")[1]["queries"] == []
    assert as_(ADA, "GET", f"/v1/queries/{ids[ZOE]}")[0] == 404


def test_everybody_on_this_machine_may_be_a_reader_only(data: Path) -> None:
    with live_server(data, "--agents", "0", SABOT_SERVER__ANONYMOUS_ROLE="reader") as server:
        assert server.sql("SELECT 1")["rows"] == [[1]]
        assert ask(server, "PUT", "/v1/cluster/agents") == (403, "PERMISSION_DENIED")
        assert ask(server, "GET", "/v1/agents")[0] == 200
