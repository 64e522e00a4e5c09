"""The life of one agent process, from its first message to the end of its lifeline."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from sabot_sql.agents.agent import Agent, AgentConfig, spill_folder
from sabot_sql.agents.blocks import LaneReader, LocalBlockReader
from sabot_sql.agents.flight import AgentServer, FlightBlockReader
from sabot_sql.agents.socket_lane import DeploySocket, socket_path
from sabot_sql.executor.duckdb_session import Limits, limit_session
from sabot_sql.executor.exchange import BlockReader

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Pipes:
    """The file descriptors that a fork server hands to its agents.

    Attributes:
        messages: where lines for the coordinator are written.
        lifeline: comes to its end when the coordinator does.
    """

    messages: int
    lifeline: int


def send(messages: int, message: dict[str, Any]) -> None:
    """Write one line for the coordinator; short enough that lines of several processes do not mix."""
    line = json.dumps(message).encode() + b"\n"
    assert len(line) <= 512, "longer lines of two processes could mix in the pipe"
    os.write(messages, line)


def run_agent(agent_id: str, config: AgentConfig, pipes: Pipes, parent_pid: int) -> NoReturn:
    """Serve until the coordinator ends, however it ends; then vanish. An agent keeps nothing that would need a farewell."""
    die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # no usable stderr
        faulthandler.enable()
    agent = Agent(agent_id, config, equip(agent_id, config))
    server = AgentServer(agent)
    path = socket_path(config, agent.incarnation)
    deployments = DeploySocket(agent, path) if path is not None else None
    send(
        pipes.messages,
        {"event": "listening", "id": agent_id, "pid": os.getpid(), "uri": agent.flight_uri, "incarnation": agent.incarnation},
    )
    os.close(pipes.messages)
    os.read(pipes.lifeline, 1)
    del server, deployments
    os._exit(0)


def equip(agent_id: str, config: AgentConfig) -> BlockReader:
    """Give this process what an agent works with, and its DuckDB sessions their limits; what reads blocks."""
    folder = spill_folder(config, agent_id)
    limits = Limits(
        config.duckdb_bytes, config.column_cache_bytes, str(folder / "duckdb") if folder else "", config.spill_bytes // 2
    )
    limit_session(limits)
    return LaneReader(config.lane, LocalBlockReader(), FlightBlockReader(config.token))


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux); elsewhere the lifeline does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before the call
            os._exit(0)
