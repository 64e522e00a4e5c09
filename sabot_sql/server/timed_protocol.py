"""HTTP as uvicorn speaks it, with limits that it has not: a request must come in time, its head has a size, and an answer must
be taken.

Who connects and sends nothing, or a byte now and then, holds a socket only for as long as an honest client could need.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

RECEIVE_S = 15.0
"""In which a request must be there, from its first byte or from the connection on, ..."""

MIN_BYTES_S = 16 << 10
"""... and a second more for each so many bytes of it."""

HEAD_BYTES = 64 << 10
"""Request line and headers."""

STALLED_S = 60.0
"""How long a client may take nothing of an answer."""

LINGER_S = 2.0
"""How long a refused client may go on sending."""

LOGGER = logging.getLogger("uvicorn.error.http")
LOGGER.setLevel(logging.ERROR)  # what clients send wrong is told to them: anyone could fill the log with it


class TimedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = LOGGER
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._began_s = 0.0
        self._received = 0  # bytes since then
        self._is_receiving = False
        self._in_head = False
        self._requests = 0
        self._head_bytes = 0  # that the parser has told of, of one request
        self._raw_bytes = 0  # of the head that has not ended, whether or not it has
        self._head_is_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        for timer in (self._stalled, self._lingering):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            return
        self._received += len(data)
        requests = self._requests
        super().data_received(data)
        if self.transport.is_closing() or self._lingering is not None:
            return
        if not self._is_receiving and (self.cycle is not None and not self.cycle.response_complete):
            return  # an answer is on its way
        if self._timer is None and (self._is_receiving or self.timeout_keep_alive_task is None):
            self._arm()
        if self._in_head and requests == self._requests:  # all of it belongs to this head
            self._raw_bytes += len(data)
            if self._raw_bytes > HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_receiving = self._in_head = True
        self._head_bytes = self._raw_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            raise ValueError("headers after a body are not taken")  # answered with 400
        self._count_head(name, value)
        super().on_header(name, value)

    def _count_head(self, *parts: bytes) -> None:
        self._head_bytes += sum(map(len, parts))
        if self._head_bytes > HEAD_BYTES:
            self._head_is_large = True
            raise ValueError("the head is too large")  # answered below

    def send_400_response(self, msg: str) -> None:
        if self._head_is_large:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            self._answer(HTTPStatus.BAD_REQUEST, msg)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_receiving = False
        self._requests += 1
        self._disarm()
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._lingering is not None:
            self.transport.close()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def _arm(self) -> None:
        self._began_s, self._received = self.loop.time(), 0
        self._timer = self.loop.call_later(RECEIVE_S, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Refuse a request that is late, or wait as long as what came of it allows."""
        left_s = self._began_s + RECEIVE_S + self._received / MIN_BYTES_S - self.loop.time()
        if left_s > 0:
            self._timer = self.loop.call_later(left_s, self._look)
        else:
            self._timer = None
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """End the connection, with a status where no answer is on its way."""
        if self.transport.is_closing() or self._lingering is not None:
            return
        if self._is_receiving and (self.cycle is None or self._in_head or not self.cycle.response_started):
            self._answer(status)
        else:
            self.transport.close()

    def _answer(self, status: HTTPStatus, text: str = "") -> None:
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\ncontent-length: {len(text)}\r\n"
        content_type = "content-type: text/plain; charset=utf-8\r\n" if text else ""
        self.transport.write(f"{head}{content_type}\r\n{text}".encode("ascii"))
        self._linger()

    def _linger(self) -> None:
        """Close when the client has: sending to a closed socket resets it, and the answer may not be read (RFC 9112, 9.6)."""
        self._disarm()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self._lingering = self.loop.call_later(LINGER_S, self.transport.close)
