"""What earlier runs of each shape of statement did: looked up in microseconds, written to disk in batches aside."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sabot_sql.catalog.table import Table
from sabot_sql.engine.history_file import NAME, HistoryFile
from sabot_sql.engine.shape_history import Files, Run, ShapeHistory
from sabot_sql.errors import ConfigError
from sabot_sql.planner.fingerprint import fingerprint, shape_text
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.past import Past

SHAPES = 4096
"""Shapes kept in memory."""

WRITE_S = 1.0
"""How long a run waits to be written, together with those that come after it."""

MOST_CHARACTERS = 32_768
"""Longer statements are not remembered: taking their literals out would take longer than a small query."""

SHAPE_CHARACTERS = 2_000
TABLE_SETS = 256

Params = Mapping[str, Any] | Sequence[Any] | None
Key = tuple[str, str]


class History:
    """The history of one engine, or of all engines of this process that share a file. Thread-safe.

    Args:
        file: where it is kept; None keeps it in memory.

    Attributes:
        error: why it could not be written the last time; None where it could.
    """

    def __init__(self, file: HistoryFile | None = None) -> None:
        self.error: ConfigError | None = None
        self._file = file
        self._lock = threading.Lock()
        self._io = threading.Lock()
        self._shapes: OrderedDict[Key, ShapeHistory] = OrderedDict()
        self._files: OrderedDict[tuple[int, ...], tuple[Sequence[Table], Files]] = OrderedDict()
        self._dirty: set[Key] = set()
        self._speeds: dict[str, tuple[float, float, float]] = {}
        self._written: dict[str, tuple[float, float, float]] = {}
        self._wake = threading.Event()
        self._closed = False
        self._writer: threading.Thread | None = None
        if file is not None:
            self._writer = threading.Thread(target=self._write_on, name="sabot-history", daemon=True)
            self._writer.start()

    def expect(self, statement: Statement, tables: Sequence[Table], params: Params = None) -> tuple[Past | None, bool]:
        """What the statement will do, None where nothing is known of its shape over these tables; and whether the rows it
        works on should be counted when it runs, which costs it a fraction of a millisecond."""
        if not tables or len(statement.sql) > MOST_CHARACTERS:
            return None, False
        files = self.files(tables)
        found = self._shapes.get((fingerprint(statement), files.tables_id))
        if found is None:
            return None, True
        return found.past(text_digest(statement.sql, params), files), found.wants_count()

    def add(self, statement: Statement, tables: Sequence[Table], params: Params, run: Run) -> None:
        """Learn from a run that came to its end."""
        if not tables or len(statement.sql) > MOST_CHARACTERS:
            return
        files = self.files(tables)
        key, text = (fingerprint(statement), files.tables_id), text_digest(statement.sql, params)
        with self._lock:
            found = self._shapes.get(key)
            if found is None:
                names = ", ".join(sorted({t.name for t in tables}))
                found = self._shapes[key] = ShapeHistory(key[0], files, shape_text(statement.sql)[:SHAPE_CHARACTERS], names)
                if len(self._shapes) > SHAPES:
                    self._shapes.popitem(last=False)
            else:
                self._shapes.move_to_end(key)
            found.add(text, files, run, time.time())
            if self._file is not None:
                self._dirty.add(key)

    def files(self, tables: Sequence[Table]) -> Files:
        """What identifies the tables and their files; remembered as long as the catalog gives out the same tables."""
        key = tuple(map(id, tables))
        known = self._files.get(key)
        if known is not None:
            return known[1]
        ordered = sorted(tables, key=lambda t: t.name)
        places = [(t.name, t.location, t.scan.kind, [(f.name, str(f.type)) for f in t.schema]) for t in ordered]
        stamps = [[(f.path, f.size_bytes, f.mtime_ns) for f in t.scan.files] for t in ordered]
        rows = [t.statistics.rows for t in ordered]
        size = sum(t.statistics.size_bytes for t in ordered) if None in rows else sum(r or 0 for r in rows)
        found = Files(_digest(places), _digest(stamps), size)
        with self._lock:
            self._files[key] = tables, found  # holding the tables keeps their ids theirs
            if len(self._files) > TABLE_SETS:
                self._files.popitem(last=False)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Every shape as a row of `history.db`, the latest first."""
        with self._lock:
            return sorted((s.row() for s in self._shapes.values()), key=lambda row: row["last_run_at"], reverse=True)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()
        if self._file is not None:
            with self._io:
                self._file.reset()
                self._file.was_reset()

    def speed(self, machine: str) -> tuple[float, float, float] | None:
        """What an earlier process measured on `machine`: rows a millisecond, overhead in milliseconds."""
        known = self._speeds.get(machine)
        if known is not None or self._file is None:
            return known
        with self._io:
            return self._file.speed(machine)

    def keep_speed(self, machine: str, rows_per_ms: float, overhead_ms: float, agent_share: float = 1.0) -> None:
        """Keep what was measured on `machine` for later processes."""
        with self._lock:
            self._speeds[machine] = (rows_per_ms, overhead_ms, agent_share)

    def close(self) -> None:
        """Write what is not written yet."""
        self._closed = True
        self._wake.set()
        if self._writer is not None:
            self._writer.join()
        if self._file is not None:
            self._file.close()

    def _write_on(self) -> None:
        try:
            self._load()
        except ConfigError as exc:
            self.error = exc
        while not self._closed:
            self._wake.wait(WRITE_S)
            self._write_once()
        self._write_once()

    def _write_once(self) -> None:
        try:
            self._write()
            self.error = None
        except ConfigError as exc:  # a full disk, say: tried again with the next rows
            self.error = exc

    def _write(self) -> None:
        assert self._file is not None
        with self._io:
            if self._file.was_reset():
                with self._lock:
                    self._forget()
            with self._lock:
                dirty, self._dirty = self._dirty, set()
                rows = [self._shapes[key].row() for key in dirty if key in self._shapes]
                speeds = dict(self._speeds)
            try:
                if rows:
                    self._file.write(rows)
                for machine, figures in speeds.items():
                    if self._written.get(machine) != figures:
                        self._file.write_speed(machine, *figures)
                        self._written[machine] = figures
            except ConfigError:
                with self._lock:
                    self._dirty |= dirty
                raise

    def _load(self) -> None:
        assert self._file is not None
        with self._io:
            rows = self._file.rows(SHAPES)
        for row in reversed(rows):
            found = ShapeHistory.of_row(row)
            with self._lock:
                self._shapes.setdefault((found.fingerprint, found.files.tables_id), found)

    def _forget(self) -> None:
        self._shapes.clear()
        self._dirty.clear()
        self._speeds.clear()
        self._written.clear()


def text_digest(sql: str, params: Params) -> str:
    """The same for the same statement with the same parameters."""
    found = _sql_digest(sql)
    return found if not params else _digest([found, params])


@functools.lru_cache(maxsize=2048)
def _sql_digest(sql: str) -> str:
    return _digest(sql)


def _digest(what: object) -> str:
    return hashlib.blake2b(repr(what).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


_registry = threading.Lock()
_open: dict[Path, tuple[History, int]] = {}


def open_history(state_dir: Path | None) -> History:
    """The history in a state folder, shared by all who open it in this process; one of its own in memory for None.

    Raises:
        ConfigError: the file cannot be used.
    """
    if state_dir is None:
        return History()
    path = state_dir.expanduser().resolve() / NAME
    with _registry:
        history, users = _open[path] if path in _open else (History(HistoryFile(path)), 0)
        _open[path] = history, users + 1
        return history


def close_history(history: History) -> None:
    """Give a history back; the last user writes and closes it."""
    with _registry:
        for path, (known, users) in list(_open.items()):
            if known is history and users > 1:
                _open[path] = known, users - 1
                return
            if known is history:
                del _open[path]
        history.close()


def _forget_after_fork() -> None:
    global _registry
    _registry = threading.Lock()
    _open.clear()  # the files are the parent's


os.register_at_fork(after_in_child=_forget_after_fork)
