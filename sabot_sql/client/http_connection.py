"""One HTTP/1.1 connection: a request goes out in one piece, and its answer is read whole.

A general HTTP library costs more than a small query does, most of it in objects for what this client never asks for.
"""

from __future__ import annotations

import gzip
import re
import select
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

PIECE_BYTES = 1 << 16
LARGE_PIECE_BYTES = 1 << 20
HEAD_BYTES = 1 << 20  # of status line and headers together
STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?")
NO_BODY = (204, 304)

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "identity": bytes,
}


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read to its end.

    Attributes:
        headers: by their names in lower case; those given again joined by commas.
    """

    status: int
    reason: str
    headers: dict[str, str]
    data: bytes


class HttpConnection:
    """A connection, opened here. For one thread at a time.

    Args:
        tls: how to encrypt it; None for plain http.
        timeout_s: for each address that the host has, and for the handshake.

    Attributes:
        reusable: another exchange may follow the last one.

    Raises:
        OSError: `TimeoutError` without an answer, `ssl.SSLError`, `socket.gaierror` or what else the system says.
        UnicodeError: the host cannot be a name.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._socket = socket.create_connection((host, port), timeout_s)
        self.reusable = True
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._readable = _readable(self._socket)
        except BaseException:
            self._socket.close()
            raise

    def exchange(self, head: bytes, body: bytes, timeout_s: float) -> Response:
        """Sends a request and reads its answer.

        Args:
            head: request line and headers, the blank line with them.
            timeout_s: that the server may send nothing for.

        Raises:
            TimeoutError: it sent nothing for that long.
            OSError: the connection broke, or what came is not an answer.
        """
        self.reusable = False
        if timeout_s != self._timeout_s:
            self._socket.settimeout(timeout_s)
            self._timeout_s = timeout_s
        try:
            if len(body) > PIECE_BYTES:
                self._socket.sendall(head)
                self._socket.sendall(body)
            else:
                self._socket.sendall(head + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that refuses the body says so before it closes
        return self._answer()

    def upload(self, head: bytes, pieces: Iterable[bytes], is_chunked: bool, timeout_s: float) -> Response:
        """Sends a request whose body comes in pieces, and reads its answer. A server that answers before the end gets no more.

        Args:
            head: request line and headers, the blank line with them.
            is_chunked: whether the body's length is not in the head.
            timeout_s: that the server may take or send nothing for.

        Raises:
            TimeoutError, OSError: as `exchange`.
            Exception: what `pieces` raises; the server gets no whole body then.
        """
        self.reusable = False
        self._socket.settimeout(timeout_s)
        self._timeout_s = timeout_s
        try:
            self._socket.sendall(head)
            for piece in pieces:
                if (early := self._received_already()) is not None:
                    return self._answer(early, reusable=False)
                if piece:
                    self._socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                self._socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # as above
        return self._answer()

    def _received_already(self) -> bytes | None:
        """What the server has sent while nothing was to be answered yet; None where that is nothing. TLS sends something of its
        own now and then."""
        if not self._readable():
            return None
        self._socket.settimeout(0)
        try:
            return self._socket.recv(PIECE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        finally:
            self._socket.settimeout(self._timeout_s)

    def _answer(self, early: bytes = b"", reusable: bool = True) -> Response:
        incoming = Incoming(self._socket, early)
        status, reason, headers = read_head(incoming)
        data, delimited = _read_body(incoming, status, headers)
        self.reusable = reusable and delimited and not incoming.left
        return Response(status, reason, headers, data)

    def is_stale(self) -> bool:
        """Whether an idle connection is closed by the server, or has got what nobody asked for."""
        return self._readable()

    def close(self) -> None:
        """Closes it."""
        self._socket.close()


def _readable(sock: socket.socket) -> Callable[[], bool]:
    """What tells whether `sock` has something to read, its end too, without waiting."""
    if not hasattr(select, "poll"):
        return lambda: bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return lambda: bool(poll.poll(0))


class Incoming:
    """What a socket receives, taken in portions.

    Attributes:
        left: received and not taken yet.
    """

    def __init__(self, sock: socket.socket, left: bytes = b"") -> None:
        self._socket = sock
        self.left = left

    def until(self, mark: bytes, limit: int) -> bytes:
        """All up to `mark`, which is dropped; at most `limit` bytes."""
        while (end := self.left.find(mark)) < 0:
            if len(self.left) > limit:
                raise ConnectionError(f"the answer has a head of more than {limit:,} bytes")
            self.left += self._receive(PIECE_BYTES)
        taken, self.left = self.left[:end], self.left[end + len(mark) :]
        return taken

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        if len(self.left) >= count:
            taken, self.left = self.left[:count], self.left[count:]
            return taken
        pieces, missing = [self.left], count - len(self.left)
        self.left = b""
        while missing:
            pieces.append(self._receive(min(missing, LARGE_PIECE_BYTES)))
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def to_end(self) -> bytes:
        """All until the server closes the connection."""
        pieces, self.left = [self.left], b""
        while piece := self._socket.recv(LARGE_PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)

    def begins_with(self, start: bytes) -> bool:
        """Whether the next bytes are `start`, as far as that many come."""
        while len(self.left) < len(start) and start.startswith(self.left):
            self.left += self._receive(PIECE_BYTES)
        return self.left.startswith(start)

    def _receive(self, limit: int) -> bytes:
        piece = self._socket.recv(limit)
        if not piece:
            raise ConnectionError("the server closed it before its answer was whole")
        return piece


def read_head(incoming: Incoming) -> tuple[int, str, dict[str, str]]:
    """Status, reason and headers of the answer that is not an interim one (1xx)."""
    while True:
        if not incoming.begins_with(b"HTTP/"):
            raise ConnectionError("what answers there does not speak HTTP")
        first, *lines = incoming.until(b"\r\n\r\n", HEAD_BYTES).decode("latin-1").split("\r\n")
        found = STATUS_LINE.fullmatch(first)
        if found is None:
            raise ConnectionError(f"the answer begins with {first[:80]!r}")
        if (status := int(found[2])) >= 200:
            headers = _headers_of(lines)
            headers.setdefault("connection", "keep-alive" if found[1] == "1" else "close")
            return status, found[3] or "", headers


def _headers_of(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1] in (" ", "\t") and name:  # the value above goes on
            headers[name] += f" {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ConnectionError(f"the answer has the header {line[:80]!r}")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _read_body(incoming: Incoming, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
    """The body, decoded; and whether the connection is good for another exchange."""
    stays = "close" not in headers["connection"].lower()
    if status in NO_BODY:
        return b"", stays
    if coding := headers.get("transfer-encoding"):
        if coding.lower() != "chunked":
            raise ConnectionError(f"the answer comes in the transfer coding {coding}, which was not asked for")
        data = b"".join(_chunks(incoming))
    elif length := headers.get("content-length"):
        if not (length.isascii() and length.isdigit()):
            raise ConnectionError(f"the answer has the Content-Length {length[:80]!r}")
        data = incoming.exactly(int(length))
    else:
        data, stays = incoming.to_end(), False
    if (content := headers.get("content-encoding")) is not None:
        data = _decoded(data, content)
    return data, stays


def _chunks(incoming: Incoming) -> Iterator[bytes]:
    while True:
        text = incoming.until(b"\r\n", HEAD_BYTES).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", text):
            raise ConnectionError(f"the answer has a chunk of {text[:80]!r} bytes")
        if not (size := int(text, 16)):
            break
        yield incoming.exactly(size)
        if incoming.exactly(2) != b"\r\n":
            raise ConnectionError("the answer has a chunk that is longer than it says")
    while incoming.until(b"\r\n", HEAD_BYTES):  # trailers
        pass


def _decoded(data: bytes, encoding: str) -> bytes:
    decode = DECODERS.get(encoding.strip().lower())
    if decode is None:
        raise ConnectionError(f"the answer comes in the content coding {encoding}, which was not asked for")
    try:
        return decode(data)
    except (OSError, EOFError, zlib.error) as exc:
        raise ConnectionError(f"the answer is not {encoding}: {exc}") from exc
