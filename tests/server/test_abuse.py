"""Clients that mean harm, all at once on one server: it answers others meanwhile and keeps its memory."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.live_server import LiveServer, live_server

LIVE_S = 0.1
"""In which `/livez` is answered, but for one in twenty: the machine itself pauses now and then."""

GROWTH_MB = 200
SEEDS = [
    b"GET /v1/tables HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\r\n",
    b"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"
    b'{"sql":"SELECT 1"}',
    b"POST /v1/sql?row_limit=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sql\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n8\r\nSELECT 1\r\n0\r\n\r\n",
    b"GET /v1/queries/q_0/result?offset=1&format=arrow HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-5\r\n\r\n",
]
PIECES = [
    *(
        b"\0",
        b"\r\n",
        b"\n",
        b":",
        b" ",
        b"%00",
        b"%ff",
        b"\xff\xfe",
        b"../",
        b"{",
        b'"',
        b"\x80" * 50,
        b"A" * 5000,
        b"?" * 300,
    ),
    *(
        b"Content-Length: 99999999999999999999\r\n",
        b"Host: a\r\n",
        b"HTTP/1.1",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
    ),
]
ANSWERS = {200, 304, 400, 403, 404, 405, 406, 408, 410, 413, 415, 416, 422, 431}


@pytest.fixture
def server(data: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "0") as server:
        server.sql("SELECT count(*) FROM numbers")
        yield server


def address(server: LiveServer) -> tuple[str, int]:
    return "127.0.0.1", int(server.url.rpartition(":")[2])


def resident_mb(server: LiveServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextlib.contextmanager
def alive(server: LiveServer, growth_mb: float = GROWTH_MB) -> Iterator[None]:
    """Asks whether the server lives all the while, and fails if that took long or its memory grew."""
    took_s: list[float] = []
    over = threading.Event()
    before_mb, most_mb = resident_mb(server), [0.0]

    def look() -> None:
        while not over.wait(0.02):
            begin_s = time.monotonic()
            assert server.request("GET", "/livez").status == 200
            took_s.append(time.monotonic() - begin_s)
            most_mb[0] = max(most_mb[0], resident_mb(server))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        watching = pool.submit(look)
        try:
            yield
        finally:
            over.set()
            watching.result()
    assert sorted(took_s)[len(took_s) * 95 // 100] < LIVE_S, sorted(took_s)[-5:]
    assert most_mb[0] - before_mb < growth_mb, (before_mb, most_mb)
    assert server.sql("SELECT count(*) FROM numbers")["rows"] == [[10_000]]


def mutated(rng: random.Random) -> bytes:
    """A request with something wrong somewhere."""
    found = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0:
                found[at:at] = rng.choice(PIECES)
            case 1:
                del found[at : at + rng.randint(1, 20)]
            case 2:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                found[at:at] = found[rng.randrange(len(found) + 1) :][:100]
    return bytes(found)


def sent(server: LiveServer, request: bytes, wait_s: float) -> bytes:
    """The first bytes of the answer to raw bytes; none where the server waits for more."""
    with socket.create_connection(address(server), 10) as client:
        client.settimeout(wait_s)
        with contextlib.suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
            client.sendall(request)
            return client.recv(64)
    return b""


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_requests(server: LiveServer, count: int) -> None:
    rng = random.Random(count)
    with alive(server), concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda request: sent(server, request, 0.3), [mutated(rng) for _ in range(count)]))
    statuses = {int(answer[9:12]) for answer in answers if answer}
    assert statuses <= ANSWERS
    assert 400 in statuses


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_connections_that_send_a_byte_now_and_then(server: LiveServer, count: int) -> None:
    clients = [socket.create_connection(address(server), 10) for _ in range(count)]
    request = SEEDS[1]
    gone = 0
    with alive(server):
        end_s = time.monotonic() + 25
        while clients and time.monotonic() < end_s:
            for client in list(clients):
                try:
                    client.sendall(request[gone % 40 : gone % 40 + 1])
                    client.setblocking(False)
                    if client.recv(100):
                        clients.remove(client)
                        client.close()
                except BlockingIOError:
                    continue
                except OSError:
                    clients.remove(client)
                    client.close()
            gone += 1
            time.sleep(0.5)
    assert not clients


def refused(server: LiveServer, request: Callable[[socket.socket], None]) -> int:
    """The status that a request gets whose client sends until it is told to stop."""
    with socket.create_connection(address(server), 30) as client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            request(client)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(64)
    return int(answer[9:12]) if answer else 0


def test_bodies_of_any_size(server: LiveServer) -> None:
    head = b"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sql\r\n"

    def declared(client: socket.socket) -> None:
        client.sendall(head + b"Content-Length: 104857600\r\n\r\n")

    def chunked(client: socket.socket) -> None:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            client.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")

    with alive(server):
        assert [refused(server, request) for request in (declared, chunked, declared)] == [413, 413, 413]


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * (64 << 20)), "BAD_REQUEST"),
        ({}, b'{"sql": "SELECT \xff\xfe"}', "BAD_REQUEST"),
        ({}, b'{"sql": "SELECT \\ud800"}', "BAD_REQUEST"),
        ({}, json.dumps({"sql": "SELECT 1 -- " + "x" * (5 << 20)}).encode(), "STATEMENT_TOO_LARGE"),
        ({}, json.dumps({"sql": "SELECT " + "(" * 100_000}).encode(), None),
        ({}, b"[" * 1_000_000, "BAD_REQUEST"),
        ({}, b'{"sql":"SELECT 1","params":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "BAD_REQUEST"),
    ],
    ids=["gzip", "not utf-8", "half a surrogate", "5 MB", "parentheses", "brackets", "deep parameters"],
)
def test_statements_that_are_none(server: LiveServer, headers: dict[str, str], body: bytes, code: str | None) -> None:
    with alive(server):
        time.sleep(0.1)
        begin_s = time.monotonic()
        sent_with = {"Content-Type": "application/json", **headers}
        answer = server.http.request("POST", f"{server.url}/v1/sql", body=body, headers=sent_with, retries=False)
        assert time.monotonic() - begin_s < 3
    assert answer.status < 500, answer.data
    if code is not None:
        assert answer.json()["code"] == code


def test_a_list_as_long_as_a_statement_may_be(server: LiveServer) -> None:
    with alive(server, growth_mb=400):  # the parse tree of 30,000 constants
        assert server.sql("SELECT 1 IN (" + ",".join(map(str, range(30_000))) + ") AS found")["rows"] == [[True]]
