"""What a progress callback sees."""

from __future__ import annotations

from sabot_sql.client.reporter import Reporter
from sabot_sql.engine.request import Progress


def test_each_change_is_told_once_and_as_a_copy() -> None:
    seen: list[Progress] = []
    reporter, now = Reporter(seen.append), Progress(stages=1, tasks=2)
    for tasks_done in (0, 0, 1, 1, 2):
        now.tasks_done = tasks_done
        reporter(now)
    assert [p.tasks_done for p in seen] == [0, 1, 2]


def test_nothing_is_told_before_there_are_tasks() -> None:
    seen: list[Progress] = []
    Reporter(seen.append)(Progress())
    assert seen == []


def test_callback_that_raises_is_not_called_again() -> None:
    def fail(now: Progress) -> None:
        raise RuntimeError("no screen")

    reporter = Reporter(fail)
    reporter(Progress(tasks=1))
    reporter(Progress(tasks=1, tasks_done=1))
    assert reporter.warnings == ["the progress callback raised RuntimeError: no screen; it was not called again"]
