"""Batches: order, errors, cancelling, keys, and what a restart makes of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
import uuid
from decimal import Decimal
from pathlib import Path

import pytest

from sabot_sql.config import Settings
from sabot_sql.engine.request import BatchRequest, BatchStatus, QueryRequest
from sabot_sql.errors import NotSupported, QueryError
from sabot_sql.jobs.request_json import decode_request, encode_request
from sabot_sql.jobs.spec import record_of_spec
from tests.jobs.hand_engine import HandManager, job, query


def batch(*requests: QueryRequest, **options: object) -> BatchRequest:
    return BatchRequest([(f"s{i}", r) for i, r in enumerate(requests)], **options)  # type: ignore[arg-type]


def states(status: BatchStatus) -> list[str]:
    return [s.state for s in status.statements]


def test_each_statement_has_its_status_and_its_answer(manager: HandManager) -> None:
    submitted = manager.submit_batch(batch(query(10), job(100), query(4)))
    status = manager.batch_status(submitted.batch_id, 10)
    assert (status.state, states(status)) == ("finished", ["finished"] * 3)
    assert [s.name for s in status.statements] == ["s0", "s1", "s2"]
    answers = [manager.result(s.query_id).table.to_pylist()[0]["s"] for s in status.statements]
    assert answers == [45, 4950, 6]


def test_a_failing_statement_does_not_sink_the_others(manager: HandManager) -> None:
    submitted = manager.submit_batch(batch(query(1), QueryRequest("nonsense"), job(10, fail_stage=1, fail="read"), query(2)))
    status = manager.batch_status(submitted.batch_id, 10)
    assert (status.state, states(status)) == ("failed", ["finished", "failed", "failed", "finished"])
    assert [s.error.problem.code if s.error else None for s in status.statements] == [
        None,
        "SYNTAX_ERROR",
        "FILE_CORRUPT",
        None,
    ]


def test_statements_in_sequence_stop_at_the_first_error_where_asked(manager: HandManager) -> None:
    requests = (query(1), QueryRequest("nonsense"), query(2))
    submitted = manager.submit_batch(batch(*requests, order="sequential", on_error="stop"))
    status = manager.batch_status(submitted.batch_id, 10)
    assert (status.state, states(status)) == ("failed", ["finished", "failed", "cancelled"])
    assert "a statement of its batch failed" in str(status.statements[2].error)


def test_statements_in_sequence_run_one_by_one(manager: HandManager) -> None:
    submitted = manager.submit_batch(batch(*[query(3, local_s=0.05)] * 4, order="sequential"))
    assert manager.batch_status(submitted.batch_id, 10).state == "finished"
    assert manager.engine.most_running == 1


def test_a_cancelled_batch_stops_what_runs_and_begins_nothing_more(manager: HandManager) -> None:
    submitted = manager.submit_batch(batch(*[job(10, stage_s=30)] * 6, max_parallel=2))
    while states(manager.batch_status(submitted.batch_id)).count("running") < 2:
        time.sleep(0.01)
    manager.cancel_batch(submitted.batch_id)
    status = manager.batch_status(submitted.batch_id, 5)
    assert (status.state, states(status)) == ("cancelled", ["cancelled"] * 6)


def test_the_same_key_gives_the_same_batch_and_another_text_is_refused(manager: HandManager) -> None:
    first = manager.submit_batch(batch(query(1), job(2), idempotency_key="k"))
    assert manager.submit_batch(batch(query(1), job(2), idempotency_key="k")).batch_id == first.batch_id
    with pytest.raises(QueryError) as caught:
        manager.submit_batch(batch(query(1), job(3), idempotency_key="k"))
    assert caught.value.problem.code == "IDEMPOTENCY_KEY_REUSED"
    manager.batch_status(first.batch_id, 10)
    assert len(manager.engine.ran) == 3  # the stages of one job


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statements": []}, "give 1 to 1,000"),
        ({"max_parallel": 0}, "max_parallel is 0"),
        ({"order": "random"}, "parallel or sequential"),
        ({"on_error": "panic"}, "continue or stop"),
        ({"statements": [("a", query(1)), ("a", query(2))]}, "have one name"),
    ],
)
def test_what_no_batch_can_be_is_refused(manager: HandManager, change: dict[str, object], words: str) -> None:
    with pytest.raises(QueryError, match=words):
        manager.submit_batch(dataclasses.replace(batch(query(1)), **change))
    with pytest.raises(QueryError, match="there is no batch"):
        manager.batch_status("b_unknown")


def test_a_batch_goes_on_after_a_restart_and_its_end_is_kept(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    manager = HandManager(settings)
    manager.start()
    submitted = manager.submit_batch(batch(*[job(100, stage_s=0.3)] * 3, order="sequential", idempotency_key="k"))
    while manager.batch_status(submitted.batch_id).statements[1].state != "running":
        time.sleep(0.01)
    manager.close()
    for expected_runs in (1, 0):
        manager = HandManager(settings)
        manager.start()
        try:
            status = manager.batch_status(submitted.batch_id, 20)
            while expected_runs and status.state == "running":  # until the workflow is taken up again
                status = manager.batch_status(submitted.batch_id, 1)
            assert (status.state, states(status)) == ("finished", ["finished"] * 3)
            assert [manager.result(s.query_id).table.to_pylist() for s in status.statements] == [[{"s": 4950}]] * 3
            assert bool(manager.engine.ran) == bool(expected_runs)
            again = manager.submit_batch(batch(*[job(100, stage_s=0.3)] * 3, order="sequential", idempotency_key="k"))
            assert (again.batch_id, again.state) == (submitted.batch_id, "finished")
        finally:
            manager.close()


def test_a_query_is_tried_again_after_a_restart_too_if_it_has_no_parameters(durable: HandManager, tmp_path: Path) -> None:
    plain = durable.submit(dataclasses.replace(job(100), idempotency_key="k")).query_id
    bound = durable.submit(dataclasses.replace(job(100), params={"x": 5})).query_id
    for query_id in (plain, bound):
        assert durable.status(query_id, 10).state == "finished"
        again = durable.retry(query_id)
        assert again.query_id != query_id
        assert durable.status(again.query_id, 10).state == "finished"
    durable.close()
    manager = HandManager(Settings(state_dir=tmp_path / "state"))
    manager.start()
    try:
        again = manager.retry(plain)
        assert manager.status(again.query_id, 10).state == "finished"
        with pytest.raises(NotSupported, match="the parameters of query"):
            manager.retry(bound)
        with pytest.raises(QueryError, match="there is no query"):
            manager.retry("q_unknown")
    finally:
        manager.close()


def test_a_running_query_is_not_tried_again(manager: HandManager) -> None:
    running = manager.submit(job(10, stage_s=30)).query_id
    with pytest.raises(QueryError) as caught:
        manager.retry(running)
    assert caught.value.problem.code == "QUERY_NOT_FINISHED"
    manager.cancel(running)


def test_requests_come_back_from_json_as_they_were() -> None:
    values = {
        "a": (1, True, None, "x", 1.5, float("inf"), [Decimal("1.10"), b"\0\xff"]),
        "b": dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC), "c": dt.date(2026, 1, 2), "d": dt.time(1, 2, 3),
        "e": dt.timedelta(-1, 2, 3), "f": uuid.UUID(int=7), "g": {"h": [dt.date(1, 1, 1)]},
    }  # fmt: skip
    request = QueryRequest("select $a", params=values, route="local", timeout_s=1.5, tags={"t": "x"}, user="u", priority=3)
    assert decode_request(encode_request(request)) == request
    with pytest.raises(NotSupported, match="type complex"):
        encode_request(QueryRequest("select $1", params=(1j,)))


def test_a_job_that_an_earlier_release_recorded_is_known_without_its_request() -> None:
    spec = {
        "sql": "sum 5",
        "user": "u",
        "tags": {},
        "timeout_s": None,
        "fingerprint": "f",
        "submitted_s": 1.0,
        "reason": "r",
        "stats": {},
    }
    record = record_of_spec("q_1", spec)
    assert (record.request.sql, record.request.route, record.lacks_params) == ("sum 5", "distributed", True)
