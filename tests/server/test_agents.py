"""Agents over HTTP: started elsewhere, drained, scaled."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.agents.processes import until
from tests.agents.standalone import agents_of, token_file
from tests.server.live_server import LiveServer, live_server, write_tables

QUERY = "SELECT count(*) AS n, sum(a.i + b.i) AS s FROM numbers a JOIN numbers b ON a.i = b.i + 1"
ANSWER = [[9999, str(sum(2 * i + 1 for i in range(9999)))]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def states(server: LiveServer) -> list[str]:
    return [agent["state"] for agent in server.request("GET", "/v1/agents").json()["agents"]]


def test_a_server_works_with_agents_that_were_started_elsewhere(tmp_path: Path) -> None:
    token, listen = token_file(tmp_path), f"127.0.0.1:{free_port()}"
    options = ("--provider", "static", "--agents-listen", listen, "--token-file", str(token))
    with live_server(write_tables(tmp_path / "data"), *options) as server, agents_of(listen, token, ("a", "b")) as agents:
        until(lambda: states(server) == ["alive", "alive"], 30)
        found = server.sql(QUERY, route="distributed")
        assert (found["rows"], found["stats"]["agents"]) == (ANSWER, 2)
        refused = server.request("PUT", "/v1/cluster/agents", {"desired": 4})
        assert (refused.status, refused.json()["code"]) == (400, "NOT_SUPPORTED")
        assert server.request("POST", "/v1/agents/a/drain").status == 202
        assert agents[0].process.wait(30) == 0
        until(lambda: states(server).count("alive") == 1, 10)
        assert server.sql(QUERY, route="distributed")["rows"] == ANSWER
        agents[1].kill()
        asked = server.request("POST", "/v1/sql", {"sql": QUERY, "route": "distributed", "wait_ms": 0})
        waiting = asked.json()["query_id"]
        with agents_of(listen, token, ("b",)):  # what was asked while nobody was there
            until(lambda: server.request("GET", f"/v1/queries/{waiting}").json()["state"] == "finished", 30)
            assert server.request("GET", f"/v1/queries/{waiting}/result").json()["rows"] == ANSWER


@pytest.mark.slow
def test_agents_wait_for_a_server_and_find_the_next_one(tmp_path: Path) -> None:
    token, listen = token_file(tmp_path), f"127.0.0.1:{free_port()}"
    data = write_tables(tmp_path / "data")
    options = ("--provider", "static", "--agents-listen", listen, "--token-file", str(token))
    with agents_of(listen, token, ("a",)) as (agent,):
        for _ in range(2):
            with live_server(data, *options) as server:
                until(lambda server=server: states(server) == ["alive"], 30)  # type: ignore[misc]
                assert server.sql(QUERY, route="distributed")["rows"] == ANSWER
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
        assert agent.end() == 0


def test_agents_come_and_go_over_http(tmp_path: Path) -> None:
    with live_server(write_tables(tmp_path / "data"), "--agents", "1") as server:
        until(lambda: states(server) == ["alive"], 30)
        answer = server.request("PUT", "/v1/cluster/agents", {"desired": 3})
        assert (answer.status, len(answer.json()["agents"])) == (202, 3)
        until(lambda: states(server) == ["alive"] * 3, 30)
        found = server.sql(QUERY, route="distributed")
        assert (found["rows"], found["stats"]["agents"]) == (ANSWER, 3)
        assert server.request("POST", "/v1/agents/agent-1/drain").status == 202
        until(lambda: states(server) == ["alive"] * 2, 30)
        assert server.request("DELETE", "/v1/agents/agent-2").status == 202
        until(lambda: states(server) == ["alive"], 30)
        server.request("PUT", "/v1/cluster/agents", {"desired": 2})
        until(lambda: states(server) == ["alive"] * 2, 30)
        server.request("PUT", "/v1/cluster/agents", {"desired": 1})
        until(lambda: states(server) == ["alive"], 30)
        last = server.request("GET", "/v1/agents").json()["agents"][0]["id"]
        assert server.request("POST", f"/v1/agents/{last}/drain").json()["code"] == "INVALID_PARAMETER"
        assert server.request("DELETE", f"/v1/agents/{last}").json()["code"] == "INVALID_PARAMETER"
        assert server.request("DELETE", "/v1/agents/nobody").status == 404
        for path in ("/v1/agents/agent-1/drain", "/v1/agents/agent-0/resume", "/v1/agents/nobody/drain"):
            answer = server.request("POST", path)
            assert (answer.status, answer.json()["code"]) == (404, "NOT_FOUND")
        for desired in (0, -1, "many", None, 5000):
            assert server.request("PUT", "/v1/cluster/agents", {"desired": desired}).status == 400


def test_cluster_sums_up_agents_and_queries(server: LiveServer) -> None:
    until(lambda: states(server) == ["alive", "alive"], 30)
    server.sql(QUERY, route="distributed")
    until(lambda: all(a["last_heartbeat_at"] for a in server.request("GET", "/v1/agents").json()["agents"]), 10)
    agents = server.request("GET", "/v1/agents").json()["agents"]
    found = server.request("GET", "/v1/cluster").json()
    assert (found["provider"], found["scales"]) == ("local", True)
    assert (found["agents"]["total"], found["agents"]["alive"], found["agents"]["lost"]) == (2, 2, 0)
    assert found["slots"] == sum(agent["slots"] for agent in agents) >= found["slots_used"]
    assert found["memory_used_bytes"] > 10 << 20
    assert found["tasks_done"] >= 1
    assert found["queries"].keys() == {"queued", "planning", "running", "finishing"}
    assert found["waiting"] == {"local": 0, "distributed": 0}
    info = server.request("GET", "/v1/info").json()
    assert found["limits"].items() <= info["limits"].items()
