"""A body that is received into a file, piece by piece, within its limits; nothing of it is held and nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from sabot_sql.catalog.incoming import Format, too_late
from sabot_sql.catalog.put_tables import Body
from sabot_sql.client.contract import ARROW_STREAM, CSV, PARQUET
from sabot_sql.errors import Overloaded, QueryError, SabotError
from sabot_sql.server.sql_request import content_type
from sabot_sql.server.threads import Threads

PIECE_BYTES = 1 << 20
MOST_UPLOADS = 32
FORMATS: dict[str, Format] = {ARROW_STREAM: "arrow", PARQUET: "parquet", CSV: "csv"}


class Uploads:
    """How many bodies are on their way."""

    def __init__(self) -> None:
        self._now = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Counts one for as long as it takes.

        Raises:
            Overloaded: there are too many.
        """
        if self._now >= MOST_UPLOADS:
            raise Overloaded(f"{self._now} uploads are in progress; try again shortly", retryable=True)
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1


def format_of_body(request: Request) -> Format:
    """What the body is said to be.

    Raises:
        QueryError: it is none of what makes a table, or compressed.
    """
    kind = content_type(request)
    if kind not in FORMATS:
        raise QueryError(f"the body is {kind or 'of no type'}", hint=f"send {', '.join(FORMATS)} as Content-Type")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise QueryError(f"the body is encoded as {coding[:32]}", hint="send it as it is; Parquet is compressed inside")
    charset = request.headers.get("content-type", "").lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise QueryError(f"the body is in {charset[:32]}", hint="send UTF-8")
    return FORMATS[kind]


def refuse_too_large(request: Request, limit_bytes: int) -> None:
    """Raise for a body that says itself that it is too large.

    Raises:
        QueryError: BODY_TOO_LARGE.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise upload_too_large(limit_bytes)


async def receive(request: Request, body: Body, threads: Threads, limit_bytes: int, timeout_s: float) -> None:
    """Write the body of a request into a file.

    Raises:
        ClientDisconnect: the client went before its end.
        QueryError: BODY_TOO_LARGE.
        QueryTimeout: it took too long.
        ServiceError: the disk is full or cannot be written.
    """
    try:
        async with asyncio.timeout(timeout_s):
            held = bytearray()
            size, more = 0, True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece, more = message.get("body", b""), message.get("more_body", False)
                size += len(piece)
                if size > limit_bytes:
                    raise upload_too_large(limit_bytes)
                held += piece
                if held and (len(held) >= PIECE_BYTES or not more):
                    await threads.start(body.write, bytes(held))
                    held.clear()
    except TimeoutError as error:
        raise too_late() from error


def upload_too_large(limit_bytes: int) -> SabotError:
    """BODY_TOO_LARGE."""
    return QueryError(
        f"the body is larger than the {limit_bytes:,} bytes that a table may be put with",
        code="BODY_TOO_LARGE",
        hint="send less at a time, with mode=append, or raise the setting tables.upload_bytes",
    )
