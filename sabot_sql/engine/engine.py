"""The trip of one query: parse, allow, estimate, route, plan; run locally, or stage by stage over the agents; collect."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.stored_tables import StoredTables
from sabot_sql.catalog.table import Table
from sabot_sql.config import Settings, cores
from sabot_sql.engine.analysis import stage_runs
from sabot_sql.engine.calibration import LEARN_ROWS
from sabot_sql.engine.default_names import refuse_other_names
from sabot_sql.engine.explanation import explanation
from sabot_sql.engine.learning import Learning
from sabot_sql.engine.local_route import LocalRoute, is_large
from sabot_sql.engine.plan_cache import PlanCache, Planned
from sabot_sql.engine.prepared import Prepared
from sabot_sql.engine.readable import may_read, refuse_lists, resolving_readable
from sabot_sql.engine.request import AgentInfo, Explanation, QueryRequest, QueryResult
from sabot_sql.engine.result import answer_batches, answer_schema, answer_table
from sabot_sql.engine.state_tables import StateTables
from sabot_sql.engine.validation import Validation, validated
from sabot_sql.engine.writing import (
    COUNT_COLUMNS,
    SUCCESS_COLUMNS,
    Staged,
    Writing,
    count_table,
    given_columns,
    success_table,
)
from sabot_sql.errors import NotSupported, PlanError, QueryError, SabotError, ServiceError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.local import Answer, LocalEngines, lists_tables, refuse_oversized
from sabot_sql.executor.local_counts import Counts
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner import logical
from sabot_sql.planner.bind import Binder, default_timezone, result_type
from sabot_sql.planner.complexity import undistributable
from sabot_sql.planner.estimate import Estimate, estimate, most
from sabot_sql.planner.expand_views import Expanded, expand_views
from sabot_sql.planner.explain import draw_stages, stage_records
from sabot_sql.planner.guard import unbindable
from sabot_sql.planner.lower import lower
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.parameters import bound_parameters, inline_parameters
from sabot_sql.planner.parse import Statement, parse
from sabot_sql.planner.past import Past
from sabot_sql.planner.physical import DistributedPlan, Session, Stage
from sabot_sql.planner.policy import Resolve, check, is_system_table
from sabot_sql.planner.route import Decision, decide
from sabot_sql.planner.show import STATE_PREFIX, STATE_TABLES, is_state_table
from sabot_sql.planner.stages import Cluster
from sabot_sql.planner.writes import Write
from sabot_sql.types import Field, Schema

if TYPE_CHECKING:
    from sabot_sql.agents.pool import AgentPool

__all__ = ["Engine", "Prepared"]

WARM_S = 5.0  # what closing waits for a warm-up under way
LARGE_ANSWER_BYTES = 16 << 20  # from which several threads read the answer's blocks
LIST_AGENTS = "`sabot-sql agents ls` or GET /v1/agents lists them"


class Engine:
    """Everything one catalog needs to answer queries. Thread-safe.

    Args:
        data: as in `connect(data=...)`.
        scratch_dir: a folder of this engine's own, for registered tables and the agents' log.
        stored: tables that were put over HTTP, and can be; None for none.
    """

    def __init__(self, settings: Settings, data: Any, scratch_dir: Path, stored: StoredTables | None = None) -> None:
        self.settings = settings
        kept = None if settings.state_dir is None else settings.state_dir.expanduser() / "statistics.db"
        self.catalog = Catalog(data, scratch_dir=scratch_dir / "tables", statistics_file=kept, stored=stored)
        self.local = LocalEngines(self.catalog, settings)
        self._writing = Writing(settings, self.catalog, stored)
        self._local_route = LocalRoute(self.local, settings.local.budget_s, self._promote)
        self.learning = Learning(settings, lambda: self.slots)
        self.state = StateTables(scratch_dir / "state", self.agents)
        self._scratch_dir = scratch_dir
        self._pool: AgentPool | None = None
        self._pooling = threading.Lock()
        self._binder: Binder | None = None
        self._plans = PlanCache()
        self._binding = threading.Lock()
        self._closed = False
        self._warming: threading.Thread | None = None

    @property
    def pool(self) -> AgentPool:
        """The agents. The first who asks pays for importing what they run, half a second."""
        with self._pooling:
            if self._pool is None:
                if self._closed:
                    raise ServiceError("the engine is closed", code="SHUTTING_DOWN")
                from sabot_sql.agents.pool import AgentPool

                self._pool = AgentPool(self.settings.agents, self._scratch_dir)
            return self._pool

    def start(self) -> None:
        """Begin to start the agents and to warm what the first query needs; returns at once."""
        if self.settings.agents.enabled:
            self.pool.start()
        self._warming = threading.Thread(target=self._warm, name="sabot-warm", daemon=True)
        self._warming.start()
        self.learning.start(self)

    def _warm(self) -> None:
        """Load the parsers, look at the tables and open the engines, so that the first query does not wait for it. What
        is wrong with a table is for the query that names it to say."""
        with contextlib.suppress(SabotError):
            self.catalog.tables()
            self.run_local(self.prepare(QueryRequest("SELECT 1")), "warm", threading.Event())
            if self.settings.agents.enabled:
                self._binder_of_all().bind("SELECT 1", (), self.catalog.table, self._session(QueryRequest("SELECT 1")))

    def prepare(self, request: QueryRequest, finely: bool = False, query_id: str = "") -> Prepared:
        """Parse, check, estimate and route a statement; plan it where it goes to the agents.

        Args:
            finely: estimate the rows even where a bound is enough to run it.
            query_id: of a statement that may write; what it has written already is not written again.

        Raises:
            ParseError, PlanError: the statement is not SQL, names what does not exist, or is refused.
            NotSupported: route="distributed" is forced for what the agents do not run yet.
        """
        begin = time.perf_counter()
        refuse_other_names(request, self.catalog.name)
        statement = parse(request.sql, request.dialect, self.settings)
        write = self._writing.read(statement, request)
        if statement.analyze and statement.inner is not None:
            prepared = self.prepare(replace(request, sql=statement.inner.sql), finely=True)
            prepared.analyze = True
            prepared.counts = prepared.counts or Counts()
            return prepared
        if write is None:
            if not self.catalog.has_views:
                return self._prepare_expanded(request, statement, None, None, finely, begin)
            return self._prepare_query(request, statement, None, finely, begin)
        return self._prepare_write(request, statement, write, finely, query_id, begin)

    def _prepare_write(
        self, request: QueryRequest, statement: Statement, write: Write, finely: bool, query_id: str, begin: float
    ) -> Prepared:
        """A statement that writes: its query is prepared as if it stood alone."""
        done = self._writing.check(write, query_id)
        if done is None and not write.defines and write.query is not None:
            return self._prepare_query(request, write.query, write, finely, begin)
        guess = Estimate(0, 0, 0, 0, "exact")
        reason = f"{write.kind} is answered from the catalog"
        prepared = Prepared(request, statement, (), self._session(request), guess, "local", reason, write=write, done=done)
        if done is None and write.query is not None:
            prepared.columns = self._defined(write, request)
        took_ms = (time.perf_counter() - begin) * 1e3
        prepared.stats |= {"parse_ms": took_ms, "estimate_ms": 0.0, "plan_ms": 0.0, "estimated_rows": 0}
        prepared.stats |= {"rows_scanned": 0, "bytes_scanned": 0}
        return prepared

    def _defined(self, write: Write, request: QueryRequest) -> Schema:
        """The columns of the table or view that a statement defines."""
        assert write.query is not None
        expanded = Expanded(write.query, write.sql)
        try:
            expanded = self._expanded(write.query, request, write)
            tables = check(expanded.statement, self._resolver(expanded.statement, request))
            if write.kind == "CREATE VIEW":
                self._writing.refuse_view(write, expanded)
            values = bound_parameters(expanded.statement, request.params)
            if (why := unbindable(expanded.statement, values)) is not None:
                raise NotSupported(f"{why}, and it is not bound here", hint="make it a table: CREATE TABLE … AS")
            session = self._session(request)
            return self._binder_of_all().describe(expanded.statement.sql, values or None, tables, session)
        except SabotError as error:
            if write.kind == "CREATE TABLE":  # its query is ours
                error.position = error.sql = None
                raise
            raise expanded.placed(error) from error.__cause__

    def _expanded(self, statement: Statement, request: QueryRequest, write: Write | None = None) -> Expanded:
        """A statement with the queries of its views in it."""

        def lookup(parts: tuple[str, ...]) -> tuple[str, str] | None:
            found = self.catalog.view(parts)
            return found if found is not None and may_read(request.readable, found[0]) else None

        found = expand_views(statement, lookup)
        for name, body in found.bodies:
            self._check_view(name, body, request)
        return found if write is None else replace(found, original=write.sql)

    def _check_view(self, name: str, body: Statement, request: QueryRequest) -> None:
        """Bind the query of a view alone.

        Raises:
            SabotError: it reads what is not there any more, or what the key is not for.
        """
        try:
            tables = check(body, self._resolver(body, request))
            if unbindable(body, {}) is None:
                self._binder_of_all().describe(body.sql, None, tables, self._session(request))
        except SabotError as error:
            if request.readable is not None:
                detail = f'the view "{name}" cannot be read: what it reads is not there, or not for this key'
                raise PlanError(detail, code="UNDEFINED_TABLE") from None
            error.position = error.sql = None
            error.detail = f'the view "{name}" cannot be read: {error.detail}'
            raise

    def _prepare_query(
        self, request: QueryRequest, statement: Statement, write: Write | None, finely: bool, begin: float
    ) -> Prepared:
        expanded = Expanded(statement, statement.sql if write is None else write.sql)
        try:
            if not statement.explain:
                expanded = self._expanded(statement, request, write)
            return self._prepare_expanded(request, expanded.statement, expanded, write, finely, begin)
        except SabotError as error:
            if write is None and not expanded.edits:
                raise
            raise expanded.placed(error) from error.__cause__

    def _prepare_expanded(
        self,
        request: QueryRequest,
        statement: Statement,
        expanded: Expanded | None,
        write: Write | None,
        finely: bool,
        begin: float,
    ) -> Prepared:
        resolve = self._resolver(statement, request)
        tables = check(statement, resolve)
        parsed = time.perf_counter()
        subject = statement.inner or statement
        found = None if finely else self._decide_by_bound(request, statement, tables, resolve)
        if found is not None:
            (guess, decision), counts = found, None
        else:
            guess = estimate(subject, resolve, request.params)
            guess, past, counts = self.learning.expect(subject, tables, request.params, guess)
            decision = self._decide(request, statement, tables, guess, past)
        prepared = Prepared(request, statement, tables, self._session(request), guess, decision.route, decision.reason)
        prepared.decision, prepared.counts = decision, counts
        prepared.write, prepared.expanded = write, expanded
        prepared.cluster = self.settings.agents.enabled
        estimated = time.perf_counter()
        if prepared.route == "distributed":
            self._plan(prepared)
        if prepared.route == "local":
            prepared.lane = "large" if is_large(prepared) else "small"
            why = self.local.guarded(subject, request.params, tables, guess.at_most) if statement.is_query else None
            prepared.harmless = statement.is_query and why is None
            if why is not None:
                prepared.lane, prepared.reason = "guarded", f"{prepared.reason}; {why}, so a guarded process runs it"
        self.learn(tables)
        prepared.stats |= {
            "parse_ms": (parsed - begin) * 1e3,
            "estimate_ms": (estimated - parsed) * 1e3,
            "plan_ms": (time.perf_counter() - parsed) * 1e3,
            "estimated_rows": guess.work,
            "rows_scanned": guess.rows_scanned,
            "bytes_scanned": guess.bytes_scanned,
        }
        return prepared

    def _resolver(self, statement: Statement, request: QueryRequest) -> Resolve:
        """What tables the names of `statement` are, of those that `request` may read.

        Raises:
            PlanError: PERMISSION_DENIED; it would list all, and may not read all.
        """
        in_catalog: Resolve = self.catalog.resolve
        if request.readable is not None:
            if lists_tables(statement.inner or statement):
                raise refuse_lists()
            in_catalog = resolving_readable(in_catalog, request.readable)
        if not any(map(is_state_table, statement.tables)):
            return in_catalog
        made = {name: self.state.table(name, request.user) for name in STATE_TABLES}

        def resolve(parts: tuple[str, ...]) -> Table:
            name = parts[-1].lower().removeprefix(STATE_PREFIX)
            return made[name] if is_state_table(parts) else in_catalog(parts)

        return resolve

    def learn(self, tables: Iterable[Table]) -> None:
        """Have the statistics of `tables` learnt in the background; returns at once."""
        if self.settings.learn_statistics:
            self.catalog.learn(tables)

    def _session(self, request: QueryRequest) -> Session:
        return Session(request.timezone or default_timezone(), time.time_ns() // 1000)

    def _decide_by_bound(
        self, request: QueryRequest, statement: Statement, tables: tuple[Table, ...], resolve: Resolve
    ) -> tuple[Estimate, Decision] | None:
        """A small query's bound and where it goes; None where it must be estimated. What is local by its bound would be local
        by any estimate, as that is no larger."""
        if request.route == "distributed" or statement.kind != "SELECT":
            return None
        guess = most(statement, tables, resolve)
        if guess is None or guess.work >= LEARN_ROWS:  # from there on a run corrects the machine's figures
            return None
        past = self.learning.past(statement, tables, request.params)
        decision = self._decide(request, statement, tables, guess, past)
        return (guess, decision) if decision.route == "local" else None

    def _decide(
        self, request: QueryRequest, statement: Statement, tables: tuple[Table, ...], guess: Estimate, past: Past | None
    ) -> Decision:
        threshold = request.threshold if request.threshold != "auto" else self.settings.threshold
        if statement.kind == "SUMMARIZE":
            return Decision("local", "SUMMARIZE runs on the local engine", 0)
        if statement.kind != "SELECT":
            return Decision("local", f"{statement.kind} is answered from the catalog", 0)
        if any(map(is_system_table, statement.tables)):
            return Decision("local", "information_schema is answered from the catalog", 0)
        if any(map(is_state_table, statement.tables)):
            return Decision("local", "the schema system is answered from the engine's state", 0)
        return decide(
            request.route,
            threshold,
            guess,
            bytes_scanned=sum(t.statistics.size_bytes for t in tables),
            local_max_bytes=self.settings.local_max_bytes,
            machine=self.learning.machine,
            past=past,
        )

    def _plan(self, prepared: Prepared) -> None:
        """Bind, optimize and lower; under route="auto" what is not distributed yet goes local, and the reason says so."""
        if not self.settings.agents.enabled:
            raise ServiceError(
                "the query is to run on agents, but this engine has none",
                code="NO_AGENTS",
                hint="give num_local_agents (or --agents) of at least 1, or use route='local'",
            )
        begin = time.perf_counter()
        statement = prepared.statement
        params = bound_parameters(statement, prepared.request.params)
        sql = inline_parameters(statement, prepared.request.params)
        asked = (statement.sql, params) if params else None
        zone = prepared.session.timezone
        key = (sql, statement.sql, zone, tuple((t.name, t.version) for t in prepared.tables), self.slots)
        planned = self._plans.get(key)
        bind_end = time.perf_counter()
        if planned is None:
            try:
                self._refuse_guarded(statement, params)
                bound = self._binder_of_all().bind(sql, prepared.tables, self.catalog.table, prepared.session, asked)
                bind_end = time.perf_counter()
                optimized = optimize(bound.plan)
                cluster = Cluster(self.slots, self.settings.broadcast_bytes)
                plan = lower(optimized, bound.schema, cluster, prepared.session)
                answer_schema(plan)
            except (NotSupported, RecursionError) as caught:
                deep = NotSupported("its plan is nested too deeply for the agents")
                error = caught if isinstance(caught, NotSupported) else deep
                if prepared.request.route == "distributed":
                    raise error from None
                prepared.route, prepared.plan = "local", None
                prepared.reason = f"{prepared.reason}, but {error.detail}, so it runs locally"
                return
            planned = Planned(bound.schema, logical.draw(optimized), plan)
            self._plans.put(key, sql, planned)
        prepared.plan = replace(planned.plan, session=prepared.session)
        prepared.logical = planned.logical
        prepared.columns = planned.columns if prepared.write is None else COUNT_COLUMNS
        prepared.stats |= {
            "bind_ms": (bind_end - begin) * 1e3,
            "optimize_ms": (time.perf_counter() - bind_end) * 1e3,
        }

    def _refuse_guarded(self, statement: Statement, params: Mapping[str, Any]) -> None:
        """Raise for a statement that is not bound here: binding works out constants, and what is very wide takes long."""
        like = statement.like or statement
        if like.nodes is not None and (why := undistributable(like.sql, like.nodes)) is not None:
            raise NotSupported(why)
        if (why := unbindable(statement, params)) is not None:
            refuse_oversized(statement, params, self.settings.local.guarded_memory_bytes)
            raise NotSupported(
                f"{why}, which a guarded process runs whole and agents do not run", hint='use route="auto" or route="local"'
            )

    def _binder_of_all(self) -> Binder:
        with self._binding:
            if self._binder is None:
                self._binder = Binder()
            return self._binder

    def run_local(self, prepared: Prepared, query_id: str, cancel: threading.Event) -> QueryResult | None:
        """Run a query of the local route; None where it was over its budget, and `prepared` says where it goes on."""
        if prepared.statement.explain:
            return self._explained(prepared, query_id)
        try:
            return self._run_local(prepared, query_id, cancel)
        except SabotError as error:
            if prepared.expanded is None or (prepared.write is None and not prepared.expanded.edits):
                raise
            raise prepared.expanded.placed(error) from error.__cause__

    def _run_local(self, prepared: Prepared, query_id: str, cancel: threading.Event) -> QueryResult | None:
        begin = time.perf_counter()
        if prepared.write is None:
            with self.catalog.running:
                answer = self._local_route.run(prepared, cancel, self.learning.local_ms(prepared))
        else:
            answer = self._write_local(prepared, prepared.write, query_id, cancel)
        if answer is None:
            return None
        table, stats = answer
        reason = prepared.reason + (f"; {stats['engine_reason']}" if "engine_reason" in stats else "")
        types = stats.pop("types")
        columns = tuple(Field(n, result_type(t)) for n, t in zip(table.column_names, types)) if types else ()
        stats = prepared.stats | {"queue_ms": 0.0, "stages": 0, "tasks": 0, "agents": 0, "retries": 0} | stats
        stats["elapsed_ms"] = (time.perf_counter() - begin) * 1e3 + stats["parse_ms"] + stats["plan_ms"]
        return QueryResult(query_id, table, columns, "local", reason, stats, prepared.statement_type)

    def _write_local(self, prepared: Prepared, write: Write, query_id: str, cancel: threading.Event) -> Answer | None:
        """A statement that writes: its rows are staged as they come, and committed when the query has ended well."""
        request, types = prepared.request, ["BIGINT"]
        if prepared.done is not None or write.defines:
            begin = time.perf_counter()
            rows = None if prepared.done is None else prepared.done.rows
            if prepared.done is None:
                self._writing.define(write, prepared.columns, request.user)
            is_drop = write.kind.startswith("DROP")
            table = success_table() if is_drop else count_table(rows)
            took_ms = (time.perf_counter() - begin) * 1e3
            return table, {"engine": "catalog", "exec_ms": took_ms, "types": ["BOOLEAN"] if is_drop else types}
        deadline_s = None if request.timeout_s is None else time.monotonic() + request.timeout_s
        found: list[Staged] = []

        def sink(schema: pa.Schema, rows: Callable[[], Iterator[pa.RecordBatch]], sql_types: Sequence[str]) -> pa.Table:
            given = given_columns(schema, sql_types)
            found.append(self._writing.stage(write, given, schema, rows, prepared.session.timezone, cancel, deadline_s))
            return count_table(None)

        try:
            with self.catalog.running:
                answer = self._local_route.run(prepared, cancel, self.learning.local_ms(prepared), sink)
            if answer is None:
                return None
            rows = self._writing.commit(write, found[-1], query_id, request.user)
            return count_table(rows), {**answer[1], "types": types}
        finally:
            for staged in found:
                staged.discard()

    def write_blocks(
        self, write: Write, query_id: str, user: str, cancel: threading.Event, deadline_s: float | None, plan: DistributedPlan,
        blocks: list[BlockFile],
    ) -> pa.Table:  # fmt: skip
        """As `collect`, of a statement that writes: the rows become the table, and the answer is their number."""
        if (rows := self._writing.committed(write, query_id)) is not None:
            return count_table(rows)
        schema = answer_schema(plan)

        def batches() -> Iterator[pa.RecordBatch]:
            for block in blocks:
                yield from answer_batches(self.pool.read(block, 0), schema)

        with self.catalog.running:
            staged = self._writing.stage(write, plan.schema, schema, batches, plan.session.timezone, cancel, deadline_s)
        return count_table(self._writing.commit(write, staged, query_id, user))

    def write_of(self, sql: str) -> Write:
        """What a statement writes that was allowed before.

        Raises:
            PlanError: READ_ONLY: nothing is written here any more.
        """
        return self._writing.write_of(parse(sql, limits=self.settings))

    def record_ran(
        self, prepared: Prepared, result: QueryResult, results: Mapping[int, list[TaskResult]] | None = None
    ) -> None:
        """Learn from a query that came to its end; `results` are those of the tasks of each stage of a distributed one."""
        prepared.rows_out = result.table.num_rows
        if prepared.write is not None:  # its time is not that of its query
            return
        if prepared.counts is not None and prepared.counts.rows_scanned is not None:
            result.stats["rows_scanned"] = prepared.counts.rows_scanned
        self.learning.ran(prepared, result.stats, prepared.rows_out, results or {})

    def _promote(self, prepared: Prepared, spent: str) -> bool:
        """Plan a query for the agents that was over its local budget; False where it cannot run there."""
        before = prepared.reason
        prepared.route, prepared.reason = "distributed", f"promoted after {spent}: {before}"
        try:
            self._plan(prepared)
        except SabotError:
            prepared.route = "local"
        if prepared.route == "local":
            prepared.reason = before
            return False
        prepared.promoted = prepared.stats["promoted"] = True
        return True

    @property
    def slots(self) -> int:
        """Tasks that run at once over all agents."""
        if self._pool is not None:
            return self._pool.slots()
        return self.settings.agents.started_slots

    def run_stage(
        self,
        job_id: str,
        plan: DistributedPlan,
        stage: Stage,
        blocks: dict[int, list[BlockFile]],
        deadline_s: float | None,
        cancel: threading.Event,
        on_task: Callable[[TaskResult], None] | None,
        first_attempt: int = 1,
        on_deployed: Callable[[], None] | None = None,
    ) -> list[TaskResult]:
        """Run one stage of a job over the pool; the results in the order of its tasks."""
        ways = (deadline_s, cancel, on_task, first_attempt, on_deployed)
        with self.catalog.running:
            return self.pool.run_stage(job_id, stage, blocks, plan.session, *ways)

    def collect(self, plan: DistributedPlan, blocks: list[BlockFile]) -> pa.Table:
        """The answer from the blocks of the last stage, in the order of its tasks."""
        large = sum(block.size_bytes for block in blocks) > LARGE_ANSWER_BYTES
        return answer_table(plan, [self.pool.read(block, 0) for block in blocks], cores() if large else 1)

    def lost_blocks(self, blocks: list[BlockFile], ask: bool = False) -> list[BlockFile]:
        """Those of the blocks that cannot be read any more; with `ask`, as the agents that have them say."""
        return self.pool.lost(blocks, ask)

    def sweep(self, running: Callable[[], Iterable[str]]) -> None:
        """As `Catalog.sweep`."""
        self.catalog.sweep(running)

    def keep_job(self, job_id: str) -> None:
        """Have agents keep what they still hold of an earlier run of a job, until it is dropped."""
        self.pool.keep_job(job_id)

    def drop_job(self, job_id: str) -> None:
        """Remove everything a job left with the agents."""
        if self._pool is not None:
            self._pool.drop_job(job_id)

    def cancel_job(self, job_id: str) -> None:
        """Stop the running tasks of a job."""
        if self._pool is not None:
            self._pool.cancel(job_id)

    def explain(self, request: QueryRequest) -> Explanation:
        """Where a statement would go and how it would run; nothing is run."""
        statement = parse(request.sql, request.dialect, self.settings)
        if statement.inner is not None:
            request = replace(request, sql=statement.inner.sql)
        prepared = self.prepare(request, finely=True)
        return self._explanation(prepared, draw_stages(prepared.plan) if prepared.plan else "", stage_list(prepared))

    def explain_analyzed(
        self, prepared: Prepared, results: Mapping[int, list[TaskResult]], stats: dict[str, Any]
    ) -> Explanation:
        """The plan of a query that ran, with what every operator did."""
        if prepared.plan is None:
            took = f"ran in {stats.get('exec_ms', 0.0):.1f} ms on {stats.get('engine', 'duckdb')}"
            scanned = prepared.counts.rows_scanned if prepared.counts is not None else None
            return self._explanation(prepared, took, [], scanned)
        stages = (stage.stage_id for stage in prepared.plan.stages)
        runs = stage_runs(results, dict(zip(stages, stats.get("stage_ms", ()))))
        by_engine = ", ".join(f"{rows:,} [{name}]" for name, rows in sorted(stats["rows_by_engine"].items()))
        tasks = f"{stats['tasks']} task{'s' if stats['tasks'] != 1 else ''}"
        agents = f"{stats['agents']} agent{'s' if stats['agents'] != 1 else ''}"
        text = f"{draw_stages(prepared.plan, runs)}\n{tasks} on {agents}, rows by engine: {by_engine}"
        counted = all(t.statistics.rows is not None for t in prepared.tables)
        return self._explanation(prepared, text, stage_records(prepared.plan, runs), stats["rows_scanned"] if counted else None)

    def validate(self, request: QueryRequest) -> Validation:
        """Parse, allow and bind a statement, and no more: what an editor asks at every pause.

        Raises:
            ParseError, PlanError: the statement is not SQL, names what does not exist, or is refused.
        """
        refuse_other_names(request, self.catalog.name)
        statement = parse(request.sql, request.dialect, self.settings)
        write = self._writing.read(statement, request)
        if write is not None and write.query is None:
            return Validation(write.kind, SUCCESS_COLUMNS, (), ())
        subject = statement if write is None or write.query is None else write.query
        if subject.inner is None:
            subject = self._expanded(subject, request, write).statement
        tables = check(subject, self._resolver(subject, request))
        found = validated(subject, request.params, tables, self._binder_of_all(), self._session(request))
        return found if write is None else replace(found, statement_type=write.kind, columns=COUNT_COLUMNS)

    def _explanation(
        self, prepared: Prepared, physical: str, stages: list[dict[str, Any]], actual_scanned: int | None = None
    ) -> Explanation:
        asked = prepared.request.threshold != "auto"
        return explanation(
            prepared,
            physical,
            stages,
            asked_threshold=asked,
            automatic=not asked and self.settings.threshold == "auto",
            local_max_bytes=self.settings.local_max_bytes,
            actual_scanned=actual_scanned,
        )

    def _explained(self, prepared: Prepared, query_id: str) -> QueryResult:
        """EXPLAIN as a statement: its text as one row, under DuckDB's column names."""
        inner = prepared.statement.inner
        assert inner is not None
        table = explanation_table(self.explain(replace(prepared.request, sql=inner.sql)))
        stats = prepared.stats | {"engine": "planner", "exec_ms": 0.0, "elapsed_ms": prepared.stats["plan_ms"]}
        return QueryResult(query_id, table, (), "local", prepared.reason, stats, "EXPLAIN")

    def agents(self) -> list[AgentInfo]:
        """The pool's agents as they are now."""
        return self._pool.agents() if self._pool is not None else []

    def drain_agent(self, agent_id: str) -> None:
        """As `Connection.drain_agent`."""
        if self._pool is None or not self._pool.drain(agent_id):
            raise QueryError(f"there is no agent {agent_id} that takes tasks", code="NOT_FOUND", hint=LIST_AGENTS)

    def resume_agent(self, agent_id: str) -> None:
        """As `Connection.resume_agent`."""
        if self._pool is None or not self._pool.resume(agent_id):
            raise QueryError(
                f"there is no agent {agent_id} that is being drained and may be kept", code="NOT_FOUND", hint=LIST_AGENTS
            )

    def scale_agents(self, num_agents: int) -> None:
        """As `Connection.scale_agents`."""
        if not self.settings.agents.enabled:
            raise NotSupported("this engine was started without agents", hint="start it with at least one (--agents)")
        self.pool.scale(num_agents)

    def info(self) -> dict[str, Any]:
        """Versions of the engines."""
        import importlib.metadata  # 40 ms

        names = ("duckdb", "datafusion", "pyarrow", "numba", "sqlglot")
        return {"engines": {n: importlib.metadata.version(n) for n in names}, "cores": cores()}

    def ready(self) -> dict[str, Any]:
        """The checks of /readyz that the engine knows."""
        static = self.settings.agents.provider == "static"
        gone = {"draining", "lost"} if static else {"draining"}  # of those started elsewhere a lost one may never come back
        states = [agent.state for agent in self.agents() if agent.state not in gone]
        expected = len(states) if states or static else self.settings.agents.count
        return {"engine": "ok", "agents": f"{states.count('alive')}/{expected} alive"}

    def close(self) -> None:
        """Stop the agents and free everything."""
        if self._closed:
            return
        with self._pooling:
            self._closed = True
        if self._warming is not None:
            self._warming.join(WARM_S)
        if self._pool is not None:
            self._pool.stop()
        self.learning.close()
        self._writing.close()
        self.local.close()
        self.state.close()
        if self._binder is not None:
            self._binder.close()
        self.catalog.close()


def explanation_table(explanation: Explanation) -> pa.Table:
    """An explanation as the answer of a statement, under DuckDB's column names."""
    return pa.table({"explain_key": ["physical_plan"], "explain_value": [explanation.text]})


def stage_list(prepared: Prepared) -> list[dict[str, Any]]:
    """The stages of a planned query, as the contract lists them."""
    return stage_records(prepared.plan) if prepared.plan else []
