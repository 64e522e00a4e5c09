"""The DuckDB instance of an agent: it scans files and evaluates expressions, one thread a cursor.

The instance is made on first use, never before a fork. A task borrows cursors; while one is borrowed, a watching thread
interrupts it as soon as the task is cancelled or past its deadline, so that a query which yields no rows for a long time
ends as soon as one that does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import pyarrow as pa

from sabot_sql.catalog.sources import READ_AS_TYPED
from sabot_sql.errors import OutOfMemory, ReadError, SabotError
from sabot_sql.executor.column_cache import ColumnCache
from sabot_sql.executor.operator import TaskContext
from sabot_sql.planner.duckdb_errors import translate

WATCH_INTERVAL_S = 0.01
IDLE_CURSORS = 16
MAX_PREPARED = 32

CONFIG: dict[str, Any] = {
    "threads": 1,
    "arrow_output_version": "1.5",
    "arrow_large_buffer_size": True,
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    # a replaced file must be seen by the next query: only DuckDB's cache of file contents could hide it
    "enable_external_file_cache": False,
    "temp_directory": "",
    "disabled_optimizers": READ_AS_TYPED,
}

# After these DuckDB refuses all further work on the instance.
BROKEN = (duckdb.FatalException, duckdb.InternalException)


# DuckDB's classes of errors as its messages begin ("Out of Range Error: ..."), in lower case without blanks.
CLASSES: dict[str, type[duckdb.Error]] = {
    name.removesuffix("Exception").lower(): cls
    for name, cls in vars(duckdb).items()
    if isinstance(cls, type) and issubclass(cls, duckdb.Error) and name.endswith("Exception")
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the instance of a process may take.

    Attributes:
        memory_bytes: of memory, beside cached columns; 0 for as much as the task that makes the instance.
        cache_bytes: for cached columns.
        spill_folder: where it puts what does not fit; it makes the folder when it needs it. Empty for nowhere.
        spill_bytes: what may lie there.
    """

    memory_bytes: int = 0
    cache_bytes: int = 0
    spill_folder: str = ""
    spill_bytes: int = 0

    def config(self) -> dict[str, Any]:
        """The settings of DuckDB for it."""
        found: dict[str, Any] = {"memory_limit": f"{max(self.memory_bytes, 64 << 20) + self.cache_bytes}B"}
        if self.spill_folder:
            found["temp_directory"] = self.spill_folder
        return found


class PreparedInput:
    """What a prepared query reads: the batch that is put in, as an Arrow stream."""

    def __init__(self, name: str, schema: pa.Schema) -> None:
        self.name = name
        self.schema = schema
        self.batch: pa.RecordBatch | None = None

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        assert self.batch is not None
        return self.batch.__arrow_c_stream__(requested_schema)


@dataclass(slots=True)
class PooledConnection:
    """A connection of one thread at a time, with the queries that are prepared on it, the most recently used last."""

    connection: duckdb.DuckDBPyConnection
    prepared: OrderedDict[tuple[str, pa.Schema], PreparedInput] = field(default_factory=OrderedDict)
    count: int = 0


class Cursor:
    """A borrowed DuckDB cursor: runs SQL and translates what goes wrong."""

    def __init__(self, session: DuckSession, pooled: PooledConnection, context: TaskContext) -> None:
        self.session = session
        self.pooled = pooled
        self.connection = pooled.connection
        self.context = context

    def register(self, name: str, data: object) -> None:
        """Let SQL on this cursor read `data`, anything that gives an Arrow stream, as the table `name`."""
        self.connection.register(name, data)

    def unregister(self, name: str) -> None:
        self.connection.unregister(name)

    @contextlib.contextmanager
    def registered(self, tables: Mapping[str, object]) -> Iterator[None]:
        """While inside, SQL on this cursor reads `tables` by their names."""
        for name, data in tables.items():
            self.register(name, data)
        try:
            yield
        finally:
            for name in tables:
                self.unregister(name)

    def batches(self, sql: str, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The result of `sql` as a stream of batches of about `batch_rows` rows."""
        with self.translating(sql):
            reader = self.connection._submit(sql, None, "stream", batch_rows).arrow_reader()  # not public: see decisions.md
        try:
            while True:
                with self.translating(sql):
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        return
                yield batch
        finally:
            reader.close()

    def table(self, sql: str) -> pa.Table:
        """The whole result of `sql`."""
        with self.translating(sql):
            return self.connection._submit(sql, None, "arrow").arrow_table()

    def over(self, select: str, batch: pa.RecordBatch) -> pa.Table:
        """The result of `select`, which lacks its table, over `batch`. It is planned once for all batches of one schema that
        come to this connection; planning takes longer than most batches do."""
        source = self._prepared(select, batch.schema)
        source.batch = batch
        try:
            return self.table(f"EXECUTE {source.name}")
        finally:
            source.batch = None

    def _prepared(self, select: str, schema: pa.Schema) -> PreparedInput:
        pooled, key = self.pooled, (select, schema)
        if (found := pooled.prepared.get(key)) is not None:
            pooled.prepared.move_to_end(key)
            return found
        if len(pooled.prepared) >= MAX_PREPARED:
            _, oldest = pooled.prepared.popitem(last=False)
            self._run(f"DEALLOCATE {oldest.name}")
            self.unregister(oldest.name)
        pooled.count += 1
        source = PreparedInput(f"morsel{pooled.count}", schema)
        self.register(source.name, source)
        self._run(f"PREPARE {source.name} AS {select}{source.name}")
        pooled.prepared[key] = source
        return source

    def _run(self, sql: str) -> None:
        with self.translating(sql):
            self.connection.execute(sql).fetchall()

    def scalar(self, sql: str) -> Any:
        """The one value that `sql` gives."""
        with self.translating(sql):
            return self.connection.sql(sql).fetchall()[0][0]

    @contextlib.contextmanager
    def translating(self, sql: str) -> Iterator[None]:
        """Raise what DuckDB says as an error of ours; an interrupted query as what interrupted it."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if isinstance(error, BROKEN) or "INTERNAL Error" in str(error) or "FATAL Error" in str(error):
                self.session.broken = True
            self.context.check()
            raise _translated(error, sql) from error


def _translated(error: BaseException, sql: str) -> SabotError:
    """The rendered SQL is ours, so no position in it would mean anything to the user."""
    found = translate(error if isinstance(error, duckdb.Error) else _as_duckdb(error), sql)
    found.position = None
    found.sql = None
    if isinstance(found, OutOfMemory):
        setting = "spill_bytes" if "max_temp_directory_size" in str(error) else "memory_bytes"
        found.hint = f"raise agents.{setting} (SABOT_AGENTS__{setting.upper()}), or read fewer columns or rows"
    return found


def _as_duckdb(error: BaseException) -> BaseException:
    """An error that came through the Arrow stream, which keeps only its text, as the class that DuckDB raised."""
    kind, separator, _ = str(error).partition(" Error: ")
    cls = CLASSES.get(kind.replace(" ", "").lower()) if separator else None
    return error if cls is None else cls(str(error))


class DuckSession:
    """One DuckDB instance with its idle cursors, by time zone. Thread-safe.

    Args:
        limits: what it may take of memory and disk.

    Attributes:
        broken: no further work can be done on it; the next use of `duck_session` makes another.
        columns: columns of files that are kept in memory.
    """

    def __init__(self, limits: Limits) -> None:
        self.broken = False
        self._root = duckdb.connect(":memory:", config={**CONFIG, **limits.config()})
        if limits.spill_folder:  # as a setting of the connection it would be shown, and not kept to
            self._root.execute(f"SET max_temp_directory_size = '{limits.spill_bytes}B'")
        self.columns = ColumnCache(self._root, limits.cache_bytes)
        self._lock = threading.Condition()
        self._idle: dict[str, list[PooledConnection]] = defaultdict(list)
        self._attached: dict[str, tuple[str, int]] = {}  # name in SQL and users, by path
        self._busy: set[Cursor] = set()
        self._watcher: threading.Thread | None = None
        self._closed = False

    @contextlib.contextmanager
    def cursor(self, context: TaskContext) -> Iterator[Cursor]:
        """Borrow a cursor for `context`'s task, set to its session."""
        timezone = context.session.timezone
        cursor = Cursor(self, self._take(timezone), context)
        with self._lock:
            self._busy.add(cursor)
            self._watch()
        returned = False
        try:
            yield cursor
            returned = True
        finally:
            with self._lock:
                self._busy.discard(cursor)
                idle = self._idle[timezone]
                returned = returned and len(idle) < IDLE_CURSORS
                if returned:
                    idle.append(cursor.pooled)
            if not returned:  # after an error there may be an open result on it
                cursor.connection.close()

    @contextlib.contextmanager
    def attached(self, path: str) -> Iterator[str]:
        """Attach the DuckDB file at `path` read-only for as long as somebody reads it; gives its name in SQL. Between uses
        the file is free for whoever writes to it."""
        with self._lock:
            name, users = self._attached.get(path, (f"file_{time.monotonic_ns()}", 0))
            if users == 0:
                self._attach(path, name)
            self._attached[path] = (name, users + 1)
        try:
            yield name
        finally:
            with self._lock:
                name, users = self._attached[path]
                self._attached[path] = (name, users - 1)
                if users == 1:
                    del self._attached[path]
                    self._run(f"DETACH {name}")

    def _attach(self, path: str, name: str) -> None:
        quoted = path.replace("'", "''")
        try:
            self._run(f"ATTACH '{quoted}' AS {name} (TYPE duckdb, READ_ONLY)")
        except duckdb.Error as error:
            raise ReadError(
                f"file {path} cannot be opened: {str(error).splitlines()[0]}",
                hint="close what has it open for writing; a DuckDB file is shared by readers only",
                code="EXTERNAL_SOURCE",
                engine_message=str(error),
            ) from error

    def close(self) -> None:
        """Stop watching and close all idle cursors and the instance."""
        self.columns.close()
        with self._lock:
            self._closed = True
            self._lock.notify()
            for pooled in (p for idle in self._idle.values() for p in idle):
                pooled.connection.close()
            self._idle.clear()
            self._root.close()
        if self._watcher is not None:
            self._watcher.join()

    def _run(self, sql: str) -> None:
        cursor = self._root.cursor()
        try:
            cursor.execute(sql).fetchall()
        finally:
            cursor.close()

    def _take(self, timezone: str) -> PooledConnection:
        with self._lock:
            if idle := self._idle[timezone]:
                return idle.pop()
            connection = self._root.cursor()
        quoted = timezone.replace("'", "''")
        connection.execute(f"SET TimeZone = '{quoted}'").fetchall()
        return PooledConnection(connection)

    def _watch(self) -> None:
        """Have the watching thread awake; called with the lock held."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._interrupt_stopped, name="duckdb-watch", daemon=True)
            self._watcher.start()
        elif len(self._busy) == 1:
            self._lock.notify()

    def _interrupt_stopped(self) -> None:
        while True:
            with self._lock:
                while not self._busy and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                for cursor in self._busy:
                    if _must_stop(cursor.context):
                        cursor.connection.interrupt()
            time.sleep(WATCH_INTERVAL_S)


def _must_stop(context: TaskContext) -> bool:
    past = context.deadline_s is not None and time.monotonic() > context.deadline_s
    return past or context.cancelled.is_set() or context.failed.is_set()


_session: DuckSession | None = None
_limits = Limits()
_lock = threading.Lock()


def limit_session(limits: Limits) -> None:
    """Say what the instance of this process may take when it is made."""
    global _limits
    with _lock:
        _limits = limits


def duck_session(context: TaskContext) -> DuckSession:
    """The instance of this process; made on the first call."""
    global _session
    with _lock:
        if _session is None or _session.broken:
            memory_bytes = _limits.memory_bytes or context.memory.limit_bytes or 4 << 30
            _session = DuckSession(replace(_limits, memory_bytes=memory_bytes))
        return _session


def close_session() -> None:
    """Close the instance of this process; the next use makes another."""
    global _session
    with _lock:
        if _session is not None:
            _session.close()
            _session = None


def _forget_after_fork() -> None:
    """A forked process has neither the parent's watching thread nor a right to its instance, and its locks may be held."""
    global _session, _lock, _inherited
    _inherited, _session, _lock = _session, None, threading.Lock()


_inherited: DuckSession | None = None  # kept, so that the child does not run the destructors of the parent's instance

atexit.register(close_session)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
