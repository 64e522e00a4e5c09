"""The local engines: DuckDB, and DataFusion for who asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from sabot_sql.catalog.table import Table
from sabot_sql.config import Settings
from sabot_sql.errors import PlanError, QueryTimeout
from sabot_sql.executor.local_datafusion import LocalDataFusion
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.planner.memory_functions import LARGEST_BYTES, oversized
from sabot_sql.planner.parameters import bound_parameters
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import walk
from sabot_sql.planner.physical import Session
from sabot_sql.planner.policy import is_system_table
from sabot_sql.planner.route import size_text


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
        self._duckdb = LocalDuckDB(settings.local, catalog.locations)
        self._datafusion = LocalDataFusion()

    def run(
        self,
        statement: Statement,
        request: LocalRequest,
        tables: Sequence[Table],
        session: Session,
        cancel: threading.Event | None = None,
    ) -> tuple[pa.Table, dict[str, Any]]:
        """The answer, and the stats `engine`, `exec_ms` and, where another engine was asked for, `engine_reason`; under
        `types` the SQL types of its columns.

        Args:
            tables: what `policy.check` gave for the statement.

        Raises:
            QueryError, ExecutionError: as the engine's own errors are translated.
        """
        start = time.perf_counter()
        params = bound_parameters(statement, request.params)
        refuse_oversized(statement, params)
        stats: dict[str, Any] = {"engine": "duckdb"}
        types: list[str] = []
        table = None
        if (request.engine or self._settings.local.engine) == "datafusion":
            table = self._on_datafusion(statement, request, tables, session, cancel, stats)
        if table is None:
            spent = time.perf_counter() - start
            left = None if request.timeout_s is None else max(0.001, request.timeout_s - spent)
            table = self._on_duckdb(statement, params, tables, session, left, cancel, types)
        stats["types"] = types
        stats["exec_ms"] = (time.perf_counter() - start) * 1000
        return table, stats

    def _on_duckdb(
        self,
        statement: Statement,
        params: dict[str, Any],
        tables: Sequence[Table],
        session: Session,
        timeout_s: float | None,
        cancel: threading.Event | None,
        types: list[str],
    ) -> pa.Table:
        every = lists_tables(statement)
        if every:
            tables = [t for t in self._catalog.tables() if getattr(t, "error", None) is None]
        return self._duckdb.execute(statement.sql, params, tables, session, timeout_s, cancel, every, types)

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
        self._duckdb.close()


def refuse_oversized(statement: Statement, params: Mapping[str, Any]) -> None:
    """Raise for a call such as repeat('x', 1500000000): no memory limit holds for it in this process."""
    if statement.like is not None:  # statements with such calls are never taken for one another
        return
    if statement.nodes is not None and (found := oversized(statement.nodes, params)) is not None:
        name, size = found
        raise PlanError(
            f"function {name} would make a value of {size_text(size)}; {size_text(LARGEST_BYTES)} are allowed",
            code="STATEMENT_TOO_COMPLEX",
            hint="make the value smaller, or read it from a table",
        )


def lists_tables(statement: Statement) -> bool:
    """Whether the answer tells which tables there are."""
    if any(is_system_table(r.parts) for r in statement.references):
        return True
    if statement.kind == "SELECT" and "show" not in statement.sql.lower():
        return False
    nodes = (statement.like or statement).nodes
    return nodes is not None and any(n.get("show_type") in ("SHOW_SPECIAL", "SHOW_FROM") for n in walk(nodes))
