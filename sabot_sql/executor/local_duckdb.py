"""The local route on DuckDB: one query, one cursor, in the caller's thread.

There are two lanes. Small queries run on an instance of one thread, where nothing is handed from thread to thread; large
ones on an instance with all threads, to be called from threads of low priority (`local_lane`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import duckdb
import pyarrow as pa

from sabot_sql.catalog.table import Table
from sabot_sql.config import LocalSettings
from sabot_sql.errors import Cancelled, ExecutionError, NotSupported, QueryTimeout, ReadError
from sabot_sql.executor.huge_values import check_huge
from sabot_sql.executor.local_answer import collect, streamed
from sabot_sql.executor.local_counts import PROFILE, Counts
from sabot_sql.executor.local_instance import Identity, Instance, identity, is_attached
from sabot_sql.executor.local_watch import Guarded, Watch
from sabot_sql.planner.amounts import size_text
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.planner.physical import Session

__all__ = ["LocalDuckDB", "translate"]

TIME_ZONES = 4
"""Instances kept in a lane, one a time zone: the configuration of an instance is locked, its time zone with it."""

BATCH_ROWS = 131_072
"""Rows of an Arrow batch of an answer, as DuckDB has them by itself."""

TOOK_CTRL_C = "Query interrupted"
"""What DuckDB makes of a KeyboardInterrupt: it looks for signals now and then while it runs in the main thread."""

Lane = Literal["small", "large"]

Sink = Callable[[pa.Schema, Callable[[], Iterator[pa.RecordBatch]], Sequence[str]], pa.Table]
"""Takes the schema of an answer, its batches and its SQL types, and gives an answer in its stead."""


class OverBudget(Exception):
    """A query of the small lane took more time or memory than a small query may."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class LocalDuckDB:
    """Runs statements on DuckDB over the catalog's tables. Thread-safe.

    Statements must have passed `planner.policy`; the instance is locked down behind it.

    Args:
        locations: folders and files of the catalog, asked for when an instance is made.
        max_bytes: how large an answer may be.
    """

    def __init__(self, settings: LocalSettings, locations: Callable[[], Sequence[str]], max_bytes: int = sys.maxsize) -> None:
        self._settings = settings
        self._max_bytes = max_bytes
        self._locations = locations
        self._lock = threading.Lock()
        self._instances: OrderedDict[tuple[Lane, str], Instance] = OrderedDict()
        self._databases: set[Identity] = set()
        self._extra: set[str] = set()
        self._watch = Watch()

    def execute(
        self,
        sql: str,
        params: dict[str, Any] | None,
        tables: Sequence[Table],
        session: Session,
        timeout_s: float | None = None,
        cancel: threading.Event | None = None,
        all_tables: bool = False,
        types: list[str] | None = None,
        lane: Lane = "small",
        budget_s: float | None = None,
        counts: Counts | None = None,
        sink: Sink | None = None,
    ) -> pa.Table:
        """The answer of one statement, with DuckDB's column names and Arrow types.

        Args:
            params: values by name ("1", "2", ... for positions).
            tables: the tables that the statement names.
            all_tables: `tables` are all there are, and the statement lists them (SHOW, information_schema).
            types: a list to fill with the SQL types of the columns, as DuckDB writes them.
            budget_s: seconds after which it is over its budget.
            counts: to be filled with how many rows it read and made.
            sink: takes the batches as they come; the answer is what it gives.

        Raises:
            OverBudget: it took longer than `budget_s`, or in the small lane more memory than a small query may.
            QueryTimeout, Cancelled: it was stopped.
            QueryError: RESULT_TOO_LARGE.
            QueryError, ExecutionError: as `translate` reads DuckDB's errors.
        """
        if cancel is not None and cancel.is_set():
            raise Cancelled("the query was cancelled before it started")
        types = [] if types is None else types
        cursor = self._cursor(tables, session.timezone, all_tables, lane)
        try:
            with self._watch.guard(cursor.interrupt, timeout_s, cancel, budget_s) as guarded:
                try:
                    if counts is not None:
                        cursor.execute(PROFILE)
                    # what `cursor.sql(sql).to_arrow_table()` ends in, without binding the statement twice
                    # a query that may take its time is streamed, so that its answer can be refused before it fills the memory
                    streams = lane == "large" or budget_s is None or sink is not None
                    result = cursor._submit(sql, params or None, "stream" if streams else "arrow", BATCH_ROWS)
                    types.extend(str(column[1]) for column in result.description)
                    if sink is not None:
                        table = sink(*streamed(result.arrow_reader()), types)
                    else:
                        table = collect(result.arrow_reader(), self._max_bytes) if streams else result.arrow_table()
                    if counts is not None:
                        counts.read(cursor.get_profiling_information("json"), tables)
                except duckdb.OutOfMemoryException as error:
                    if lane == "small" and budget_s is not None:
                        raise OverBudget(f"{size_text(self._memory_bytes(lane))} of memory") from error
                    raise translate(error, sql) from error
                except duckdb.Error as error:
                    raise stopped(guarded, timeout_s, budget_s) or _named(translate(error, sql), tables) from error
                except pa.ArrowInvalid as error:  # lists of lists of lists, 64 deep
                    raise NotSupported(f"the answer has no Arrow form: {error}", hint="cast it to VARCHAR") from error
                except RuntimeError as error:
                    if str(error) == TOOK_CTRL_C:
                        raise KeyboardInterrupt from error
                    raise
        finally:
            cursor.close()
        if sink is None:
            check_huge(table, types)
        return table

    def schema(self, sql: str, tables: Sequence[Table], session: Session, params: dict[str, Any] | None = None) -> pa.Schema:
        """The names and Arrow types of a query's answer, without running it."""
        return self.execute(f"SELECT * FROM ({sql}\n) LIMIT 0", params, tables, session).schema

    def _cursor(self, tables: Sequence[Table], timezone: str, all_tables: bool, lane: Lane) -> duckdb.DuckDBPyConnection:
        while True:
            instance = self._instance(tables, timezone, lane)
            try:
                instance.show(tables, only=all_tables)
                return instance.cursor(tables)
            except duckdb.ConnectionException:
                with self._lock:  # closed by another thread that needed a new one
                    if self._instances.get((lane, timezone)) is instance:
                        raise

    def _memory_bytes(self, lane: Lane) -> int:
        settings = self._settings
        return min(settings.budget_bytes, settings.memory_bytes) if lane == "small" else settings.memory_bytes

    def _instance(self, tables: Sequence[Table], timezone: str, lane: Lane) -> Instance:
        """The lane's instance of the time zone, a new one where it may not read a table."""
        key = (lane, timezone)
        instance = self._instances.get(key)
        if instance is not None and all(map(instance.covers, tables)):
            return instance
        with self._lock:
            instance = self._instances.get(key)
            if instance is not None and all(map(instance.covers, tables)):
                return instance
            self._databases = {d for d in self._databases if os.path.exists(d[0])}
            for table in tables:
                self._allow(table)
            old = instance
            # DuckDB (2.0) with one thread never ends an ASOF RIGHT JOIN whose left side is empty
            threads = 1 if lane == "small" else max(2, self._settings.threads)
            instance = Instance(threads, self._memory_bytes(lane), timezone, self._readable(), sorted(self._databases))
            self._instances[key] = instance
            self._instances.move_to_end(key)
            if old is not None:
                old.close()
            kept = [k for k in self._instances if k[0] == lane]
            for other in kept[: max(0, len(kept) - TIME_ZONES)]:
                self._instances.pop(other).close()
            return instance

    def _allow(self, table: Table) -> None:
        """Remember what the next instance must read for `table`."""
        if is_attached(table):
            found = identity(table)
            self._databases = {d for d in self._databases if d[0] != found[0]} | {found}
        elif table.scan.kind != "ipc":
            roots = self._readable()
            self._extra |= {
                real
                for real in (os.path.realpath(file.path) for file in table.scan.files)
                if not any(real == p or real.startswith(os.path.join(p, "")) for p in roots)
            }

    def _readable(self) -> list[str]:
        return sorted({os.path.realpath(p) for p in self._locations()} | self._extra)

    def close(self) -> None:
        """Close all instances and stop the watching thread."""
        with self._lock:
            for instance in self._instances.values():
                instance.close()
            self._instances.clear()
        self._watch.close()


def stopped(guarded: Guarded, timeout_s: float | None, budget_s: float | None = None) -> ExecutionError | OverBudget | None:
    """The error of a query that the watch stopped; None where it did not."""
    match guarded.stopped:
        case "budget":
            return OverBudget(f"{(budget_s or 0) * 1e3:,.0f} ms")
        case "timeout":
            return QueryTimeout(f"the query ran longer than {timeout_s:g} s", hint="raise timeout_s, or read less")
        case "cancel":
            return Cancelled("the query was cancelled")
    return None


def _named(error: Exception, tables: Sequence[Table]) -> Exception:
    """A ReadError that names the file where DuckDB's message does not."""
    if isinstance(error, ReadError):
        missing = [f.path for t in tables for f in t.scan.files if not os.path.exists(f.path)]
        if missing:
            return ReadError(
                f"file {missing[0]} is missing",
                code="FILE_MISSING",
                hint="it was there when the table was looked at; run the query again",
                engine_message=error.engine_message,
            )
    return error
