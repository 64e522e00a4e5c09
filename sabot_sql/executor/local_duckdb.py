"""The local route on DuckDB: one query, one cursor, in the caller's thread."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from sabot_sql.catalog.table import Table
from sabot_sql.config import LocalSettings
from sabot_sql.errors import Cancelled, ExecutionError, QueryError, QueryTimeout, ReadError
from sabot_sql.executor.local_instance import Identity, Instance, identity
from sabot_sql.executor.local_watch import Guarded, Watch
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.planner.physical import Session

__all__ = ["LocalDuckDB", "translate"]

TIME_ZONES = 4
"""Instances kept, one a time zone: the configuration of an instance is locked, its time zone with it."""

HUGE = pa.decimal128(38, 0)


class LocalDuckDB:
    """Runs statements on DuckDB over the catalog's tables. Thread-safe.

    Statements must have passed `planner.policy`; the instance is locked down behind it.

    Args:
        locations: folders and files of the catalog, asked for when an instance is made.
    """

    def __init__(self, settings: LocalSettings, locations: Callable[[], Sequence[str]]) -> None:
        self._settings = settings
        self._locations = locations
        self._lock = threading.Lock()
        self._instances: OrderedDict[str, Instance] = OrderedDict()
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
    ) -> pa.Table:
        """The answer of one statement, with DuckDB's column names and Arrow types.

        Args:
            params: values by name ("1", "2", ... for positions).
            tables: the tables that the statement names.
            all_tables: `tables` are all there are, and the statement lists them (SHOW, information_schema).
            types: a list to fill with the SQL types of the columns, as DuckDB writes them.

        Raises:
            QueryTimeout, Cancelled: it was stopped.
            QueryError, ExecutionError: as `translate` reads DuckDB's errors.
        """
        if cancel is not None and cancel.is_set():
            raise Cancelled("the query was cancelled before it started")
        cursor = self._cursor(tables, session.timezone, all_tables)
        try:
            with self._watch.guard(cursor.interrupt, timeout_s, cancel) as guarded:
                try:
                    relation = cursor.sql(sql, params=params) if params else cursor.sql(sql)
                    if types is not None and relation is not None:
                        types.extend(map(str, relation.types))
                    table = pa.table({}) if relation is None else relation.to_arrow_table()
                except duckdb.Error as error:
                    raise stopped(guarded, timeout_s) or _named(translate(error, sql), tables) from error
        finally:
            cursor.close()
        check_huge(table)
        return table

    def schema(self, sql: str, tables: Sequence[Table], session: Session, params: dict[str, Any] | None = None) -> pa.Schema:
        """The names and Arrow types of a query's answer, without running it."""
        return self.execute(f"SELECT * FROM ({sql}\n) LIMIT 0", params, tables, session).schema

    def _cursor(self, tables: Sequence[Table], timezone: str, all_tables: bool) -> duckdb.DuckDBPyConnection:
        while True:
            instance = self._instance(tables, timezone)
            try:
                instance.show(tables, only=all_tables)
                return instance.cursor(tables)
            except duckdb.ConnectionException:
                with self._lock:  # closed by another thread that needed a new one
                    if self._instances.get(timezone) is instance:
                        raise

    def _instance(self, tables: Sequence[Table], timezone: str) -> Instance:
        """The instance of the time zone, a new one where it may not read a table."""
        instance = self._instances.get(timezone)
        if instance is not None and all(map(instance.covers, tables)):
            return instance
        with self._lock:
            instance = self._instances.get(timezone)
            if instance is not None and all(map(instance.covers, tables)):
                return instance
            self._databases = {d for d in self._databases if os.path.exists(d[0])}
            for table in tables:
                self._allow(table)
            old = instance
            instance = Instance(self._settings, timezone, self._readable(), sorted(self._databases))
            self._instances[timezone] = instance
            self._instances.move_to_end(timezone)
            if old is not None:
                old.close()
            while len(self._instances) > TIME_ZONES:
                self._instances.popitem(last=False)[1].close()
            return instance

    def _allow(self, table: Table) -> None:
        """Remember what the next instance must read for `table`."""
        if table.scan.kind == "duckdb":
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


def stopped(guarded: Guarded, timeout_s: float | None) -> ExecutionError | None:
    """The error of a query that the watch stopped; None where it did not."""
    match guarded.stopped:
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


def check_huge(table: pa.Table) -> None:
    """Raise for a HUGEINT that Arrow's DECIMAL(38,0) cannot hold; DuckDB hands it over as an invalid decimal."""
    for field, column in zip(table.schema, table.columns):
        if field.type == HUGE:
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                raise QueryError(
                    f'column "{field.name}" has a value of more than 38 digits, which does not fit in an Arrow decimal',
                    code="INVALID_VALUE",
                    hint=f'cast it: "{field.name}"::VARCHAR or ::DOUBLE',
                ) from error
