"""The client's HTTP against servers that write their own bytes."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

import sabot_sql
from sabot_sql.client.channel import Channel
from sabot_sql.errors import ConfigError, ConnectionFailed, QueryError, QueryTimeout, ServiceError
from tests.server.live_server import LiveServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Bytes:
    """A server that answers the n-th request with the n-th reply, the last one again and again.

    Args:
        replies: empty closes the connection without an answer.
        ends: closes each connection after one answer.
    """

    def __init__(self, replies: list[bytes], ends: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.replies, self.ends, self.tls = replies, ends, tls
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, plain: socket.socket) -> None:
        try:
            connection = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
        except OSError:  # the client does not trust it
            plain.close()
            return
        with connection:
            while request := connection.recv(1 << 16):
                self.requests.append(request)
                connection.sendall(reply := self.replies[min(len(self.requests), len(self.replies)) - 1])
                if self.ends or not reply:
                    break
        self.closed.set()


@pytest.fixture
def bytes_server() -> Iterator[Callable[..., Bytes]]:
    started: list[Bytes] = []

    def start(*replies: bytes, ends: bool = False, tls: ssl.SSLContext | None = None) -> Bytes:
        started.append(Bytes(list(replies), ends, tls))
        return started[-1]

    yield start
    for server in started:
        server.listener.close()


def channel(server: Bytes, scheme: str = "http", host: str = "127.0.0.1", ca_file: str | None = None) -> Channel:
    return Channel(f"{scheme}://{host}:{server.port}", ca_file=ca_file)


Start = Callable[..., Bytes]


@pytest.mark.parametrize(
    "reply",
    [
        OK,
        b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n01;x=y\r\n}\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n" + gzip.compress(b"{}", mtime=0),
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX-Long: a\r\n  b\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=["length", "no reason", "interim", "chunked", "gzip", "1.0"],
)
def test_answer_is_read_and_the_connection_used_again(bytes_server: Start, reply: bytes) -> None:
    server = bytes_server(reply)
    asking = channel(server)
    assert [asking.call("GET", "/a").data for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 1
    asking.close()


@pytest.mark.parametrize(
    ("reply", "ends"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", False),
        (OK + b"more", False),
    ],
    ids=["to the end", "1.0", "close", "too much"],
)
def test_connection_that_cannot_go_on_is_not_used_again(bytes_server: Start, reply: bytes, ends: bool) -> None:
    server = bytes_server(reply, ends=ends)
    asking = channel(server)
    assert [asking.call("GET", "/a").data for _ in range(2)] == [b"{}"] * 2
    assert server.connections == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/2 200\r\n\r\n", "the answer begins with 'HTTP/2 200'"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "the header 'nonsense'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length '-1'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "before its answer was whole"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "a chunk of b'xyz' bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabcd\r\n", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", "transfer coding gzip"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "content coding br"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "is not gzip"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 << 20), "a head of more than"),
        (b"", "before its answer was whole|reset"),
    ],
)
def test_what_is_no_answer_is_a_clear_error(bytes_server: Start, reply: bytes, message: str) -> None:
    server = bytes_server(reply, ends=True)
    with pytest.raises(
        ConnectionFailed, match=rf"the connection to http://127.0.0.1:{server.port} broke: .*({message})"
    ) as caught:
        channel(server).call("POST", "/a", body={})
    assert caught.value.retryable
    assert len(server.requests) == 1


def test_what_may_be_repeated_is_asked_three_times(bytes_server: Start) -> None:
    server = bytes_server(b"", b"", OK)
    assert channel(server).call("GET", "/a").data == b"{}"
    assert server.connections == 3
    with pytest.raises(ConnectionFailed):
        channel(bytes_server(b"")).call("GET", "/a")


def test_idle_connection_that_the_server_closed_is_not_used(bytes_server: Start) -> None:
    server = bytes_server(OK, ends=True)
    asking = channel(server)
    for _ in range(3):
        asking.call("POST", "/a", body={})
        assert server.closed.wait(5)
        server.closed.clear()
    assert server.connections == len(server.requests) == 3


def test_server_that_keeps_silent_is_a_timeout(bytes_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sabot_sql.client.channel.MARGIN_S", 0.2)
    server = bytes_server(b"HTTP/1.1 100 Continue\r\n\r\n")
    begin = time.monotonic()
    with pytest.raises(QueryTimeout, match="did not answer in time"):
        channel(server).call("GET", "/a", wait_s=0.3)
    assert 0.4 < time.monotonic() - begin < 5
    assert len(server.requests) == 1


def test_answer_of_refused_body_is_read_though_the_server_closed(server: LiveServer) -> None:
    with sabot_sql.connect(server.url) as db, pytest.raises(QueryError, match="larger than 64 MiB"):
        db._service.channel.call("POST", "/v1/sql", body={"sql": "x" * (65 << 20)})  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "ключ"])
def test_header_that_cannot_be_sent_is_refused(server: LiveServer, value: str) -> None:
    with sabot_sql.connect(server.url) as db, pytest.raises(QueryError, match="Idempotency-Key cannot be sent"):
        db.execute_sql("SELECT 1", idempotency_key=value)


def test_unknown_host_is_named() -> None:
    host = "nobody.invalid"
    with pytest.raises(ConnectionFailed, match=f"cannot connect to http://{host}:1: Failed to resolve '{host}'"):
        Channel(f"http://{host}:1").call("GET", "/a")


def test_path_of_the_address_stands_before_that_of_the_request(bytes_server: Start) -> None:
    server = bytes_server(OK)
    Channel(f"http://127.0.0.1:{server.port}/my base/").call("GET", "/a?b=1")
    first = f"GET /my%20base/a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    assert server.requests[0].startswith(first.encode())


def test_threads_keep_a_connection_each(server: LiveServer) -> None:
    asking = Channel(server.url)
    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(lambda _: asking.call("GET", "/v1/info").json()["name"], range(400)))
    assert answers == ["sabot-sql"] * 400
    assert 0 < len(asking._idle) <= 40
    asking.close()
    assert not asking._idle


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """The certificate of an authority, and what a server at `localhost` needs to show that it signed its own."""
    authority = trustme.CA()
    pem = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(shown)
    return str(pem), shown


def test_https_with_a_trusted_certificate(bytes_server: Start, certificate: tuple[str, ssl.SSLContext]) -> None:
    ca_file, tls = certificate
    server = bytes_server(OK, tls=tls)
    asking = channel(server, "https", "localhost", ca_file)
    assert [asking.call("POST", "/a", body={}).data for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 1
    asking.close()


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)], ids=["unknown", "other name"])
def test_https_needs_a_certificate_that_fits(
    bytes_server: Start, certificate: tuple[str, ssl.SSLContext], host: str, trusted: bool
) -> None:
    server = bytes_server(OK, tls=certificate[1])
    with pytest.raises(ConnectionFailed, match="certificate verify failed"):
        channel(server, "https", host, certificate[0] if trusted else None).call("GET", "/a")
    assert not server.requests


def test_https_to_a_plain_server_says_so(bytes_server: Start) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        channel(bytes_server(b"HTTP/1.1 400 Bad Request\r\n\r\n", ends=True), "https").call("GET", "/a")
    assert caught.value.hint == "is it http:// rather than https://?"


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/none.pem cannot be read"):
        sabot_sql.connect("https://127.0.0.1:1", ca_file=f"{tmp_path}/none.pem")


def test_no_content_is_an_answer(bytes_server: Start) -> None:
    server = bytes_server(b"HTTP/1.1 204 No Content\r\n\r\n")
    asking = channel(server)
    assert [asking.call("GET", "/a").status for _ in range(2)] == [204, 204]
    assert server.connections == 1
    asking.close()


def test_redirect_is_not_followed(bytes_server: Start) -> None:
    server = bytes_server(b"HTTP/1.1 301 Moved\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ServiceError, match="the server answered 301 Moved"):
        channel(server).call("GET", "/a")
