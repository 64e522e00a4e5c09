"""`POST /v1/sql`: run one statement."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sabot_sql.client.contract import is_terminal
from sabot_sql.engine.request import QueryRequest, QueryResult, QueryStatus
from sabot_sql.errors import SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.formats import Encoded, Encoding, choose_format, encode
from sabot_sql.server.problems import problem_response
from sabot_sql.server.responses import REPLAYED, stats_headers, status_response
from sabot_sql.server.sql_request import SqlBody, idempotency_key, read_sql_body, read_sql_query
from sabot_sql.server.threads import Threads

INLINE_FORMATS = ("json", "ndjson", "csv", "arrow")
DIRECT_WAIT_S = 0.2  # requests that wait at least so long are run in the thread that answers them
UNWATCHED_S = 0.05  # a request is not watched for a client that goes away before that
STOP_S = 5.0  # for a cancelled query to end before the request is answered without it
BINDING_S = 0.02  # in which a local query that cannot run says so


@dataclass(slots=True)
class Run:
    """One statement on its way through a thread.

    Attributes:
        cancel: set to stop the query.
        goes_on: the query goes on after its wait, whether or not anybody asks for it.
        detached: the request was answered with 202; whoever wants the rows asks for them by the query's id.
        replayed: the query was asked before, under the same key.
    """

    request: QueryRequest
    how: Encoding
    wait_s: float
    cancel_after_wait: bool
    goes_on: bool
    cancel: threading.Event = field(default_factory=threading.Event)
    detached: bool = False
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """A finished query and its written answer."""

    result: QueryResult
    encoded: Encoded


async def post_sql(request: Request, manager: JobManager, threads: Threads, attendance: Attendance) -> Response:
    """Answers `POST /v1/sql`, and `GET /v1/sql`, which has everything in its query string."""
    body = await (read_sql_query(request) if request.method == "GET" else read_sql_body(request))
    body.refuse_what_is_not_built()
    how = encoding_of(body, request.headers.get("accept"))
    key = idempotency_key(request)
    after = body.on_wait_timeout
    asked = body.to_request(request.state.principal, key)
    if request.method == "GET":  # a link that somebody follows writes nothing
        asked = dataclasses.replace(asked, writes=False)
    run = Run(asked, how, body.wait_ms / 1000, after == "cancel", after == "continue")
    if key is None and run.wait_s >= DIRECT_WAIT_S:
        return await answer_directly(request, manager, threads, attendance, run)
    try:
        found = await threads.start(submit_and_wait, manager, threads, run)
        response = answer(found) if isinstance(found, Rows) else status_response(found, 202)
    except SabotError as error:
        response = problem_response(error, request.state.request_id)
    if run.replayed:
        response.headers[REPLAYED] = "true"
    return response


def encoding_of(body: SqlBody, accept: str | None) -> Encoding:
    """How the answer is to be written; row and byte limits hold for the inline text formats only."""
    name = choose_format(accept, body.format, INLINE_FORMATS)
    if name == "arrow":
        return Encoding("arrow")
    return Encoding(name, body.row_limit, body.byte_limit, body.json_int64 == "string")


def submit_and_wait(manager: JobManager, threads: Threads, run: Run) -> Rows | QueryStatus:
    """A query that is likely to outlive its request: the engine runs it in a thread of its own, this one waits."""
    status = manager.submit(run.request)
    run.replayed = "replayed" in status.stats
    wait_s = max(run.wait_s, BINDING_S) if status.route == "local" else run.wait_s
    if not is_terminal(status) and wait_s:
        status = threads.wait_for_end(manager, status.query_id, wait_s)
    if not is_terminal(status):
        if not run.cancel_after_wait:
            return status
        manager.cancel(status.query_id)
        status = threads.wait_for_end(manager, status.query_id, STOP_S)
        if not is_terminal(status):
            return status
    return stored_rows(manager, status.query_id, run.how)


def stored_rows(manager: JobManager, query_id: str, how: Encoding) -> Rows:
    """The answer of a query that has ended; raises its error when it failed."""
    result = manager.result(query_id)
    return Rows(result, encode(result, how))


def run_directly(manager: JobManager, run: Run) -> Rows | None:
    """The local route, whole in one thread."""
    result = manager.execute(run.request, None, run.cancel)
    if run.detached:
        manager.keep(result)
        return None
    encoded = encode(result, run.how)
    if encoded.truncated:
        manager.keep(result)  # the answer links to the whole of it
    return Rows(result, encoded)


async def answer_directly(
    request: Request, manager: JobManager, threads: Threads, attendance: Attendance, run: Run
) -> Response:
    """Runs a query that is likely to end within its wait; one that does not goes on in its thread, known by its id."""
    future = threads.start(run_directly, manager, run)
    if not await ends_within(future, UNWATCHED_S):
        await wait_while_client_stays(request, future, run)
    if not future.done():
        if run.cancel_after_wait:
            run.cancel.set()
            await asyncio.wait((future,), timeout=STOP_S)
        if not future.done() and (record := record_of(manager, run.request)) is not None:
            run.detached = record.kept = True
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            await acceptance(record)
            if not record.terminal:
                if not run.goes_on:
                    attendance.expect(record.query_id)
                return status_response(record.status(), 202)
            return answer(await threads.start(stored_rows, manager, record.query_id, run.how))
    found = await future
    assert found is not None
    return answer(found)


async def ends_within(future: asyncio.Future[Any], timeout_s: float) -> bool:
    """Waits for the end of `future`, at most `timeout_s`; `asyncio.wait` does it too, for twice as much."""
    loop = asyncio.get_running_loop()
    either = loop.create_future()

    def wake(_: object = None) -> None:
        if not either.done():
            either.set_result(None)

    timer = loop.call_later(timeout_s, wake)
    future.add_done_callback(wake)
    try:
        await either
    finally:
        timer.cancel()
        future.remove_done_callback(wake)
    return future.done()


async def wait_while_client_stays(request: Request, future: asyncio.Future[Any], run: Run) -> None:
    """Waits for the query's end; cancels it when the connection closes before, as nobody knows its id then."""
    leaving = asyncio.ensure_future(request.receive())
    try:
        waiting = {future, leaving}
        await asyncio.wait(waiting, timeout=run.wait_s - UNWATCHED_S, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and leaving.result()["type"] == "http.disconnect":
            run.cancel.set()
            await asyncio.wait((future,), timeout=STOP_S)
    finally:
        leaving.cancel()


def record_of(manager: JobManager, request: QueryRequest) -> QueryRecord | None:
    """The manager's record of a query that `execute` is running."""
    return next((record for record in manager.log.newest_first() if record.request is request), None)


async def acceptance(record: QueryRecord) -> None:
    """Waits until the query is planned, and a distributed one in the job database; or until it has ended."""
    accepted, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped
            loop.call_soon_threadsafe(accepted.set)

    record.when_accepted(tell)
    await accepted.wait()


def answer(rows: Rows) -> Response:
    """200: the rows, and in the headers what a body of rows alone cannot say."""
    result, encoded = rows.result, rows.encoded
    headers = {
        "X-Sabot-Query-Id": result.query_id,
        "X-Sabot-Route": result.route,
        "X-Sabot-State": "finished",
        "X-Sabot-Row-Count": str(result.table.num_rows),
        "Cache-Control": "no-store",
        **stats_headers(result.stats),
    }
    if encoded.truncated:
        headers["X-Sabot-Truncated"] = "true"
    if isinstance(encoded.body, bytes):
        return Response(encoded.body, 200, headers, encoded.media_type)
    return StreamingResponse(encoded.body, 200, headers, encoded.media_type)
