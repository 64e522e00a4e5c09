"""Agents that a Ray cluster runs: one actor a node. Placement, restarts and autoscaling are Ray's.

An actor's process is an agent like any other that was started elsewhere (`standalone.py`): it registers by itself, and rows go
between agents by Flight, not through Ray's object store. The extra `ray` installs what this needs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sabot_sql.agents.providers.environment import environment
from sabot_sql.agents.providers.provider import ProviderEvent
from sabot_sql.agents.providers.static import Answer, StaticProvider
from sabot_sql.config import AgentSettings
from sabot_sql.errors import ConfigError

log = logging.getLogger(__name__)

NAMESPACE = "sabot-sql"


class RayAgent:
    """The actor: an agent in its process, which ends with it and is started again by Ray.

    Args:
        settings: an `AgentSettings` as a mapping.
    """

    def __init__(self, settings: dict[str, Any], token: str, coordinator: str, name: str) -> None:
        from sabot_sql.agents.standalone import Standalone

        agent = Standalone(AgentSettings(**settings), token, coordinator, name)

        def run() -> None:
            try:
                agent.run()
            finally:
                os._exit(0)

        threading.Thread(target=run, name="sabot-agent", daemon=True).start()

    def node(self) -> str:
        """The node that it runs on."""
        return str(ray.get_runtime_context().get_node_id())


class RayProvider(StaticProvider):
    """Starts actors on a Ray cluster, one a node while there are such without one; further ones wait for Ray to make room.

    Raises:
        ConfigError: there is no cluster.
        ServiceError: as `StaticProvider`.
    """

    scales = True

    def __init__(self, token: str, settings: AgentSettings, answer: Answer, on_event: Callable[[ProviderEvent], None]) -> None:
        self._settings = settings
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}  # by agent, as asked for
        self._next = 0
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            try:
                ray.init(address=settings.ray_address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError) as exc:
                raise ConfigError(
                    f"no Ray cluster at {settings.ray_address!r}: {str(exc).splitlines()[0]}",
                    hint="start one with `ray start --head`, or name its address in agents.ray_address",
                ) from exc
        super().__init__(token, settings.listen, answer, on_event)

    def start(self, num_agents: int) -> tuple[str, ...]:
        """Start actors; returns the ids of their agents, which register when Ray has placed them."""
        with self._lock:
            used = set(self._nodes.values())
            free = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in used]
            started = []
            for _ in range(num_agents):
                agent_id = f"ray-{self._next}"
                self._next += 1
                strategy: Any = "SPREAD"
                if free:
                    self._nodes[agent_id] = free.pop(0)
                    strategy = NodeAffinitySchedulingStrategy(self._nodes[agent_id], soft=True)
                actor = ray.remote(RayAgent).options(
                    num_cpus=self._settings.slots,
                    max_restarts=-1,
                    scheduling_strategy=strategy,
                    runtime_env={"env_vars": variables(self._settings.slots)},
                )
                own = {**asdict(self._settings), "count": 1, "threads": self._settings.slots}
                self._actors[agent_id] = actor.remote(own, self._token, self.uri, agent_id)
                started.append(agent_id)
            return tuple(started)

    def remove(self, agent_id: str) -> None:
        """End an actor for good."""
        with self._lock:
            actor = self._actors.pop(agent_id, None)
            self._nodes.pop(agent_id, None)
        if actor is not None:
            ray.kill(actor)
        super().remove(agent_id)

    def list(self) -> tuple[str, ...]:
        """The ids of the agents that were started and not removed."""
        with self._lock:
            return tuple(self._actors)

    def close(self) -> None:
        """End all actors, and the connection to the cluster."""
        with self._lock:
            actors, self._actors = list(self._actors.values()), {}
        for actor in actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(actor)
        super().close()
        if self._owns_ray:
            ray.shutdown()


def variables(slots: int) -> dict[str, str]:
    """What `environment` changes."""
    return {name: value for name, value in environment(slots).items() if os.environ.get(name) != value}
