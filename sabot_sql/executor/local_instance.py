"""One locked-down DuckDB instance with a view for each table of the catalog that was asked for."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pyarrow as pa

from sabot_sql.catalog.database_views import ATTACHED_AS, FILE
from sabot_sql.catalog.ipc_dataset import ipc_dataset
from sabot_sql.catalog.ipc_files import ready_table
from sabot_sql.catalog.sources import READ_AS_TYPED, literal, scan_sql, type_text
from sabot_sql.catalog.table import Table, spellings
from sabot_sql.errors import QueryError, ServiceError
from sabot_sql.executor.local_counts import ALLOWED
from sabot_sql.executor.owned_folders import claim, release, sweep
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.types import quote_identifier

ATTACHED = ("duckdb", "view")
"""Kinds of tables that are read by attaching their file."""

Identity = tuple[str, int, int]
"""Path, size and modification time of a DuckDB file."""


class Instance:
    """A DuckDB instance for one time zone. Never reconfigured: what it may not read needs a new one. Its worker threads have
    the priority of the thread that makes it.

    Args:
        threads: that work on a query, the caller's among them.
        memory_bytes: what all its queries together may hold.
        locations: folders and files it may read.
        databases: DuckDB files to attach read-only.
    """

    def __init__(
        self, threads: int, memory_bytes: int, timezone: str, locations: Iterable[str], databases: Iterable[Identity]
    ) -> None:
        self.timezone = timezone
        self.locations = tuple(locations)
        self.databases = {identity: f"{ATTACHED_AS}{secrets.token_hex(8)}" for identity in databases}
        self._spill = _spill_folder()
        self._views: dict[str, int] = {}
        self._mapped: dict[str, tuple[int, pa.Table | None]] = {}
        self._lock = threading.Lock()
        self._con = duckdb.connect(
            config={
                "threads": threads,
                "memory_limit": f"{memory_bytes}B",
                "temp_directory": str(self._spill[0] / "duckdb") if self._spill else "",
                "python_enable_replacements": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "disabled_optimizers": READ_AS_TYPED,
            }
        )
        try:
            self._lock_down()
        except BaseException:
            self._con.close()
            self._release()
            raise

    def _lock_down(self) -> None:
        try:
            self._do(f"SET GLOBAL TimeZone = {literal(self.timezone)}")
        except duckdb.Error as error:
            raise QueryError(
                f'there is no time zone "{self.timezone}"', code="INVALID_VALUE", hint='write e.g. "Europe/Rome"'
            ) from error
        try:
            for (path, _, _), alias in self.databases.items():
                self._do(f"ATTACH {literal(path)} AS {alias} (TYPE duckdb, READ_ONLY)")
        except duckdb.Error as error:
            raise translate(error) from error
        folders = [os.path.join(p, "") for p in self.locations if os.path.isdir(p)]
        files = [p for p in self.locations if not os.path.isdir(p)]
        self._do(f"SET allowed_directories = {literal(folders)}")
        self._do(f"SET allowed_paths = {literal(files)}")
        self._do("SET enable_external_access = false")
        self._do(f"SET allowed_configs = [{literal(ALLOWED)}]")
        self._do("SET lock_configuration = true")

    def _do(self, sql: str) -> None:
        self._con.execute(sql).fetchall()

    def covers(self, table: Table) -> bool:
        """Whether this instance may read the files of `table`."""
        if is_attached(table):
            return identity(table) in self.databases
        if table.scan.kind == "ipc" or self._views.get(table.name) == table.version:
            return True
        return all(self._may_read(file.path) for file in table.scan.files)

    def _may_read(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(real == p or real.startswith(os.path.join(p, "")) for p in self.locations)

    def show(self, tables: Iterable[Table], only: bool = False) -> None:
        """Make or renew the views of `tables`; with `only`, drop all others."""
        tables = list(tables)
        stale = [t for t in tables if t.scan.kind != "ipc" and self._views.get(t.name) != t.version]
        if not stale and not only:
            return
        with self._lock:
            try:
                for table in stale:
                    if self._views.get(table.name) != table.version:
                        self._create(table)
                        self._views[table.name] = table.version
                if only:
                    for name in set(self._views) - {t.name for t in tables}:
                        self._drop(name)
            except duckdb.Error as error:
                raise translate(error) from error

    def _create(self, table: Table) -> None:
        source = self._source(table)
        for target in spellings(table.name):
            if len(target) > 1:
                self._do(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(target[0])}")
            self._do(f"CREATE OR REPLACE VIEW {'.'.join(map(quote_identifier, target))} AS SELECT * FROM {source}")

    def _source(self, table: Table) -> str:
        if "listed" in table.scan.options:  # a view that is only listed and described
            columns = (f"CAST(NULL AS {type_text(f.type)}) AS {quote_identifier(f.name)}" for f in table.schema)
            return f"(SELECT {', '.join(columns)} WHERE false)"
        if not is_attached(table):
            return scan_sql(table.scan)
        alias, options = self.databases[identity(table)], table.scan.options
        if table.scan.kind == "view":
            return str(options["query"]).replace(FILE, quote_identifier(alias))
        parts = (alias, options["schema"], options["table"])
        return ".".join(map(quote_identifier, parts))

    def _drop(self, name: str) -> None:
        for target in spellings(name):
            self._do(f"DROP VIEW IF EXISTS {'.'.join(map(quote_identifier, target))}")
        del self._views[name]

    def cursor(self, tables: Iterable[Table]) -> duckdb.DuckDBPyConnection:
        """A connection of its own for one query, with the Arrow tables among `tables` on it."""
        with self._lock:
            cursor = self._con.cursor()
        for table in tables:
            if table.scan.kind == "ipc":
                cursor.register(table.name, self._arrow(table))
                for target in spellings(table.name)[1:]:
                    self._show_registered(cursor, table.name, target)
        return cursor

    def _show_registered(self, cursor: duckdb.DuckDBPyConnection, name: str, target: tuple[str, ...]) -> None:
        """A registered table has one name part; a view gives it its schema."""
        with self._lock:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(target[0])}").fetchall()
            view = ".".join(map(quote_identifier, target))
            cursor.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM temp.main.{quote_identifier(name)}").fetchall()

    def _arrow(self, table: Table) -> object:
        """The Arrow files of a table: our own mapped, a user's held in memory, large ones as a dataset."""
        known = self._mapped.get(table.name)
        if known is None or known[0] != table.version:
            known = self._mapped[table.name] = (table.version, ready_table(table.scan))
        return known[1] if known[1] is not None else ipc_dataset(table.scan)

    def close(self) -> None:
        """Close the instance; queries that run keep it until they end."""
        with self._lock:
            while True:  # a view may be made by another thread just now, or the first query still be bound
                try:
                    self._con.close()
                    break
                except duckdb.ResourceInUseException:
                    time.sleep(0.005)
        self._release()

    def _release(self) -> None:
        spill, self._spill = self._spill, None
        if spill is not None:
            release(*spill)


def _spill_folder() -> tuple[Path, int] | None:
    """A folder of this process for what DuckDB spills, and its lock; None where none can be made, and nothing is spilled."""
    parent = Path(tempfile.gettempdir())
    sweep(parent)
    try:
        return claim(parent)
    except ServiceError:
        return None


def is_attached(table: Table) -> bool:
    """Whether a table is read by attaching its file; a view of the catalog has none."""
    return table.scan.kind in ATTACHED and bool(table.scan.files)


def identity(table: Table) -> Identity:
    """What a DuckDB file must still be to be the one that is attached."""
    (file,) = table.scan.files
    return file.path, file.size_bytes, file.mtime_ns
