"""Deployments on one machine: over a Unix socket in the pool's folder, which only this user can open.

A call over Flight wakes three or four threads of gRPC on either side, which takes longer than a small task. A frame on a
socket wakes the one thread that waits for it, and the coordinator waits for all its agents in one. Other machines, long
messages and the lane `flight` take Flight (`flight.py`).

    frame:   length of the body (4 bytes, big endian), kind (1 byte), body
    asked:   TOKEN once, then a DEPLOY (`messages.Deploy`) at a time
    answer:  one OUTCOME (`TaskDone` or `TaskFailed`) a task, or one PROBLEM (the JSON of an error) in place of all

When the coordinator closes a connection, what it deployed there is cancelled.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import struct
import threading
from pathlib import Path
from typing import BinaryIO

from sabot_sql.agents.agent import Agent, AgentConfig, Run
from sabot_sql.agents.messages import Deploy, TaskDone, TaskFailed, TaskOutcome
from sabot_sql.errors import AgentLost, InternalError, SabotError
from sabot_sql.planner.wire import from_wire, to_wire

log = logging.getLogger(__name__)

TOKEN, DEPLOY, OUTCOME, PROBLEM = range(4)
HEAD = struct.Struct(">IB")
MAX_PATH_BYTES = 100  # the system's limit is 104 or 108
MAX_DEPLOY_BYTES = 64 << 10  # fits a socket's empty buffer: sending never waits for the agent


def socket_path(config: AgentConfig, incarnation: str) -> Path | None:
    """Where an agent takes deployments; None where it takes them over Flight only."""
    path = config.roots[0] / f"{incarnation}.sock"
    usable = config.lane == "file" and hasattr(socket, "AF_UNIX") and len(bytes(path)) <= MAX_PATH_BYTES
    return path if usable else None


def frame(kind: int, body: bytes) -> bytes:
    """One frame."""
    return HEAD.pack(len(body), kind) + body


class DeploySocket:
    """The agent's end: takes deployments, each connection in a thread of its own."""

    def __init__(self, agent: Agent, path: Path) -> None:
        self._agent = agent
        self._token = agent.config.token.encode()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="deploy-accept", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), name="deploy", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Serve one connection until its other end closes it."""
        run: Run | None = None
        try:
            with connection, connection.makefile("rb") as requests:
                first = _read_frame(requests)
                if first is None or not hmac.compare_digest(first[1], self._token):
                    return
                while (request := _read_frame(requests)) is not None:
                    run = self._deploy(connection, request[1])
        except OSError:
            return  # the coordinator is gone
        except Exception:  # the edge of a thread: the coordinator sees the connection end
            log.exception("a connection for deployments failed")
        finally:
            if run is not None:
                run.cancel()

    def _deploy(self, connection: socket.socket, body: bytes) -> Run | None:
        def deliver(outcome: TaskOutcome) -> None:
            try:
                answer = to_wire(outcome)
            except Exception as exc:  # the slot that delivers is needed by the next task
                answer = to_wire(TaskFailed(outcome.index, outcome.attempt, _as_ours(exc).to_problem()))
            with contextlib.suppress(OSError):  # the thread that reads sees the end, too
                connection.sendall(frame(OUTCOME, answer))

        try:
            return self._agent.start(from_wire(body, Deploy), deliver)
        except Exception as exc:  # the process edge: what came over the wire may be anything
            connection.sendall(frame(PROBLEM, json.dumps(_as_ours(exc).to_problem()).encode()))
            return None


def _as_ours(exc: Exception) -> SabotError:
    if isinstance(exc, SabotError):
        return exc
    return InternalError(f"the agent cannot run a deployment: {type(exc).__name__}: {exc}")


def _read_frame(stream: BinaryIO) -> tuple[int, bytes] | None:
    """The kind and the body of the next frame; None when the stream has ended."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    size, kind = HEAD.unpack(head)
    body = stream.read(size)
    return (kind, body) if len(body) == size else None


class DeployClient:
    """The coordinator's end: as many connections as deployments were ever running at once. Thread-safe.

    Args:
        what: names the agent in error messages.
    """

    def __init__(self, path: Path, token: str, what: str) -> None:
        self.what = what
        self._path = path
        self._token = token.encode()
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._busy: set[socket.socket] = set()
        self._closed = False

    def start(self, message: bytes, num_tasks: int) -> Deployment:
        """Deploy tasks; does not wait for an answer.

        Args:
            message: a `Deploy` on the wire of at most `MAX_DEPLOY_BYTES`.

        Raises:
            AgentLost: the agent cannot be reached.
        """
        try:
            connection = self._borrow()
            try:
                connection.sendall(frame(DEPLOY, message))
            except OSError:
                self.give_back(connection, reusable=False)
                raise
        except OSError as exc:
            raise self.lost(exc.strerror or str(exc)) from exc
        return Deployment(self, connection, num_tasks)

    def close(self) -> None:
        """Close all connections; who waits for an answer is told that the agent is lost."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            for connection in self._busy:
                _shut_down(connection)
        self._path.unlink(missing_ok=True)

    def lost(self, reason: str) -> AgentLost:
        """The error of an agent that cannot be reached."""
        return AgentLost(f"{self.what} could not be reached", retryable=True, engine_message=reason)

    def give_back(self, connection: socket.socket, reusable: bool) -> None:
        """Keep the connection for the next deployment, or close it."""
        with self._lock:
            self._busy.discard(connection)
            if reusable and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _borrow(self) -> socket.socket:
        with self._lock:
            if self._closed:
                raise ConnectionResetError("the connection was closed")
            if self._idle:
                connection = self._idle.pop()
                self._busy.add(connection)
                return connection
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self._path))
            connection.sendall(frame(TOKEN, self._token))
        except OSError:
            connection.close()
            raise
        with self._lock:
            self._busy.add(connection)
            if self._closed:
                _shut_down(connection)
        return connection


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Deployment:
    """Tasks that were deployed on one agent, and the answers that come. Used by one thread."""

    def __init__(self, client: DeployClient, connection: socket.socket, num_tasks: int) -> None:
        self._client = client
        self._connection = connection
        self._num_missing = num_tasks
        self._unread = b""

    def fileno(self) -> int:
        """What to wait for: readable when there is something to receive."""
        return self._connection.fileno()

    def receive(self) -> list[TaskOutcome]:
        """The outcomes that have come since; waits when there is nothing to read.

        Raises:
            AgentLost: the agent went away.
            SabotError: the deployment failed as a whole.
        """
        try:
            data = self._connection.recv(1 << 18)
        except OSError as exc:
            raise self._client.lost(exc.strerror or str(exc)) from exc
        if not data:
            raise self._client.lost("it closed the connection")
        self._unread += data
        outcomes = []
        while len(self._unread) >= HEAD.size:
            size, kind = HEAD.unpack_from(self._unread)
            end = HEAD.size + size
            if len(self._unread) < end:
                break
            body, self._unread = self._unread[HEAD.size : end], self._unread[end:]
            outcomes.append(self._outcome(kind, body))
        self._num_missing -= len(outcomes)
        return outcomes

    def _outcome(self, kind: int, body: bytes) -> TaskOutcome:
        if kind == PROBLEM:
            raise SabotError.from_problem(json.loads(body))
        outcome = from_wire(body, object)
        if not isinstance(outcome, TaskDone | TaskFailed):
            raise InternalError(f"{self._client.what} answered a deployment with a {type(outcome).__name__}")
        return outcome

    def close(self) -> None:
        """End it; tasks that have not answered are cancelled."""
        self._client.give_back(self._connection, reusable=self._num_missing == 0 and not self._unread)
