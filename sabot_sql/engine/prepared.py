"""A statement that is parsed, allowed, estimated and routed, and, where it goes to the agents, planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sabot_sql.catalog.table import Table
from sabot_sql.engine.request import QueryRequest
from sabot_sql.engine.writing import Done
from sabot_sql.executor.local_counts import Counts
from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.expand_views import Expanded
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.physical import DistributedPlan, Session
from sabot_sql.planner.route import Decision
from sabot_sql.planner.writes import Write
from sabot_sql.types import Schema


@dataclass(slots=True)
class Prepared:
    """What `Engine.prepare` found out.

    Attributes:
        reason: why the query goes where it goes, one sentence.
        lane: where a local query runs: small ones at once in the caller's thread, large ones in threads of low priority,
            guarded ones in processes of their own.
        harmless: it was asked whether a guarded process must run it, and none must.
        promoted: it began locally and went to the agents past its budget.
        cluster: there are agents.
        plan: for the distributed route.
        analyze: EXPLAIN ANALYZE: the query runs, and its answer is what it did.
        columns: names and SQL types of the result; empty for the local route until it ran.
        stats: the contract's stats as far as they are known before the run.
        decision: what the route rests on.
        counts: set where the rows that a local run reads and makes are to be counted.
        rows_out: rows of its answer, once it ran.
        write: what it writes; `statement` is the query that gives the rows then.
        done: there is nothing to do for that.
        expanded: what its text was, where `statement` has views in it or is a part of it.
    """

    request: QueryRequest
    statement: Statement
    tables: tuple[Table, ...]
    session: Session
    estimate: Estimate
    route: Literal["local", "distributed"]
    reason: str
    lane: Literal["small", "large", "guarded"] = "small"
    harmless: bool = False
    promoted: bool = False
    cluster: bool = False
    plan: DistributedPlan | None = None
    logical: str = ""
    columns: Schema = ()
    analyze: bool = False
    stats: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    counts: Counts | None = None
    rows_out: int | None = None
    write: Write | None = None
    done: Done | None = None
    expanded: Expanded | None = None

    @property
    def ran(self) -> bool:
        """Whether it came to its end."""
        return self.rows_out is not None

    @property
    def may_promote(self) -> bool:
        """Whether it may go to the agents when it takes longer locally than was thought; a forced route never changes."""
        return self.request.route == "auto" and self.statement.kind == "SELECT" and not self.promoted and self.cluster

    @property
    def statement_type(self) -> str:
        """SELECT, DESCRIBE, EXPLAIN, ..."""
        if self.write is not None:
            return self.write.kind
        return "EXPLAIN" if self.analyze else self.statement.kind
