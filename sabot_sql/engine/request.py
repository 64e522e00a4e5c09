"""What goes into the engine and what comes out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from sabot_sql.agents.info import AgentInfo
from sabot_sql.errors import SabotError
from sabot_sql.planner.write_kinds import COUNT, COUNTED
from sabot_sql.types import Schema

__all__ = [
    "TERMINAL_STATES",
    "AgentInfo",
    "Explanation",
    "Progress",
    "ProgressCallback",
    "QueryRequest",
    "QueryResult",
    "QueryStatus",
    "Route",
    "State",
]

Route = Literal["auto", "local", "distributed"]
State = Literal["queued", "planning", "running", "finishing", "finished", "failed", "cancelled", "expired"]
TERMINAL_STATES = frozenset(("finished", "failed", "cancelled", "expired"))

MAX_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One statement and how to run it.

    Attributes:
        params: mapping for `$name`, sequence for `$1` / `?`, None for none.
        threshold: rows from which a query is distributed, or "auto".
        engine: local engine, or None for the server's default.
        user: who asked; owns the query.
        priority: of the queries that wait the highest run first; 0 is the usual.
        readable: patterns of the tables that it may read; None for all.
        writes: whether who asks may write, where the catalog is written at all.
    """

    sql: str
    params: dict[str, Any] | tuple[Any, ...] | None = None
    route: Route = "auto"
    threshold: int | Literal["auto"] = "auto"
    engine: Literal["duckdb", "datafusion"] | None = None
    timeout_s: float | None = None
    dialect: str = "duckdb"
    catalog: str | None = None
    schema: str | None = None
    timezone: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    user: str = "anonymous"
    priority: int = 0
    readable: tuple[str, ...] | None = None
    writes: bool = False


@dataclass(slots=True)
class Progress:
    """How far a distributed query is."""

    stages: int = 0
    stages_done: int = 0
    tasks: int = 0
    tasks_done: int = 0
    rows_read: int = 0
    bytes_shuffled: int = 0
    bytes_read: int = 0

    @property
    def fraction(self) -> float:
        """Share of tasks done, 0 to 1."""
        return self.tasks_done / self.tasks if self.tasks else 0.0


ProgressCallback = Callable[[Progress], None]


@dataclass(slots=True)
class QueryResult:
    """A finished query. `table` has DuckDB's names and Arrow types; `columns` adds the SQL types; `stats` has the keys of
    the HTTP contract's stats."""

    query_id: str
    table: pa.Table
    columns: Schema
    route: Literal["local", "distributed"]
    reason: str
    stats: dict[str, Any]
    statement_type: str = "SELECT"
    warnings: list[str] = field(default_factory=list)

    @property
    def rows_affected(self) -> int | None:
        """Rows that the statement wrote; None for one that writes none."""
        if self.statement_type not in COUNTED:
            return None
        return int(self.table.column(COUNT)[0].as_py()) if self.table.num_rows else 0


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state that a query came into: when, and why where there is something to say. `at` is None where it is not known any
    more."""

    state: State
    at: dt.datetime | None
    reason: str


@dataclass(slots=True)
class QueryStatus:
    """The state of a query at one moment, for `GET /v1/queries/{id}`, `job.status()` and the list of jobs."""

    query_id: str
    state: State
    sql: str
    user: str
    route: Literal["local", "distributed"] | None = None
    reason: str = ""
    durable: bool = False
    submitted_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    progress: Progress = field(default_factory=Progress)
    stats: dict[str, Any] = field(default_factory=dict)
    error: SabotError | None = None
    tags: dict[str, str] = field(default_factory=dict)
    history: list[StateChange] = field(default_factory=list)


Order = Literal["parallel", "sequential"]
OnError = Literal["continue", "stop"]
BatchState = Literal["running", "finished", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Statements and how they run.

    Attributes:
        statements: their names and requests.
        order: `sequential`: one begins when the one before it has ended.
        on_error: `stop`: after one that fails no other begins.
        max_parallel: how many run at once, at most.
    """

    statements: Sequence[tuple[str, QueryRequest]]
    order: Order = "parallel"
    on_error: OnError = "continue"
    max_parallel: int = 4
    user: str = "anonymous"
    idempotency_key: str | None = None


@dataclass(slots=True)
class StatementStatus:
    """One statement of a batch. `state` is that of its query; `queued` before that begins, `cancelled` where it never will."""

    name: str
    query_id: str
    state: State = "queued"
    error: SabotError | None = None


@dataclass(slots=True)
class BatchStatus:
    """Where a batch is."""

    batch_id: str
    state: BatchState
    user: str
    statements: list[StatementStatus]


@dataclass(slots=True)
class Explanation:
    """The answer to EXPLAIN: the decision, what it rests on, and the plan as text.

    `stages` is the plan's structure as in `GET …/plan`, `plan` all of it (docs/plan.schema.json); empty and None for the local
    route. `routing` is the threshold, how it came about, what would change the route, and the costs of both; empty where there
    was nothing to decide.
    """

    route: Literal["local", "distributed"]
    reason: str
    estimate: dict[str, Any]
    statement_type: str
    tables: tuple[str, ...]
    text: str
    logical: str = ""
    physical: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    routing: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] | None = None
