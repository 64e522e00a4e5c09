"""What a pool asks of whatever starts its agents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """An agent takes tasks.

    Attributes:
        slots: tasks it runs at once.
        host: its machine.
        socket: where it takes deployments, if it shares the coordinator's machine and folders.
        owns_blocks: whether its blocks lie in folders of its own, which go with it.
    """

    agent_id: str
    pid: int
    flight_uri: str
    incarnation: str
    slots: int
    host: str
    socket: Path | None = None
    owns_blocks: bool = False


@dataclass(frozen=True, slots=True)
class AgentExited:
    """An agent's process is gone; `how` says how it ended."""

    agent_id: str
    pid: int
    how: str


@dataclass(frozen=True, slots=True)
class AgentLeaving:
    """An agent was told to end, by whoever runs it, and would like to be drained first."""

    agent_id: str


ProviderEvent = AgentStarted | AgentExited | AgentLeaving


class PoolProvider(Protocol):
    """Starts and stops agents, and tells what became of them through the callback it was made with. No call but `close` waits
    for an agent.

    Attributes:
        restarts: whether an agent that has exited is started again by `restart`; elsewhere somebody else does it.
        scales: whether agents can be started and removed.
        pid: the process that agents are started by, where there is one.
    """

    restarts: bool
    scales: bool

    @property
    def pid(self) -> int | None: ...

    def start(self, num_agents: int) -> tuple[str, ...]:
        """Start agents, all at once; returns their ids."""
        ...

    def restart(self, agent_id: str) -> None:
        """Start an agent that has exited again, under the same id."""
        ...

    def stop(self, agent_id: str) -> None:
        """Kill an agent; its exit is told like any other."""
        ...

    def remove(self, agent_id: str) -> None:
        """Stop an agent for good; its exit is told like any other."""
        ...

    def list(self) -> tuple[str, ...]:
        """The ids of the agents that were started and not removed."""
        ...

    def close(self) -> None:
        """Stop everything and wait until it is gone."""
        ...
