"""Clients that send too slowly, too much, or take no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from sabot_sql.server import timed_protocol
from sabot_sql.server.timed_protocol import TimedProtocol

Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_protocol, "RECEIVE_S", 0.3)
    monkeypatch.setattr(timed_protocol, "STALLED_S", 0.3)
    monkeypatch.setattr(timed_protocol, "LINGER_S", 0.3)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    answer = b"x" * (64 << 20) if scope["path"] == "/large" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(answer)).encode())]})
    await send({"type": "http.response.body", "body": answer})


def served(client: Client) -> tuple[Any, int]:
    """What a client makes of a server, and how many connections that has 0.5 s after."""

    async def run() -> tuple[Any, int]:
        config, state = uvicorn.Config(echo, http=TimedProtocol, ws="none", lifespan="off", log_config=None), ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: TimedProtocol(config, state, {}), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            found = await asyncio.wait_for(client(reader, writer), 10)
            await asyncio.sleep(0.5)
            return found, len(state.connections)
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", HEAD, HEAD + b"content-length: 5\r\n\r\nab", HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n"],
)
def test_a_request_that_does_not_come_is_given_up(sent: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        return await reader.read()

    answer, left = served(client)
    assert answer.startswith(b"HTTP/1.1 408 ") == bool(sent)
    assert left == 0


def test_a_byte_now_and_then_does_not_help() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        end = asyncio.create_task(reader.read())
        writer.write(HEAD)
        while not end.done():
            writer.write(b"a")
            await asyncio.sleep(0.05)
        return await end

    answer, left = served(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert left == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"\0" * 30_000_000, b"400"), (b"GET / \0\r\n" + b"x" * 30_000_000, b"400"), (HEAD + b"x: " + b"x" * 30_000_000, b"431")],
)
def test_a_refused_client_that_goes_on_sending_reads_why(sent: bytes, status: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(sent)
        await writer.drain()
        return await reader.read()

    answer, left = served(client)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert left == 0


def test_a_client_that_never_stops_sending_is_ended() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x" * 1000)
                await writer.drain()
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began_s

    lasted_s, left = served(client)
    assert lasted_s < 5
    assert left == 0


def test_a_body_that_comes_at_an_honest_pace_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_protocol, "MIN_BYTES_S", 1000)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"content-length: 5000\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.1)
            writer.write(b"x" * 500)
        return await reader.readuntil(b"5000")

    assert served(client)[0].startswith(b"HTTP/1.1 200 ")


def test_the_time_between_requests_is_not_counted() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        found = b""
        for _ in range(2):
            writer.write(HEAD + b"content-length: 1\r\n\r\nx")
            found += await reader.readuntil(b"\r\n\r\n1")
            await asyncio.sleep(0.6)
        writer.write(b"GET /")
        return found + await reader.read()

    answer, left = served(client)
    assert [answer.count(b"HTTP/1.1 200 "), answer.count(b"HTTP/1.1 408 "), left] == [2, 1, 0]


@pytest.mark.parametrize("piece", [b"a" * 1000, b"x-a: " + b"b" * 1000 + b"\r\n", b"x-a: " + b"b" * 70_000 + b"\r\n\r\n"])
def test_a_head_of_any_size_is_refused(piece: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"x-b: " if piece.startswith(b"a") else HEAD)
        for _ in range(1 if piece.endswith(b"\r\n\r\n") else 80):
            writer.write(piece)
        return await reader.read(20)

    answer, left = served(client)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert left == 0


def test_many_requests_at_once_are_not_taken_for_a_large_head() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        answers = b""
        while answers.count(b"HTTP/1.1 200 ") < 5000:
            part = await reader.read(1 << 16)
            assert part, answers[-200:]
            answers += part
        return answers.count(b"HTTP/1.1 ")

    assert served(client)[0] == 5000


def test_line_ends_between_requests_do_not_keep_a_connection() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"content-length: 1\r\n\r\nx")
        await reader.readuntil(b"\r\n\r\n1")
        end = asyncio.create_task(reader.read())
        while not end.done():
            writer.write(b"\r\n")
            await asyncio.sleep(0.05)
        return await end

    assert served(client) == (b"", 0)


def test_headers_after_a_body_are_refused() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-more: a\r\n\r\n")
        return await reader.read(20)

    assert served(client)[0].startswith(b"HTTP/1.1 400 ")


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    assert served(client)[1] == 0


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length : 1\r\n\r\na",
        HEAD + b" x: folded\r\n\r\n",
        b"POST / HTTP/1.1\nhost: x\n\n",
        HEAD + b"x: a\0b\r\n\r\n",
        b"POST / HTTP/9.9\r\nhost: x\r\n\r\n",
    ],
)
def test_a_request_that_two_servers_may_read_differently_is_refused(head: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        return await reader.read()

    answer, left = served(client)
    assert (answer[:12], answer.count(b"HTTP/1.1 "), left) == (b"HTTP/1.1 400", 1, 0)
