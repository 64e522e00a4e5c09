"""Agents on a Ray cluster of two nodes: TPC-H is right, also when an actor is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sabot_sql.client.connection import connect
from sabot_sql.client.difference import difference
from tests.agents.processes import until
from tests.server.live_server import LiveServer, live_server
from tests.server.test_agents import free_port

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.slow

QUERIES = sorted((Path(__file__).parents[2] / "bench" / "accept" / "tpch" / "queries").glob("*.sql"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        found.add_node(num_cpus=2)
        yield found.address
    finally:
        found.shutdown()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tpch")
    generator = Path(sys.executable).with_name("tpchgen-cli")
    command = [generator, "parquet", "-s", "0.1", "--parts=4", f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(cluster: str, data: Path) -> Iterator[LiveServer]:
    variables = {"SABOT_AGENTS__RAY_ADDRESS": cluster, "SABOT_AGENTS__LISTEN": f"127.0.0.1:{free_port()}"}
    with live_server(data, "--provider", "ray", "--agents", "2", SABOT_AGENTS__THREADS="1", **variables) as server:
        until(lambda: [agent["state"] for agent in agents(server)] == ["alive"] * 2, 90)
        yield server


def agents(server: LiveServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("GET", "/v1/agents").json()["agents"]
    return found


def test_one_agent_a_node(server: LiveServer) -> None:
    def parent(pid: int) -> int:  # each node has a raylet, which starts its actors
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    assert len({parent(agent["pid"]) for agent in agents(server)}) == 2


def test_tpch_is_right_also_when_an_actor_is_killed(server: LiveServer, data: Path) -> None:
    with duckdb.connect() as duck, connect(server.url) as db:
        for folder in data.iterdir():
            duck.execute(f"CREATE VIEW {folder.name} AS FROM read_parquet('{folder}/*.parquet')")
        for number, path in enumerate(QUERIES):
            sql = path.read_text()
            killer = None
            if number % 5 == 4:
                killer = threading.Timer(0.05, os.kill, (agents(server)[number % 2]["pid"], signal.SIGKILL))
                killer.start()
            found = db.execute_sql(sql, route="distributed", timeout_s=120)
            assert difference(duck.sql(sql).to_arrow_table(), found.to_arrow()) == "", path.stem
            if killer is not None:
                killer.join()
                until(lambda: [agent["state"] for agent in agents(server)] == ["alive"] * 2, 60)  # Ray started it again


def test_actors_come_and_go(server: LiveServer) -> None:
    assert server.request("PUT", "/v1/cluster/agents", {"desired": 3}).status == 202
    until(lambda: [agent["state"] for agent in agents(server)] == ["alive"] * 3, 60)
    assert server.request("PUT", "/v1/cluster/agents", {"desired": 2}).status == 202
    until(lambda: [agent["state"] for agent in agents(server)] == ["alive"] * 2, 60)
    time.sleep(2.0)
    assert len(agents(server)) == 2  # Ray does not bring it back
