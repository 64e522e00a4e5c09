"""Jobs live on after a kill -9 of their process, and after a close."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import QueryError, ReadError, ServiceError
from sabot_sql.jobs.identity import keyed_query_id
from tests.jobs.hand_engine import HandManager, job

VICTIM = """
import sys, time
from pathlib import Path
from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryRequest
from tests.jobs.hand_engine import HandManager
manager = HandManager(Settings(state_dir=Path(sys.argv[1])))
manager.start()
request = QueryRequest("sum 100", route="distributed", tags={"stage_s": sys.argv[2]}, idempotency_key="k")
print(manager.submit(request).query_id, flush=True)
time.sleep(60)
"""


def ran(state: Path) -> list[str]:
    log = state / "blocks" / "ran.txt"
    return log.read_text().split() if log.exists() else []


def kill_in_stage(state: Path, stage: int, stage_s: float = 0.4) -> str:
    """Submit a job in a process that is killed when `stage` has begun; returns the query id."""
    state.mkdir(exist_ok=True)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", VICTIM, str(state), str(stage_s)]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    query_id = process.stdout.readline().strip()
    while str(stage) not in ran(state):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)  # the stage before is written down meanwhile
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return query_id


def interrupt_in_stage(state: Path, stage: int) -> str:
    """The same by closing the manager."""
    with started(state) as manager:
        request = dataclasses.replace(job(100, stage_s=0.2), idempotency_key="k")
        query_id = manager.submit(request).query_id
        while str(stage) not in ran(state):
            time.sleep(0.01)
    assert manager.engine.dropped == []
    return query_id


@contextmanager
def started(state: Path) -> Iterator[HandManager]:
    manager = HandManager(Settings(state_dir=state))
    try:
        manager.start()
        yield manager
    finally:
        manager.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_killed_job_goes_on_and_complete_stages_are_not_run_again(state: Path) -> None:
    query_id = kill_in_stage(state, 1)
    with started(state) as manager:  # the lock on the folder is free at once
        assert manager.status(query_id).state in ("queued", "running")
        status = manager.status(query_id, 20)
        assert (status.state, status.error) == ("finished", None)
        assert manager.result(query_id).table.to_pylist() == [{"s": 4950}]
        assert status.stats["resumed"]
    assert ran(state) == ["0", "1", "1", "2"]


def test_stage_whose_blocks_are_gone_is_run_again(state: Path) -> None:
    query_id = interrupt_in_stage(state, 1)
    for block in (state / "blocks").glob(f"{query_id}.*/0-*"):
        block.unlink()
    with started(state) as manager:
        assert manager.status(query_id, 20).state == "finished"
        assert manager.result(query_id).table.to_pylist() == [{"s": 4950}]
    assert ran(state) == ["0", "1", "0", "1", "2"]


def test_job_killed_twice_ends_once(state: Path) -> None:
    query_id = kill_in_stage(state, 1)
    for block in (state / "blocks").glob(f"{query_id}.*/0-*"):
        block.unlink()
    assert kill_in_stage(state, 2) == query_id  # the key finds the job, which goes on
    with started(state) as manager:
        assert manager.status(query_id, 20).state == "finished"
        assert manager.result(query_id).table.to_pylist() == [{"s": 4950}]
    assert ran(state) == ["0", "1", "0", "1", "2", "2"]


def test_resumed_job_can_be_cancelled(state: Path) -> None:
    query_id = interrupt_in_stage(state, 0)
    with started(state) as manager:
        while manager.status(query_id).state != "running":
            time.sleep(0.01)
        manager.cancel(query_id)
        assert manager.status(query_id, 5).state == "cancelled"
    with started(state) as manager:
        assert manager.status(query_id).state == "cancelled"


def test_same_key_after_a_restart_is_the_same_job(state: Path) -> None:
    request = dataclasses.replace(job(7), idempotency_key="k")
    with started(state) as manager:
        first = manager.submit(request).query_id
        manager.status(first, 5)
    with started(state) as manager:
        again = manager.execute(request)
        assert (again.query_id, again.table.to_pylist()) == (first, [{"s": 21}])
        assert manager.engine.ran == []
        with pytest.raises(QueryError) as caught:
            manager.execute(dataclasses.replace(job(8), idempotency_key="k"))
        assert caught.value.problem.code == "IDEMPOTENCY_KEY_REUSED"
        assert first == keyed_query_id(manager._folder.secret, "anonymous", "k")


def test_submitted_result_is_there_after_a_restart_and_executed_ones_are_expired(state: Path) -> None:
    with started(state) as manager:
        submitted, executed = manager.submit(job(7)).query_id, manager.execute(job(8)).query_id
        before = manager.status(submitted, 5)
        stats, table = before.stats, manager.result(submitted)
    with started(state) as manager:
        after = manager.status(submitted)
        assert (after.state, after.sql, after.route, after.durable, after.tags) == (
            "finished",
            "sum 7",
            "distributed",
            True,
            {},
        )
        assert after.stats["tasks"] == stats["tasks"]
        result = manager.result(submitted)
        assert (result.table, result.columns, result.reason) == (table.table, table.columns, table.reason)
        assert manager.status(executed).state == "expired"
        assert {s.query_id for s in manager.list()} == {submitted, executed}


def test_error_is_the_same_after_a_restart(state: Path) -> None:
    with started(state) as manager:
        query_id = manager.submit(job(7, fail_stage=1, fail="read")).query_id
        error = manager.status(query_id, 5).error
    with started(state) as manager:
        again = manager.status(query_id).error
        assert (type(again), again.problem.code, again.detail, again.query_id) == (
            ReadError,
            "FILE_CORRUPT",
            error.detail,
            query_id,
        )


def test_closed_manager_leaves_submitted_jobs_to_the_next(state: Path) -> None:
    query_id = interrupt_in_stage(state, 1)
    with started(state) as manager:
        assert manager.status(query_id, 20).state == "finished"
    assert ran(state) == ["0", "1", "1", "2"]


def test_close_tells_who_waits_that_the_job_goes_on_later(state: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    request = dataclasses.replace(job(100, stage_s=0.3), idempotency_key="k")
    with ThreadPoolExecutor(1) as threads, started(state) as manager:
        waiting = threads.submit(manager.execute, request)
        while not manager.engine.ran:
            time.sleep(0.01)
        manager.close()
        with pytest.raises(ServiceError, match="goes on when the state folder is opened again"):
            waiting.result(5)


def test_job_of_a_temporary_session_in_a_durable_database_is_not_resumed(state: Path) -> None:
    with started(state):
        temporary = HandManager(Settings())
        query_id = temporary.submit(job(3)).query_id
        assert temporary.status(query_id, 5).state == "finished"
        temporary.close()
    with started(state) as manager:
        assert manager.list() == []
        with pytest.raises(QueryError, match="there is no query"):
            manager.status(query_id)


def test_job_planned_by_another_version_ends_with_an_error(state: Path) -> None:
    import sqlite3

    query_id = interrupt_in_stage(state, 0)
    connection = sqlite3.connect(state / "jobs.db")
    connection.execute("update workflow_status set application_version = 'plan-v0'")
    connection.commit()
    connection.close()
    with started(state) as manager:
        assert manager.status(query_id, 5).state == "cancelled"


def test_request_of_a_job_does_not_hold_its_parameters(state: Path) -> None:
    request = QueryRequest("sum 3", params={"secret": "s3cr3t"}, route="distributed")
    with started(state) as manager:
        manager.execute(request)
    assert b"s3cr3t" not in b"".join(p.read_bytes() for p in state.glob("jobs.db*"))
