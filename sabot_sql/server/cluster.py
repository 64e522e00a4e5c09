"""The object of `GET /v1/cluster`."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

from sabot_sql.agents.info import AgentState
from sabot_sql.engine.request import AgentInfo
from sabot_sql.jobs.tally import Load
from sabot_sql.server.metrics import ACTIVE_STATES


def cluster_to_json(agents: list[AgentInfo], load: Load, limits: dict[str, Any]) -> dict[str, Any]:
    """Agents and queries summed up, and the limits of `GET /v1/info`."""
    states = Counter(agent.state for agent in agents)
    alive = [agent for agent in agents if agent.state == "alive"]
    return {
        "provider": load.provider,
        "scales": load.scales,
        "agents": {"total": len(agents), **{state: states[state] for state in get_args(AgentState)}},
        "slots": sum(agent.slots for agent in alive),
        "slots_used": sum(agent.slots_used or 0 for agent in alive),
        "memory_used_bytes": sum(agent.memory_used_bytes or 0 for agent in alive),
        "tasks_done": sum(agent.tasks_done for agent in agents),
        "tasks_failed": sum(agent.tasks_failed for agent in agents),
        "queries": {state: load.states.get(state, 0) for state in ACTIVE_STATES},
        "waiting": load.waiting,
        "results": {"memory_bytes": load.result_memory_bytes, "disk_bytes": load.result_disk_bytes},
        "limits": limits,
    }
