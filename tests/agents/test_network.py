"""Agents on machines of their own, as far as the network goes: links that are cut in the middle of a stage."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.agents import scheduler
from sabot_sql.agents.members import Heartbeat
from sabot_sql.agents.pool import AgentPool
from sabot_sql.client.connection import Connection
from sabot_sql.client.embedded import EmbeddedService
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.errors import AgentLost
from sabot_sql.jobs.manager import JobManager
from tests.agents.network import Network, is_possible, network
from tests.agents.processes import until
from tests.agents.stages import SESSION, gather_stage, scan_stage, values_of
from tests.agents.standalone import AgentProcess, token_file

pytestmark = pytest.mark.skipif(not is_possible(), reason="network namespaces cannot be made here")

NAMES = ("a", "b", "c")
PORT = 8615
FAST = Heartbeat(interval_s=0.5, suspect_s=1.5, lost_s=3.0)


@pytest.fixture(autouse=True)
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose agent has just started, on a slow machine, is not overtaken: these tests say which agent has which task."""
    monkeypatch.setattr(scheduler, "SLOW_S", 60.0)


@dataclass
class Machines:
    net: Network
    agents: list[AgentProcess]
    token: Path

    def pool(self) -> AgentPool:
        return AgentPool(self.settings(), heartbeat=FAST)

    def settings(self) -> AgentSettings:
        return AgentSettings(provider="static", listen=f"{self.net.here}:{PORT}", token_file=str(self.token), lane="flight")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    token = token_file(tmp_path_factory.mktemp("token"))
    with network(3) as net, contextlib.ExitStack() as stack:
        agents = []
        for i, name in enumerate(NAMES):
            options = ("--host", net.addresses[i])
            agents.append(AgentProcess(f"{net.here}:{PORT}", token, name, *options, prefix=net.enter(i), lane="flight"))
            stack.callback(agents[-1].close)
        yield Machines(net, agents, token)


@pytest.fixture
def pool(machines: Machines) -> Iterator[AgentPool]:
    machines.net.heal()
    pool = machines.pool()
    try:
        pool.start()
        until(lambda: [a.state for a in pool.agents()] == ["alive"] * 3, 40)
        yield pool
    finally:
        machines.net.heal()
        pool.stop()


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"x": list(range(100_000))}), path)
    return path


def test_stages_run_over_the_network(pool: AgentPool, machines: Machines, numbers: Path) -> None:
    blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers, 3), {}, SESSION)]
    assert {block.flight_uri.split("//")[1].split(":")[0] for block in blocks} == set(machines.net.addresses)
    results = pool.run_stage("job", gather_stage(3), {0: blocks}, SESSION)
    assert len(values_of(pool, results)) == 900_000


def test_a_task_that_cannot_reach_another_agent_runs_where_it_can(pool: AgentPool, machines: Machines, numbers: Path) -> None:
    blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers, 3), {}, SESSION)]
    machines.net.cut(0, 1)
    began = time.monotonic()
    results = pool.run_stage("job", gather_stage(3), {0: blocks}, SESSION)
    assert time.monotonic() - began < 25
    assert len(values_of(pool, results)) == 900_000
    assert max(r.block.attempt for r in results) > 1  # the cut was real
    assert {a.id: a.state for a in pool.agents()} == dict.fromkeys(NAMES, "alive")  # all of them answer the coordinator


def test_an_agent_that_is_cut_off_is_lost_and_comes_back(pool: AgentPool, machines: Machines, numbers: Path) -> None:
    blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers, 3), {}, SESSION)]
    machines.net.cut(2)
    until(lambda: {a.id: a.state for a in pool.agents()} == {"a": "alive", "b": "alive", "c": "lost"}, 15)
    assert [b.agent_id for b in pool.lost(blocks)] == ["c"]
    with pytest.raises(AgentLost):
        pool.run_stage("job", gather_stage(3), {0: blocks}, SESSION)
    machines.net.heal()
    until(lambda: [a.state for a in pool.agents()] == ["alive"] * 3, 30)
    assert not pool.lost(blocks, ask=True)  # it is the same incarnation, and has kept them
    results = pool.run_stage("job", gather_stage(3), {0: blocks}, SESSION, first_attempt=4)
    assert len(values_of(pool, results)) == 900_000


@pytest.mark.slow
@pytest.mark.parametrize("cut", [(0,), (0, 1)], ids=["off", "link"])
def test_a_query_goes_on_when_a_link_is_cut_in_its_middle(machines: Machines, tmp_path: Path, cut: tuple[int, ...]) -> None:
    (tmp_path / "data" / "t").mkdir(parents=True)
    for i in range(6):
        values = list(range(i * 200_000, (i + 1) * 200_000))
        pq.write_table(
            pa.table({"x": values, "y": [v * 7919 % 100_003 for v in values]}), tmp_path / "data" / "t" / f"{i}.parquet"
        )
    sql = (
        "select a.x % 1000 k, count(*) n, sum(b.x) s from t a join t b on a.y = b.y and a.x % 3 = b.x % 3 group by k order by k"
    )
    machines.net.heal()
    manager = JobManager(Settings(agents=machines.settings(), threshold=10_000), str(tmp_path / "data"))
    manager.start()
    with Connection(EmbeddedService(manager), "embedded:") as db:
        try:
            until(lambda: [a.state for a in db.agents()] == ["alive"] * 3, 40)
            expected = db.execute_sql(sql, route="local").to_arrow()
            began = time.monotonic()
            assert db.execute_sql(sql, route="distributed").to_arrow().equals(expected)
            took_s = time.monotonic() - began
            timer = threading.Timer(took_s / 2, machines.net.cut, cut)
            timer.start()
            began = time.monotonic()
            assert db.execute_sql(sql, route="distributed").to_arrow().equals(expected)
            timer.join()
            assert time.monotonic() - began < 2 * took_s + 30
        finally:
            machines.net.heal()
