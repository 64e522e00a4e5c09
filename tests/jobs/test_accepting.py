"""What a submitted query has behind it when its submission is answered."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import Cancelled, ServiceError
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.jobs.store import STORE
from tests.jobs.hand_engine import HandManager, job, query


def test_submission_waits_for_planning_however_long_it_takes(manager: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = manager.engine.prepare

    def slowly(request: QueryRequest, finely: bool, query_id: str) -> object:
        time.sleep(0.3)
        return prepare(request)

    monkeypatch.setattr(manager.engine, "prepare", slowly)
    assert manager.submit(QueryRequest("nonsense")).error.problem.code == "SYNTAX_ERROR"
    assert manager.submit(query(3)).route == "local"


def test_second_submission_under_a_key_waits_for_planning_too(manager: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, begun = manager.engine.prepare, threading.Event()

    def slowly(request: QueryRequest, finely: bool, query_id: str) -> object:
        begun.set()
        time.sleep(0.3)
        return prepare(request)

    monkeypatch.setattr(manager.engine, "prepare", slowly)
    request = dataclasses.replace(job(3), idempotency_key="k")
    first = threading.Thread(target=manager.submit, args=(request,))
    first.start()
    begun.wait()
    status = manager.submit(request)
    assert (status.route, status.stats["replayed"]) == ("distributed", True)
    first.join()


def test_job_is_in_the_database_when_it_is_accepted(durable: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbos import DBOS

    lease = STORE._lease
    monkeypatch.setattr(STORE, "_lease", lambda folder: time.sleep(0.2) or lease(folder))  # a slow database
    for _ in range(3):
        query_id = durable.submit(job(3, stage_s=0.3)).query_id
        monkeypatch.undo()
        assert [row.status for row in DBOS.list_workflows(workflow_ids=[query_id])] == ["PENDING"]
        durable.cancel(query_id)


def test_job_that_cannot_be_written_down_fails_at_once(durable: HandManager, monkeypatch: pytest.MonkeyPatch) -> None:
    durable.execute(job(3))

    def broken(recording: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(STORE, "_run", broken)
    begin = time.monotonic()
    status = durable.submit(job(3, stage_s=20))
    assert (status.state, type(status.error)) == ("failed", ServiceError)
    assert "the disk is gone" in status.error.detail
    assert time.monotonic() - begin < 5


def test_acceptance_is_told_whenever_it_is_asked_for() -> None:
    record = QueryRecord("q_1", query(3))
    told: list[str] = []
    record.when_accepted(lambda: told.append("before"))
    record.accept()
    record.when_accepted(lambda: told.append("after"))
    record.wait_accepted()
    assert told == ["before", "after"]


def test_query_that_is_cancelled_with_a_reason_says_it(manager: HandManager) -> None:
    for request in (job(3, stage_s=5), query(3, local_s=5)):
        query_id = manager.submit(request).query_id
        manager.cancel(query_id, "its client is gone")
        status = manager.status(query_id, 5)
        assert (status.state, type(status.error), status.error.detail) == ("cancelled", Cancelled, "its client is gone")
