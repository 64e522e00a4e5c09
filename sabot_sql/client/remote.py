"""A sabot-sql server as a connection sees it: the HTTP contract."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import uuid
from typing import Any

import pyarrow as pa

from sabot_sql.client.channel import Answer, Channel
from sabot_sql.client.contract import (
    ARROW_STREAM,
    CATALOG,
    QUERY_METADATA,
    SCHEMA,
    batch_from_json,
    explanation_from_json,
    is_terminal,
    result_from_json,
    status_from_json,
)
from sabot_sql.client.parameters import params_to_json
from sabot_sql.client.record import Record
from sabot_sql.client.reporter import Reporter
from sabot_sql.engine.request import (
    BatchRequest,
    BatchStatus,
    Explanation,
    Progress,
    ProgressCallback,
    QueryRequest,
    QueryResult,
    QueryStatus,
    State,
)
from sabot_sql.errors import ExecutionError, PlanError, QueryError, QueryTimeout, SabotError

FIRST_WAIT_MS = 2000  # until a query has an id here that can be cancelled
POLL_MS = 10_000
PROGRESS_POLL_MS = 250
CANCEL_POLL_MS = 200
UPLOAD_S = 3600.0  # for a server to take a table and write it
GRACE_S = 5.0  # beyond timeout_s, before the client gives up on a server that does not


class RemoteService:
    """Runs queries on the server behind `channel`."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def execute(
        self, request: QueryRequest, progress: ProgressCallback | None = None, cancel: threading.Event | None = None
    ) -> QueryResult:
        reporter = Reporter(progress) if progress is not None else None
        first_ms = FIRST_WAIT_MS if cancel is None and progress is None else CANCEL_POLL_MS
        answer = self._post_sql(request, first_ms, accept=ARROW_STREAM)
        if answer.status == 200:
            result = read_arrow(answer.data)
        else:
            status = self._to_end(request, status_from_json(answer.json()), reporter, cancel)
            result = self._result(status.query_id, request.sql)
        if reporter is not None and result.route == "distributed":
            reporter(progress_at_end(result.stats))
            result.warnings = [*result.warnings, *reporter.warnings]
        return result

    def _to_end(
        self, request: QueryRequest, status: QueryStatus, reporter: Reporter | None, cancel: threading.Event | None
    ) -> QueryStatus:
        """Waits for the end of a query that runs; stops it when `cancel` is set or its time is up."""
        begun = time.monotonic()
        try:
            while not is_terminal(status):
                if reporter is not None and status.route == "distributed":
                    reporter(status.progress)
                if cancel is not None and cancel.is_set():
                    status = self._stop(status.query_id)
                    break
                if request.timeout_s is not None and time.monotonic() - begun > request.timeout_s + GRACE_S:
                    self._stop(status.query_id)
                    raise QueryTimeout(f"no answer within {request.timeout_s:g} s", query_id=status.query_id)
                status = self.status(status.query_id, _poll_s(reporter, cancel, request.timeout_s))
        except KeyboardInterrupt:
            self._stop(status.query_id)
            raise
        return status

    def _stop(self, query_id: str) -> QueryStatus:
        try:
            self.cancel(query_id)
            return self.status(query_id, wait_s=GRACE_S)
        except SabotError:
            # the server is gone, or has forgotten the query: there is nothing left to stop
            return QueryStatus(query_id, "cancelled", "", "")

    def submit(self, request: QueryRequest) -> QueryStatus:
        key = request.idempotency_key or uuid.uuid4().hex
        try:
            answer = self._post_sql(request, 0, accept="application/json", key=key, row_limit=0)
        except SabotError as error:
            if error.query_id is None:
                raise
            return self.status(error.query_id)  # the query failed at once, and its status says how
        return status_from_json(answer.json())

    def _post_sql(self, request: QueryRequest, wait_ms: int, accept: str, key: str | None = None, **more: Any) -> Answer:
        body = {**request_to_json(request), "wait_ms": wait_ms, **more}
        headers = {"Accept": accept}
        if key := key or request.idempotency_key:
            headers["Idempotency-Key"] = key
        return self.channel.call("POST", "/v1/sql", body=body, headers=headers, sql=request.sql, repeatable=key is not None)

    def status(self, query_id: str, wait_s: float = 0) -> QueryStatus:
        wait_ms = min(60_000, int(wait_s * 1000))
        answer = self.channel.call("GET", f"/v1/queries/{_quote(query_id)}?wait_ms={wait_ms}", wait_s=wait_ms / 1000)
        return status_from_json(answer.json())

    def result(self, query_id: str) -> QueryResult:
        return self._result(query_id, None)

    def _result(self, query_id: str, sql: str | None) -> QueryResult:
        headers = {"Accept": ARROW_STREAM}
        answer = self.channel.call("GET", f"/v1/queries/{_quote(query_id)}/result", headers=headers, sql=sql)
        return read_arrow(answer.data)

    def cancel(self, query_id: str) -> QueryStatus:
        self.channel.call("POST", f"/v1/queries/{_quote(query_id)}/cancel")
        return self.status(query_id)

    def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        asked = {"state": state, "user": user, "limit": str(limit)}
        query = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
        return [status_from_json(q) for q in self.channel.call("GET", f"/v1/queries?{query}").json()["queries"]]

    def submit_batch(self, request: BatchRequest) -> BatchStatus:
        statements = [{"name": name, **request_to_json(each)} for name, each in request.statements]
        body = {"statements": statements, "order": request.order, "on_error": request.on_error}
        key = request.idempotency_key or uuid.uuid4().hex
        answer = self.channel.call(
            "POST", "/v1/batch", body={**body, "max_parallel": request.max_parallel}, headers={"Idempotency-Key": key},
            repeatable=True,
        )  # fmt: skip
        return batch_from_json(answer.json())

    def batch_status(self, batch_id: str, wait_s: float = 0) -> BatchStatus:
        wait_ms = min(60_000, int(wait_s * 1000))
        answer = self.channel.call("GET", f"/v1/batches/{_quote(batch_id)}?wait_ms={wait_ms}", wait_s=wait_ms / 1000)
        return batch_from_json(answer.json())

    def cancel_batch(self, batch_id: str) -> BatchStatus:
        return batch_from_json(self.channel.call("POST", f"/v1/batches/{_quote(batch_id)}/cancel").json())

    def retry(self, query_id: str) -> QueryStatus:
        return status_from_json(self.channel.call("POST", f"/v1/queries/{_quote(query_id)}/retry").json())

    def explain(self, request: QueryRequest, analyze: bool = False) -> Explanation:
        body = {**request_to_json(request), "analyze": analyze}
        wait_s = (request.timeout_s or 3600.0) if analyze else 0.0
        answer = self.channel.call("POST", "/v1/explain", body=body, sql=request.sql, wait_s=wait_s)
        return explanation_from_json(answer.json())

    def tables(self) -> list[Record]:
        return [Record(table) for table in self.channel.call("GET", "/v1/tables?columns=1").json()["tables"]]

    def skipped(self) -> list[str]:
        return list(self.channel.call("GET", "/v1/tables?limit=1").json().get("skipped") or [])

    def table(self, name: str) -> Record:
        wanted = name.rpartition(".")[2].strip('"')
        for table in self.tables():
            if table["name"].lower() == wanted.lower():
                path = "/".join(_quote(table[part]) for part in ("catalog", "schema", "name"))
                return Record(self.channel.call("GET", f"/v1/tables/{path}").json())
        raise QueryError(f"there is no table {name}; tables() lists them", code="UNDEFINED_TABLE")

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        from sabot_sql.client.uploads import upload_of  # 10 ms, which a query need not wait for

        upload = upload_of(name, source)
        path = f"/v1/tables/{CATALOG}/{SCHEMA}/{_quote(name)}/data?mode={'replace' if replace else 'create'}"
        self.channel.upload(path, upload.content_type, upload.pieces(), upload.length, UPLOAD_S)

    def unregister(self, name: str) -> None:
        try:
            self.channel.call("DELETE", f"/v1/tables/{CATALOG}/{SCHEMA}/{_quote(name)}")
        except QueryError as error:
            if error.problem.code != "NOT_FOUND":
                raise
            raise PlanError(f'table "{name}" does not exist', code="UNDEFINED_TABLE", hint=error.hint) from error

    def agents(self) -> list[Record]:
        return [Record(agent) for agent in self.channel.call("GET", "/v1/agents").json()["agents"]]

    def drain_agent(self, agent_id: str) -> None:
        self.channel.call("POST", f"/v1/agents/{_quote(agent_id)}/drain")

    def resume_agent(self, agent_id: str) -> None:
        self.channel.call("POST", f"/v1/agents/{_quote(agent_id)}/resume")

    def scale_agents(self, num_agents: int) -> None:
        self.channel.call("PUT", "/v1/cluster/agents", body={"desired": num_agents})

    def info(self) -> dict[str, Any]:
        return dict(self.channel.call("GET", "/v1/info").json())

    def close(self) -> None:
        self.channel.close()


def request_to_json(request: QueryRequest) -> dict[str, Any]:
    """The body of `POST /v1/sql` and `/v1/explain`; what has its default is left out."""
    params, types = params_to_json(request.params)
    body = {
        "sql": request.sql,
        "params": params,
        "param_types": types or None,
        "route": request.route if request.route != "auto" else None,
        "threshold": request.threshold if request.threshold != "auto" else None,
        "engine": request.engine,
        "timeout_ms": max(1, int(request.timeout_s * 1000)) if request.timeout_s is not None else None,
        "dialect": request.dialect if request.dialect != "duckdb" else None,
        "catalog": request.catalog,
        "schema": request.schema,
        "timezone": request.timezone,
        "tags": request.tags or None,
        "priority": request.priority or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def progress_at_end(stats: dict[str, Any]) -> Progress:
    """The progress of a distributed query at its end."""
    names = ("stages", "stages", "tasks", "tasks", "rows_scanned", "bytes_shuffled", "bytes_scanned")
    return Progress(*(int(stats.get(name) or 0) for name in names))


def read_arrow(body: bytes) -> QueryResult:
    """The answer in an Arrow stream: the table, and what the schema's metadata says of the query.

    Raises:
        ExecutionError: when rows are missing.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            table = stream.read_all()
    except (pa.ArrowInvalid, OSError) as exc:
        raise ExecutionError(f"the answer is not a whole Arrow stream: {exc}", retryable=True) from exc
    metadata = dict(table.schema.metadata or {})
    meta = json.loads(metadata.pop(QUERY_METADATA, b"{}"))
    if (expected := meta.get("row_count")) is not None and expected != table.num_rows:
        raise ExecutionError(
            f"the answer is incomplete: {table.num_rows:,} of {expected:,} rows arrived",
            hint="run the query again",
            query_id=meta.get("query_id"),
            retryable=True,
        )
    return result_from_json(meta, table.replace_schema_metadata(metadata or None))


def _poll_s(reporter: Reporter | None, cancel: threading.Event | None, timeout_s: float | None) -> float:
    wait_ms = CANCEL_POLL_MS if cancel is not None else PROGRESS_POLL_MS if reporter is not None else POLL_MS
    return min(wait_ms / 1000, (timeout_s or 60.0) + 1.0)


def _quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")
