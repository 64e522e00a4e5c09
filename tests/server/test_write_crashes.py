"""A server or an agent is killed while a statement writes: the table is the old one or the new one, and rows come once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.server.write_kills import Run, chosen, kill_runs, make_data


def test_kill_9_of_server_and_agents_leaves_the_old_table_or_the_new_one(tmp_path: Path) -> None:
    runs = [
        Run(1, "replace", "distributed", "agent", 0.1),
        Run(2, "insert", "job", "server", 0.02, staged=True),
        Run(3, "replace", "local", "server", 0.05, staged=True),
    ]
    assert sum(kill_runs(make_data(tmp_path / "data"), tmp_path / "state", runs).values()) == 3


@pytest.mark.slow
def test_fifty_kills_leave_the_old_table_or_the_new_one(tmp_path: Path) -> None:
    rng = random.Random(7)
    runs = [chosen(number, rng) for number in range(1, 51)]
    assert sum(kill_runs(make_data(tmp_path / "data"), tmp_path / "state", runs).values()) == 50
