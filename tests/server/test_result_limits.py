"""Answers and kept results stay within their limits."""

from __future__ import annotations

from pathlib import Path

from tests.server.live_server import live_server

MIB = 1 << 20


def test_answers_and_results_stay_within_the_settings(data: Path, tmp_path: Path) -> None:
    limits = {"SABOT_RESULTS__MAX_BYTES": 4 * MIB, "SABOT_RESULTS__MEMORY_BYTES": 0, "SABOT_RESULTS__DISK_BYTES": 8 * MIB}
    environment = {name: str(value) for name, value in limits.items()}
    state = tmp_path / "state"
    with live_server(data, "--agents", "1", "--state-dir", str(state), **environment) as server:
        for route, sql in (("local", "SELECT * FROM range(1000000)"), ("distributed", "SELECT a.i FROM numbers a, numbers b")):
            problem = server.request("POST", "/v1/sql", {"sql": sql, "route": route, "wait_ms": 60_000}).json()
            assert (problem["status"], problem["code"]) == (422, "RESULT_TOO_LARGE"), problem
            assert "results.max_bytes" in problem["detail"]
            assert "LIMIT" in problem["hint"]
        ids = [submitted(server, f"SELECT i, {n} n, i * {n} m FROM range(100000) t(i)") for n in range(6)]
        states = {query_id: server.request("GET", f"/v1/queries/{query_id}").json()["state"] for query_id in ids}
        assert sorted(states.values()) == ["expired"] * 2 + ["finished"] * 4
        assert sum(path.stat().st_size for path in (state / "results").iterdir()) <= 8 * MIB
        found = {q: server.request("GET", f"/v1/queries/{q}/result?format=csv") for q in ids}
        assert {q: answer.status for q, answer in found.items()} == {
            q: {"expired": 410, "finished": 200}[states[q]] for q in ids
        }
        assert found[ids[-1]].data.count(b"\n") == 100_001


def submitted(server, sql: str) -> str:
    body = {"sql": sql, "route": "local", "wait_ms": 0}
    query_id = server.request("POST", "/v1/sql", body).headers["X-Sabot-Query-Id"]
    assert server.request("GET", f"/v1/queries/{query_id}?wait_ms=30000").json()["state"] == "finished"
    return str(query_id)
