"""One facade over the engine for everybody above: run, submit, watch, cancel and explain queries.

A local query runs in the caller's thread and leaves a record in memory, nothing more. A distributed query is a job: its stages
run in the caller's thread (or, submitted, in one of ours) while a second thread records them, and whoever asks again by its
id, idempotency key or after a restart gets the recorded answer.

Results are kept for `Settings.result_ttl_s`: of submitted jobs on disk, all else in memory up to a budget, beyond it in files.
Files have a budget too; the oldest go when it is reached.
A large result of `execute` without an idempotency key can be fetched by its id only as long as the caller holds it too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import logging
import os
import shutil
import threading
import time
import weakref
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sabot_sql.catalog.put_tables import open_store
from sabot_sql.config import Settings
from sabot_sql.engine.request import (
    AgentInfo,
    BatchRequest,
    BatchStatus,
    Explanation,
    ProgressCallback,
    QueryRequest,
    QueryResult,
    QueryStatus,
    State,
)
from sabot_sql.errors import Cancelled, ConfigError, NotSupported, Overloaded, QueryError, SabotError, ServiceError
from sabot_sql.jobs.batch_runs import BatchRuns
from sabot_sql.jobs.batches import Batch
from sabot_sql.jobs.database import away
from sabot_sql.jobs.elsewhere import Elsewhere
from sabot_sql.jobs.folder import close_folder, open_folder
from sabot_sql.jobs.identity import fingerprint, keyed_query_id, new_query_id
from sabot_sql.jobs.query_lines import QueryLines
from sabot_sql.jobs.record import QueryLog, QueryRecord
from sabot_sql.jobs.recording import Output, RunsElsewhere, Steps
from sabot_sql.jobs.recovery import unfinished
from sabot_sql.jobs.results import ResultStore
from sabot_sql.jobs.runner import DISTRIBUTED_AT_ONCE, QueryRunner, again, public
from sabot_sql.jobs.spec import record_of_row, record_of_spec, record_of_statement
from sabot_sql.jobs.store import STORE
from sabot_sql.jobs.tally import Load, Tally
from sabot_sql.jobs.workers import Workers

if TYPE_CHECKING:
    from sabot_sql.catalog.incoming import Format
    from sabot_sql.catalog.put_tables import Body
    from sabot_sql.catalog.stored_tables import Mode, StoredTables
    from sabot_sql.catalog.table import Table
    from sabot_sql.engine.engine import Engine
    from sabot_sql.engine.validation import Validation

log = logging.getLogger(__name__)

QUEUE_LENGTH = 1000
PAGE_ROWS = 200
OVERTAKEN = 50  # jobs that may be recorded in another order than they were submitted
CLOSE_S = 10.0
HOUSEKEEPING_S = 30.0
RECOVER_AGAIN_S = 1.0
PREWARM_DELAY_S = 0.5
RETENTION_S = 24 * 3600.0


# `JobManager.list` hides the built-in in the class's annotations
Statuses = list[QueryStatus]
Agents = list[AgentInfo]
Tables = list["Table"]
Managers = list["JobManager"]

_managers: weakref.WeakSet[JobManager] = weakref.WeakSet()


class JobManager:
    """Runs queries on an engine in this process. Thread-safe.

    Args:
        settings: all settings; `state_dir` decides whether jobs outlive the process.
        data: the tables, as `connect(data=…)` takes them.

    Raises:
        ConfigError: the state folder belongs to another process, or this process keeps its jobs elsewhere.

    Example:
        manager = JobManager(Settings(), {"t": table})
        manager.start()
        manager.execute(QueryRequest("select count(*) from t")).table
        manager.close()
    """

    def __init__(self, settings: Settings, data: Any = None) -> None:
        self.settings = settings
        self._wake = threading.Event()
        self._folder = open_folder(settings.state_dir, settings.durable)
        self._results = ResultStore(self._folder.results, settings, self._make_room, self._expired)
        self.tally = Tally()
        self._lines = QueryLines(settings.slow_query_s)
        self.log = QueryLog(on_forget=self._results.forget, on_end=self._ended)
        try:
            STORE.register(self._folder, self)
            self._scratch = self._folder.make_scratch()
            self._tables = self._own_tables()
            self._engine = self._make_engine(settings, data)
        except BaseException:
            STORE.unregister(self._folder, self)
            close_folder(self._folder)
            raise
        self._workers = Workers("sabot-job")
        self._runner = QueryRunner(settings, self._engine, self._folder, self._results, self._workers)
        self._batches = BatchRuns(self._folder, self._workers, self.submit, self.status, self.cancel)
        self._lock = threading.Lock()
        self._recovered = threading.Event()
        self._elsewhere = Elsewhere(self._folder, self.log, self._workers, self._restore)
        self._early: list[str] = []  # whose results were over before their ends were written down
        self._recovery_error: SabotError | None = None
        self._housekeeper: threading.Thread | None = None
        self._closed = False
        _managers.add(self)

    def _ended(self, record: QueryRecord) -> None:
        self.tally.ended(record)
        self._lines.ended(record)
        if record.fingerprint and isinstance(record.error, ServiceError) and record.error.retryable:
            self.log.forget(record)  # it may be recorded and go on, and its key is asked for again

    def _own_tables(self) -> StoredTables:
        """Where tables are kept that are put or written. Engines of a temporary folder, which they share, each have their own.

        Raises:
            ConfigError: tables are to be written, and jobs may move to another server, which has tables of its own.
        """
        if self.settings.writable and self._folder.database.shared:
            raise ConfigError(
                "tables.writable is set, and durable.url: a job may go on at another server, which has tables of its own",
                hint="write from a server with a job database of its own",
            )
        return open_store(self._scratch) if self._folder.temporary else self._folder.tables

    def _make_engine(self, settings: Settings, data: Any) -> Engine:
        from sabot_sql.engine.engine import Engine

        engine = Engine(settings, data, self._scratch, self._tables)
        engine.state.queries = lambda user: self.list(user=user, limit=1000)
        return engine

    def start(self, lazy: bool = False) -> None:
        """Start the agents, and what an earlier process left unfinished, in the background.

        Args:
            lazy: leave that to the first distributed query, for a process that asks one or two.
        """
        self._check_open()
        if lazy:
            return
        self._engine.start()
        with self._lock:
            if self._housekeeper is None:
                self._housekeeper = threading.Thread(target=self._keep_house, name="sabot-housekeeper", daemon=True)
                self._housekeeper.start()

    # running queries

    def execute(
        self, request: QueryRequest, progress: ProgressCallback | None = None, cancel: threading.Event | None = None
    ) -> QueryResult:
        """Run a query to its end in this thread.

        Args:
            progress: called for each task of a distributed query that is done.
            cancel: ends the query when set; an event for this query alone.

        Raises:
            SabotError: what the query failed with; its `query_id` is set.
        """
        record, fresh = self._open(request, cancel)
        if fresh:
            with contextlib.suppress(RunsElsewhere):
                return self._runner.run(record, progress).result
            self._elsewhere.follow(record)
        return self._replay(record, cancel)

    def keep(self, result: QueryResult) -> None:
        """Keep an answer of `execute` to be fetched by its id, as that of a submitted query is."""
        self._results.keep(result, fetched_later=True)

    def submit(self, request: QueryRequest) -> QueryStatus:
        """Start a query in the background. When this returns it is planned, and a distributed one is in the job database; or
        it has ended already.

        Raises:
            Overloaded: QUEUE_FULL.
            QueryError: IDEMPOTENCY_KEY_REUSED. Other errors of the query are told by its status.
        """
        if self._runner.waiting >= QUEUE_LENGTH:
            raise Overloaded(f"{QUEUE_LENGTH:,} queries wait already; try again later", code="QUEUE_FULL", retryable=True)
        record, fresh = self._open(request, None)
        if fresh:
            record.kept = True
            self._workers.run(functools.partial(self._run_quietly, record))
        record.wait_accepted()
        status = record.status()
        if not fresh:
            status.stats = {**status.stats, "replayed": True}
        return status

    def status(self, query_id: str, wait_s: float = 0) -> QueryStatus:
        """Where a query is; waits up to `wait_s` for its end.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        begin_s = time.monotonic()
        if wait_s > 0 and self.log.get(query_id) is None and (place := self._batches.place(query_id)) is not None:
            place[0].await_begun(place[1], wait_s)
            wait_s -= time.monotonic() - begin_s
        _, record = self._find(query_id)
        if wait_s > 0 and not record.terminal:
            record.ended.wait(wait_s)
        return record.status()

    def record(self, query_id: str) -> QueryRecord:
        """What is remembered of a query, which goes on changing while it runs.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        return self._find(query_id)[1]

    def result(self, query_id: str) -> QueryResult:
        """The answer of a finished query.

        Raises:
            SabotError: the error of a failed query; QUERY_NOT_FINISHED, QUERY_NOT_FOUND, RESULT_EXPIRED.
        """
        owner, record = self._find(query_id)
        if owner is not self:
            return owner.result(query_id)
        if not record.terminal:
            raise QueryError(
                f"query {query_id} is still {record.state}", code="QUERY_NOT_FINISHED", query_id=query_id, retryable=True
            )
        if record.error is not None:
            raise again(record.error)
        result = self._results.get(query_id) if record.state == "finished" else None
        if result is None:
            record.expire()
            raise QueryError(f"the result of query {query_id} is not kept any more", code="RESULT_EXPIRED", query_id=query_id)
        return result

    def cancel(self, query_id: str, why: str | None = None) -> QueryStatus:
        """Ask a query to stop; one that has ended stays as it is.

        Args:
            why: what its error then says.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        owner, record = self._find(query_id)
        if not record.terminal:
            if owner.log.get(query_id) is None and (place := owner._batches.place(query_id)) is not None:
                place[0].drop(place[1])
            owner._runner.stop(record, None if why is None else Cancelled(why, query_id=query_id))
            self._elsewhere.cancel(query_id)
        return record.status()

    def cancelled(self, query_id: str) -> None:
        """Another server has cancelled a job or a batch that runs here."""
        self._batches.cancelled(query_id)
        record = self.log.get(query_id)
        if record is not None and not record.terminal:
            self._runner.stop(record)

    def delete(self, query_id: str) -> QueryStatus:
        """Remove the result of a query that has ended; it is `expired` then. One that runs is asked to stop.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        owner, record = self._find(query_id)
        if not record.terminal:
            return self.cancel(query_id)
        owner._results.delete(query_id)
        record.expire()
        return record.status()

    def list(
        self,
        state: State | None = None,
        user: str | None = None,
        limit: int = 50,
        text: str | None = None,
        since_s: float | None = None,
        before: tuple[int, str] | None = None,
    ) -> Statuses:
        """Queries, newest first: the recent ones of this process, then the durable ones of earlier processes.

        Args:
            before: only those that stand after the query of this `QueryRecord.order`: the page after the one it ended.
            text: only those with this text in their statement, in any case.
            since_s: only those submitted at this time or later, in seconds since 1970.
        """
        wanted = Wanted(state, user, text.lower() if text is not None else None, since_s, before)
        recent = {r.query_id: r for owner in self._owners() for r in owner.log.newest_first()}
        found = [r for r in recent.values() if r in wanted]
        if len(found) < limit and not self._folder.temporary and self._recover_waited():
            found += itertools.islice(self._earlier(recent, wanted), limit - len(found) + OVERTAKEN)
        return [r.status() for r in sorted(found, key=lambda r: r.order, reverse=True)[:limit]]

    def _earlier(self, recent: Container[str], wanted: Wanted) -> Iterator[QueryRecord]:
        """Those of the jobs of earlier processes that are wanted, newest first."""
        seen: set[str] = set()  # pages move on when a job is added
        for page in itertools.count():
            rows = STORE.rows(self._folder, limit=PAGE_ROWS, offset=page * PAGE_ROWS)
            for row in rows:
                if not (row.workflow_id in recent or row.workflow_id in seen or row.input["args"][0]["temporary"]):
                    seen.add(row.workflow_id)
                    record = self._restore(row)
                    if record in wanted:
                        yield record
            if len(rows) < PAGE_ROWS:
                return

    def retry(self, query_id: str, readable: tuple[str, ...] | None = None, writes: bool | None = None) -> QueryStatus:
        """Submit the statement of a query that has ended once more, as a query of its own.

        Args:
            readable: patterns of the tables that whoever asks may read; None for those that the query might read.
            writes: whether they may write; None for whether the query might.

        Raises:
            QueryError: QUERY_NOT_FOUND, QUERY_NOT_FINISHED.
            NotSupported: its parameters are not known any more.
        """
        _, record = self._find(query_id)
        if not record.terminal:
            raise QueryError(
                f"query {query_id} is still {record.state}", code="QUERY_NOT_FINISHED", query_id=query_id, retryable=True
            )
        if record.lacks_params:
            raise NotSupported(f"the parameters of query {query_id} are not kept; submit the statement again")
        request = dataclasses.replace(record.request, idempotency_key=None)
        if readable is not None:
            request = dataclasses.replace(request, readable=readable)
        return self.submit(request if writes is None else dataclasses.replace(request, writes=writes))

    # batches

    def submit_batch(self, request: BatchRequest) -> BatchStatus:
        """As `BatchRuns.submit`."""
        self._check_open()
        return self._batches.submit(request)

    def batch_status(self, batch_id: str, wait_s: float = 0.0) -> BatchStatus:
        """As `BatchRuns.status`."""
        return self._batches.status(batch_id, wait_s)

    def cancel_batch(self, batch_id: str) -> BatchStatus:
        """As `BatchRuns.cancel`."""
        return self._batches.cancel(batch_id)

    def resume_batch(self, batch_id: str, spec: Output) -> Batch:
        """Go on with a batch of an earlier process; called in the thread of its workflow."""
        return self._batches.resume(batch_id, spec)

    # the engine's own

    def explain(self, request: QueryRequest, analyze: bool = False) -> Explanation:
        """Where a query would run, why, and its plan; with `analyze` it runs and the plan shows what happened."""
        self._check_open()
        if not analyze:
            try:
                return self._engine.explain(request)
            except SabotError as exc:
                raise public(exc) from exc
        record, _ = self._open(dataclasses.replace(request, idempotency_key=None), None)
        ran = self._runner.run(record, counted=True)
        return self._engine.explain_analyzed(ran.prepared, ran.run.results if ran.run else {}, ran.result.stats)

    def validate(self, request: QueryRequest) -> Validation:
        """Whether a statement could run, and the columns that it would give; it does not."""
        self._check_open()
        try:
            return self._engine.validate(request)
        except SabotError as exc:
            raise public(exc) from exc

    def tables(self) -> Tables:
        """The tables of the catalog."""
        return list(self._engine.catalog.tables())

    def skipped(self) -> tuple[str, ...]:
        """What lies in the data and is not read."""
        return self._engine.catalog.skipped()

    def table(self, name: str) -> Table:
        """One table; who asks for it has its statistics learnt, where they are not known yet."""
        found = self._engine.catalog.table(name)
        self._engine.learn((found,))
        return found

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        """Make `source` a table."""
        self._engine.catalog.register(name, source, replace)
        self._sweep_tables()

    def unregister(self, name: str) -> None:
        """Take a table out of the catalog."""
        self._engine.catalog.unregister(name)
        self._sweep_tables()

    def begin_put(self, name: str, mode: Mode) -> Body:
        """Where the rows of a table that is to be put are received into; whoever asks discards it, or puts it.

        Raises:
            QueryError: the table cannot be put so.
            ServiceError: the disk is full or cannot be written.
        """
        self._check_open()
        return self._engine.catalog.check_put(name, mode).new_body()

    def put_table(self, name: str, body: Body, kind: Format, mode: Mode, deadline_s: float) -> int:
        """As `PutTables.put`; the body is gone afterwards."""
        if not body.use():
            raise ServiceError("the upload was given up")
        try:
            self._check_open()
            rows = self._engine.catalog.check_put(name, mode).put(name, body, kind, mode, deadline_s)
        finally:
            body.discard()
        self._sweep_tables()
        return rows

    def register_files(self, name: str, uri: str, kind: str, replace: bool) -> None:
        """As `PutTables.register`, below the folders that the settings name."""
        self._check_open()
        put = self._engine.catalog.check_put(name, "replace" if replace else "create")
        put.register(name, uri, kind, self.settings.table_folders, replace)
        self._sweep_tables()

    def drop_table(self, name: str) -> None:
        """As `Catalog.drop`."""
        self._check_open()
        self._engine.catalog.drop(name)
        self._sweep_tables()

    def _sweep_tables(self) -> None:
        """Remove the files of tables that were replaced or dropped, once nobody reads them any more."""

        def running() -> Iterable[str]:
            return [r.query_id for owner in self._owners() for r in owner.log.running()]

        self._engine.sweep(running)
        is_known = self._recovered.is_set() and self._recovery_error is None  # what jobs of earlier processes go on with
        if is_known or self._housekeeper is None:
            self._tables.sweep(running)

    def agents(self) -> Agents:
        """The agents as they are now."""
        return self._engine.agents()

    def drain_agent(self, agent_id: str) -> None:
        """As `Connection.drain_agent`."""
        self._engine.drain_agent(agent_id)

    def resume_agent(self, agent_id: str) -> None:
        """As `Connection.resume_agent`."""
        self._engine.resume_agent(agent_id)

    def scale_agents(self, num_agents: int) -> None:
        """As `Connection.scale_agents`."""
        self._engine.scale_agents(num_agents)

    def load(self) -> Load:
        """What there is to do, and what is kept."""
        agents = self.settings.agents
        return Load(
            states=dict(Counter(record.state for record in self.log.running())),
            waiting=self._runner.waiting_by_route,
            result_memory_bytes=self._results.held_bytes,
            result_disk_bytes=self._folder.results.total_bytes,
            provider=agents.provider,
            scales=agents.enabled and agents.provider != "static",
        )

    def info(self) -> dict[str, Any]:
        """Versions and limits; a server adds those of its own."""
        import importlib.metadata  # 40 ms

        settings = self.settings
        return {
            "name": "sabot-sql",
            "version": importlib.metadata.version("sabot-sql"),
            "api": "1",
            **self._engine.info(),
            "durable": "postgresql" if self._folder.database.shared else "sqlite",
            "state_dir": None if self._folder.temporary else str(self._folder.path),
            "result_ttl_s": settings.result_ttl_s,
            "limits": {
                "sql_bytes": settings.sql_bytes,
                "local_queries": settings.local.concurrency,
                "distributed_queries": DISTRIBUTED_AT_ONCE,
                "waiting_queries": QUEUE_LENGTH,
                "result_bytes": settings.result_max_bytes,
                "results_memory_bytes": settings.result_memory_bytes,
                "results_disk_bytes": settings.result_disk_bytes,
            },
        }

    def ready(self) -> dict[str, Any]:
        """Whether queries can be taken, part by part."""
        jobs = "ok" if STORE.launched else "starting"
        if (error := self._recovery_error or self._runner.record_error) is not None:
            jobs = str(error)
        elif STORE.down_s:
            jobs = f"the job database has not answered for {STORE.down_s:.0f} s"
        disk = "ok" if os.access(self._folder.path, os.W_OK) else f"{self._folder.path} cannot be written"
        checks = {"dbos": jobs, "disk": disk, **self._engine.ready()}
        bad = self._closed or error is not None or disk != "ok" or checks["engine"] != "ok"
        return {"ready": not bad, "checks": checks}

    def close(self) -> None:
        """Stop the queries, the agents and what runs in the background. Durable jobs that somebody may ask for go on when the
        state folder is opened again; all others are cancelled."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._batches.close()
        self._elsewhere.close()
        running = self.log.running()
        for record in running:
            record.closing = True
            record.interrupted = record.durable and record.kept
            self._runner.stop(record)
        deadline = time.monotonic() + CLOSE_S
        for record in running:
            record.ended.wait(max(0.0, deadline - time.monotonic()))
        self._runner.close(deadline)
        if self._housekeeper is not None:
            self._housekeeper.join(CLOSE_S)
        self._workers.close()
        self._results.close()
        try:
            self._engine.close()
            if not any(record.interrupted for record in running):
                shutil.rmtree(self._scratch, ignore_errors=True)
            with contextlib.suppress(OSError):  # tables handed over in memory stay for the jobs that go on with them
                self._scratch.rmdir()
        finally:
            STORE.unregister(self._folder, self)
            close_folder(self._folder)
            _managers.discard(self)

    # the trip of a query

    def _open(self, request: QueryRequest, cancel: threading.Event | None) -> tuple[QueryRecord, bool]:
        """The record of a query, and whether it is a new one."""
        self._check_open()
        key = request.idempotency_key
        if key is None:
            record = QueryRecord(new_query_id(), request, cancel)
            self.log.add(record)
            return record, True
        query_id = keyed_query_id(self._folder.secret, request.user, key)
        print_ = fingerprint(request)
        record, fresh = self.log.get_or_add(query_id, lambda: QueryRecord(query_id, request, cancel, print_))
        if fresh:
            record.kept = True
            fresh = not self._adopt(record)
        if record.fingerprint != print_:
            raise QueryError(
                f"the idempotency key {key!r} was used for another query", code="IDEMPOTENCY_KEY_REUSED", query_id=query_id,
                hint="take a new key for each query",
            )  # fmt: skip
        return record, fresh

    def _adopt(self, record: QueryRecord) -> bool:
        """Fill a new record with what an earlier process, or another server, recorded of the query; False when there is
        nothing."""
        try:
            if self._folder.temporary or not self._recover_waited():
                return False
            rows = STORE.rows(self._folder, [record.query_id])
            if not rows:
                return False
            record.become(self._restore(rows[0]))
            if self._elsewhere.is_elsewhere(rows[0]):
                self._elsewhere.begin(record)
            elif not record.terminal and not STORE.runs(record.query_id):  # given up here, when the database was away
                STORE.resume(self._folder, [record.query_id])
        except BaseException as exc:
            record.fail(self._runner.translate(record, exc))
            self.log.forget(record)
            raise
        return True

    def _replay(self, record: QueryRecord, cancel: threading.Event | None) -> QueryResult:
        """The answer of a query that was asked before under the same key."""
        while not record.ended.wait(0.05 if cancel is not None else None):
            if cancel is not None and cancel.is_set():
                raise Cancelled("waiting for the query was cancelled", query_id=record.query_id)
        result = self.result(record.query_id)
        result.stats = {**result.stats, "replayed": True}
        return result

    def _run_quietly(self, record: QueryRecord) -> None:
        try:
            self._runner.run(record)
        except RunsElsewhere:
            self._elsewhere.follow(record)
        except SabotError:
            return  # the status tells it

    # finding queries, also those of others

    def _owners(self) -> Managers:
        """This manager and the others of the process that share its folder."""
        return [self, *(u for u in STORE.users(self._folder) if isinstance(u, JobManager) and u is not self)]

    def _find(self, query_id: str) -> tuple[JobManager, QueryRecord]:
        self._check_open()
        for owner in self._owners():
            if (record := owner.log.get(query_id)) is not None:
                return owner, record
        for owner in self._owners():
            if (place := owner._batches.place(query_id)) is not None and not place[0].await_begun(place[1], 0.0):
                return owner, record_of_statement(query_id, *place[0].statement(place[1]))
        if not self._folder.temporary and self._recover_waited():
            if (record := self.log.get(query_id)) is not None:
                return self, record
            rows = STORE.rows(self._folder, [query_id])
            if rows and not rows[0].input["args"][0]["temporary"]:
                of = self._elsewhere.record_of if self._elsewhere.is_elsewhere(rows[0]) else self._restore
                return self, of(rows[0])
        raise QueryError(f"there is no query {query_id}", code="QUERY_NOT_FOUND", query_id=query_id)

    def _restore(self, row: Any) -> QueryRecord:
        """The record of a job of an earlier process, its result with it as far as it is kept."""
        record = record_of_row(row)
        shared = self._folder.database.shared
        if shared and row.status == "PENDING":  # some server runs it
            record.advance("running")
        if shared and record.state == "cancelled" and (reason := STORE.reason(self._folder, record.query_id)) is not None:
            record.error = ServiceError(reason, query_id=record.query_id)
            record.state = "failed"
        if record.state == "finished" and not self._results.restore(record.query_id, row.output, record.finished_s or 0.0):
            record.expire()
        return record

    def resume(self, query_id: str, spec: Output) -> Steps:
        """Go on with a job of an earlier process; called in the thread of its workflow."""
        record, _ = self.log.get_or_add(query_id, lambda: record_of_spec(query_id, spec))
        if self._folder.database.shared:
            self._elsewhere.begin(record)
        return self._runner.resume(record, spec)

    def unrecorded(self, query_id: str, why: Exception) -> None:
        """A job that went on here could not be written down. Of several servers one goes on with it."""
        record = self.log.get(query_id)
        if record is not None and not self._folder.database.shared:
            record.fail(away(why, "the job database cannot be written", query_id))

    # what is done at the start, and now and then

    def _recover_waited(self) -> bool:
        """Wait until the jobs of earlier processes are known.

        Raises:
            ConfigError: the job database cannot be opened.
        """
        if self._housekeeper is None:
            return self._folder.database.exists()
        self._recovered.wait()
        if self._recovery_error is not None:
            raise again(self._recovery_error)
        return True

    def _keep_house(self) -> None:
        """Launch the job database, then sweep results and old jobs until the end."""
        if self._folder.temporary:
            self._wake.wait(PREWARM_DELAY_S)  # the agents' start goes first
        next_sweep_s = next_retention_s = 0.0
        if not self._closed:
            self._recovery_error = self._recover()
        self._recovered.set()
        while not self._closed:
            if again_soon := self._recovery_error is not None and self._recovery_error.retryable:
                self._recovery_error = self._recover()
            now = time.monotonic()
            with self._keeping_house():
                self._results.spill()
            with contextlib.suppress(SabotError):
                STORE.cancel_given_up(self._folder)
            if now >= next_sweep_s:
                next_sweep_s = now + min(HOUSEKEEPING_S, self.settings.result_ttl_s / 4)
                with self._keeping_house():
                    self._expire()
                    self._sweep_tables()
            if now >= next_retention_s and STORE.launched:
                next_retention_s = now + 3600.0
                before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=max(RETENTION_S, self.settings.result_ttl_s))
                with self._keeping_house():
                    STORE.delete_before(self._folder, before.isoformat())
            self._wake.wait(RECOVER_AGAIN_S if again_soon else max(0.01, next_sweep_s - time.monotonic()))
            if not self._closed:
                self._wake.clear()

    def _recover(self) -> SabotError | None:
        """Launch the job database and look for the jobs of earlier processes; what went wrong."""
        try:
            STORE.launch(self._folder)
            if not self._folder.temporary and not self._folder.database.shared:
                records = unfinished(self._folder)
                for record in records:
                    self.log.get_or_add(record.query_id, functools.partial(lambda r: r, record))
                if not records:
                    self._folder.sweep_scratch()
        except SabotError as exc:
            return exc
        except Exception as exc:  # the edge of a thread
            return ConfigError(f"the job database in {self._folder.path} cannot be read: {exc}")
        return None

    @contextlib.contextmanager
    def _keeping_house(self) -> Iterator[None]:
        """What goes wrong inside, a full disk or a damaged database, is logged: the next round tries again."""
        try:
            yield
        except Exception:
            if not self._closed:
                log.exception("keeping house in %s failed", self._folder.path)

    def _expire(self) -> None:
        gone = [*self._early, *self._results.sweep()]
        self._early = [q for q in gone if (record := self.log.get(q)) is not None and not record.terminal]
        self._expired(gone)

    def _make_room(self) -> None:
        """Memory is over its budget: the housekeeper moves results to files."""
        if self._housekeeper is None:
            self._results.spill()
        self._wake.set()

    def _expired(self, query_ids: Iterable[str]) -> None:
        """The files of these queries went, or their time is over."""
        for query_id in query_ids:
            for owner in self._owners():
                record = owner.log.get(query_id)
                if record is not None and record.state == "finished" and owner._results.lacks(query_id):
                    record.expire()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceError("the engine is closed", code="SHUTTING_DOWN")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which queries are to be listed."""

    state: State | None
    user: str | None
    text: str | None
    since_s: float | None
    before: tuple[int, str] | None = None

    def __contains__(self, record: QueryRecord) -> bool:
        return (
            self.state in (None, record.state)
            and self.user in (None, record.request.user)
            and (self.text is None or self.text in record.request.sql.lower())
            and (self.since_s is None or record.submitted_s >= self.since_s - 1e-6)  # told in microseconds
            and (self.before is None or record.order < self.before)
        )


def close_all() -> None:
    """Close every manager of the process."""
    for manager in list(_managers):
        manager.close()


# before the interpreter waits for DBOS's threads, which `atexit` would be too late for
threading._register_atexit(close_all)  # type: ignore[attr-defined]
