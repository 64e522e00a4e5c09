"""Agents on this machine, forked from one fork server."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sabot_sql.agents.agent import AgentConfig
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.blocks import host_name
from sabot_sql.agents.machine_memory import column_cache_bytes
from sabot_sql.agents.providers.environment import environment
from sabot_sql.agents.providers.provider import AgentExited, AgentStarted, ProviderEvent
from sabot_sql.agents.socket_lane import socket_path
from sabot_sql.config import AgentSettings
from sabot_sql.errors import ServiceError

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 5.0


class LocalProvider:
    """Starts agents through a fork server, which it starts when it is first needed and again when it has died. They share the
    coordinator's folders.

    Args:
        on_event: called from a thread of the provider for each agent that listens or exits.
        log_path: where agents write warnings; None for this process's stderr.
        fork: whether agents are forked; by default where that is safe.
    """

    restarts = True
    scales = True

    def __init__(
        self,
        config: AgentConfig,
        on_event: Callable[[ProviderEvent], None],
        log_path: Path | None = None,
        fork: bool = sys.platform == "linux",
    ) -> None:
        self._config = config
        self._on_event = on_event
        self._log_path = log_path
        self._fork = fork
        self._lock = threading.RLock()
        self._ids: list[str] = []
        self._next = 0
        self._server: _Server | None = None
        self._closed = False

    def start(self, num_agents: int) -> tuple[str, ...]:
        """Start agents, all at once; returns their ids."""
        with self._lock:
            new = tuple(f"agent-{self._next + i}" for i in range(num_agents))
            self._next += num_agents
            self._ids.extend(new)
            for agent_id in new:
                self._send({"start": agent_id})
            return new

    def restart(self, agent_id: str) -> None:
        """Start an agent that has exited again, under the same id."""
        with self._lock:
            if agent_id in self._ids and not self._closed:
                self._send({"start": agent_id})

    def stop(self, agent_id: str) -> None:
        """Kill an agent; its exit is told like any other."""
        with self._lock:
            if self._server is not None:
                self._send({"stop": agent_id})

    def remove(self, agent_id: str) -> None:
        """Stop an agent for good; its exit is told like any other."""
        with self._lock:
            self._ids.remove(agent_id)
            self.stop(agent_id)

    def list(self) -> tuple[str, ...]:
        """The ids of the agents that were started and not removed."""
        with self._lock:
            return tuple(self._ids)

    def close(self) -> None:
        """Stop the fork server and with it all agents; returns when they are gone."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.close()

    @property
    def pid(self) -> int | None:
        """The fork server's process, where there is one."""
        with self._lock:
            return self._server.process.pid if self._server else None

    def _send(self, command: dict[str, Any]) -> None:
        if self._closed:
            raise ServiceError("the pool of agents is shutting down", code="SHUTTING_DOWN")
        if self._server is None:
            self._server = _Server(self._config, self._fork, self._log_path, self._on_message, self._on_end)
        self._server.send(command)

    def _on_message(self, server: _Server, message: dict[str, Any]) -> None:
        match message:
            case {"event": "listening", "id": agent_id, "pid": pid, "uri": uri, "incarnation": incarnation}:
                server.agents[agent_id] = pid
                socket = socket_path(self._config, incarnation)
                self._on_event(AgentStarted(agent_id, pid, uri, incarnation, self._config.slots, host_name(), socket))
            case {"event": "exited", "id": agent_id, "pid": pid, "how": how}:
                server.agents.pop(agent_id, None)
                server.asked.pop(agent_id, None)
                self._on_event(AgentExited(agent_id, pid, how))

    def _on_end(self, server: _Server, how: str) -> None:
        """The fork server is gone, and its agents with it."""
        with self._lock:
            if self._server is server:
                self._server = None
        for agent_id in server.asked:
            self._on_event(AgentExited(agent_id, server.agents.get(agent_id, 0), f"its fork server is gone: {how}"))


class _Server:
    """A running fork server and the pipes to it."""

    def __init__(
        self,
        config: AgentConfig,
        fork: bool,
        log_path: Path | None,
        on_message: Callable[[_Server, dict[str, Any]], None],
        on_end: Callable[[_Server, str], None],
    ) -> None:
        self.agents: dict[str, int] = {}
        self.asked: dict[str, None] = {}
        self._on_message = on_message
        self._on_end = on_end
        commands_read, self._commands = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        self._messages, messages_write = os.pipe()
        inherited = (commands_read, lifeline_read, messages_write)
        arguments = ["--commands", str(commands_read), "--messages", str(messages_write), "--lifeline", str(lifeline_read)]
        try:
            with _log_file(log_path) as stderr:
                # a session of its own: Ctrl-C in the terminal must reach the coordinator only
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sabot_sql.agents.forkserver", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=inherited,
                    start_new_session=True,
                    env=environment(config.slots),
                )
        except OSError as exc:
            for fd in (self._commands, self._lifeline, self._messages):
                os.close(fd)
            raise ServiceError(f"the agents' fork server does not start: {exc}", code="NO_AGENTS") from exc
        finally:
            for fd in inherited:
                os.close(fd)
        self._closing = False
        self._pipes_open = True
        self._pipes_lock = threading.Lock()
        self._write({"config": asdict(config), "fork": fork})
        self._thread = threading.Thread(target=self._listen, daemon=True, name="sabot-agents-news")
        self._thread.start()

    def send(self, command: dict[str, Any]) -> None:
        if "start" in command:
            self.asked[command["start"]] = None
        self._write(command)

    def _write(self, command: dict[str, Any]) -> None:
        with self._pipes_lock, contextlib.suppress(BrokenPipeError):  # its end is noticed by the listener
            if self._pipes_open:
                os.write(self._commands, json.dumps(command).encode() + b"\n")

    def close(self) -> None:
        """Close the pipes, upon which the fork server kills its agents and ends; if it does not, kill it."""
        self._closing = True
        self._close_pipes()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_TIMEOUT_S)

    def _listen(self) -> None:
        with os.fdopen(self._messages, "rb") as messages:
            for line in messages:
                self._on_message(self, json.loads(line))
        if self._closing:
            return
        code = self.process.wait()
        self._close_pipes()
        self._on_end(self, f"exit code {code}")

    def _close_pipes(self) -> None:
        with self._pipes_lock:
            if self._pipes_open:
                self._pipes_open = False
                os.close(self._commands)
                os.close(self._lifeline)


@contextlib.contextmanager
def _log_file(path: Path | None) -> Any:
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield file


def local_config(
    settings: AgentSettings, token: str, root: BlockRoot, owns_blocks: bool = False, agents: int = 0
) -> AgentConfig:
    """What agents on this machine are started with.

    Args:
        agents: how many share what all agents together may take; those of the settings where 0.
    """
    agents = agents or settings.count
    return AgentConfig(
        token,
        root.places,
        settings.slots,
        settings.lane,
        column_cache_bytes(settings.column_cache_bytes) // agents,
        settings.memory_bytes,
        str(root.spill),
        root.spill_bytes // agents,
        owns_blocks,
        settings.compression,
    )
