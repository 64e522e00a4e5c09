"""An agent as it is shown to users; imports nothing, so that the thin client can."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

AgentState = Literal["starting", "alive", "draining", "suspect", "lost", "stopped"]


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent of the pool, as `db.agents()` and `GET /v1/agents` show it. What it told with its last heartbeat is None
    before that."""

    id: str
    pid: int
    state: AgentState
    flight_uri: str
    host: str = "127.0.0.1"
    incarnation: str = ""
    slots: int = 1
    tasks_done: int = 0
    tasks_failed: int = 0
    started_at: dt.datetime | None = None
    slots_used: int | None = None
    memory_used_bytes: int | None = None
    last_heartbeat_at: dt.datetime | None = None
