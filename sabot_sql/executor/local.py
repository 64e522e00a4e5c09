"""The local engines: DuckDB, and DataFusion for who asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import pyarrow as pa

from sabot_sql.catalog.table import Table
from sabot_sql.config import Settings
from sabot_sql.errors import PlanError, QueryError, QueryTimeout
from sabot_sql.executor.local_counts import Counts
from sabot_sql.executor.local_datafusion import LocalDataFusion
from sabot_sql.executor.local_duckdb import Lane, LocalDuckDB, OverBudget, Sink
from sabot_sql.executor.local_guarded import LocalGuarded
from sabot_sql.executor.local_lane import LargeLane
from sabot_sql.planner.amounts import size_text
from sabot_sql.planner.guard import guarded_rows, guarded_values
from sabot_sql.planner.memory_functions import oversized
from sabot_sql.planner.parameters import bound_parameters
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import walk
from sabot_sql.planner.physical import Session
from sabot_sql.planner.policy import is_system_table

__all__ = ["LocalEngines", "OverBudget", "lists_tables", "refuse_oversized"]

Answer = tuple[pa.Table, dict[str, Any]]


class TableSource(Protocol):
    """What the local engines need of the catalog."""

    def tables(self) -> Sequence[Table]: ...

    def locations(self) -> Sequence[str]: ...


class LocalRequest(Protocol):
    """What the local engines need of a query's request."""

    @property
    def params(self) -> Mapping[str, Any] | Sequence[Any] | None: ...

    @property
    def engine(self) -> str | None: ...

    @property
    def timeout_s(self) -> float | None: ...


class LocalEngines:
    """Runs statements in this process. Thread-safe; a call blocks its thread until the answer is there."""

    def __init__(self, catalog: TableSource, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._duckdb = LocalDuckDB(settings.local, catalog.locations, settings.result_max_bytes)
        self._datafusion = LocalDataFusion()
        self._guarded = LocalGuarded(settings.local, catalog.locations, settings.result_max_bytes)
        self._large = LargeLane(settings.local.large_concurrency)

    def run_large(
        self,
        statement: Statement,
        request: LocalRequest,
        tables: Sequence[Table],
        session: Session,
        cancel: threading.Event | None = None,
        counts: Counts | None = None,
        harmless: bool = False,
        sink: Sink | None = None,
    ) -> Future[Answer]:
        """As `run`, in the large lane: in a thread of low priority, when one is free."""
        ways: dict[str, Any] = {"lane": "large", "counts": counts, "harmless": harmless, "sink": sink}
        return self._large.submit(lambda: self.run(statement, request, tables, session, cancel, **ways))

    def run(
        self,
        statement: Statement,
        request: LocalRequest,
        tables: Sequence[Table],
        session: Session,
        cancel: threading.Event | None = None,
        *,
        lane: Lane = "small",
        budget_s: float | None = None,
        counts: Counts | None = None,
        harmless: bool = False,
        sink: Sink | None = None,
    ) -> Answer:
        """The answer, and the stats `engine`, `exec_ms` and, where another engine was asked for, `engine_reason`; under
        `types` the SQL types of its columns.

        Args:
            tables: what `policy.check` gave for the statement.
            budget_s: what a query of the small lane may take.
            counts: to be filled with how many rows it read and made; DuckDB alone counts them.
            harmless: `guarded` was asked and said None.
            sink: takes the batches as they come; the answer is what it gives. Only a guarded process hands them over as a
                whole, which is no larger than its memory.

        Raises:
            OverBudget: it takes longer, or more memory than a small query may.
            QueryError, ExecutionError: as the engine's own errors are translated.
        """
        start = time.perf_counter()
        params = bound_parameters(statement, request.params)
        guarded = None if harmless else self.guarded(statement, request.params, tables)
        if guarded is not None:
            refuse_oversized(statement, params, self._settings.local.guarded_memory_bytes)
        stats: dict[str, Any] = {"engine": "duckdb" if guarded is None else "duckdb-guarded"}
        types: list[str] = []
        table = None
        if (request.engine or self._settings.local.engine) == "datafusion":
            if sink is not None:
                stats["engine_reason"] = "DataFusion does not run statements that write"
            elif guarded is None:
                table = self._on_datafusion(statement, request, tables, session, cancel, stats)
            else:
                stats["engine_reason"] = f"DataFusion does not run it: {guarded}"
        if table is None:
            spent = time.perf_counter() - start
            left = None if request.timeout_s is None else max(0.001, request.timeout_s - spent)
            every = lists_tables(statement)
            if every:
                tables = [t for t in self._catalog.tables() if getattr(t, "error", None) is None]
            if guarded is not None:
                table = self._guarded.execute(statement.sql, params, tables, session, left, cancel, every, types)
                if sink is not None:
                    rows = table
                    table = sink(rows.schema, lambda: iter(rows.to_batches()), types)
            else:
                table = self._duckdb.execute(
                    statement.sql, params, tables, session, left, cancel, every, types, lane, budget_s, counts, sink
                )
        stats["types"] = types
        stats["exec_ms"] = (time.perf_counter() - start) * 1000
        return table, stats

    def guarded(
        self,
        statement: Statement,
        params: Mapping[str, Any] | Sequence[Any] | None,
        tables: Sequence[Table],
        few_rows: bool = False,
    ) -> str | None:
        """Why a statement runs in a process of its own; None where it runs in this one.

        Args:
            few_rows: it is known to make no more than a small query does.
        """
        try:
            values = bound_parameters(statement, params) if statement.parameters else {}
        except QueryError:  # told when it runs
            return guarded_values(statement, {})
        return guarded_values(statement, values) or (None if few_rows else guarded_rows(statement, tables))

    def _on_datafusion(
        self,
        statement: Statement,
        request: LocalRequest,
        tables: Sequence[Table],
        session: Session,
        cancel: threading.Event | None,
        stats: dict[str, Any],
    ) -> pa.Table | None:
        if statement.kind != "SELECT":
            stats["engine_reason"] = f"DataFusion is not proven for {statement.kind}"
            return None
        start = time.monotonic()
        schema = self._duckdb.schema(statement.sql, tables, session) if not statement.parameters else pa.schema([])
        answer = self._datafusion.execute(statement, tables, schema, cancel)
        if request.timeout_s is not None and time.monotonic() - start > request.timeout_s:
            raise QueryTimeout(f"the query ran longer than {request.timeout_s:g} s", hint="raise timeout_s, or read less")
        if answer.table is None:
            stats["engine_reason"] = answer.reason
        else:
            stats["engine"] = "datafusion"
        return answer.table

    def close(self) -> None:
        """Free the engines."""
        self._guarded.close()
        self._large.close()
        self._duckdb.close()


def refuse_oversized(statement: Statement, params: Mapping[str, Any], limit_bytes: int) -> None:
    """Raise for a call such as repeat('x', 1500000000) that no process may have the memory for.

    Args:
        limit_bytes: what a guarded process may take.
    """
    if statement.like is not None:  # statements with such calls are never taken for one another
        return
    if statement.nodes is not None and (found := oversized(statement.nodes, limit_bytes, params)) is not None:
        name, size = found
        raise PlanError(
            f"function {name} would make a value of {size_text(size)}; {size_text(limit_bytes)} are allowed",
            code="STATEMENT_TOO_COMPLEX",
            hint="make the value smaller, or raise the setting local.guarded_memory_bytes",
        )


def lists_tables(statement: Statement) -> bool:
    """Whether the answer tells which tables there are."""
    if any(is_system_table(r.parts) for r in statement.references):
        return True
    if statement.kind == "SELECT" and "show" not in statement.sql.lower():
        return False
    nodes = (statement.like or statement).nodes
    return nodes is not None and any(n.get("show_type") in ("SHOW_SPECIAL", "SHOW_FROM") for n in walk(nodes))
