"""What a pool asks of whatever starts its agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """An agent listens."""

    agent_id: str
    pid: int
    flight_uri: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class AgentExited:
    """An agent's process is gone; `how` says how it ended."""

    agent_id: str
    pid: int
    how: str


ProviderEvent = AgentStarted | AgentExited


class PoolProvider(Protocol):
    """Starts and stops agents, and tells what became of them through the callback it was made with. No call waits for an
    agent."""

    def start(self, num_agents: int) -> tuple[str, ...]:
        """Start agents, all at once; returns their ids."""
        ...

    def restart(self, agent_id: str) -> None:
        """Start an agent that has exited again, under the same id."""
        ...

    def stop(self, agent_id: str) -> None:
        """Kill an agent; its exit is told like any other."""
        ...

    def list(self) -> tuple[str, ...]:
        """The ids of the agents that were started and not stopped by `scale`."""
        ...

    def scale(self, num_agents: int) -> tuple[str, ...]:
        """Start or stop agents until there are so many; returns the ids that are then there."""
        ...

    def close(self) -> None:
        """Stop everything and wait until it is gone."""
        ...
