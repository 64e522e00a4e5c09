"""Routes of queries that have an id: status, list, result, cancel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response

from sabot_sql.client.contract import is_terminal, status_to_json
from sabot_sql.engine.request import QueryStatus
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.cursors import no_cursor, read_cursor, write_cursor
from sabot_sql.server.formats import Encoding, choose_format, encode
from sabot_sql.server.ownership import own_record
from sabot_sql.server.preferences import read_preferences
from sabot_sql.server.principal import Principal
from sabot_sql.server.responses import json_response, status_response
from sabot_sql.server.sql_request import MAX_WAIT_MS, FormatName
from sabot_sql.server.statements import Rows, answer
from sabot_sql.server.threads import Threads

RESULT_FORMATS = ("json", "ndjson", "csv", "arrow", "parquet")

WaitMs = Annotated[int, Query(ge=0, le=MAX_WAIT_MS, description="how long to wait for the query's end")]
StateName = Literal["queued", "planning", "running", "finishing", "finished", "failed", "cancelled", "expired"]


def add_query_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance) -> None:
    """Adds the routes under `/v1/queries`. A caller sees only queries of their own, an admin all."""

    def own_status(query_id: str, principal: Principal, wait_s: float = 0.0) -> QueryStatus:
        status = own_record(manager, query_id, principal).status()
        if wait_s and not is_terminal(status):
            status = threads.wait_for_end(manager, query_id, wait_s)
        return status

    def cancel(query_id: str, principal: Principal) -> QueryStatus:
        status = own_status(query_id, principal)
        return status if is_terminal(status) else manager.cancel(query_id)

    def delete(query_id: str, principal: Principal) -> QueryStatus:
        own_status(query_id, principal)
        return manager.delete(query_id)

    def read_result(query_id: str, principal: Principal, how: Encoding, offset: int, limit: int | None) -> Rows:
        own_status(query_id, principal)
        result = manager.result(query_id)
        if offset or limit is not None:
            result.table = result.table.slice(offset, limit)
        return Rows(result, encode(result, how))

    @app.get("/v1/queries/{query_id}", tags=["queries"])
    async def get_query(request: Request, query_id: str, wait_ms: WaitMs | None = None) -> Response:
        """The status of a query; waits up to `wait_ms`, or as `Prefer: wait=` says, for its end."""
        preferences = read_preferences(request.headers.get("prefer"))
        if wait_ms is None and (preferred_ms := preferences.wait_ms(MAX_WAIT_MS)) is not None:
            wait_ms, request.state.applied = preferred_ms, preferences.applied
        with attendance.asking(query_id):
            return status_response(await threads.start(own_status, query_id, request.state.principal, (wait_ms or 0) / 1000))

    @app.get("/v1/queries", tags=["queries"])
    async def list_queries(
        request: Request,
        state: StateName | None = None,
        user: str | None = None,
        q: Annotated[str | None, Query(description="text within the statement")] = None,
        since: Annotated[dt.datetime | None, Query(description="submitted at or after")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        cursor: Annotated[str | None, Query(description="the next_cursor of the page before")] = None,
    ) -> Response:
        """The caller's queries, newest first, a page at a time; to an admin those of all users, or of `user`."""
        before = place_after(cursor)
        principal: Principal = request.state.principal
        if user is not None and not principal.sees(user):
            return json_response({"queries": [], "next_cursor": None})
        if user is None and principal.role != "admin":
            user = principal.user
        aware = since if since is None or since.tzinfo else since.replace(tzinfo=dt.UTC)
        since_s = None if aware is None else aware.timestamp()
        found = await threads.start(manager.list, state, user, limit + 1, q, since_s, before)
        page = [status_to_json(status) for status in found[:limit]]
        return json_response({"queries": page, "next_cursor": cursor_of(found[limit - 1]) if len(found) > limit else None})

    @app.get("/v1/queries/{query_id}/result", tags=["queries"], response_class=Response)
    async def get_result(
        request: Request,
        query_id: str,
        format: FormatName | None = None,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int | None, Query(ge=0)] = None,
    ) -> Response:
        """The whole answer of a finished query, or `limit` rows from `offset`."""
        how = Encoding(choose_format(request.headers.get("accept"), format, RESULT_FORMATS))
        with attendance.asking(query_id):
            return answer(await threads.start(read_result, query_id, request.state.principal, how, offset, limit))

    @app.post("/v1/queries/{query_id}/cancel", tags=["queries"])
    async def cancel_query(request: Request, query_id: str) -> Response:
        """Asks a query to stop: 202, or 200 with the last status when it has already ended."""
        return cancelling(await threads.start(cancel, query_id, request.state.principal))

    @app.delete("/v1/queries/{query_id}", tags=["queries"])
    async def delete_query(request: Request, query_id: str) -> Response:
        """Cancels a query that runs; of one that has ended it deletes the result."""
        return cancelling(await threads.start(delete, query_id, request.state.principal))


def cursor_of(last: QueryStatus) -> str:
    """The cursor of the page after the one that ends with a query."""
    assert last.submitted_at is not None
    return write_cursor(round(last.submitted_at.timestamp() * 1e6), last.query_id)


def place_after(cursor: str | None) -> tuple[int, str] | None:
    """The place that `cursor_of` wrote down."""
    match read_cursor(cursor):
        case None:
            return None
        case [int(micros), str(query_id)]:
            return micros, query_id
    raise no_cursor()


def cancelling(status: QueryStatus) -> Response:
    """The answer to a request to cancel."""
    if is_terminal(status):
        return status_response(status)
    return json_response({"query_id": status.query_id, "state": status.state, "cancel_requested": True}, 202)
