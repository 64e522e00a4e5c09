"""The dialect with a pen: what the tests' fixtures create and insert is written by DuckDB, and read by sabot-sql from a file.

Statements that write go to a DuckDB in memory. Before the next that reads, it is copied to a DuckDB file of its own, over
which a real engine is opened. So every SELECT and every reflection of SQLAlchemy's tests is answered by sabot-sql.
"""

from __future__ import annotations

import atexit
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

import duckdb
from sqlalchemy.pool import Pool, StaticPool
from sqlalchemy.sql.compiler import DDLCompiler

import sabot_sql
from sabot_sql import dbapi
from sabot_sql.sqlalchemy.dialect import SabotDialect

WRITES = re.compile(r"\s*(?:CREATE|DROP|INSERT|UPDATE|DELETE|ALTER|COMMENT)\b", re.IGNORECASE)


class Store:
    """The DuckDB that is written to, and the engine over its last copy."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sabot-compliance-")
        self._writer = duckdb.connect()
        self._writer.execute("CREATE SCHEMA test_schema; CREATE SEQUENCE numbered")
        self._lock = threading.RLock()
        self._copies = 0
        self._dirty = True
        self._client: sabot_sql.Connection | None = None
        atexit.register(self.close)

    def write(self, statement: str, parameters: Any, many: bool = False) -> int:
        """Runs a statement that writes; returns the number of rows."""
        with self._lock:
            self._dirty = True
            done = (self._writer.executemany if many else self._writer.execute)(statement, parameters or [])
            counted = done.fetchone()
            return int(counted[0]) if counted and isinstance(counted[0], int) else -1

    def client(self) -> sabot_sql.Connection:
        """An engine that reads what has been written."""
        with self._lock:
            if self._dirty or self._client is None:
                self._copies += 1
                name = f"copy_{self._copies}"
                path = Path(self._folder.name) / f"{name}.duckdb"
                self._writer.execute(f"ATTACH '{path}' AS {name}; COPY FROM DATABASE memory TO {name}; DETACH {name}")
                if self._client is not None:
                    self._client.close()
                self._client = sabot_sql.connect(data=str(path), num_local_agents=0)
                self._dirty = False
            return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._writer.close()
        self._folder.cleanup()


class WrittenConnection(dbapi.Connection):
    """A DB-API connection over whatever engine reads the store now."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.client(), owned=False)
        self.store = store

    @property
    def client(self) -> sabot_sql.Connection:
        self.check_open()
        return self.store.client()


class WrittenCursor(dbapi.Cursor):
    """A cursor that has the row count of a statement that wrote."""

    written = -1

    @property
    def rowcount(self) -> int:
        return self.written if self._result is None else super().rowcount


class WriterDDLCompiler(DDLCompiler):
    """Keys that are counted up get their numbers from one sequence; constraints are left out, as DuckDB's are stricter about
    deleting and inserting in one transaction than the fixtures expect."""

    def create_table_constraints(self, table: Any, **kw: Any) -> str:
        return ""

    def get_column_specification(self, column: Any, **kw: Any) -> str:
        text = super().get_column_specification(column, **kw)
        counted = column is column.table._autoincrement_column and column.server_default is None
        return f"{text} DEFAULT nextval('numbered')" if counted else text


STORE: list[Store] = []


class WrittenDialect(SabotDialect):
    driver = "written"
    supports_statement_cache = True
    ddl_compiler = WriterDDLCompiler
    supports_alter = True

    @classmethod
    def get_pool_class(cls, url: Any) -> type[Pool]:
        return StaticPool

    def connect(self, *_: Any, **__: Any) -> Any:
        if not STORE:
            STORE.append(Store())
        return WrittenConnection(STORE[0])

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.__class__ = WrittenCursor
        if WRITES.match(statement):
            cursor._clear()
            cursor.written = STORE[0].write(statement, parameters)
        else:
            super().do_execute(cursor, statement, parameters, context)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.__class__ = WrittenCursor
        cursor._clear()
        cursor.written = STORE[0].write(statement, [list(row) for row in parameters], many=True)
