"""An agent that is no child of the coordinator: it was started by hand, systemd or Kubernetes, and registers by itself.

It tells the coordinator once a second that it is there, and which jobs it has blocks of; so it also finds a coordinator that
was restarted. One that is not heard of for ten seconds will not take the outcomes of its tasks any more: they are
cancelled. Blocks are kept longer (`agents.lease_s`), so that a restarted coordinator can go on with its jobs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import pyarrow as pa

from sabot_sql.agents.agent import Agent
from sabot_sql.agents.agent_process import equip
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.flight import AgentConnection, AgentServer, check_free
from sabot_sql.agents.messages import AGENT_NAME, Registered, Registration
from sabot_sql.agents.providers.local import local_config
from sabot_sql.agents.providers.static import read_token
from sabot_sql.config import AgentSettings
from sabot_sql.errors import AgentLost, ConfigError, SabotError, ServiceError
from sabot_sql.version import __version__

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
LOST_S = 10.0
DRAIN_S = 300.0
"""How long an agent that was told to end waits for its tasks and for its blocks to be taken over."""


class Standalone:
    """One agent and its registration.

    Args:
        token: the secret that it shares with the coordinator.
        coordinator: `host:port` or `grpc://host:port`.
        name: by which the agent is known; no two may have the same.
        host: the address that the others reach this one by; None for that from which the coordinator is reached.
        port: for Flight; 0 for a free one.
        tell: told what people want to know.

    Raises:
        ConfigError: an address that cannot be.
        ServiceError: nothing can listen there.
    """

    def __init__(
        self,
        settings: AgentSettings,
        token: str,
        coordinator: str,
        name: str | None = None,
        host: str | None = None,
        port: int = 0,
        tell: Callable[[str], None] = log.info,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._uri = coordinator if "://" in coordinator else f"grpc://{coordinator}"
        self.name = name or f"{re.sub('[^A-Za-z0-9]+', '-', platform.node()).strip('-')[:80] or 'agent'}-{os.getpid()}"
        if not AGENT_NAME.fullmatch(self.name):
            raise ConfigError(
                f"{self.name[:100]!r} cannot name an agent", hint="use letters, digits, '_', '.' and '-', at most 100"
            )
        address = host or own_address(self._uri)
        self._root = BlockRoot(None, settings)
        try:
            config = local_config(settings, token, self._root, owns_blocks=True, agents=1)
            self._agent = Agent(self.name, config, equip(self.name, config))
            try:
                check_free(address, port)
                self._server = AgentServer(self._agent, address, port)
            except (OSError, pa.ArrowException) as exc:
                reason = getattr(exc, "strerror", None) or str(exc).splitlines()[0]
                raise ServiceError(
                    f"the agent cannot listen at {address}:{port}: {reason}", hint="name another --host or --port"
                ) from exc
        except BaseException:
            self._root.remove()
            raise
        self._coordinator = AgentConnection(self._uri, token, "the coordinator")
        self._ending = threading.Event()
        self._told_to_end = 0

    def run(self) -> None:
        """Serve until told to end (`end`), and drained.

        Raises:
            ServiceError: the coordinator does not take this agent.
        """
        heard_s, here, fenced, told = time.monotonic(), False, False, False
        drain_until_s = float("inf")
        try:
            while True:
                leaving = self._ending.is_set()
                if leaving:
                    drain_until_s = min(drain_until_s, time.monotonic() + DRAIN_S)
                answer = self._register(leaving)
                now = time.monotonic()
                if answer is not None:
                    heard_s, fenced = now, False
                    if answer.refused:
                        raise ServiceError(f"the coordinator does not take agent {self.name}: {answer.refused}")
                    if not here:
                        self._tell(f"agent {self.name} has registered at {self._uri}, listens on {self._agent.flight_uri}")
                    here, told = True, False
                    for job_id in answer.drop:
                        self._agent.drop(job_id)
                    if answer.released:  # it was drained, from this or from the coordinator's side
                        return
                elif not told:
                    self._tell(f"agent {self.name} does not reach the coordinator at {self._uri}; trying again")
                    here, told = False, True
                silent_s = now - heard_s
                if silent_s > LOST_S and not fenced:
                    fenced = True
                    self._agent.cancel_all()
                if silent_s > self._settings.lease_s:
                    for job_id in self._agent.jobs():
                        self._agent.drop(job_id)
                if leaving and (self._told_to_end > 1 or now > drain_until_s or silent_s > LOST_S):
                    return
                if leaving:
                    time.sleep(INTERVAL_S / 5)
                else:
                    self._ending.wait(INTERVAL_S)
        finally:
            self._coordinator.close()
            self._root.remove()

    def end(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """Drain and end; at once when told twice. A signal's handler."""
        self._told_to_end += 1
        self._ending.set()

    def _register(self, leaving: bool) -> Registered | None:
        """Tell the coordinator; its answer, or None where it gives none."""
        agent = self._agent
        message = Registration(
            self.name, agent.incarnation, os.getpid(), platform.node(), agent.flight_uri, agent.config.slots, __version__,
            agent.jobs(), leaving,
        )  # fmt: skip
        try:
            return self._coordinator.register(message)
        except AgentLost as exc:
            if "bearer token" in (exc.engine_message or ""):
                raise ConfigError(f"the coordinator at {self._uri} has another token", hint="use the same token file") from exc
            return None
        except SabotError as exc:
            self._tell(f"the coordinator's answer makes no sense: {exc.detail}")
            return None


def own_address(uri: str) -> str:
    """The address of this machine from which `uri` is reached.

    Raises:
        ConfigError: it cannot be reached from here.
    """
    host, _, port = uri.partition("://")[2].rstrip("/").rpartition(":")
    host = host.strip("[]")
    try:
        if not 0 < int(port) < 1 << 16:
            raise ValueError(f"{port} is no port")
        family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with contextlib.closing(socket.socket(family, kind)) as probe:
            probe.connect(address)  # of a datagram socket: nothing is sent
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"{uri} is no address of a coordinator that can be reached from here: {exc}", hint="write host:port"
        ) from exc


def run_standalone(
    settings: AgentSettings, coordinator: str, name: str | None, host: str | None, port: int, tell: Callable[[str], None]
) -> None:
    """Run an agent in this process until it is told to end by SIGTERM or SIGINT.

    Raises:
        SabotError: as `Standalone`, and where there is no token.
    """
    agent = Standalone(settings, read_token(settings.token_file), coordinator, name, host, port, tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, agent.end)
    agent.run()
