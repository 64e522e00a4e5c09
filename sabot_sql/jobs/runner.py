"""How one query runs: planned, admitted, local or as a recorded job, with an end whatever happens."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.config import Settings
from sabot_sql.engine.request import ProgressCallback, QueryResult
from sabot_sql.errors import CLASS_OF_CODE, Cancelled, InternalError, NotSupported, QueryTimeout, SabotError, ServiceError
from sabot_sql.executor.local_counts import Counts
from sabot_sql.jobs.accounting import EMPTY_STATS, distributed_stats
from sabot_sql.jobs.admission import Gate
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.job_run import Collect, JobRun
from sabot_sql.jobs.ledger import Ledger
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.jobs.recorded_plan import decode_plan
from sabot_sql.jobs.recording import JobFailed, Output, Recording, RunsElsewhere, Steps
from sabot_sql.jobs.recovery import ResumedSteps
from sabot_sql.jobs.results import ResultStore, manifest_of
from sabot_sql.jobs.spec import columns_of, spec_of
from sabot_sql.jobs.store import STORE
from sabot_sql.jobs.workers import Alarms, Workers
from sabot_sql.types import Schema

if TYPE_CHECKING:
    from sabot_sql.engine.engine import Engine, Prepared
    from sabot_sql.planner.writes import Write

DISTRIBUTED_AT_ONCE = 4
LAGGING = 8  # jobs that may be written down after their answer; with more, answers wait
INTERRUPT_S = 5.0
RECENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A query that was run: its plan, its answer, and for a job the run with the results of its tasks."""

    prepared: Prepared
    result: QueryResult
    run: JobRun | None


class QueryRunner:
    """Runs queries in the threads of those who ask, jobs recorded by threads of its own.

    Attributes:
        record_error: what went wrong when a job was written down last, if that was so in the last minute.
    """

    def __init__(self, settings: Settings, engine: Engine, folder: StateFolder, results: ResultStore, workers: Workers) -> None:
        self._engine = engine
        self._folder = folder
        self._results = results
        self._workers = workers
        self._max_bytes = settings.result_max_bytes
        self._alarms = Alarms()
        local = settings.local
        limits = {"small": local.concurrency, "large": local.large_concurrency, "guarded": local.guarded_processes}
        self._lanes = {lane: Gate(limit) for lane, limit in limits.items()}
        self._distributed = Gate(DISTRIBUTED_AT_ONCE)
        self._record_error: tuple[float, Exception | None] = 0.0, None
        self._recordings: dict[Recording, threading.Event] = {}

    @property
    def record_error(self) -> Exception | None:
        at_s, error = self._record_error
        return error if time.monotonic() - at_s < RECENT_S else None

    @property
    def waiting(self) -> int:
        """Queries that wait for their turn."""
        return sum(self.waiting_by_route.values())

    @property
    def waiting_by_route(self) -> dict[str, int]:
        """Queries that wait for their turn, by route."""
        return {"local": sum(gate.waiting for gate in self._lanes.values()), "distributed": self._distributed.waiting}

    def run(self, record: QueryRecord, progress: ProgressCallback | None = None, counted: bool = False) -> Ran:
        """Plan and run a query in this thread; with `counted`, count the rows that it reads on the local route too.

        Raises:
            SabotError: what it failed with, which its record says too.
            RunsElsewhere: another server has run it.
        """
        try:
            prepared = self._prepare(record, counted)
            if counted and prepared.write is not None:
                raise NotSupported("EXPLAIN ANALYZE of a statement that writes is not built", hint="explain its query")
            if counted:
                prepared.counts = prepared.counts or Counts()
            result = self._run_local(record, prepared) if prepared.route == "local" else None
            if result is not None:
                ran = Ran(prepared, result, None)
            else:
                record.route, record.reason = prepared.route, prepared.reason
                ran = self._run_distributed(record, prepared, progress)
            self._engine.record_ran(prepared, ran.result, ran.run.results if ran.run else None)
            if prepared.analyze:
                self._explain(ran)
        except RunsElsewhere:
            raise
        except BaseException as exc:
            error = self.translate(record, exc)
            if record.interrupted:
                record.release()
            else:
                record.fail(error)
            if error is exc or not isinstance(exc, Exception):
                raise
            raise error from exc
        record.finish(ran.result.stats)
        return ran

    def _explain(self, ran: Ran) -> None:
        """Answer EXPLAIN ANALYZE: what the query did in place of what it found."""
        from sabot_sql.engine.engine import explanation_table

        results = ran.run.results if ran.run else {}
        ran.result.table = explanation_table(self._engine.explain_analyzed(ran.prepared, results, ran.result.stats))
        ran.result.columns = ()

    def stop(self, record: QueryRecord, why: SabotError | None = None) -> None:
        """Ask a running query to end; `why` is the error that it then ends with, instead of having been cancelled."""
        record.stopped_by = record.stopped_by or why
        record.cancel.set()
        if record.job_id:
            self._engine.cancel_job(record.job_id)

    def close(self, deadline_s: float) -> None:
        """Wait until all jobs are written down and their blocks removed, at most until `deadline_s`; no query runs any more."""
        self._alarms.close()
        for gone in list(self._recordings.values()):
            gone.wait(max(0.0, deadline_s - time.monotonic()))

    def translate(self, record: QueryRecord, exc: BaseException) -> SabotError:
        """Any exception as the error that the query ends with."""
        query_id = record.query_id
        if record.interrupted or (record.closing and isinstance(exc, Cancelled)):
            more = "; it goes on when the state folder is opened again" if record.interrupted else ""
            detail = f"the engine was closed while the query ran{more}"
            return ServiceError(detail, code="SHUTTING_DOWN", query_id=query_id, retryable=True)
        if record.stopped_by is not None and isinstance(exc, Cancelled):
            return record.stopped_by
        limit_s = record.request.timeout_s
        if limit_s is not None and (isinstance(exc, QueryTimeout) or (isinstance(exc, Cancelled) and record.timed_out)):
            detail = f"the query ran into its time limit of {limit_s:g} s"
            return QueryTimeout(detail, query_id=query_id)
        if isinstance(exc, SabotError):
            exc.query_id = exc.query_id or query_id
            return public(exc)
        if not isinstance(exc, Exception):  # Ctrl-C
            self.stop(record)
            return Cancelled("the query was interrupted", query_id=query_id)
        return InternalError(f"{type(exc).__name__}: {exc}", query_id=query_id)

    # the two routes

    def _prepare(self, record: QueryRecord, finely: bool) -> Prepared:
        record.advance("planning")
        self._watch(record)
        prepared = self._engine.prepare(record.request, finely, record.query_id)
        record.route, record.reason = prepared.route, prepared.reason
        return prepared

    def _watch(self, record: QueryRecord) -> None:
        """Stop the query when its time is up."""
        if record.deadline_s is not None:
            self._alarms.at(record.deadline_s, functools.partial(self._time_out, record))

    def _time_out(self, record: QueryRecord) -> None:
        if not record.ended.is_set():
            record.timed_out = True
            self.stop(record)

    def _run_local(self, record: QueryRecord, prepared: Prepared) -> QueryResult | None:
        """The answer; None where the query was over its budget and goes to the agents."""
        record.accept()
        queued_s = 0.0
        while True:
            gate = self._lanes[prepared.lane]
            queued_s += gate.enter(record.cancel, record.deadline_s, record.request.user, record.request.priority)
            try:
                record.advance("running")
                result = self._engine.run_local(prepared, record.query_id, record.cancel)
            finally:
                gate.leave(record.request.user)
            if result is not None:
                break
            if prepared.route != "local":
                return None
        record.advance("finishing")
        result.stats = {**EMPTY_STATS, **result.stats, "queue_ms": queued_s * 1e3}
        result.stats["elapsed_ms"] = (time.monotonic() - record.ticks_s) * 1e3
        self._results.keep(result, record.kept)
        return result

    def _run_distributed(self, record: QueryRecord, prepared: Prepared, progress: ProgressCallback | None) -> Ran:
        assert prepared.plan is not None
        STORE.refuse_if_down()
        # what writes for somebody who waits for it ends with the process: nobody would know whether it is still to come
        record.durable = not self._folder.temporary and (record.kept or prepared.write is None)
        spec = spec_of(record, prepared, not record.durable)
        recording = Recording(record.query_id, spec, record.accept)
        self._recordings[recording] = threading.Event()
        run: JobRun | None = None
        over: queue.SimpleQueue[JobRun | None] = queue.SimpleQueue()
        # one that nobody waits for in the database is written once the agents have its first tasks: before, both would take
        # the interpreter from each other
        write = functools.cache(functools.partial(self._workers.run, functools.partial(self._record, recording, record, over)))
        if record.kept:
            write()
        try:
            if record.kept and self._folder.database.shared:
                recording.wait_owned(record.cancel)
            with self._admitted(record) as queue_s:
                ways = (None, progress, write, self._max_bytes, self._collecting(record, prepared.write))
                run = JobRun(self._engine, record, prepared.plan, *ways)
                table = run.to_end(recording.put)
                prepared.plan = run.plan  # as finished stages changed it
                record.advance("finishing")
                result = job_result(record, run, table, prepared.columns, prepared.statement_type, prepared.stats, queue_s)
                path = self._results.keep(result, record.kept, save=record.kept and record.durable)
                recording.finish(manifest_of(result, path))
            begin = time.monotonic()
            if record.kept or len(self._recordings) > LAGGING:
                recording.wait()
            else:
                recording.wait_committed()
        except RunsElsewhere:
            raise
        except BaseException as exc:
            write()
            if record.interrupted:
                recording.interrupt()
            else:
                recording.fail(self.translate(record, exc))
            if record.kept:
                with contextlib.suppress(SabotError):
                    recording.wait(INTERRUPT_S)
            raise
        finally:
            over.put(run)
        result.stats["record_ms"] = (time.monotonic() - begin) * 1e3
        result.stats["elapsed_ms"] = (time.monotonic() - record.ticks_s) * 1e3
        return Ran(prepared, result, run)

    def _collecting(self, record: QueryRecord, write: Write | None) -> Collect | None:
        """What takes the rows of a job's last stage, where that is not an answer."""
        if write is None:
            return None
        whose = (record.query_id, record.request.user, record.cancel, record.deadline_s)
        return functools.partial(self._engine.write_blocks, write, *whose)

    @contextlib.contextmanager
    def _admitted(self, record: QueryRecord) -> Iterator[float]:
        user, priority = record.request.user, record.request.priority
        queue_s = self._distributed.enter(record.cancel, record.deadline_s, user, priority)
        try:
            record.advance("running")
            yield queue_s
        finally:
            self._distributed.leave(user)

    def _record(self, recording: Recording, record: QueryRecord, over: queue.SimpleQueue[JobRun | None]) -> None:
        """Write a job down and remove its blocks when its run is over; runs in a thread of its own."""
        try:
            error = STORE.record(self._folder, recording)
            self._record_error = time.monotonic(), error
            recording.close(error)
            if error is not None:
                if not record.fingerprint:  # else it is asked for again by its key
                    STORE.give_up(self._folder, record.query_id)
                self.stop(record, recording.error_of(error))
            run = over.get()
            if run is not None and not record.interrupted:
                run.drop()
        finally:
            self._recordings.pop(recording).set()

    # jobs of an earlier process

    def resume(self, record: QueryRecord, spec: Output) -> Steps:
        """The steps of a job of an earlier process, which go on where its record ends."""
        if spec["temporary"]:
            error = ServiceError("the process that ran the query for itself has ended", query_id=record.query_id)
            record.fail(error)
            raise JobFailed(error)
        return ResumedSteps(
            record,
            functools.partial(self._resumed, record, spec),
            functools.partial(self._admitted, record),
            functools.partial(self._finish_resumed, record, spec),
            functools.partial(self.translate, record),
        )

    def _resumed(self, record: QueryRecord, spec: Output, ledger: Ledger) -> JobRun:
        self._watch(record)
        write = self._engine.write_of(spec["write"]) if spec.get("write") else None
        ways = (None, None, self._max_bytes, self._collecting(record, write))
        return JobRun(self._engine, record, decode_plan(spec), ledger, *ways)

    def _finish_resumed(self, record: QueryRecord, spec: Output, run: JobRun, table: pa.Table, queue_s: float) -> Output:
        stats = {**spec["stats"], "resumed": True}
        result = job_result(record, run, table, columns_of(spec), spec["statement_type"], stats, queue_s)
        return manifest_of(result, self._results.keep(result, fetched_later=True, save=True))


def public(error: SabotError) -> SabotError:
    """`error` as the class of its code: what it is over HTTP, from an agent and out of the job database."""
    cls = CLASS_OF_CODE.get(error.problem.code)
    return error if cls is None or type(error) is cls else again(error)


def again(error: SabotError) -> SabotError:
    """A copy of an error that was raised before, with a traceback of its own."""
    return SabotError.from_problem(error.to_problem(), error.sql)


def job_result(
    record: QueryRecord,
    run: JobRun,
    table: pa.Table,
    columns: Schema,
    statement_type: str,
    prepared_stats: dict[str, Any],
    queue_s: float,
) -> QueryResult:
    """The answer of a job with all its stats."""
    stats = distributed_stats(prepared_stats, run.plan, run.results)
    stage_ms = [run.stages_ms.get(stage.stage_id, 0.0) for stage in run.plan.stages]
    stats.update(
        queue_ms=queue_s * 1e3,
        stage_ms=stage_ms,
        collect_ms=run.collect_ms,
        exec_ms=sum(stage_ms) + run.collect_ms,
        elapsed_ms=(time.monotonic() - record.ticks_s) * 1e3,
    )
    return QueryResult(record.query_id, table, columns, "distributed", record.reason, stats, statement_type, list(run.warnings))
