"""The speed of the machine: measured at the start, stored, corrected by what runs."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.agents.blocks import host_name
from sabot_sql.engine import calibration as module
from sabot_sql.engine.calibration import Calibration, best_of, busy_ms, towards
from sabot_sql.engine.history import History
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.route import LEAST_THRESHOLD, LOCAL_ROWS_PER_MS, LOCAL_START_MS, NEVER, Speed


@pytest.fixture(autouse=True)
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", {})


def test_default_figures_are_used_and_said_until_something_is_measured() -> None:
    assert Calibration(History(), 2, 2).machine.speed == Speed()


def test_probes_replace_default_figures() -> None:
    found = Calibration(History(), 2, 2)
    found.calibrate(lambda sql: 21.0, lambda sql: 9.0)
    assert found.machine.speed == Speed(10_000, 9.0, "calibrated")
    assert found.agents_ready


def test_stored_figures_are_moved_by_probes_only_a_little() -> None:
    history = History()
    history.keep_speed("2 threads, 2 slots", 8_000.0, 20.0)
    found = Calibration(history, 2, 2)
    assert found.machine.speed == Speed(8_000, 20.0, "stored")
    found.calibrate(lambda sql: 21.0, lambda sql: 9.0)
    assert found.machine.speed.origin == "calibrated"
    assert 8_000 < found.machine.speed.rows_per_ms < 8_500
    assert 18 < found.machine.speed.overhead_ms < 20


def test_figures_of_another_machine_are_not_taken() -> None:
    history = History()
    history.keep_speed("64 threads, 64 slots", 8_000.0, 20.0)
    assert Calibration(history, 2, 2).machine.speed.origin == "default"


def test_queries_move_the_figures_towards_what_they_measured() -> None:
    found = Calibration(History(), 1, 1)
    for _ in range(60):
        found.note_local(1_000_000, 101.0)
        found.note_distributed(4.0)
    speed = found.machine.speed
    assert (speed.local_runs, speed.distributed_runs) == (60, 60)
    assert speed.rows_per_ms == pytest.approx(10_000, rel=0.02)
    assert speed.overhead_ms == pytest.approx(4.0, rel=0.02)


def test_small_queries_say_nothing_of_the_speed_and_one_outlier_little() -> None:
    found = Calibration(History(), 1, 1)
    found.note_local(5_000, 500.0)
    assert found.machine.speed.rows_per_ms == LOCAL_ROWS_PER_MS
    assert towards(10.0, 1e9) < 11.2


def test_probing_stops_when_time_is_up() -> None:
    calls: list[str] = []
    assert best_of(lambda sql: calls.append(sql) or time.sleep(0.03) or 30.0, "q", 50) == 30.0  # type: ignore[func-returns-value]
    assert len(calls) == 1


def test_work_of_operators_is_that_of_the_busiest_agent_stage_by_stage() -> None:
    def task(stage: int, agent: str, ms: float) -> TaskResult:
        block = BlockFile("j", stage, 0, 1, agent, host_name(), "", "", ())
        return TaskResult(block, ({"elapsed_ns": int(ms * 1e6)},), 0)

    results = {0: [task(0, "a", 3), task(0, "a", 4), task(0, "b", 5)], 1: [task(1, "a", 2)]}
    assert busy_ms(results, slots=1) == pytest.approx(9.0)
    assert busy_ms(results, slots=2) == pytest.approx(7.0)


def test_an_engine_calibrates_itself_in_the_background(tmp_path: Path) -> None:
    with sabot_sql.connect("embedded:", data={}, num_local_agents=1) as db:
        learning = db._service.manager._engine.learning  # type: ignore[attr-defined]
        end = time.monotonic() + 30
        while learning.machine.speed.origin != "calibrated" and time.monotonic() < end:
            time.sleep(0.02)
        assert learning.machine.speed.origin == "calibrated"
        assert learning.calibration.took_ms < 1_000  # under 200 on a machine of its own
        assert db.explain("select 1").routing["threshold"] >= LEAST_THRESHOLD


def test_a_threshold_that_is_set_needs_no_calibration() -> None:
    with sabot_sql.connect("embedded:", data={}, num_local_agents=1, threshold=10_000) as db:
        assert db._service.manager._engine.learning._thread is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("rows", "route"), [(9_999, "local"), (10_000, "distributed")])
def test_the_boundary_lies_between_9_999_and_10_000_rows(tmp_path: Path, rows: int, route: str) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": range(rows)}), tmp_path / "t" / "x.parquet")
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=2, threshold=10_000) as db:
        for _ in range(4):  # history does not move it
            result = db.execute_sql("select sum(a) from t")
            assert (result.route, result.scalar()) == (route, rows * (rows - 1) // 2)
        assert db.execute_sql("select sum(a) from t", threshold=rows + 1).route == "local"
        assert db.execute_sql("select sum(a) from t", threshold=rows).route == "distributed"


def test_real_queries_correct_the_figures(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": range(150_000)}), tmp_path / "t" / "x.parquet")
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        for route in ("local", "distributed", "distributed"):
            db.execute_sql("select sum(a) from t", route=route)
        speed = db._service.manager._engine.learning.machine.speed  # type: ignore[attr-defined]
        assert (speed.local_runs >= 1, speed.distributed_runs >= 1) == (True, True)


def test_slow_agents_raise_the_threshold_until_no_query_is_distributed() -> None:
    found = Calibration(History(), 2, 2)
    before = found.machine.threshold
    for _ in range(3):
        found.note_distributed(15.0, 1_000_000, 1_000 / 0.97, LOCAL_START_MS + 1_000)
    assert before < found.machine.threshold < NEVER
    for _ in range(30):
        found.note_distributed(15.0, 1_000_000, 1_000 / 0.4, LOCAL_START_MS + 1_000)
    assert found.machine.speed.agent_share == pytest.approx(0.4, rel=0.1)
    assert found.machine.threshold == NEVER


def test_queries_that_ran_only_on_agents_say_nothing_of_their_speed() -> None:
    found = Calibration(History(), 2, 2)
    found.note_distributed(15.0, 1_000_000, 60_000.0)
    assert found.machine.speed.agent_share == 1.0


def test_more_agents_than_cores_make_up_for_slow_ones() -> None:
    found = Calibration(History(), 2, 16)
    for _ in range(30):
        found.note_distributed(15.0, 10_000_000, 1_000 / 0.4 / 8, LOCAL_START_MS + 1_000)
    assert found.machine.threshold < 2_000_000
