"""`system.queries` and `system.agents`: what the engine is doing, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.table import Table
from sabot_sql.engine.request import AgentInfo, QueryStatus
from sabot_sql.planner.show import STATE_PREFIX

TIME = pa.timestamp("us", tz="UTC")

QUERIES = pa.schema(
    [
        ("query_id", pa.string()), ("state", pa.string()), ("sql", pa.string()), ("user", pa.string()), ("route", pa.string()),
        ("reason", pa.string()), ("durable", pa.bool_()), ("submitted_at", TIME), ("started_at", TIME), ("finished_at", TIME),
        ("elapsed_ms", pa.float64()), ("rows_scanned", pa.int64()), ("agents", pa.int64()), ("error_code", pa.string()),
    ]
)  # fmt: skip

AGENTS = pa.schema([("id", pa.string()), ("state", pa.string()), ("pid", pa.int64()), ("flight_uri", pa.string())])

Statuses = Callable[[str], Iterable[QueryStatus]]


class StateTables:
    """Makes the tables anew for every query that reads them.

    Args:
        folder: where they are written.
        agents: the agents as they are now.

    Attributes:
        queries: the queries of a user, newest first; set by whoever keeps them.
    """

    def __init__(self, folder: Path, agents: Callable[[], Iterable[AgentInfo]]) -> None:
        self._catalog = Catalog(None, scratch_dir=folder)
        self._agents = agents
        self.queries: Statuses = lambda user: ()

    def table(self, name: str, user: str) -> Table:
        """The table `system.<name>` as it is now, with the queries of `user`."""
        rows = [query_row(q) for q in self.queries(user)] if name == "queries" else [agent_row(a) for a in self._agents()]
        schema = QUERIES if name == "queries" else AGENTS
        full = STATE_PREFIX + name
        self._catalog.register(full, pa.Table.from_pylist(rows, schema), replace=True)
        return self._catalog.table(full)

    def close(self) -> None:
        """Remove what was written."""
        self._catalog.close()


def query_row(status: QueryStatus) -> dict[str, Any]:
    """One row of `system.queries`."""
    stats = status.stats
    return {
        "query_id": status.query_id,
        "state": status.state,
        "sql": status.sql,
        "user": status.user,
        "route": status.route,
        "reason": status.reason,
        "durable": status.durable,
        "submitted_at": status.submitted_at,
        "started_at": status.started_at,
        "finished_at": status.finished_at,
        "elapsed_ms": stats.get("elapsed_ms"),
        "rows_scanned": stats.get("rows_scanned"),
        "agents": stats.get("agents"),
        "error_code": status.error.problem.code if status.error else None,
    }


def agent_row(agent: AgentInfo) -> dict[str, Any]:
    """One row of `system.agents`."""
    return {"id": agent.id, "state": agent.state, "pid": agent.pid, "flight_uri": agent.flight_uri}
