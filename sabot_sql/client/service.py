"""What a connection needs of an engine, wherever that runs."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from sabot_sql.client.record import Record
from sabot_sql.engine.request import (
    BatchRequest,
    BatchStatus,
    Explanation,
    ProgressCallback,
    QueryRequest,
    QueryResult,
    QueryStatus,
    State,
)


class Service(Protocol):
    """The engine in this process (`embedded.EmbeddedService`) or a server (`remote.RemoteService`). All methods may be
    called from several threads at once and raise `SabotError`."""

    def execute(
        self, request: QueryRequest, progress: ProgressCallback | None = None, cancel: threading.Event | None = None
    ) -> QueryResult:
        """Runs the query to its end. Setting `cancel` from another thread cancels it."""

    def submit(self, request: QueryRequest) -> QueryStatus:
        """Starts the query in the background."""

    def status(self, query_id: str, wait_s: float = 0) -> QueryStatus:
        """The state of a query, after waiting up to `wait_s` for its end."""

    def result(self, query_id: str) -> QueryResult:
        """The answer of a finished query; raises the query's own error when it failed."""

    def cancel(self, query_id: str) -> QueryStatus:
        """Asks a query to stop."""

    def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        """Queries, newest first."""

    def submit_batch(self, request: BatchRequest) -> BatchStatus:
        """Starts several queries at once."""

    def batch_status(self, batch_id: str, wait_s: float = 0) -> BatchStatus:
        """The state of a batch, after waiting up to `wait_s` for its end."""

    def cancel_batch(self, batch_id: str) -> BatchStatus:
        """Stops what runs of a batch and begins nothing more of it."""

    def retry(self, query_id: str) -> QueryStatus:
        """Runs the statement of a query that has ended once more, as a new query."""

    def explain(self, request: QueryRequest, analyze: bool = False) -> Explanation:
        """Where a query would run, why, and its plan."""

    def tables(self) -> list[Record]:
        """The tables, as in `GET /v1/tables`."""

    def skipped(self) -> list[str]:
        """What lies in the data and is not read."""

    def table(self, name: str) -> Record:
        """One table with its columns."""

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        """Makes `source` a table."""

    def unregister(self, name: str) -> None:
        """Takes a table out of the catalog."""

    def agents(self) -> list[Record]:
        """The agents, as in `GET /v1/agents`."""

    def drain_agent(self, agent_id: str) -> None:
        """Lets an agent finish what it has, and ends it."""

    def resume_agent(self, agent_id: str) -> None:
        """Keeps an agent that is being drained."""

    def scale_agents(self, num_agents: int) -> None:
        """Starts agents, or drains some, until there are so many."""

    def info(self) -> dict[str, Any]:
        """Versions, formats and limits."""

    def close(self) -> None:
        """Gives back what the service holds."""
