"""Runs the server until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import resource
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from sabot_sql.client.channel import is_loopback
from sabot_sql.config import Settings
from sabot_sql.errors import ConfigError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.app import create_app
from sabot_sql.server.auth import Access
from sabot_sql.server.timed_protocol import TimedProtocol

GRACE_S = 5  # for answers that are on their way when the server is told to stop
KEEP_ALIVE_S = 75
OPEN_FILES = 8192  # a connection is one, and each client that watches a query has its own
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: the certificate with those between it and its root, and its private key, without a password."""

    certificate: str
    key: str

    def check(self) -> None:
        """See that they can be used.

        Raises:
            ConfigError: a file cannot be read, holds no such thing, or they do not belong together.
        """
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"the certificate {self.certificate} and its key {self.key} cannot be used: {exc}",
                hint="server.tls_cert and server.tls_key are PEM files that belong together; the key has no password",
            ) from exc


def serve(
    settings: Settings,
    data: Any,
    host: str = "127.0.0.1",
    port: int = 8600,
    access: Access | None = None,
    tls: Tls | None = None,
    on_ready: Callable[[str], None] | None = None,
    on_stopping: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP, then stops the engine and its agents.

    Args:
        data: tables, as in `connect(data=...)`.
        port: 0 for a free one.
        access: who may ask; by default everybody on this machine.
        tls: what it proves by that it is this server; without, it speaks plain HTTP.
        on_ready: called with the server's address once it takes requests.
        on_stopping: called when it takes none any more and the engine is about to be closed.

    Raises:
        ConfigError: the address cannot be had, or would be open to others without a key.
    """
    access = access or Access()
    if access.is_open and not is_loopback(host):
        raise ConfigError(
            f"listening on {host} would open the data to others without authentication",
            hint="set SABOT_API_KEY or --api-keys-file, or listen on 127.0.0.1",
        )
    if tls is not None:
        tls.check()
    raise_file_limit()
    listener = bind(host, port)
    try:
        manager = JobManager(settings, data)
        try:
            manager.start()
            app = create_app(manager, access)
            _run(app, listener, on_ready, tls)
        finally:
            if on_stopping:
                on_stopping()
            manager.close()
    finally:
        listener.close()


def raise_file_limit() -> None:
    """Let the process have as many connections as the server takes, where the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the port is in use, not ours to use, or the host is not an address of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind)
    except (OSError, OverflowError) as exc:
        raise ConfigError(f"cannot listen on {host} port {port}: {exc}") from exc
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except (OSError, OverflowError) as exc:
        listener.close()
        number = exc.errno if isinstance(exc, OSError) else None
        if number == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use by another program", hint="stop it, or choose another port with --port"
            ) from exc
        if number == errno.EACCES:
            raise ConfigError(f"port {port} needs more rights than this user has", hint="choose one above 1023") from exc
        raise ConfigError(f"cannot listen on {host} port {port}: {exc}") from exc
    return listener


def address_of(listener: socket.socket, scheme: str) -> str:
    """The address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, and tells the application at once when it is to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self.app = app
        self.announce = announce
        self.stopped_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signals again at its end, before the engine could be closed
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        stopping = [sig for sig in STOPPING if signal.getsignal(sig) is not signal.SIG_IGN]  # as nohup ignores SIGHUP
        before = {sig: signal.signal(sig, self.handle_exit) for sig in stopping}
        try:
            yield
        finally:
            for sig, handler in before.items():
                # whoever closes a terminal or a service may send more than one signal: the engine is closed all the same
                once = self.stopped_by is not None and sig != signal.SIGINT
                signal.signal(sig, signal.SIG_IGN if once else handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.app.state.door.closing = True
        self.app.state.threads.closing.set()
        self.app.state.feeds.close()
        self.stopped_by = sig
        super().handle_exit(sig, frame)


def _run(app: FastAPI, listener: socket.socket, on_ready: Callable[[str], None] | None, tls: Tls | None) -> None:
    config = uvicorn.Config(
        app,
        loop="auto",
        http=TimedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever is on this machine could write another address into the log
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    address = address_of(listener, "https" if tls else "http")
    server = _Server(config, app, lambda: on_ready(address) if on_ready else None)
    try:
        server.run(sockets=[listener])
    finally:
        app.state.threads.close()
    if server.stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if server.stopped_by == signal.SIGHUP:
        raise SystemExit(128 + signal.SIGHUP)
