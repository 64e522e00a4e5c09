"""HTTP to one server: addresses, credentials, retries, and errors as the classes they stand for."""

from __future__ import annotations

import functools
import ipaddress
import json
import urllib.parse
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ReadTimeoutError, SSLError

from sabot_sql import __version__
from sabot_sql.client.contract import error_from_json
from sabot_sql.errors import ConfigError, ConnectionFailed, QueryTimeout, SabotError, ServiceError

CONNECT_S = 10.0
MARGIN_S = 60.0  # for an answer, beyond the time the server was asked to wait
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose status says success, read to its end."""

    status: int
    headers: Any
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
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        allow_insecure: bool = False,
        ca_file: str | None = None,
        connections: int = 16,
    ) -> None:
        self.url = check_url(url)
        parts = urllib.parse.urlsplit(self.url)
        if api_key and parts.scheme == "http" and not is_loopback(parts.hostname or "") and not allow_insecure:
            raise ConfigError(
                f"the API key would travel unencrypted to {parts.hostname}",
                hint="use https://, or allow_insecure=True where the network is trusted",
            )
        self._base = parts.path.rstrip("/")
        headers = {"X-Sabot-Client": f"sabot-sql-python/{__version__}", "Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        self._pool: urllib3.HTTPConnectionPool
        if parts.scheme == "https":
            self._pool = urllib3.HTTPSConnectionPool(host, port, maxsize=connections, retries=False, ca_certs=ca_file)
        else:
            self._pool = urllib3.HTTPConnectionPool(host, port, maxsize=connections, retries=False)
        self._headers = headers

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
        data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode() if body is not None else None
        sent = {**self._headers, **(headers or {})}
        if data is not None:
            sent["Content-Type"] = "application/json"
        tries = ATTEMPTS if (method == "GET" if repeatable is None else repeatable) else 1
        timeout = urllib3.Timeout(connect=CONNECT_S, read=wait_s + MARGIN_S)
        while True:
            tries -= 1
            try:
                found = self._pool.urlopen(method, self._base + path, body=data, headers=sent, timeout=timeout)
            except HTTPError as exc:
                if tries > 0 and not isinstance(exc, (NewConnectionError, ReadTimeoutError, SSLError)):
                    continue
                raise self._failed(exc) from exc
            if found.status < 300:
                return Answer(found.status, found.headers, found.data)
            raise _error(found, sql)

    def _failed(self, exc: HTTPError) -> SabotError:
        cause = exc.reason if isinstance(exc, MaxRetryError) else exc
        if isinstance(cause, ReadTimeoutError):
            return QueryTimeout(f"the server at {self.url} did not answer in time", retryable=True)
        if isinstance(cause, SSLError):
            return ConnectionFailed(f"cannot connect to {self.url}: {cause}", hint="is it http:// rather than https://?")
        if isinstance(cause, (NewConnectionError, ConnectTimeoutError)):
            # NewConnectionError is a ConnectTimeoutError by inheritance only
            why = str(cause).rpartition(": ")[2] if isinstance(cause, NewConnectionError) else "no answer"
            return ConnectionFailed(
                f"cannot connect to {self.url}: {why}",
                hint="is the server running there? start one with: sabot-sql serve --data FOLDER",
                retryable=True,
            )
        return ConnectionFailed(f"the connection to {self.url} broke: {cause}", hint="has the server stopped?", retryable=True)

    def close(self) -> None:
        """Closes the idle connections."""
        self._pool.close()


def check_url(url: str) -> str:
    """`url` without its trailing slash; ConfigError when it is not an http address."""
    parts = urllib.parse.urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"{url!r} is not an address of a server", hint='write "http://host:8600", or "embedded:"')
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


def _error(found: urllib3.BaseHTTPResponse, sql: str | None) -> SabotError:
    try:
        problem = json.loads(found.data)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return error_from_json(problem, sql)
    text = found.data[:200].decode(errors="replace").strip()
    return ServiceError(
        f"the server answered {found.status} {found.reason or ''}".rstrip() + (f": {text}" if text else ""),
        hint="is this the address of a sabot-sql server?",
    )
