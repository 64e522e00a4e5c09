from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import sabot_sql
from sabot_sql.config import LocalSettings, Settings
from sabot_sql.engine.request import TERMINAL_STATES, Progress, QueryRequest
from sabot_sql.errors import (
    AgentLost,
    Cancelled,
    InternalError,
    ParseError,
    PlanError,
    QueryError,
    QueryTimeout,
    ReadError,
    SabotError,
    ServiceError,
)
from sabot_sql.jobs import job_run
from sabot_sql.jobs.runner import LAGGING
from sabot_sql.jobs.store import STORE
from tests.jobs.hand_engine import HandManager, job, query, query_of

STATS = {
    "elapsed_ms", "parse_ms", "plan_ms", "queue_ms", "exec_ms", "engine", "estimated_rows", "rows_scanned", "bytes_scanned",
    "stages", "tasks", "agents", "retries",
}  # fmt: skip


def keyed(request: QueryRequest, key: str = "k") -> QueryRequest:
    return dataclasses.replace(request, idempotency_key=key)


def recorded(manager: HandManager) -> None:
    """Answers may come a moment before the last write."""
    wait_for(lambda: not manager._runner._recordings)


def wait_for(condition, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def test_local_query_is_answered_and_remembered(manager: HandManager) -> None:
    result = manager.execute(query(5))
    assert result.table.to_pylist() == [{"s": 10}]
    assert result.stats.keys() >= STATS
    status = manager.status(result.query_id)
    assert (status.state, status.route, status.durable) == ("finished", "local", False)
    assert status.submitted_at <= status.started_at <= status.finished_at
    assert manager.result(result.query_id).table.equals(result.table)


def test_local_query_does_not_touch_the_job_database(tmp_path: Path) -> None:
    manager = HandManager(Settings(state_dir=tmp_path))
    manager.execute(query(5))
    manager.status(manager.submit(query(5)).query_id, 5)
    assert not (tmp_path / "jobs.db").exists()
    manager.close()


def test_distributed_query_is_a_workflow_with_a_step_a_stage(durable: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbos import DBOS

    monkeypatch.setattr(job_run, "HELD_S", 0.0)
    result = durable.execute(job(100))
    assert result.table.to_pylist() == [{"s": 4950}]
    recorded(durable)
    assert [s["function_name"] for s in DBOS.list_workflow_steps(result.query_id)] == ["stage-0", "stage-1", "stage-2"]
    (row,) = DBOS.list_workflows(workflow_ids=[result.query_id])
    assert (row.status, row.output["rows"], row.app_version, row.executor_id) == ("SUCCESS", 1, "plan-v6", "sabot-sql")


def test_distributed_stats_have_all_keys_of_the_contract(manager: HandManager) -> None:
    stats = manager.execute(job(100)).stats
    assert stats.keys() >= STATS | {"record_ms", "collect_ms", "rows_by_engine"}
    assert (stats["stages"], stats["tasks"], stats["agents"], stats["retries"], stats["engine"]) == (3, 9, 2, 0, "numba")
    assert stats["elapsed_ms"] >= stats["exec_ms"] > 0


def test_nothing_in_the_database_is_pickled(durable: HandManager, tmp_path: Path) -> None:
    import sqlite3

    durable.execute(job(3))
    with pytest.raises(InternalError):
        durable.execute(job(3, fail_stage=1, fail="bug"))
    recorded(durable)
    connection = sqlite3.connect(tmp_path / "state" / "jobs.db")
    kinds = connection.execute("select serialization from workflow_status union select serialization from operation_outputs")
    assert kinds.fetchall() == [("portable_json",)]
    connection.close()


def test_blocks_are_dropped_after_success_failure_and_cancel(manager: HandManager) -> None:
    manager.execute(job(3))
    with pytest.raises(ReadError):
        manager.execute(job(3, fail_stage=1, fail="read"))
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Cancelled):
        manager.execute(job(3, stage_s=5), cancel=stop)
    wait_for(lambda: len(manager.engine.dropped) == 3)


def test_progress_is_told_task_by_task(manager: HandManager) -> None:
    seen: list[float] = []
    manager.execute(job(3), progress=lambda p: seen.append(p.fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_progress_callback_that_raises_does_not_end_the_query(manager: HandManager) -> None:
    def broken(progress: Progress) -> None:
        raise RuntimeError("no terminal")

    result = manager.execute(job(3), progress=broken)
    assert "no terminal" in result.warnings[0]


@pytest.mark.parametrize(("how", "error"), [("lost", AgentLost), ("read", ReadError), ("bug", InternalError)])
def test_failure_of_a_stage_is_the_failure_of_the_query(manager: HandManager, how: str, error: type[SabotError]) -> None:
    with pytest.raises(error) as caught:
        manager.execute(job(3, fail_stage=1, fail=how))
    status = manager.status(caught.value.query_id)
    assert (status.state, status.error.problem.code) == ("failed", caught.value.problem.code)
    with pytest.raises(error):
        manager.result(caught.value.query_id)


def test_error_before_the_route_is_known_is_recorded(manager: HandManager) -> None:
    with pytest.raises(ParseError) as caught:
        manager.execute(QueryRequest("nonsense"))
    assert manager.status(caught.value.query_id).state == "failed"
    assert manager.submit(QueryRequest("nonsense")).error.problem.code == "SYNTAX_ERROR"


def test_states_only_go_forward(manager: HandManager) -> None:
    manager.execute(job(3))  # the job database is open from here on
    seen: list[str] = []
    query_id = manager.submit(job(3, stage_s=0.05)).query_id
    while not seen or seen[-1] not in TERMINAL_STATES:
        seen.append(manager.status(query_id).state)
    order = ["queued", "planning", "running", "finishing", "finished"]
    assert sorted(seen, key=order.index) == seen
    assert {"running", "finished"} <= set(seen)


def test_submitted_job_is_committed_when_submit_returns(durable: HandManager) -> None:
    from dbos import DBOS

    status = durable.submit(job(3, stage_s=0.2))
    assert status.durable
    assert [r.status for r in DBOS.list_workflows(workflow_ids=[status.query_id])] == ["PENDING"]
    assert durable.status(status.query_id, 5).state == "finished"
    assert durable.result(status.query_id).table.to_pylist() == [{"s": 3}]


def test_status_waits_for_the_end_and_no_longer(manager: HandManager) -> None:
    query_id = manager.submit(query(3, local_s=0.2)).query_id
    begin = time.monotonic()
    assert manager.status(query_id, 0.01).state == "running"
    assert manager.status(query_id, 5).state == "finished"
    assert 0.15 < time.monotonic() - begin < 2


def test_result_of_a_running_query_is_not_finished(manager: HandManager) -> None:
    query_id = manager.submit(query(3, local_s=0.2)).query_id
    with pytest.raises(QueryError) as caught:
        manager.result(query_id)
    assert caught.value.problem.code == "QUERY_NOT_FINISHED"


def test_unknown_query_is_not_found(manager: HandManager, durable: HandManager) -> None:
    for each in (manager, durable):
        with pytest.raises(QueryError, match="there is no query q_1") as caught:
            each.status("q_1")
        assert caught.value.problem.code == "QUERY_NOT_FOUND"


@pytest.mark.parametrize("request_", [job(3, stage_s=5), query(3, local_s=5)], ids=["distributed", "local"])
def test_cancel_ends_a_running_query(manager: HandManager, request_: QueryRequest) -> None:
    query_id = manager.submit(request_).query_id
    wait_for(lambda: manager.status(query_id).state == "running")
    manager.cancel(query_id)
    status = manager.status(query_id, 5)
    assert (status.state, status.error.problem.code) == ("cancelled", "CANCELLED")
    assert manager.cancel(query_id).state == "cancelled"
    assert manager.cancel(query_id).finished_at == status.finished_at


def test_cancel_of_a_job_tells_the_agents_at_once(manager: HandManager) -> None:
    query_id = manager.submit(job(3, stage_s=5)).query_id
    wait_for(lambda: manager.status(query_id).state == "running")
    manager.cancel(query_id)
    assert [query_of(job_id) for job_id in manager.engine.cancelled] == [query_id]


@pytest.mark.parametrize("request_", [job(3, stage_s=5), query(3, local_s=5)], ids=["distributed", "local"])
def test_time_limit_ends_a_query(manager: HandManager, request_: QueryRequest) -> None:
    with pytest.raises(QueryTimeout, match=r"0\.1 s") as caught:
        manager.execute(dataclasses.replace(request_, timeout_s=0.1))
    assert manager.status(caught.value.query_id).state == "failed"


def test_ctrl_c_cancels_the_job_and_is_raised() -> None:
    code = """
import _thread, threading
from sabot_sql.config import Settings
from tests.jobs.hand_engine import HandManager, job
manager = HandManager(Settings())
manager.execute(job(3))
threading.Timer(0.3, _thread.interrupt_main).start()
try:
    manager.execute(job(3, stage_s=30))
except KeyboardInterrupt:
    print(manager.list()[0].state)
manager.close()
print(len(manager.engine.dropped))
"""
    assert run_python(code).split() == ["cancelled", "2"]


def test_fifty_queries_at_once(manager: HandManager) -> None:
    with ThreadPoolExecutor(50) as threads:
        requests = [job(i) if i % 2 else query(i) for i in range(50)]
        answers = [r.table.to_pylist() for r in threads.map(manager.execute, requests)]
    assert answers == [[{"s": sum(range(i))}] for i in range(50)]
    wait_for(lambda: len(manager.engine.dropped) == 25)


def test_local_queries_at_once_are_limited() -> None:
    manager = HandManager(Settings(local=LocalSettings(concurrency=2)))
    ids = [manager.submit(query(3, local_s=0.05)).query_id for _ in range(6)]
    assert {manager.status(q, 5).state for q in ids} == {"finished"}
    assert manager.engine.most_running == 2
    assert max(manager.status(q).stats["queue_ms"] for q in ids) >= 40
    manager.close()


def test_at_most_four_jobs_run_and_the_others_queue(manager: HandManager) -> None:
    ids = [manager.submit(job(3, stage_s=0.5)).query_id for _ in range(6)]
    wait_for(lambda: len({j for j, _ in manager.engine.ran}) == 4)
    assert sorted(manager.status(q).state for q in ids)[:2] == ["planning", "planning"]
    manager.cancel(ids[-1])
    assert [manager.status(q, 5).state for q in ids] == ["finished"] * 5 + ["cancelled"]


def test_same_key_and_text_is_the_same_query(manager: HandManager) -> None:
    for request in (keyed(job(3), "a"), keyed(query(3), "b")):
        first, second = manager.execute(request), manager.execute(request)
        assert first.query_id == second.query_id
        assert second.stats["replayed"]
        assert second.table.equals(first.table)
    assert len({j for j, _ in manager.engine.ran}) == 1


def test_same_key_with_another_text_is_refused(manager: HandManager) -> None:
    manager.execute(keyed(query(3)))
    for call in (manager.execute, manager.submit):
        with pytest.raises(QueryError) as caught:
            call(keyed(query(4)))
        assert caught.value.problem.code == "IDEMPOTENCY_KEY_REUSED"


def test_keys_of_two_users_are_two_queries(manager: HandManager) -> None:
    mine, yours = keyed(query(3)), dataclasses.replace(keyed(query(4)), user="you")
    assert manager.execute(mine).query_id != manager.execute(yours).query_id


def test_same_key_while_the_query_runs_waits_for_it(manager: HandManager) -> None:
    first = manager.submit(keyed(job(3, stage_s=0.1)))
    assert [manager.submit(keyed(job(3, stage_s=0.1))).stats.get("replayed"), first.stats.get("replayed")] == [True, None]
    assert manager.execute(keyed(job(3, stage_s=0.1))).query_id == first.query_id
    assert len({j for j, _ in manager.engine.ran}) == 1


def test_failed_query_is_not_run_again_under_its_key(manager: HandManager) -> None:
    for _ in range(2):
        with pytest.raises(ReadError):
            manager.execute(keyed(job(3, fail_stage=0, fail="read")))
    assert len(manager.engine.ran) == 1


def test_distributed_query_that_ends_at_once_is_a_workflow_without_steps(
    durable: HandManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbos import DBOS

    monkeypatch.setattr(job_run, "HELD_S", 60.0)
    result = durable.execute(job(100))
    recorded(durable)
    assert DBOS.list_workflow_steps(result.query_id) == []
    (row,) = DBOS.list_workflows(workflow_ids=[result.query_id])
    assert (row.status, row.output["rows"]) == ("SUCCESS", 1)


def test_stage_whose_blocks_vanish_is_run_again_as_a_new_step(durable: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbos import DBOS

    monkeypatch.setattr(job_run, "HELD_S", 0.0)
    result = durable.execute(job(100, lose=0))
    assert result.table.to_pylist() == [{"s": 4950}]
    recorded(durable)
    names = [s["function_name"] for s in DBOS.list_workflow_steps(result.query_id)]
    assert names == ["stage-0", "stage-1", "stage-0", "stage-1", "stage-2"]


def test_list_is_newest_first_and_filtered(manager: HandManager) -> None:
    ids = [manager.execute(dataclasses.replace(query(i), user="lister")).query_id for i in range(3)]
    with pytest.raises(ParseError):
        manager.execute(QueryRequest("nonsense", user="nonsense"))
    assert [s.query_id for s in manager.list(state="finished", user="lister")] == ids[::-1]
    assert [s.state for s in manager.list(user="nonsense")] == ["failed"]
    assert len(manager.list(limit=2)) == 2


def test_list_filters_before_it_counts(manager: HandManager) -> None:
    first = manager.execute(query(111)).query_id
    middle = time.time()
    for n in (2, 3, 4):
        manager.execute(query(n))
    assert [s.query_id for s in manager.list(limit=1, text="SUM 111")] == [first]
    assert len(manager.list(since_s=middle)) == 3
    assert manager.list(since_s=middle, text="sum 111") == []


def test_list_finds_old_jobs_behind_many_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sabot_sql.jobs.manager.PAGE_ROWS", 2)
    manager = HandManager(Settings(state_dir=tmp_path))
    manager.start()
    ids = [manager.execute(keyed(job(n), f"k{n}")).query_id for n in range(5)]
    manager.log = type(manager.log)()  # as after a restart
    assert [s.query_id for s in manager.list(limit=1, text="sum 0")] == ids[:1]
    assert [s.query_id for s in manager.list(limit=4)] == ids[:0:-1]
    manager.close()


@pytest.mark.parametrize("request_", [keyed(job(3)), keyed(query(3))], ids=["distributed", "local"])
def test_deleted_result_is_expired_and_never_made_again(durable: HandManager, request_: QueryRequest) -> None:
    query_id = durable.execute(request_).query_id
    assert [durable.delete(query_id).state for _ in range(2)] == ["expired", "expired"]
    with pytest.raises(QueryError) as caught:
        durable.execute(request_)
    assert (caught.value.problem.code, caught.value.query_id) == ("RESULT_EXPIRED", query_id)


def test_delete_of_a_running_query_cancels_it(manager: HandManager) -> None:
    query_id = manager.submit(query(3, local_s=5)).query_id
    manager.delete(query_id)
    assert manager.status(query_id, 5).state == "cancelled"


@pytest.mark.parametrize("request_", [job(3), query(3)], ids=["distributed", "local"])
def test_answer_above_the_limit_is_refused_on_either_route(request_: QueryRequest) -> None:
    manager = HandManager(Settings(result_max_bytes=4))
    with pytest.raises(QueryError) as caught:
        manager.execute(request_)
    assert (caught.value.problem.code, caught.value.problem.status) == ("RESULT_TOO_LARGE", 422)
    assert "results.max_bytes" in caught.value.detail
    assert manager.status(caught.value.query_id).state == "failed"
    manager.close()


def test_query_whose_file_went_is_expired(tmp_path: Path) -> None:
    with contextlib.closing(
        HandManager(Settings(state_dir=tmp_path, result_memory_bytes=0, result_disk_bytes=10_000))
    ) as manager:
        manager.start()
        ids = []
        for n in range(30):
            ids.append(manager.submit(job(n)).query_id)
            assert manager.status(ids[-1], 10).state == "finished"
        states = [manager.status(q).state for q in ids]
        assert states == sorted(states)  # the oldest went
        assert set(states) == {"expired", "finished"}
        assert sum(f.stat().st_size for f in (tmp_path / "results").iterdir()) <= 10_000


@pytest.mark.parametrize(("code", "cls"), [("BAD_REQUEST", QueryError), ("DIVISION_BY_ZERO", QueryError)])
def test_error_of_a_query_has_the_class_of_its_code(manager: HandManager, monkeypatch, code: str, cls: type) -> None:
    def refuse(request: QueryRequest, finely: bool, query_id: str) -> None:
        raise PlanError("no", code=code, sql=request.sql)

    monkeypatch.setattr(manager.engine, "prepare", refuse)
    with pytest.raises(SabotError) as caught:
        manager.execute(query(3))
    assert (type(caught.value), caught.value.problem.code) == (cls, code)


def test_result_past_its_time_is_expired() -> None:
    manager = HandManager(Settings(result_ttl_s=0.2))
    manager.start()
    query_id = manager.submit(job(3)).query_id
    manager.status(query_id, 5)
    wait_for(lambda: manager.status(query_id).state == "expired")
    with pytest.raises(QueryError) as caught:
        manager.result(query_id)
    assert caught.value.problem.code == "RESULT_EXPIRED"
    manager.close()


def test_many_jobs_one_after_the_other_do_not_outrun_their_record(manager: HandManager) -> None:
    most = 0
    for i in range(40):
        manager.execute(job(i))
        most = max(most, len(manager._runner._recordings))
    assert most <= LAGGING + 1


def test_explain_analyze_runs_the_query(manager: HandManager) -> None:
    assert manager.explain(job(3)).text == "hand"
    assert manager.explain(job(3), analyze=True).text.startswith("3 stages")


def test_ready_and_info_say_how_jobs_are_kept(durable: HandManager) -> None:
    wait_for(lambda: STORE.launched)
    assert durable.ready() == {"ready": True, "checks": {"dbos": "ok", "disk": "ok", "engine": "ok", "agents": "0/0 alive"}}
    info = durable.info()
    assert (info["durable"], info["version"], info["api"]) == ("sqlite", sabot_sql.__version__, "1")
    assert (info["limits"]["sql_bytes"], info["limits"]["result_bytes"]) == (256 << 10, 2 << 30)


def test_closed_manager_refuses_and_closes_again(manager: HandManager) -> None:
    manager.close()
    manager.close()
    assert manager.engine.closed
    for call in (manager.execute, manager.submit):
        with pytest.raises(ServiceError) as caught:
            call(query(3))
        assert caught.value.problem.code == "SHUTTING_DOWN"


def test_close_ends_running_queries(manager: HandManager) -> None:
    with ThreadPoolExecutor(2) as threads:
        requests = [dataclasses.replace(r, user="closer") for r in (job(3, stage_s=30), query(3, local_s=30))]
        futures = [threads.submit(manager.execute, r) for r in requests]
        wait_for(lambda: [s.state for s in manager.list(user="closer")] == ["running", "running"])
        manager.close()
        assert {f.exception(5).problem.code for f in futures} == {"SHUTTING_DOWN"}


def test_event_loop_in_the_callers_thread_does_not_matter(durable: HandManager) -> None:
    import asyncio

    async def main() -> str:
        query_id = durable.execute(job(3)).query_id
        recorded(durable)
        durable.log = type(durable.log)()  # as after a restart
        return durable.status(query_id).state

    assert asyncio.run(main()) == "expired"


def test_library_writes_nothing_to_stdout_or_stderr_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code = """
from sabot_sql.config import Settings
from tests.jobs.hand_engine import HandManager, job, query
manager = HandManager(Settings())
manager.start()
manager.execute(query(3)); manager.execute(job(3)); manager.submit(job(3))
"""
    process = run(code, TMPDIR=str(tmp_path))
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def run_python(code: str) -> str:
    process = run(code)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60, env={**os.environ, **env})


def test_housekeeper_outlives_a_round_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    manager = HandManager(Settings())
    rounds: list[int] = []

    def full_disk() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(manager._results, "spill", full_disk)
    manager.start()
    wait_for(lambda: len(rounds) == 1)
    manager._make_room()
    wait_for(lambda: len(rounds) == 2)
    manager.close()
    assert "No space left on device" in caplog.text


def test_status_tells_every_state_with_its_time_and_reason(manager: HandManager) -> None:
    query_id = manager.submit(job(10, fail_stage=1, fail="read")).query_id
    history = manager.status(query_id, 10).history
    assert [c.state for c in history] == ["queued", "planning", "running", "failed"]
    assert [c.reason for c in history][2:] == ["asked for distributed", "corrupt"]
    times = [c.at for c in history]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    done = manager.submit(query()).query_id
    manager.status(done, 10)
    assert [c.state for c in manager.delete(done).history][-2:] == ["finished", "expired"]


def test_a_job_that_the_database_did_not_take_goes_on_when_its_key_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_run, "HELD_S", 0.0)
    with contextlib.closing(HandManager(Settings(state_dir=tmp_path))) as manager:
        manager.start()
        request = keyed(job(100, stage_s=0.3), "k")
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(manager.execute, request)
            wait_for(lambda: len(manager.engine.ran) == 1)
            steps(tmp_path, "operation_outputs", "away")
            with pytest.raises(ServiceError) as caught:
                asked.result(10)
        assert caught.value.retryable
        steps(tmp_path, "away", "operation_outputs")
        assert manager.execute(dataclasses.replace(request, timeout_s=20)).table.to_pylist() == [{"s": 4950}]


def test_a_job_without_a_key_that_the_database_did_not_take_has_failed_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_run, "HELD_S", 0.0)
    monkeypatch.setattr("sabot_sql.jobs.manager.HOUSEKEEPING_S", 0.1)
    with contextlib.closing(HandManager(Settings(state_dir=tmp_path))) as manager:
        manager.start()
        query_id = manager.submit(job(100, stage_s=0.3)).query_id
        wait_for(lambda: len(manager.engine.ran) == 1)
        steps(tmp_path, "operation_outputs", "away")
        assert manager.status(query_id, 10).state == "failed"
        steps(tmp_path, "away", "operation_outputs")
        wait_for(lambda: STORE.rows(manager._folder, [query_id])[0].status == "CANCELLED")
        assert not STORE.runs(query_id)


def steps(state: Path, old: str, new: str) -> None:
    """Give the table of steps another name, without which nothing can be written down."""
    with contextlib.closing(sqlite3.connect(state / "jobs.db", timeout=10)) as database:
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        database.commit()
