"""A plain reader of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.server.live_server import LiveServer


@dataclass(frozen=True)
class Received:
    """One event as a client sees it."""

    id: int
    kind: str
    data: Any


def open_stream(server: LiveServer, query_id: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """The answer of the route, its body not read yet."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{server.url}/v1/queries/{query_id}/events"
    return server.http.request("GET", url, headers=named, preload_content=False, retries=False, timeout=60)


def events_in(body: Iterator[bytes]) -> Iterator[Received]:
    """The events of a body, as they come."""
    rest = b""
    for piece in body:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in fields:
                yield Received(int(fields["id"]), fields["event"], json.loads(fields["data"]))


def events_of(server: LiveServer, query_id: str, **headers: str) -> list[Received]:
    """All events until the stream ends."""
    answer = open_stream(server, query_id, **headers)
    assert answer.status == 200, answer.data
    return list(events_in(answer.stream()))
