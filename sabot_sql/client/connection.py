"""Connections: one class for the engine in this process and for a server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from sabot_sql.client.batch import JobBatch, Statement, read_statements
from sabot_sql.client.job import Job
from sabot_sql.client.options import LocalEngine, ParamsArgument, QueryOptions, Threshold, takes_options_of
from sabot_sql.client.other_names import CONNECTION, no_attribute
from sabot_sql.client.parameters import normalize_params
from sabot_sql.client.record import Record
from sabot_sql.client.result import Result
from sabot_sql.client.service import Service
from sabot_sql.engine.request import (
    MAX_PRIORITY,
    BatchRequest,
    Explanation,
    OnError,
    Order,
    ProgressCallback,
    QueryRequest,
    QueryStatus,
    Route,
    State,
)
from sabot_sql.errors import ConfigError, QueryError, ServiceError

ROUTES = ("auto", "local", "distributed")
ENGINES = ("duckdb", "datafusion")


def connect(
    url: str = "embedded:",
    *,
    data: Any = None,
    num_local_agents: int | None = None,
    state_dir: str | Path | None = None,
    db_path: str | Path | None = None,
    threshold: Threshold = "auto",
    engine: LocalEngine | None = None,
    threads: int | None = None,
    max_result_bytes: int | None = None,
    writable: bool | None = None,
    api_key: str | None = None,
    allow_insecure: bool = False,
    ca_file: str | None = None,
) -> Connection:
    """Opens a connection.

    Args:
        url: `embedded:` for an engine in this process, `embedded:///folder` for one that keeps its jobs there, or the
            http address of a server.
        data: (embedded) a folder, a dict name -> source, or a DuckDB file.
        num_local_agents: (embedded) agent processes for distributed queries; 2 by default.
        state_dir, db_path: (embedded) folder that keeps jobs beyond this process.
        threshold: rows from which a query is distributed, for queries that do not say; the server's own by default.
        engine: local engine, for queries that do not say.
        threads: (embedded) threads of the local engine.
        max_result_bytes: (embedded) largest answer of one query, 2 GiB by default; beyond it the query is RESULT_TOO_LARGE.
        writable: (embedded) let statements make, fill and drop tables, which are kept in the state folder.
        api_key: (server) bearer token; `$SABOT_API_KEY` by default.
        allow_insecure: (server) send it over plain http to another host too.
        ca_file: (server) certificates to trust instead of the system's.

    Raises:
        ConfigError: an argument is wrong or does not fit the url.
    """
    if engine is not None:
        _one_of("engine", engine, ENGINES)
    if url.startswith("embedded:"):
        if api_key is not None:
            raise ConfigError("api_key is for a server; the engine in this process asks for none")
        from sabot_sql.client.embedded import open_embedded

        agents = 2 if num_local_agents is None else num_local_agents
        service: Service = open_embedded(
            url, data, agents, state_dir, db_path, threshold, engine or "duckdb", threads, max_result_bytes=max_result_bytes,
            writable=bool(writable),
        )  # fmt: skip
        return Connection(service, url, writes=True)
    given = {
        "data": data, "num_local_agents": num_local_agents, "state_dir": state_dir, "db_path": db_path, "threads": threads,
        "max_result_bytes": max_result_bytes, "writable": writable,
    }  # fmt: skip
    if named := [name for name, value in given.items() if value is not None]:
        raise ConfigError(f"{named[0]} is for an engine in this process; {url} has its own")
    from sabot_sql.client.channel import Channel
    from sabot_sql.client.remote import RemoteService

    key = api_key if api_key is not None else os.environ.get("SABOT_API_KEY")
    return Connection(RemoteService(Channel(url, key, allow_insecure, ca_file)), url, threshold=threshold, engine=engine)


class Connection:
    """Runs SQL. May be used from several threads at once; a context manager that closes at its end."""

    def __init__(
        self, service: Service, url: str, threshold: Threshold = "auto", engine: LocalEngine | None = None,
        writes: bool = False,
    ) -> None:  # fmt: skip
        self.url = url
        self._service = service
        self._threshold = threshold
        self._engine = engine
        self._writes = writes
        self._closed = False

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            no_attribute(self, name, CONNECTION)

    def request(
        self,
        sql: str,
        params: ParamsArgument = None,
        *,
        route: Route = "auto",
        threshold: Threshold | None = None,
        engine: LocalEngine | None = None,
        timeout_s: float | None = None,
        dialect: str = "duckdb",
        catalog: str | None = None,
        schema: str | None = None,
        timezone: str | None = None,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        priority: int = 0,
    ) -> QueryRequest:
        """The checked request behind the arguments of `execute_sql`."""
        if not isinstance(sql, str):
            raise QueryError(f"sql is a {type(sql).__name__}, not a string")
        _one_of("route", route, ROUTES)
        if engine is not None:
            _one_of("engine", engine, ENGINES)
        rows = self._threshold if threshold is None else threshold
        if rows != "auto" and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
            raise QueryError(f'threshold is {rows!r}; give a number of rows from 0 up, or "auto"', code="INVALID_PARAMETER")
        if timeout_s is not None and not timeout_s > 0:
            raise QueryError(f"timeout_s is {timeout_s!r}; it must be above 0", code="INVALID_PARAMETER")
        if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
            raise QueryError(
                f"priority is {priority!r}; give a number from -{MAX_PRIORITY} to {MAX_PRIORITY}", code="INVALID_PARAMETER"
            )
        if self._closed:
            raise ServiceError("this connection is closed", hint="open another with connect()")
        return QueryRequest(
            sql=sql, params=normalize_params(params), route=route, threshold=rows, engine=engine or self._engine,
            timeout_s=timeout_s, dialect=dialect, catalog=catalog, schema=schema, timezone=timezone,
            tags={str(k): str(v) for k, v in (tags or {}).items()}, idempotency_key=idempotency_key, priority=priority,
            writes=self._writes,
        )  # fmt: skip

    @takes_options_of(request)
    def execute_sql(
        self,
        sql: str,
        params: ParamsArgument = None,
        *,
        row_limit: int | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[QueryOptions],
    ) -> Result:
        """Runs one statement and returns its whole answer.

        Args:
            params: mapping for `$name`, sequence for `$1` and `?`.
            row_limit: at most so many rows of the answer; `result.truncated` says whether there were more.
            progress: called now and then while a distributed query runs, and at its end, with the stages, tasks and rows so
                far.
            options: where and how it runs, see `QueryOptions`.

        Raises:
            SabotError: the class says who must act, `code` what it is.
        """
        request = self.request(sql, params, **options)
        if row_limit is not None and row_limit < 0:
            raise QueryError(f"row_limit is {row_limit}; it cannot be negative", code="INVALID_PARAMETER")
        return self.run(request, progress, row_limit=row_limit)

    def run(
        self,
        request: QueryRequest,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        row_limit: int | None = None,
    ) -> Result:
        """As `execute_sql`, for a request that stands; setting `cancel` from another thread cancels it."""
        return Result(self._service.execute(request, progress, cancel), row_limit)

    @takes_options_of(request)
    def submit(self, sql: str, params: ParamsArgument = None, **options: Unpack[QueryOptions]) -> Job:
        """Starts a statement in the background; arguments as in `execute_sql`."""
        return Job(self._service, self._service.submit(self.request(sql, params, **options)).query_id)

    @takes_options_of(request)
    def submit_jobs_batch(
        self,
        statements: Iterable[Statement],
        order: Order = "parallel",
        on_error: OnError = "continue",
        max_parallel: int = 4,
        **options: Unpack[QueryOptions],
    ) -> JobBatch:
        """Starts several statements in one request; they have a record of their own together, and go on together after a
        restart.

        Args:
            statements: up to 1,000: texts, pairs of text and parameters, or mappings with `sql`, `params` and `name`.
            order: `sequential`: one begins when the one before it has ended.
            on_error: `stop`: after one that fails no other begins.
            max_parallel: how many run at once, at most.
            options: those of `submit`, for all of them; the idempotency key is the batch's.
        """
        key = options.pop("idempotency_key", None)
        requests = [(name, self.request(sql, params, **options)) for name, sql, params in read_statements(statements)]
        request = BatchRequest(requests, order, on_error, max_parallel, idempotency_key=key)
        return JobBatch(self._service, self._open().submit_batch(request))

    def job(self, query_id: str) -> Job:
        """The job of that id; QUERY_NOT_FOUND when there is none."""
        return Job(self._open(), self._service.status(query_id).query_id)

    def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        """The last `limit` queries, newest first."""
        return self._open().list_jobs(state, user, limit)

    @takes_options_of(request)
    def explain(
        self, sql: str, params: ParamsArgument = None, *, analyze: bool = False, **options: Unpack[QueryOptions]
    ) -> Explanation:
        """Where the statement would run, why, and its plan; with `analyze` it is run and the plan has figures."""
        return self._service.explain(self.request(sql, params, **options), analyze)

    def tables(self) -> list[Record]:
        """The tables: mappings with name, rows, bytes, format, location, ..."""
        return self._open().tables()

    def skipped(self) -> list[str]:
        """What lies in the data and is not read: files, and what of DuckDB files statements cannot use, with the reason."""
        return self._open().skipped()

    def table(self, name: str) -> Record:
        """One table, with its columns and what is known of their values."""
        return self._open().table(name)

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        """Makes `source` (folder, path, glob, Arrow table or DataFrame) the table `name`. An engine in this process reads files
        where they lie; a server is sent their rows, and keeps them.

        Raises:
            QueryError: TABLE_EXISTS, unless `replace`; of a server also READ_ONLY: the table is of the data that it was started
                with; PERMISSION_DENIED: the key is no writer's.
        """
        self._open().register(name, source, replace)

    def unregister(self, name: str) -> None:
        """Takes a registered table out of the catalog. Files that an engine in this process reads stay; a server drops the rows
        that it was sent."""
        self._open().unregister(name)

    def agents(self) -> list[Record]:
        """The agents: mappings with id, pid, state, flight_uri, ..."""
        return self._open().agents()

    def drain_agent(self, agent_id: str) -> None:
        """Gives an agent no more tasks, lets it finish those it has and hand over its blocks, and ends it; does not wait.

        Raises:
            QueryError: NOT_FOUND: there is no such agent that takes tasks.
        """
        self._open().drain_agent(agent_id)

    def resume_agent(self, agent_id: str) -> None:
        """Keeps an agent that is being drained.

        Raises:
            QueryError: NOT_FOUND: no such agent is being drained.
        """
        self._open().resume_agent(agent_id)

    def scale_agents(self, num_agents: int) -> None:
        """Starts agents, or drains the newest ones, until there are so many; does not wait. Queries that run go on.

        Raises:
            NotSupported: the agents were started elsewhere, or the engine has none.
        """
        self._open().scale_agents(num_agents)

    def info(self) -> dict[str, Any]:
        """Versions, formats and limits of the engine."""
        return self._open().info()

    def _open(self) -> Service:
        if self._closed:
            raise ServiceError("this connection is closed", hint="open another with connect()")
        return self._service

    def close(self) -> None:
        """Closes the connection, and the engine behind an embedded one. Closing twice does no harm."""
        if not self._closed:
            self._closed = True
            self._service.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.url}{' (closed)' if self._closed else ''}>"


@takes_options_of(Connection.request)
def execute_sql(
    sql: str,
    params: ParamsArgument = None,
    *,
    data: Any = None,
    url: str | None = None,
    row_limit: int | None = None,
    progress: ProgressCallback | None = None,
    **options: Unpack[QueryOptions],
) -> Result:
    """Runs one statement on a connection of its own: to `url` or `$SABOT_URL`, else in this process over `data`.

    Args:
        options: those of `Connection.execute_sql`.
    """
    address = url or (os.environ.get("SABOT_URL") if data is None else None)
    with connect(address) if address else _one_shot({} if data is None else data, options.get("route")) as db:
        return db.execute_sql(sql, params, row_limit=row_limit, progress=progress, **options)


def _one_shot(data: Any, route: Route | None) -> Connection:
    """An engine that starts its agents only for a query that needs them."""
    from sabot_sql.client.embedded import open_embedded

    lazy = route != "distributed"
    return Connection(open_embedded("embedded:", data, 2, None, None, "auto", "duckdb", None, lazy), "embedded:")


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise QueryError(f"{name} is {value!r}; it is one of {', '.join(allowed)}", code="INVALID_PARAMETER")
