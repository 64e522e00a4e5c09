"""Both ends of the Flight connections: the server an agent has for its life, and the connections to it."""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from sabot_sql.agents.agent import Agent
from sabot_sql.agents.blocks import check_rows, describe, file_chunks, find_block, find_partition, map_batches
from sabot_sql.agents.messages import (
    AdoptBlocks,
    AgentReport,
    BlockTicket,
    Cancel,
    Deploy,
    DropJob,
    FileTicket,
    FindBlocks,
    Registered,
    Registration,
    TaskDone,
    TaskFailed,
    TaskOutcome,
)
from sabot_sql.agents.socket_lane import MAX_DEPLOY_BYTES, DeployClient, Deployment
from sabot_sql.errors import AgentLost, InternalError, ReadError, SabotError
from sabot_sql.executor.exchange import BlockFile, BlockName, PartitionBlock
from sabot_sql.planner.wire import from_wire, to_wire

CONTROL_TIMEOUT_S = 5.0

CHANNEL = [
    # a batch of 2 MiB in one frame of HTTP/2 instead of 128: a third faster
    ("grpc.http2.max_frame_size", (1 << 24) - 1),
    # a peer that vanished without a word: what was sent and is not acknowledged for so long ends the connection (TCP's
    # user timeout). Servers bear a ping only every five minutes; whoever waits for something sends pings of our own.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # what connecting may take
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
STALLED_S = 2.0  # a reader that has waited so long asks whether the agent is there


class TokenCheck(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Refuses every call without the pool's token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._expected = f"Bearer {token}".encode()

    def start_call(self, info: Any, headers: dict[str, list[str]]) -> None:
        given = headers.get("authorization", [])
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._expected):
            raise flight.FlightUnauthenticatedError("a valid bearer token is needed")


class AgentServer(flight.FlightServerBase):  # type: ignore[misc]
    """Serves an agent; it listens as soon as it is made.

    Args:
        host: the address that others reach it by.
        port: 0 for a free one.
    """

    def __init__(self, agent: Agent, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(location(host, port), middleware={"token": TokenCheck(agent.config.token)})
        self._agent = agent
        agent.flight_uri = location(host, self.port)

    def do_action(self, context: Any, action: Any) -> Iterator[Any]:
        body = action.body.to_pybytes() if action.body is not None else b""
        try:
            match action.type:
                case "deploy":
                    return self._deploy(from_wire(body, Deploy), context)
                case "ping":
                    return iter((to_wire(self._agent.report()),))
                case "cancel":
                    cancel = from_wire(body, Cancel)
                    self._agent.cancel(cancel.job_id, cancel.run)
                case "drop":
                    self._agent.drop(from_wire(body, DropJob).job_id)
                case "held":
                    return iter((to_wire(self._agent.held()),))
                case "find":
                    return iter((to_wire(self._agent.missing(from_wire(body, FindBlocks))),))
                case "adopt":
                    self._adopt(from_wire(body, AdoptBlocks))
                case other:
                    raise InternalError(f"an agent knows no action {other!r}")
        except SabotError as exc:
            raise to_flight(exc) from exc
        except Exception as exc:  # the process edge: what came over the wire may be anything
            raise to_flight(InternalError(f"the agent cannot run {action.type!r}: {type(exc).__name__}: {exc}")) from exc
        return iter(())

    def _deploy(self, message: Deploy, context: Any) -> Iterator[Any]:
        for outcome in self._agent.deploy(message, context.is_cancelled):
            yield flight.Result(to_wire(outcome))

    def _adopt(self, message: AdoptBlocks) -> None:
        source = AgentConnection(message.flight_uri, self._agent.config.token, "the agent that leaves")
        try:
            for name, size_bytes in zip(message.names, message.sizes):
                self._agent.adopt(name, size_bytes, source.read_file(name))
        finally:
            source.close()

    def do_get(self, context: Any, ticket: Any) -> Any:
        try:
            wanted = from_wire(ticket.ticket, object)
            if isinstance(wanted, FileTicket):
                path = find_block(self._agent.config.roots, *wanted.name)
                if not path.exists():
                    raise ReadError(f"there is no block file {path}", code="FILE_MISSING")
                return flight.GeneratorStream(FILE_SCHEMA, _file_batches(path))
            if not isinstance(wanted, BlockTicket):
                raise InternalError(f"an agent gives nothing for a {type(wanted).__name__}")
            return _stream(_batches_of(wanted, self._agent.config.roots), self._agent.config.compression)
        except SabotError as exc:
            raise to_flight(exc) from exc
        except Exception as exc:  # the process edge, as above
            raise to_flight(InternalError(f"the agent cannot serve a block: {type(exc).__name__}: {exc}")) from exc


def _batches_of(wanted: BlockTicket, roots: Sequence[Path]) -> list[pa.RecordBatch]:
    name = (wanted.job_id, wanted.stage_id, wanted.task_index, wanted.attempt)
    path = str(find_block(roots, *name))
    block = BlockFile(*name, agent_id="", host="", flight_uri="", path=path, partitions=())
    return map_batches(block, PartitionBlock(0, 0, 0, wanted.batches, wanted.spans, wanted.checksum))


FILE_SCHEMA = pa.schema([("bytes", pa.binary()), ("last", pa.bool_())])


def _file_batches(path: Path) -> Iterator[pa.RecordBatch]:
    for chunk, last in file_chunks(path):
        yield pa.record_batch([pa.array([chunk], pa.binary()), pa.array([last])], schema=FILE_SCHEMA)


def location(host: str, port: int) -> str:
    """The address of a Flight server."""
    return f"grpc://[{host}]:{port}" if ":" in host else f"grpc://{host}:{port}"


def _stream(batches: list[pa.RecordBatch], compression: str) -> Any:
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression)
    if batches[0].num_columns == 0:  # a table without columns forgets its rows
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(batches[0].schema, batches), options)
    return flight.RecordBatchStream(pa.Table.from_batches(batches), options)


def check_free(host: str, port: int) -> None:
    """Raise an OSError that says why nothing can listen there; gRPC would not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)


def to_flight(error: SabotError) -> Exception:
    """The error as Flight carries it."""
    carried: Exception = flight.FlightServerError(error.detail, json.dumps(error.to_problem()).encode())
    return carried


def from_flight(exc: Exception, what: str) -> SabotError:
    """The error behind a failed call. An agent that is not there, or is another one by now, is AgentLost."""
    lost = (flight.FlightUnavailableError, flight.FlightTimedOutError, flight.FlightUnauthenticatedError)
    if isinstance(exc, lost):
        return AgentLost(f"{what} could not be reached", retryable=True, engine_message=first_line(exc))
    info = getattr(exc, "extra_info", b"")
    if info:
        return SabotError.from_problem(json.loads(info))
    return InternalError(f"a call to {what} failed: {first_line(exc).partition('. Detail:')[0]}")


def first_line(exc: BaseException) -> str:
    """The first line of an error's text, or its class."""
    return (str(exc).splitlines() or [type(exc).__name__])[0]


class AgentConnection:
    """A connection to one agent; thread-safe, made on first use.

    Args:
        what: names the agent in error messages.
        deploy_socket: where an agent on this machine takes deployments, or None.
    """

    def __init__(self, uri: str, token: str, what: str, deploy_socket: Path | None = None) -> None:
        self.uri = uri
        self.what = what
        self._deployments = DeployClient(deploy_socket, token, what) if deploy_socket is not None else None
        self._headers = [(b"authorization", f"Bearer {token}".encode())]
        self._options = flight.FlightCallOptions(headers=self._headers)
        self._client = flight.FlightClient(uri, generic_options=CHANNEL)
        self._closed = False
        self._waiting: dict[int, float] = {}  # readers, since when each waits for a batch

    def start(self, message: bytes, num_tasks: int) -> Deployment | None:
        """Deploy tasks over the agent's socket; None when `deploy` has to be called.

        Raises:
            AgentLost: the agent cannot be reached.
        """
        if self._deployments is None or len(message) > MAX_DEPLOY_BYTES:
            return None
        return self._deployments.start(message, num_tasks)

    def deploy(self, message: bytes) -> Iterator[TaskOutcome]:
        """Run tasks over Flight; the outcomes come as they end.

        Raises:
            AgentLost: the agent cannot be reached, or goes away before all outcomes are there.
        """
        for body in self._results("deploy", message, self._options):
            outcome = from_wire(body, object)
            if not isinstance(outcome, TaskDone | TaskFailed):
                raise InternalError(f"{self.what} answered a deployment with a {type(outcome).__name__}")
            yield outcome

    def ping(self, timeout_s: float = CONTROL_TIMEOUT_S) -> AgentReport:
        """Ask the agent how it is."""
        (body,) = self._call("ping", b"", timeout_s)
        return from_wire(body, AgentReport)

    def cancel(self, job_id: str, run: str | None = None) -> None:
        """Stop the tasks of a run, or of all runs of a job."""
        self._call("cancel", to_wire(Cancel(job_id, run)), CONTROL_TIMEOUT_S)

    def drop(self, job_id: str) -> None:
        """Stop the tasks of a job and remove its blocks."""
        self._call("drop", to_wire(DropJob(job_id)), CONTROL_TIMEOUT_S)

    def is_idle(self) -> bool:
        """Whether the agent has no tasks."""
        report = self.ping()
        return not report.slots_used and not report.tasks_queued

    def held(self) -> FindBlocks:
        """The block files that are the agent's own, and their sizes."""
        (body,) = self._call("held", b"", CONTROL_TIMEOUT_S)
        return from_wire(body, FindBlocks)

    def missing(self, wanted: FindBlocks) -> FindBlocks:
        """Those of the blocks that the agent does not have whole."""
        (body,) = self._call("find", to_wire(wanted), CONTROL_TIMEOUT_S)
        return from_wire(body, FindBlocks)

    def adopt(self, message: AdoptBlocks, timeout_s: float) -> None:
        """Have the agent copy blocks of another one.

        Raises:
            AgentLost: one of the two cannot be reached, or takes too long.
            ReadError: a block is not there or came damaged.
        """
        self._call("adopt", to_wire(message), timeout_s)

    def register(self, message: Registration, timeout_s: float = CONTROL_TIMEOUT_S) -> Registered:
        """Tell the coordinator, which this connection is to, that an agent is there."""
        (body,) = self._call("register", to_wire(message), timeout_s)
        return from_wire(body, Registered)

    def read_file(self, name: BlockName) -> Iterator[tuple[bytes, bool]]:
        """The bytes of a block file, as `blocks.file_chunks` gives them."""
        try:
            for chunk in self._client.do_get(flight.Ticket(to_wire(FileTicket(name))), self._options):
                yield chunk.data["bytes"][0].as_py(), chunk.data["last"][0].as_py()
        except (pa.ArrowException, OSError) as exc:
            raise self._error(exc, self.what) from exc

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """Stream one partition of a block.

        Raises:
            ReadError: the block is missing or has fewer rows than announced.
            AgentLost: the agent cannot be reached.
        """
        announced = find_partition(block, partition)
        if announced is None:
            return
        ticket = BlockTicket(*block.name, announced.batches, announced.spans, announced.checksum)
        rows, stream = 0, None
        try:
            with self._wait():
                stream = self._client.do_get(flight.Ticket(to_wire(ticket)), self._options)
            while True:
                with self._wait():
                    chunk = next(stream, None)
                if chunk is None:
                    break
                rows += chunk.data.num_rows
                yield chunk.data
        except GeneratorExit:  # the reader has enough
            if stream is not None:
                stream.cancel()
            raise
        except (pa.ArrowException, OSError) as exc:
            raise self._error(exc, f"{self.what}, which has {describe(block)},") from exc
        check_rows(block, announced, rows)

    @contextlib.contextmanager
    def _wait(self) -> Iterator[None]:
        """A reader waits."""
        reader = threading.get_ident()
        self._waiting[reader] = time.monotonic()
        try:
            yield
        finally:
            self._waiting.pop(reader, None)

    def check_readers(self) -> None:
        """Where a reader has waited for long, send the agent something: when that is not acknowledged, the connection ends,
        and the reader's error is AgentLost."""
        before_s = time.monotonic() - STALLED_S
        if any(since_s < before_s for since_s in tuple(self._waiting.values())):
            with contextlib.suppress(SabotError):
                self.ping()

    def close(self) -> None:
        self._closed = True
        if self._deployments is not None:
            self._deployments.close()
        self._client.close()

    def _error(self, exc: Exception, what: str) -> SabotError:
        if self._closed:
            return AgentLost(f"{what} could not be reached", retryable=True, engine_message="the connection was closed")
        return from_flight(exc, what)

    def _call(self, action: str, body: bytes, timeout_s: float) -> list[bytes]:
        return list(self._results(action, body, flight.FlightCallOptions(timeout=timeout_s, headers=self._headers)))

    def _results(self, action: str, body: bytes, options: Any) -> Iterator[bytes]:
        try:
            for result in self._client.do_action(flight.Action(action, body), options):
                yield result.body.to_pybytes()
        except (pa.ArrowException, OSError) as exc:
            raise self._error(exc, self.what) from exc


class FlightBlockReader:
    """Streams blocks from the agents that have them; keeps one connection an agent."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._connections: dict[str, AgentConnection] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watched = False

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition in sequence."""
        if find_partition(block, partition) is None:
            return
        connection = self._connection(block)
        try:
            yield from connection.read(block, partition)
        except AgentLost:
            with self._lock:
                if self._connections.get(block.flight_uri) is connection:
                    del self._connections[block.flight_uri]  # who comes back under the address gets a new one
            raise

    def _connection(self, block: BlockFile) -> AgentConnection:
        with self._lock:
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, name="sabot-readers", daemon=True).start()
            connection = self._connections.get(block.flight_uri)
            if connection is None:
                connection = AgentConnection(block.flight_uri, self._token, f"agent {block.agent_id}")
                self._connections[block.flight_uri] = connection
            return connection

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            for connection in self._connections.values():
                with contextlib.suppress(pa.ArrowException):
                    connection.close()
            self._connections.clear()

    def _watch(self) -> None:
        while not self._closed.wait(STALLED_S / 2):
            with self._lock:
                connections = list(self._connections.values())
            for connection in connections:
                connection.check_readers()
