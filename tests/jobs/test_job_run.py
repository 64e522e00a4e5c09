from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sabot_sql.agents.blocks import FileBlockWriter
from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import AgentLost, Cancelled
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.jobs import job_run
from sabot_sql.jobs.job_run import HELD_S, Ended, HeldOutputs, JobRun
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.planner.physical import DistributedPlan, Exchange, Session, Stage, Task, Values
from tests.jobs.hand_engine import SCHEMA, HandEngine


def run_of(tmp_path: Path, **tags: Any) -> JobRun:
    request = QueryRequest("sum 100", route="distributed", tags={k: str(v) for k, v in tags.items()})
    engine: Any = HandEngine(Settings(), None, tmp_path, tmp_path)
    return JobRun(engine, QueryRecord("q", request), engine.prepare(request).plan)


def test_a_stage_that_is_run_again_writes_blocks_of_other_attempts(tmp_path: Path) -> None:
    run = run_of(tmp_path, lose=0)
    assert run.to_end(lambda output: None).to_pylist() == [{"s": 4950}]
    attempts = {stage: {r.block.attempt for r in results} for stage, results in run.results.items()}
    assert attempts == {0: {4}, 1: {4}, 2: {1}}


def ended(stage: int) -> Ended:
    return Ended(stage, [], None)


def stages_of(output: dict[str, Any]) -> list[int]:
    return [part["stage"] for part in output.get("outputs", [output])]


def test_a_job_that_ends_in_its_first_moments_hands_no_outputs_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_run, "HELD_S", 60.0)
    seen: list[dict[str, Any]] = []
    assert run_of(tmp_path).to_end(seen.append).to_pylist() == [{"s": 4950}]
    assert seen == []


def test_outputs_of_a_job_that_takes_long_are_handed_over_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_run, "HELD_S", HELD_S / 10)
    seen: list[list[int]] = []
    outputs = HeldOutputs(lambda output: seen.append(stages_of(output)))
    outputs.put(ended(0))
    outputs.put(ended(1))
    assert seen == []
    time.sleep(HELD_S / 5)
    for stage in (2, 3):
        outputs.put(ended(stage))
    assert seen == [[0, 1, 2], [3]]  # one step for what was held


def test_outputs_of_a_job_that_fails_are_handed_over_before_its_error(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with pytest.raises(ValueError, match="oops"):
        run_of(tmp_path, fail_stage=1, fail="bug").to_end(seen.append)
    assert [stages_of(output) for output in seen] == [[0]]


def test_it_is_told_once_that_the_first_stage_is_deployed(tmp_path: Path) -> None:
    told: list[int] = []
    run = run_of(tmp_path)
    run._on_deployed = lambda: told.append(1)
    run.to_end(lambda output: None)
    assert told == [1]


class Beside:
    """An engine of two agents for a plan whose stages 0 and 1 need nothing of each other; stage 2 reads both. A stage of a
    plan with more tasks than one is not run beside another."""

    slots = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meeting = threading.Barrier(2)
        self.ran: list[tuple[int, int]] = []
        self.cancelled = threading.Event()
        self.broken: BaseException | None = None

    def run_stage(self, job_id, plan, stage, blocks, deadline_s, cancel, on_task, first_attempt=1, on_deployed=None):  # type: ignore[no-untyped-def]
        self.ran.append((stage.stage_id, first_attempt))
        if stage.stage_id < 2 and first_attempt == 1:
            self.meeting.wait(5)
            if self.broken is not None and stage.stage_id == 0:
                raise self.broken
            if self.broken is not None:
                assert self.cancelled.wait(5)
                raise Cancelled("stopped")
        writer = FileBlockWriter(self.folder, job_id, stage.stage_id, 0, first_attempt, "a", "grpc://nowhere")
        return [TaskResult(writer.finish(), (), 0)]

    def lost_blocks(self, blocks: list[BlockFile], ask: bool = False) -> list[BlockFile]:
        return []

    def cancel_job(self, job_id: str) -> None:
        self.cancelled.set()


def beside(tmp_path: Path, tasks: int = 1, inputs: tuple[int, ...] = ()) -> JobRun:
    gather = Exchange("gather")
    stages = (
        Stage(0, Values(0, SCHEMA), gather, inputs, tuple(map(Task, range(tasks)))),
        Stage(1, Values(0, SCHEMA), gather, inputs, (Task(0),)),
        Stage(2, Values(0, SCHEMA), gather, (0, 1), (Task(0),)),
    )
    (tmp_path / "q").mkdir()
    engine: Any = Beside(tmp_path)
    return JobRun(engine, QueryRecord("q", QueryRequest("x")), DistributedPlan(stages, ("s",), SCHEMA, Session("UTC")))


def test_stages_that_leave_agents_idle_run_side_by_side(tmp_path: Path) -> None:
    run = beside(tmp_path)
    outputs = [o.stage for o in run._to_last_stage() if isinstance(o, Ended)]
    assert sorted(outputs[:2]) == [0, 1]
    assert outputs[2] == 2
    assert sorted(run.stages_ms) == [0, 1, 2]
    assert run.ledger.next() is None


def test_a_stage_that_fills_the_agents_runs_alone(tmp_path: Path) -> None:
    run = beside(tmp_path, tasks=2)
    run.engine.meeting = threading.Barrier(1)  # type: ignore[attr-defined]
    assert [o.stage for o in run._to_last_stage() if isinstance(o, Ended)] == [0, 1, 2]


def test_a_stage_that_fails_ends_those_beside_it(tmp_path: Path) -> None:
    run = beside(tmp_path)
    run.engine.broken = ValueError("oops")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="oops"):
        list(run._to_last_stage())
    assert run.engine.cancelled.is_set()  # type: ignore[attr-defined]
    assert sorted(run.engine.ran) == [(0, 1), (1, 1)]  # type: ignore[attr-defined]


def test_a_lost_agent_that_took_no_block_along_fails_the_job(tmp_path: Path) -> None:
    run = beside(tmp_path)
    run.engine.broken = AgentLost("gone")  # type: ignore[attr-defined]
    with pytest.raises(AgentLost, match="gone"):
        list(run._to_last_stage())
