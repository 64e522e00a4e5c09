"""Agents that somebody else starts, on this machine or others (`sabot-sql agent`): they register by themselves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from sabot_sql.agents.flight import AgentConnection, TokenCheck, check_free, location, to_flight
from sabot_sql.agents.messages import AGENT_NAME, Registered, Registration
from sabot_sql.agents.providers.provider import AgentExited, AgentLeaving, AgentStarted, ProviderEvent
from sabot_sql.errors import AgentLost, ConfigError, InternalError, SabotError, ServiceError
from sabot_sql.planner.wire import from_wire, to_wire
from sabot_sql.version import __version__

log = logging.getLogger(__name__)

TOKEN_CHARS = 32
SAME_NAME_S = 1.0  # how long an agent may take to say that it is there when another one has its name

Answer = Callable[[Registration], Registered]


class StaticProvider:
    """Takes registrations and tells of agents that come.

    Args:
        listen: `host:port` where it does so.
        on_event: called for each agent that comes, wants to leave or was given up.
        answer: what a registered agent is told.

    Raises:
        ServiceError: NO_AGENTS when nothing can listen there.
    """

    restarts = False
    scales = False
    pid = None

    def __init__(self, token: str, listen: str, answer: Answer, on_event: Callable[[ProviderEvent], None]) -> None:
        self._token = token
        self._on_event = on_event
        self._answer = answer
        self._lock = threading.Lock()
        self._known: dict[str, Registration] = {}
        self._leaving: set[str] = set()
        host, _, port = listen.rpartition(":")
        try:
            check_free(host.strip("[]"), int(port))
            self._server = _Registry(host.strip("[]"), int(port), token, self._register)
        except (ValueError, OSError, pa.ArrowException) as exc:
            reason = getattr(exc, "strerror", None) or str(exc).splitlines()[0]
            raise ServiceError(
                f"registrations of agents cannot be taken at {listen}: {reason}",
                code="NO_AGENTS",
                hint="name another address in agents.listen",
            ) from exc

    @property
    def uri(self) -> str:
        """Where agents register."""
        return self._server.uri

    def start(self, num_agents: int) -> tuple[str, ...]:
        """Nobody can be started from here."""
        return ()

    def restart(self, agent_id: str) -> None:
        """Whoever runs the agent starts it again."""

    def stop(self, agent_id: str) -> None:
        """Forget an agent until it registers again."""
        with self._lock:
            gone = self._known.pop(agent_id, None)
            self._leaving.discard(agent_id)
        if gone is not None:
            self._on_event(AgentExited(agent_id, gone.pid, ""))

    def remove(self, agent_id: str) -> None:
        """Forget an agent."""
        self.stop(agent_id)

    def list(self) -> tuple[str, ...]:
        """The ids of the agents that have registered."""
        with self._lock:
            return tuple(self._known)

    def close(self) -> None:
        """Take no more registrations; the agents go on waiting for another coordinator."""
        self._server.shutdown()

    def _register(self, message: Registration) -> Registered:
        if message.release != __version__:
            return Registered(f"it is of version {message.release}, the coordinator of {__version__}: install the same on both")
        if not AGENT_NAME.fullmatch(message.agent_id):
            return Registered(f"{message.agent_id[:100]!r} cannot name an agent")
        with self._lock:
            known = self._known.get(message.agent_id)
        if known is not None and known.incarnation != message.incarnation:
            if self._answers(known):
                where = f"process {known.pid} on {known.host}"
                return Registered(f"another agent has the name {message.agent_id} ({where}); give this one another by --name")
            self.stop(message.agent_id)
        with self._lock:
            new = message.agent_id not in self._known
            self._known[message.agent_id] = message
            leaves = message.leaving and message.agent_id not in self._leaving
            if leaves:
                self._leaving.add(message.agent_id)
        if new:
            log.info("agent %s (pid %d on %s) has registered", message.agent_id, message.pid, message.host)
            self._on_event(
                AgentStarted(
                    message.agent_id, message.pid, message.flight_uri, message.incarnation, message.slots, message.host,
                    owns_blocks=True,
                )
            )  # fmt: skip
        if leaves:
            self._on_event(AgentLeaving(message.agent_id))
        return self._answer(message)

    def _answers(self, known: Registration) -> bool:
        """Whether the agent that has the name is still there."""
        connection = AgentConnection(known.flight_uri, self._token, f"agent {known.agent_id}")
        try:
            return connection.ping(SAME_NAME_S).incarnation == known.incarnation
        except AgentLost:
            return False
        finally:
            connection.close()


def read_token(path: str | None) -> str:
    """The secret that coordinator and agents share.

    Raises:
        ConfigError: there is none, or it is too short to be one.
    """
    if path is None:
        raise ConfigError(
            "agents that are started elsewhere need a secret that they share with the coordinator",
            hint="put it into a file that only you can read (openssl rand -hex 32) and name it in agents.token_file",
        )
    try:
        token = Path(path).expanduser().read_text().strip()
    except OSError as exc:
        raise ConfigError(f"the token file {path} cannot be read: {exc.strerror}") from exc
    if len(token) < TOKEN_CHARS or not token.isascii():
        raise ConfigError(
            f"the token in {path} is not {TOKEN_CHARS} ASCII characters long", hint="make one: openssl rand -hex 32"
        )
    return token


class _Registry(flight.FlightServerBase):  # type: ignore[misc]
    """The coordinator's Flight server, which knows one action."""

    def __init__(self, host: str, port: int, token: str, register: Callable[[Registration], Registered]) -> None:
        super().__init__(location(host, port), middleware={"token": TokenCheck(token)})
        self._register = register
        self.uri = location(host, self.port)

    def do_action(self, context: Any, action: Any) -> Iterator[Any]:
        try:
            if action.type != "register":
                raise InternalError(f"a coordinator knows no action {action.type!r}")
            body = action.body.to_pybytes() if action.body is not None else b""
            return iter((to_wire(self._register(from_wire(body, Registration))),))
        except SabotError as exc:
            raise to_flight(exc) from exc
        except Exception as exc:  # the process edge: what came over the wire may be anything
            raise to_flight(InternalError(f"a registration failed: {type(exc).__name__}: {exc}")) from exc
