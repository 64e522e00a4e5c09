"""Answers in the encoding that the client takes: zstd or gzip, of what is text or Arrow and large enough to gain by it.

A chunk of a stored result is sent as it is: its checksum, its tag and its ranges are those of the bytes that are stored.
"""

from __future__ import annotations

import asyncio
import functools
import zlib
from typing import Protocol

import pyarrow as pa
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

from sabot_sql.client.contract import PROBLEM
from sabot_sql.server.formats import MEDIA_TYPES

MIN_BYTES = 1 << 10
IN_LOOP_BYTES = 64 << 10
"""What is larger is compressed in a thread: 64 KiB take some 0.3 ms."""

LEVEL = 1
TYPES = frozenset(
    (*(kind for name, kind in MEDIA_TYPES.items() if name != "parquet"), PROBLEM, "text/plain", "text/html",
     "application/openmetrics-text")
)  # fmt: skip


class Compressor(Protocol):
    """Makes an encoding of pieces."""

    def compress(self, data: bytes) -> bytes:
        """The encoding of the next piece, as far as there is any yet."""
        ...

    def flush(self) -> bytes:
        """What is left of it."""
        ...


class Zstd:
    """Each piece as a frame of its own, which any decoder of zstd reads on from one to the next (RFC 8878)."""

    def __init__(self) -> None:
        self._codec = pa.Codec("zstd", compression_level=LEVEL)

    def compress(self, data: bytes) -> bytes:
        """A frame."""
        return bytes(self._codec.compress(data, asbytes=True)) if data else b""

    def flush(self) -> bytes:
        """Nothing: every frame is whole."""
        return b""


def gzip() -> Compressor:
    """A compressor of gzip."""
    return zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)


CODINGS = {"zstd": Zstd, "gzip": gzip}


@functools.lru_cache(256)
def coding_of(header: str) -> str | None:
    """The best encoding that an `Accept-Encoding` takes; None for as it is.

    Example:
        >>> coding_of("gzip, deflate, br, zstd"), coding_of("zstd;q=0, *;q=0.5"), coding_of("identity")
        ('zstd', 'gzip', None)
    """
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        try:
            weights[name.strip()] = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            return None
    taken = [(weights.get(name, weights.get("*", 0.0)), name) for name in CODINGS]
    best = max(taken, key=lambda pair: pair[0])
    return best[1] if best[0] > 0 else None


class CompressedSend:
    """Sends the messages of one answer on, its body compressed where that is worth it.

    Args:
        coding: one of `CODINGS`.
    """

    def __init__(self, send: Send, coding: str) -> None:
        self._send = send
        self._coding = coding
        self._start: Message | None = None
        self._compressor: Compressor | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _may_be_compressed(message):
            self._start = message  # until the size is known
            return
        if message["type"] == "http.response.body":
            message = await self._body(message)
        await self._send(message)

    async def _body(self, message: Message) -> Message:
        body, more = message.get("body", b""), message.get("more_body", False)
        start, self._start = self._start, None
        if start is not None:
            headers = MutableHeaders(raw=start["headers"])
            headers.add_vary_header("Accept-Encoding")
            if more or len(body) >= MIN_BYTES:
                self._compressor = CODINGS[self._coding]()
                headers["Content-Encoding"] = self._coding
                if "content-length" in headers:
                    del headers["content-length"]
        if self._compressor is not None:
            body = await self._compressed(self._compressor, body, more)
            if start is not None and not more:
                MutableHeaders(raw=start["headers"])["Content-Length"] = str(len(body))
        if start is not None:
            await self._send(start)
        return {**message, "body": body}

    @staticmethod
    async def _compressed(compressor: Compressor, body: bytes, more: bool) -> bytes:
        def work() -> bytes:
            return compressor.compress(body) + (b"" if more else compressor.flush())

        return work() if len(body) <= IN_LOOP_BYTES else await asyncio.to_thread(work)


def _may_be_compressed(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    kind = headers.get("content-type", "").partition(";")[0].strip()
    return (
        start["status"] not in (204, 206, 304) and kind in TYPES and "etag" not in headers and "content-encoding" not in headers
    )
