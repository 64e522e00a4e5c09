"""`GET /v1/queries/{id}/plan` of a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.agents.processes import until
from tests.server.live_server import LiveServer, live_server, write_tables

QUERY = "SELECT a.name, count(*) AS n FROM numbers a JOIN numbers b ON a.i = b.i + 1 GROUP BY 1 ORDER BY 1 LIMIT 5"


def plan_of(server: LiveServer, query_id: str) -> dict[str, Any]:
    answer = server.request("GET", f"/v1/queries/{query_id}/plan")
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


def test_plan_of_a_distributed_query_has_its_stages(server: LiveServer) -> None:
    answer = server.sql(QUERY, route="distributed")
    plan = plan_of(server, answer["query_id"])
    assert (plan["state"], plan["route"], plan["note"]) == ("finished", "distributed", None)
    assert [stage["state"] for stage in plan["stages"]] == ["finished"] * answer["stats"]["stages"]
    assert (plan["stages"][-1]["rows_out"], plan["stages"][0]["rows_in"] > 0) == (5, True)
    assert {edge["from"] for edge in plan["edges"]} == {stage["id"] for stage in plan["stages"][:-1]}
    assert plan["text"].startswith("┌─ stage 0")


def test_plan_of_a_local_query_says_why_it_has_no_stages(server: LiveServer) -> None:
    plan = plan_of(server, server.sql("SELECT 1")["query_id"])
    assert (plan["stages"], plan["edges"], plan["note"]) == ([], [], "the local route runs a query whole, in no stages")
    assert plan["text"].startswith("ran in ")


def test_plan_of_a_query_that_could_not_be_planned(server: LiveServer) -> None:
    problem = server.request("POST", "/v1/sql", {"sql": "SELECT nam FROM people"}).json()
    plan = plan_of(server, problem["query_id"])
    assert (plan["state"], plan["stages"], plan["note"] is not None) == ("failed", [], True)


@pytest.mark.slow
def test_plan_of_an_earlier_process_says_that_it_is_not_kept(tmp_path: Path) -> None:
    data, state = write_tables(tmp_path / "data"), str(tmp_path / "state")
    with live_server(data, "--agents", "1", "--state-dir", state) as server:
        body = {"sql": QUERY, "route": "distributed"}
        answer = server.request("POST", "/v1/sql", body, Idempotency_Key="kept").json()
        assert plan_of(server, answer["query_id"])["note"] is None
    with live_server(data, "--agents", "1", "--state-dir", state) as server:
        plan = plan_of(server, answer["query_id"])
        assert (plan["state"], plan["stages"]) == ("finished", [])
        assert plan["note"].startswith("an earlier process")


def test_tasks_of_an_agent_that_died_are_told_as_retried(tmp_path: Path) -> None:
    slow = "SELECT count(*) AS n FROM numbers a JOIN numbers b ON a.i % 3 = b.i % 3 WHERE a.half + b.half > 1"
    with live_server(write_tables(tmp_path / "data"), "--agents", "2") as server:
        until(lambda: [a["state"] for a in server.request("GET", "/v1/agents").json()["agents"]] == ["alive"] * 2, 30)
        body = {"sql": slow, "route": "distributed", "wait_ms": 0}
        query_id = server.request("POST", "/v1/sql", body).json()["query_id"]
        until(lambda: any(stage["state"] == "running" for stage in plan_of(server, query_id)["stages"]), 30)
        os.kill(server.request("GET", "/v1/agents").json()["agents"][0]["pid"], signal.SIGKILL)
        status = server.request("GET", f"/v1/queries/{query_id}?wait_ms=60000").json()
        assert status["state"] == "finished"
        stages = plan_of(server, query_id)["stages"]
        assert sum(stage["tasks"]["retried"] for stage in stages) == status["stats"]["retries"] >= 1
