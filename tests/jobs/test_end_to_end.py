"""The manager on the real engine: two agents, real files."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import QueryTimeout
from sabot_sql.jobs.manager import JobManager

SQL = "select k, sum(v) as s, count(*) as c from t group by k order by k"
LOCAL = QueryRequest(SQL, route="local")
SLOW = QueryRequest("select sum(a.v * b.v) from t a, t b where a.v + b.v > 3", route="local")
DISTRIBUTED = QueryRequest(SQL, route="distributed")
AGENTS = AgentSettings(count=2, threads=1)

VICTIM = """
import os, sys
from pathlib import Path
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.jobs.manager import JobManager
from tests.jobs.test_end_to_end import AGENTS, DISTRIBUTED
manager = JobManager(Settings(state_dir=Path(sys.argv[1]) / "state", agents=AGENTS), str(Path(sys.argv[1]) / "data"))
print(manager.submit(DISTRIBUTED).query_id, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("end_to_end")
    (folder / "data" / "t").mkdir(parents=True)
    for number in range(4):
        table = pa.table({"k": [i % 7 for i in range(10_000)], "v": list(range(10_000))})
        pq.write_table(table, folder / "data" / "t" / f"{number}.parquet", row_group_size=2_500)
    return folder


@pytest.fixture(scope="module")
def killed(folder: Path) -> str:
    """A job whose process was killed right after it was submitted."""
    command = [sys.executable, "-c", VICTIM, str(folder)]
    process = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert process.returncode == -9, process.stderr
    return process.stdout.strip()


@pytest.fixture(scope="module")
def manager(folder: Path, killed: str) -> Iterator[JobManager]:
    manager = JobManager(Settings(state_dir=folder / "state", agents=AGENTS), str(folder / "data"))
    manager.start()
    yield manager
    manager.close()


def test_killed_job_is_finished_by_the_next_process(manager: JobManager, killed: str) -> None:
    status = manager.status(killed, 60)
    assert (status.state, status.error) == ("finished", None)
    assert status.stats["resumed"]
    assert manager.result(killed).table == manager.execute(LOCAL).table


def test_both_routes_give_the_same_answer(manager: JobManager) -> None:
    local, distributed = manager.execute(LOCAL), manager.execute(DISTRIBUTED)
    assert local.table == distributed.table
    assert (local.route, distributed.route) == ("local", "distributed")
    assert [str(f.type) for f in distributed.columns] == ["BIGINT", "HUGEINT", "BIGINT"]


def test_stats_say_what_was_read_and_by_whom(manager: JobManager) -> None:
    stats = manager.execute(DISTRIBUTED).stats
    assert (stats["rows_scanned"], stats["agents"], stats["stages"], stats["tasks"], stats["retries"]) == (40_000, 2, 2, 3, 0)
    assert (stats["engine"], stats["rows_by_engine"]["duckdb"]) == ("numba+duckdb", 40_000)
    assert stats["bytes_scanned"] > 0
    times = stats["parse_ms"] + stats["plan_ms"] + stats["queue_ms"] + stats["exec_ms"] + stats["record_ms"]
    assert 0 < times <= stats["elapsed_ms"]


def test_submitted_job_gives_its_result(manager: JobManager) -> None:
    query_id = manager.submit(DISTRIBUTED).query_id
    assert manager.status(query_id, 10).progress.fraction == 1.0
    assert manager.result(query_id).table == manager.execute(LOCAL).table


@pytest.mark.parametrize(("request_", "timeout_s"), [(SLOW, 0.2), (DISTRIBUTED, 1e-4)], ids=["local", "distributed"])
def test_time_limit_holds_on_both_routes(manager: JobManager, request_: QueryRequest, timeout_s: float) -> None:
    with pytest.raises(QueryTimeout):
        manager.execute(dataclasses.replace(request_, timeout_s=timeout_s))


def test_running_local_query_is_cancelled(manager: JobManager) -> None:
    query_id = manager.submit(SLOW).query_id
    manager.cancel(query_id)
    assert manager.status(query_id, 5).state == "cancelled"


def test_explain_analyze_shows_what_every_operator_did(manager: JobManager) -> None:
    text = manager.explain(DISTRIBUTED, analyze=True).text
    assert "3 tasks on 2 agents" in text
    assert "HashAggregate partial by k" in text


def test_blocks_of_ended_jobs_are_gone(manager: JobManager) -> None:
    manager.execute(DISTRIBUTED)
    for gone in list(manager._runner._recordings.values()):
        gone.wait(5)
    root = manager._engine.pool._running.root.path
    assert [p.name for p in root.iterdir() if p.is_dir()] == []
