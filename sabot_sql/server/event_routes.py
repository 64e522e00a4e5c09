"""`GET /v1/queries/{id}/events`: a query's events as they come (server-sent events)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from starlette.types import Receive, Scope, Send

from sabot_sql.errors import QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.event_feed import EventFeed, EventFeeds
from sabot_sql.server.ownership import own_record
from sabot_sql.server.principal import Principal
from sabot_sql.server.threads import Threads

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_S = 15.0
RETRY_MS = 1000  # after which a browser connects again when the stream broke
FAREWELL_S = 1.0  # in which a client must take the end of its stream when the server stops
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="the last event that was received")]
HEADERS = ((b"content-type", EVENT_STREAM.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))


def add_event_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance, feeds: EventFeeds) -> None:
    """Adds the route of events."""

    def watchable(query_id: str, principal: Principal) -> QueryRecord:
        record = own_record(manager, query_id, principal)
        if record.trace is not None:
            record.trace.describe()  # not in the event loop
        return record

    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "the events as they come", "content": {EVENT_STREAM: {}}},
        204: {"description": "the query has ended, and the client has had its last event"},
    }

    @app.get("/v1/queries/{query_id}/events", tags=["queries"], response_class=Response, responses=answers)
    async def get_events(
        request: Request,
        query_id: str,
        last_event_id: Annotated[
            str | None, Header(alias="Last-Event-ID", description="the id of the last event that was received")
        ] = None,
    ) -> Response:
        """The events of a query until its end: state, progress, stage, warning, end."""
        after = event_id(last_event_id)
        record = await threads.start(watchable, query_id, request.state.principal)
        with feeds.reading(record) as feed:
            over = feed.ended and after >= feed.last_id
        if over:
            return Response(status_code=204)  # which tells a browser not to come again
        if request.state.head:
            return Response(headers={"Cache-Control": "no-store", "Content-Type": EVENT_STREAM})
        return EventStream(feeds, record, attendance, after)


def event_id(header: str | None) -> int:
    """The id in a `Last-Event-ID`; 0 without one.

    Raises:
        QueryError: BAD_REQUEST for what is no id of ours.
    """
    if not header:
        return 0
    if not (header.isascii() and header.isdigit() and len(header) <= 18):
        raise QueryError("Last-Event-ID is not the id of an event", hint="send the id of the last event, or leave it out")
    return int(header)


class EventStream(Response):
    """The events of a query after that of an id. It ends with the query, when the client leaves, and when the server stops."""

    def __init__(self, feeds: EventFeeds, record: QueryRecord, attendance: Attendance, after: int) -> None:
        super().__init__()
        self._feeds = feeds
        self._record = record
        self._attendance = attendance
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query_id = self._record.query_id
        with self._feeds.reading(self._record) as feed, self._attendance.asking(query_id):
            head = [*HEADERS, (b"x-sabot-query-id", query_id.encode()), (b"x-sabot-state", self._record.state.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            writing = self._write(feed, send)
            await first_of(writing, leaving(receive), self._feeds.closing())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"", "more_body": False}), FAREWELL_S)

    async def _write(self, feed: EventFeed, send: Send) -> None:
        """Send events as they come, and a comment now and then, so that nobody on the way takes the stream for dead."""

        async def put(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        await put(f"retry: {RETRY_MS}\n\n".encode())
        while True:
            ended, events = feed.ended, feed.after(self._after)
            if events:
                self._after = events[-1].id
                await put(b"".join(event.encode() for event in events))
            elif ended:
                return
            else:
                try:
                    await asyncio.wait_for(feed.news.wait(), KEEP_ALIVE_S)
                except TimeoutError:
                    await put(b": keep-alive\n\n")


async def leaving(receive: Receive) -> None:
    """Wait until the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(*calls: Coroutine[Any, Any, None]) -> None:
    """Wait for the first of some calls to end, and end the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
