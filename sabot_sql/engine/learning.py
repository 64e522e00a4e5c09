"""What an engine learns from its queries: the history of each shape, and the speed of the machine."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sabot_sql.catalog.table import Table
from sabot_sql.config import Settings
from sabot_sql.engine.calibration import Calibration, busy_ms
from sabot_sql.engine.history import History, close_history, open_history
from sabot_sql.engine.prepared import Prepared
from sabot_sql.engine.request import QueryRequest
from sabot_sql.engine.shape_history import Run
from sabot_sql.errors import SabotError
from sabot_sql.executor.local_counts import Counts
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.bind import default_timezone
from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.parse import Statement, parse
from sabot_sql.planner.past import Past, learnt
from sabot_sql.planner.physical import Session
from sabot_sql.planner.route import LEAST_THRESHOLD, Machine

if TYPE_CHECKING:
    from sabot_sql.engine.engine import Engine

CLOSE_S = 5.0

NO_RESULTS: Mapping[int, Sequence[TaskResult]] = {}


class Learning:
    """Tells what is to be expected of a statement, and is told what came of it. Thread-safe.

    Args:
        slots: tells how many tasks all agents run at once now.

    Raises:
        ConfigError: the state folder's history cannot be used.
    """

    def __init__(self, settings: Settings, slots: Callable[[], int]) -> None:
        self._settings = settings
        self._slots = slots
        self.history: History = open_history(settings.state_dir)
        self.calibration = Calibration(self.history, settings.local.threads, settings.agents.started_slots)
        self._scaled = self.calibration.machine, self.calibration.machine
        self._thread: threading.Thread | None = None

    @property
    def machine(self) -> Machine:
        """What queries run on, and how fast that is."""
        machine, slots = self.calibration.machine, self._slots()
        if machine.slots == slots:
            return machine
        before, scaled = self._scaled
        if before is not machine or scaled.slots != slots:  # its threshold takes some work
            scaled = replace(machine, slots=slots)
            self._scaled = machine, scaled
        return scaled

    def start(self, engine: Engine) -> None:
        """Calibrate in the background, where an automatic threshold can send a query to agents."""
        if self._settings.agents.enabled and self._settings.threshold == "auto":
            self._thread = threading.Thread(target=self._calibrate, args=(engine,), name="sabot-calibration", daemon=True)
            self._thread.start()

    def _calibrate(self, engine: Engine) -> None:
        try:
            self.calibration.calibrate(functools.partial(time_local, engine), functools.partial(time_distributed, engine))
        except SabotError:  # closed meanwhile, or no agents: whoever asks for them is told; the figures stay what they are
            return

    def expect(self, statement: Statement, tables: Sequence[Table], params: Any, guess: Estimate) -> Expected:
        """The estimate as earlier runs correct it, what they did, and the counter of a run that is to be counted."""
        if statement.kind != "SELECT" or not tables:
            return guess, None, None
        past, wanted = self.history.expect(statement, tables, params)
        counted = wanted and (guess.work >= LEAST_THRESHOLD or guess.confidence == "unknown")
        return guess if past is None else learnt(guess, past), past, Counts() if counted else None

    def past(self, statement: Statement, tables: Sequence[Table], params: Any) -> Past | None:
        """What earlier runs of the statement did."""
        return self.history.expect(statement, tables, params)[0] if tables else None

    def local_ms(self, prepared: Prepared) -> float:
        """How long a query is expected to take locally."""
        past = prepared.decision.past if prepared.decision is not None else None
        if past is not None and past.local_ms is not None:
            return past.local_ms
        return self.machine.local_ms(prepared.estimate.work)

    def ran(
        self,
        prepared: Prepared,
        stats: Mapping[str, Any],
        rows_out: int,
        results: Mapping[int, Sequence[TaskResult]] = NO_RESULTS,
    ) -> None:
        """Learn from a query that came to its end.

        Args:
            stats: those of its answer.
            results: the results of the tasks of each stage of a distributed query.
        """
        statement = prepared.statement.inner if prepared.statement.explain else prepared.statement
        if statement is None or statement.kind != "SELECT" or not prepared.tables:
            return
        run = self._distributed(prepared, stats, rows_out, results) if results else self._local(prepared, stats, rows_out)
        self.history.add(statement, prepared.tables, prepared.request.params, run)

    def _local(self, prepared: Prepared, stats: Mapping[str, Any], rows_out: int) -> Run:
        counts, guess, elapsed_ms = prepared.counts or Counts(), prepared.estimate, float(stats["exec_ms"])
        if stats.get("engine") != "duckdb":
            return Run("local", rows_out, None, guess.work)
        if counts.work is not None or guess.confidence in ("exact", "history"):
            self.calibration.note_local(guess.work if counts.work is None else counts.work, elapsed_ms)
        return Run("local", rows_out, elapsed_ms, guess.work, counts.rows_scanned, counts.work)

    def _distributed(
        self, prepared: Prepared, stats: Mapping[str, Any], rows_out: int, results: Mapping[int, Sequence[TaskResult]]
    ) -> Run:
        guess, scanned = prepared.estimate, int(stats["rows_scanned"])
        if guess.confidence != "unknown":  # the agents' scans skip row groups too, but do not count that
            scanned = min(scanned, guess.rows_scanned)
        work = max(scanned, rows_made(results))
        elapsed_ms = float(stats["elapsed_ms"]) - float(stats["queue_ms"])
        warm, self.calibration.agents_ready = self.calibration.agents_ready, True
        if not warm or prepared.promoted or stats.get("retries"):  # a time that says more than how long the query takes
            return Run("distributed", rows_out, None, guess.work, scanned, work)
        worked_ms = busy_ms(results, self._settings.agents.slots)
        past = prepared.decision.past if prepared.decision is not None else None
        self.calibration.note_distributed(elapsed_ms - worked_ms, work, worked_ms, past.local_ms if past is not None else None)
        return Run("distributed", rows_out, elapsed_ms, guess.work, scanned, work)

    def reset(self) -> None:
        """Forget everything."""
        self.history.reset()
        self.calibration.reset()

    def close(self) -> None:
        """Write what is not written yet. The agents must be stopped."""
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        close_history(self.history)


Expected = tuple[Estimate, Past | None, Counts | None]


def rows_made(results: Mapping[int, Sequence[TaskResult]]) -> int:
    """Rows of the largest result of an operator over all its tasks; what only hands rows on does not count."""
    made: dict[tuple[int, int], int] = {}
    for stage, tasks in results.items():
        for task in tasks:
            for operator in task.stats:
                if "Exchange" not in operator["name"]:
                    key = (stage, operator["node"])
                    made[key] = made.get(key, 0) + int(operator["rows_out"])
    return max(made.values(), default=0)


def time_local(engine: Engine, sql: str) -> float:
    """Run a statement without tables on one core of the local engine; its time in milliseconds."""
    _, stats = engine.local.run(parse(sql), QueryRequest(sql), (), Session(default_timezone()))
    return float(stats["exec_ms"])


def time_distributed(engine: Engine, sql: str) -> float:
    """Plan and run a statement without tables on the agents; the time in milliseconds that two stages of it take, that of
    its operators left out."""
    begin = time.perf_counter()
    plan = engine.prepare(QueryRequest(sql, route="distributed")).plan
    assert plan is not None
    job_id = f"calibration-{uuid.uuid4().hex}"
    try:
        results: dict[int, list[TaskResult]] = {}
        for stage in plan.stages:
            stage_begin = time.perf_counter()
            blocks = {number: [r.block for r in results[number]] for number in stage.inputs}
            results[stage.stage_id] = engine.run_stage(job_id, plan, stage, blocks, None, threading.Event(), None)
            stage_ms = (time.perf_counter() - stage_begin) * 1e3
        engine.collect(plan, [r.block for r in results[plan.stages[-1].stage_id]])
        missing = max(0, 2 - len(plan.stages)) * stage_ms
        return (time.perf_counter() - begin) * 1e3 + missing - busy_ms(results, engine.settings.agents.slots)
    finally:
        engine.drop_job(job_id)
