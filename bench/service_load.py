"""Many clients that ask small queries one after the other, each over a connection that stays open; a process of its own.

    python bench/service_load.py KIND PORT CLIENTS SECONDS

KIND is `sabot-sql` or `roapi`: where the statement goes and how it is wrapped. Each request has a statement that was never
asked before, over a table `t` of 1,000 rows; an answer counts if its status is 200 and the row that was asked for is in it. The
event loop (uvloop) and the parser of answers (httptools) are compiled; what Python does for a request is some 20 us. Prints
JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from typing import cast

import httptools
import uvloop

ROWS = 1000


def statement(number: int) -> str:
    """The statement of a request; row `number` modulo `ROWS` is its answer."""
    return f"SELECT id, v FROM t WHERE id = {number % ROWS} AND v > {-1 - number}"


def request(kind: str, number: int) -> bytes:
    """The request as it is sent."""
    if kind == "roapi":
        path, media, body = "/api/sql", "text/plain", statement(number)
    else:
        path, media, body = "/v1/sql", "application/json", json.dumps({"sql": statement(number)})
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


class Tally:
    """What all clients saw."""

    def __init__(self) -> None:
        self.took_s: list[float] = []
        self.errors: list[str] = []
        self.numbers = itertools.count(int(time.time()) % 1_000_000 * 1000)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, kind: str, tally: Tally, end_s: float) -> None:
        self.kind, self.tally, self.end_s = kind, tally, end_s
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio's
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
        self.parser, self.body = httptools.HttpResponseParser(self), b""
        self.number = next(self.tally.numbers)
        self.sent_s = time.perf_counter()
        self.transport.write(request(self.kind, self.number))

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Part of an answer."""
        self.body += body

    def on_message_complete(self) -> None:
        """An answer is whole."""
        now_s = time.perf_counter()
        self.tally.took_s.append(now_s - self.sent_s)
        if self.parser.get_status_code() != 200 or str(self.number % ROWS).encode() not in self.body:
            self.tally.errors.append(f"{self.parser.get_status_code()} {self.body[:200]!r}")
        if now_s < self.end_s:
            asyncio.get_running_loop().call_soon(self.ask)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self.end_s:
            self.tally.errors.append(f"the connection ended: {exc}")
        self.over.set_result(None)


async def load(kind: str, port: int, clients: int, seconds: float) -> Tally:
    """Have clients ask for so long."""
    tally, loop, end_s = Tally(), asyncio.get_running_loop(), time.perf_counter() + seconds
    made = [await loop.create_connection(lambda: Client(kind, tally, end_s), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.wait([client.over for _, client in made], timeout=seconds + 30)
    tally.errors += [f"{left} clients got no last answer" for left in [sum(not c.over.done() for _, c in made)] if left]
    return tally


def main() -> int:
    kind, port, clients, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    begin_s = time.perf_counter()
    tally = uvloop.run(load(kind, port, clients, seconds))
    took_s = time.perf_counter() - begin_s
    ordered = sorted(tally.took_s) or [0.0]
    at = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] * 1e3 for share in (50, 99)}
    found = {"requests": len(tally.took_s), "per_s": len(tally.took_s) / took_s, **at, "max": ordered[-1] * 1e3}
    print(json.dumps({**found, "errors": len(tally.errors), "first_errors": tally.errors[:3]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
