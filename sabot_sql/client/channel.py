"""HTTP to one server: addresses, credentials, retries, and errors as the classes they stand for."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import re
import socket
import ssl
import urllib.parse
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sabot_sql import __version__
from sabot_sql.client.contract import error_from_json
from sabot_sql.client.http_connection import HttpConnection, Response
from sabot_sql.errors import ConfigError, ConnectionFailed, QueryError, QueryTimeout, SabotError, ServiceError

CONNECT_S = 10.0
MARGIN_S = 60.0  # for an answer, beyond the time the server was asked to wait
ATTEMPTS = 3
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # `json.dumps` would make one for each request
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose status says success, read to its end."""

    status: int
    headers: dict[str, str]
    data: bytes

    def json(self) -> Any:
        """The body as JSON."""
        try:
            return json.loads(self.data)
        except ValueError as exc:
            raise ServiceError(f"the server answered {self.status} with a body that is not JSON") from exc


class Channel:
    """Connections to the server at `url`, kept open and shared by threads.

    Args:
        api_key: sent as a bearer token.
        allow_insecure: send it over plain http to another host too.
        ca_file: certificates to trust instead of the system's.
        connections: at most so many are kept while nobody uses them.

    Raises:
        ConfigError: the address, the key or the file of certificates is of no use.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        allow_insecure: bool = False,
        ca_file: str | None = None,
        connections: int = 128,
    ) -> None:
        self.url = check_url(url)
        parts = urllib.parse.urlsplit(self.url)
        if api_key and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not allow_insecure:
            raise ConfigError(
                f"the API key would travel unencrypted to {parts.hostname}",
                hint="use https://, or allow_insecure=True where the network is trusted",
            )
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._tls = trust(ca_file) if secure else None
        self._base = urllib.parse.quote(parts.path.rstrip("/"), safe="/%!$&'()*+,;=:@~")
        headers = {
            "Host": parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode(),
            "User-Agent": f"sabot-sql-python/{__version__}",
            "X-Sabot-Client": f"sabot-sql-python/{__version__}",
            "Accept-Encoding": "identity",
        }
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._head = header_lines(headers)
        self._connections = connections
        self._closed = False
        self._idle: list[HttpConnection] = []
        weakref.finalize(self, _close_all, self._idle)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
        sql: str | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """One request.

        Args:
            wait_s: how long the server was asked to hold its answer back.
            sql: the statement, to print the place of an error in it.
            repeatable: whether asking twice does no harm; by default that of the method.

        Raises:
            SabotError: the error that the server described; ConnectionFailed when there is no server.
        """
        data = _to_json(body).encode() if body is not None else b""
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        length = f"Content-Length: {len(data)}\r\n" if body is not None or method == "POST" else ""
        lines = f"{self._head}{_request_lines(tuple(sent.items()))}{length}"
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        tries = ATTEMPTS if (method == "GET" if repeatable is None else repeatable) else 1
        found = self._exchange(head, data, wait_s + MARGIN_S, tries)
        if found.status < 300:
            return Answer(found.status, found.headers, found.data)
        raise _error(found, sql)

    def upload(self, path: str, content_type: str, pieces: Iterable[bytes], length: int | None, wait_s: float) -> Answer:
        """One PUT whose body comes in pieces, on a connection of its own; it is tried once.

        Args:
            length: bytes of all pieces, where that is known.
            wait_s: how long the server may take for it.

        Raises:
            SabotError: as `call`.
            Exception: what `pieces` raises.
        """
        sent = {"Accept": "application/json", "Content-Type": content_type}
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = f"PUT {self._base}{path} HTTP/1.1\r\n{self._head}{header_lines(sent)}{size}\r\n\r\n".encode("latin-1")
        try:
            connection = self._connect()
        except TimeoutError as exc:
            raise self._unreachable("no answer") from exc
        try:
            with self._translated():
                found = connection.upload(head, pieces, length is None, wait_s + MARGIN_S)
        finally:
            self._give_back(connection)
        if found.status < 300:
            return Answer(found.status, found.headers, found.data)
        raise _error(found, None)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of a connection as ours."""
        try:
            yield
        except TimeoutError as exc:
            raise QueryTimeout(f"the server at {self.url} did not answer in time", retryable=True) from exc
        except ssl.SSLError as exc:
            raise self._insecure(exc) from exc
        except OSError as exc:
            hint = "has the server stopped?"
            raise ConnectionFailed(f"the connection to {self.url} broke: {exc}", hint=hint, retryable=True) from exc

    def _exchange(self, head: bytes, body: bytes, timeout_s: float, tries: int) -> Response:
        """The answer, of the last of `tries` attempts if connections break before."""
        while True:
            tries -= 1
            connection = self._idle_connection()
            try:
                connection = connection or self._connect()
            except TimeoutError as exc:
                if tries:
                    continue
                raise self._unreachable("no answer") from exc
            try:
                with self._translated():
                    found = connection.exchange(head, body, timeout_s)
            except ConnectionFailed as exc:
                if tries and not isinstance(exc.__cause__, ssl.SSLError):
                    continue
                raise
            finally:
                self._give_back(connection)
            return found

    def _idle_connection(self) -> HttpConnection | None:
        """The one used last that is still open."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if not connection.is_stale():
                return connection
            connection.close()
        return None

    def _give_back(self, connection: HttpConnection) -> None:
        if connection.reusable and not self._closed and len(self._idle) < self._connections:
            self._idle.append(connection)
        else:
            connection.close()

    def _connect(self) -> HttpConnection:
        try:
            return HttpConnection(self._host, self._port, self._tls, CONNECT_S)
        except TimeoutError:
            raise
        except ssl.SSLError as exc:
            raise self._insecure(exc) from exc
        except (socket.gaierror, UnicodeError) as exc:
            raise self._unreachable(f"Failed to resolve {self._host!r} ({exc})") from exc
        except OSError as exc:
            raise self._unreachable(str(exc)) from exc

    def _unreachable(self, why: str) -> SabotError:
        return ConnectionFailed(
            f"cannot connect to {self.url}: {why}",
            hint="is the server running there? start one with: sabot-sql serve --data FOLDER",
            retryable=True,
        )

    def _insecure(self, exc: ssl.SSLError) -> SabotError:
        return ConnectionFailed(f"cannot connect to {self.url}: {exc}", hint="is it http:// rather than https://?")

    def close(self) -> None:
        """Closes the idle connections, and those in use once they have their answers."""
        self._closed = True
        _close_all(self._idle)


def _close_all(connections: list[HttpConnection]) -> None:
    while connections:
        connections.pop().close()


def trust(ca_file: str | None) -> ssl.SSLContext:
    """TLS that checks the server's name and certificate against those of `ca_file`, or the system's."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise ConfigError(f"the certificates in {ca_file} cannot be read: {exc}") from exc


def header_lines(headers: dict[str, str]) -> str:
    """Headers as they are sent.

    Raises:
        QueryError: a value holds a line break, or what no header can.
    """
    for name, value in headers.items():
        if not HEADER_VALUE.fullmatch(value):
            raise QueryError(f"{name} cannot be sent as a header: it holds a line break or a character outside Latin-1")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


@functools.lru_cache(maxsize=64)
def _request_lines(headers: tuple[tuple[str, str], ...]) -> str:
    """As `header_lines`; requests mostly have the same ones."""
    return header_lines(dict(headers))


def check_url(url: str) -> str:
    """`url` without its trailing slash; ConfigError when it is not an http address."""
    parts = urllib.parse.urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(
            f"{url!r} is not an address of a server",
            hint='write "http://host:8600"; for files in this process: connect(data="my_folder")',
        )
    if parts.username or parts.password:
        raise ConfigError("the address holds a user or password; give api_key= instead")
    if parts.query or parts.fragment:
        raise ConfigError(f"{url!r} has more than host, port and path")
    return url.rstrip("/")


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether `host` names this machine itself.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("10.0.0.1")
        (True, True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _error(found: Response, sql: str | None) -> SabotError:
    try:
        problem = json.loads(found.data)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return error_from_json(problem, sql)
    text = found.data[:200].decode(errors="replace").strip()
    return ServiceError(
        f"the server answered {found.status} {found.reason}".rstrip() + (f": {text}" if text else ""),
        hint="is this the address of a sabot-sql server?",
    )
