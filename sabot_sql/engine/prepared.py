"""A statement that is parsed, allowed, estimated and routed, and, where it goes to the agents, planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sabot_sql.catalog.table import Table
from sabot_sql.engine.request import QueryRequest
from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.physical import DistributedPlan, Session
from sabot_sql.types import Schema


@dataclass(slots=True)
class Prepared:
    """What `Engine.prepare` found out.

    Attributes:
        reason: why the query goes where it goes, one sentence.
        plan: for the distributed route.
        analyze: EXPLAIN ANALYZE: the query runs, and its answer is what it did.
        columns: names and SQL types of the result; empty for the local route until it ran.
        stats: the contract's stats as far as they are known before the run.
    """

    request: QueryRequest
    statement: Statement
    tables: tuple[Table, ...]
    session: Session
    estimate: Estimate
    route: Literal["local", "distributed"]
    reason: str
    plan: DistributedPlan | None = None
    logical: str = ""
    columns: Schema = ()
    analyze: bool = False
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def statement_type(self) -> str:
        """SELECT, DESCRIBE, EXPLAIN, ..."""
        return "EXPLAIN" if self.analyze else self.statement.kind
