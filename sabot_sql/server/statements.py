"""`POST /v1/sql`: run one statement."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sabot_sql.client.contract import is_terminal
from sabot_sql.engine.request import QueryRequest, QueryResult, QueryStatus
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.formats import Encoded, Encoding, choose_format, encode
from sabot_sql.server.responses import status_response
from sabot_sql.server.sql_request import SqlBody, idempotency_key, read_sql_body
from sabot_sql.server.threads import Threads

INLINE_FORMATS = ("json", "ndjson", "csv", "arrow")
UNWATCHED_S = 0.05  # a request is not watched for a client that goes away before that
TIMINGS = (("parse", "parse_ms"), ("plan", "plan_ms"), ("queue", "queue_ms"), ("exec", "exec_ms"))


@dataclass(slots=True)
class Outcome:
    """What became of a statement within its wait: its answer, or its status."""

    status: QueryStatus
    result: QueryResult | None = None
    encoded: Encoded | None = None


@dataclass(slots=True)
class Run:
    """One statement on its way through a thread.

    Attributes:
        query_id: known as soon as the engine has taken the query.
        abandoned: nobody waits for the answer any more.
    """

    request: QueryRequest
    wait_s: float
    how: Encoding
    cancel_after_wait: bool = False
    query_id: str | None = None
    abandoned: bool = False


def run_to_outcome(manager: JobManager, threads: Threads, run: Run) -> Outcome:
    """Submits the query, waits for it and writes its answer; in a thread."""
    status = manager.submit(run.request)
    run.query_id = status.query_id
    if run.abandoned:
        manager.cancel(status.query_id)
    if not is_terminal(status):
        status = threads.wait_for_end(manager, status.query_id, run.wait_s)
    if not is_terminal(status):
        if run.cancel_after_wait:
            status = manager.cancel(status.query_id)
        if not is_terminal(status):
            return Outcome(status)
    result = manager.result(status.query_id)
    return Outcome(status, result, encode(result, run.how))


async def post_sql(request: Request, manager: JobManager, threads: Threads) -> Response:
    """Answers `POST /v1/sql`."""
    body = await read_sql_body(request)
    body.refuse_what_is_not_built()
    how = encoding_of(body, request.headers.get("accept"))
    key = idempotency_key(request)
    run = Run(
        body.to_request(request.state.user, key), body.wait_ms / 1000, how, cancel_after_wait=body.on_wait_timeout == "cancel"
    )
    future = threads.start(run_to_outcome, manager, threads, run)
    if key is None and not (await asyncio.wait((future,), timeout=UNWATCHED_S))[0]:
        await cancel_if_client_leaves(request, future, manager, threads, run)
    outcome = await future
    if outcome.result is None or outcome.encoded is None:
        return status_response(outcome.status, 202)
    return answer(outcome.result, outcome.encoded)


def encoding_of(body: SqlBody, accept: str | None) -> Encoding:
    """How the answer is to be written; row and byte limits hold for the inline text formats only."""
    name = choose_format(accept, body.format, INLINE_FORMATS)
    if name == "arrow":
        return Encoding("arrow")
    return Encoding(name, body.row_limit, body.byte_limit, body.json_int64 == "string")


async def cancel_if_client_leaves(
    request: Request, future: asyncio.Future[Outcome], manager: JobManager, threads: Threads, run: Run
) -> None:
    """Waits for the outcome; cancels the query when the connection closes before, as nobody knows its id then."""
    leaving = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((future, leaving), return_when=asyncio.FIRST_COMPLETED)
        if leaving.done() and leaving.result()["type"] == "http.disconnect" and not future.done():
            run.abandoned = True
            if run.query_id is not None:
                await threads.start(manager.cancel, run.query_id)
    finally:
        leaving.cancel()


def answer(result: QueryResult, encoded: Encoded) -> Response:
    """200: the rows, and in the headers what a body of rows alone cannot say."""
    headers = {
        "X-Sabot-Query-Id": result.query_id,
        "X-Sabot-Route": result.route,
        "X-Sabot-State": "finished",
        "X-Sabot-Stats": json.dumps(result.stats, separators=(",", ":")),
        "X-Sabot-Row-Count": str(result.table.num_rows),
        "Server-Timing": ", ".join(f"{name};dur={result.stats[key]:.2f}" for name, key in TIMINGS if key in result.stats),
        "Cache-Control": "no-store",
    }
    if encoded.truncated:
        headers["X-Sabot-Truncated"] = "true"
    if isinstance(encoded.body, bytes):
        return Response(encoded.body, 200, headers, encoded.media_type)
    return StreamingResponse(encoded.body, 200, headers, encoded.media_type)
