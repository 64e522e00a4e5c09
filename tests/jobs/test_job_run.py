from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs import job_run
from sabot_sql.jobs.job_run import HELD_S, HeldOutputs, JobRun
from sabot_sql.jobs.record import QueryRecord
from tests.jobs.hand_engine import HandEngine


def run_of(tmp_path: Path, **tags: Any) -> JobRun:
    request = QueryRequest("sum 100", route="distributed", tags={k: str(v) for k, v in tags.items()})
    engine: Any = HandEngine(Settings(), None, tmp_path, tmp_path)
    return JobRun(engine, QueryRecord("q", request), engine.prepare(request).plan)


def test_a_stage_that_is_run_again_writes_blocks_of_other_attempts(tmp_path: Path) -> None:
    run = run_of(tmp_path, lose=0)
    assert run.to_end(lambda output: None).to_pylist() == [{"s": 4950}]
    attempts = {stage: {r.block.attempt for r in results} for stage, results in run.results.items()}
    assert attempts == {0: {4}, 1: {4}, 2: {1}}


def test_outputs_of_the_first_moments_are_handed_over_when_all_stages_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_run, "HELD_S", 60.0)
    seen: list[tuple[int, int]] = []
    run = run_of(tmp_path)
    run.to_end(lambda output: seen.append((output["stage"], run.progress.stages_done)))
    assert seen == [(0, 3), (1, 3), (2, 3)]


def test_outputs_of_a_job_that_takes_long_are_handed_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_run, "HELD_S", HELD_S / 10)
    seen: list[dict[str, Any]] = []
    outputs = HeldOutputs(seen.append)
    outputs.put({"stage": 0})
    assert seen == []
    time.sleep(HELD_S / 5)
    for stage in (1, 2):
        outputs.put({"stage": stage})
        assert seen[-1] == {"stage": stage}
    assert len(seen) == 3


def test_outputs_of_a_job_that_fails_are_handed_over_before_its_error(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(ValueError, match="oops"):
        run_of(tmp_path, fail_stage=1, fail="bug").to_end(seen.append)
    assert [output["stage"] for output in seen] == [0]


def test_it_is_told_once_that_the_first_stage_is_deployed(tmp_path: Path) -> None:
    told: list[int] = []
    run = run_of(tmp_path)
    run._on_deployed = lambda: told.append(1)
    run.to_end(lambda output: None)
    assert told == [1]
