"""Cancelling gives everything back, at whatever moment it comes: real agents, real blocks."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager
from tests.jobs.kills import make

SLOW = "SELECT count(*), sum(f.v + g.v + h.v) FROM facts f JOIN facts g ON f.k = g.k JOIN facts h ON g.k = h.k"
BACK_S = 1.0


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobManager]:
    folder = tmp_path_factory.mktemp("cancelling")
    make(folder / "data")
    manager = JobManager(Settings(state_dir=folder / "state", agents=AgentSettings(count=2, threads=1)), str(folder / "data"))
    manager.start()
    manager.execute(QueryRequest("SELECT k, count(*) FROM facts GROUP BY k", route="distributed"))
    yield manager
    manager.close()


def block_folders(manager: JobManager) -> list[str]:
    pool = manager._engine.pool
    assert pool._running is not None
    return [path.name for path in pool._running.root.path.iterdir() if path.is_dir()]


def busy_s(manager: JobManager) -> float:
    """Processor seconds of the agents so far."""
    ticks = 0
    for agent in manager.agents():
        fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def is_idle(manager: JobManager) -> bool:
    """Whether the agents do next to nothing for a tenth of a second."""
    before_s = busy_s(manager)
    time.sleep(0.1)
    return busy_s(manager) - before_s < 0.03


@pytest.mark.parametrize("cancels", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_a_cancelled_job_gives_everything_back_within_a_second(manager: JobManager, cancels: int) -> None:
    dice = random.Random(cancels)
    for _ in range(cancels):
        query_id = manager.submit(QueryRequest(SLOW, route="distributed")).query_id
        time.sleep(dice.uniform(0, 1.0))
        cancelled_s = time.monotonic()
        manager.cancel(query_id)
        assert manager.status(query_id, 5).state == "cancelled"
        while block_folders(manager):
            assert time.monotonic() - cancelled_s < BACK_S
            time.sleep(0.005)
        while not is_idle(manager):
            assert time.monotonic() - cancelled_s < BACK_S
    assert manager.execute(QueryRequest("SELECT count(*) FROM facts", route="distributed")).table.to_pylist() == [
        {"count_star()": 400_000}
    ]
