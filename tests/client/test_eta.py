"""How long a query will run on is told from the share of its tasks that are done."""

from __future__ import annotations

import datetime as dt

from sabot_sql.client.contract import eta_ms, status_to_json
from sabot_sql.engine.request import Progress, QueryStatus


def running(done: int, of: int, seconds: float) -> QueryStatus:
    begin = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
    return QueryStatus("q_1", "running", "SELECT 1", "u", started_at=begin, progress=Progress(tasks=of, tasks_done=done))


def test_time_that_is_left_goes_on_as_before() -> None:
    found = eta_ms(running(1, 4, 10.0))
    assert found is not None
    assert 30_000 <= found < 31_000
    assert status_to_json(running(4, 4, 1.0))["progress"]["eta_ms"] == 0.0


def test_no_time_is_told_before_some_tasks_are_done_or_after_the_end() -> None:
    assert eta_ms(running(1, 100, 10.0)) is None
    ended = running(4, 4, 1.0)
    ended.state = "finished"
    assert eta_ms(ended) is None
