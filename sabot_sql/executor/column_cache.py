"""Columns of files that an agent reads again and again, kept decoded in its memory.

A split is cached column by column in the compressed form of DuckDB's own tables (bit-packed, dictionaries), which it scans two
to four times faster than Parquet. What queries read for the second time is loaded by a thread that takes only idle time, so
that no query waits for it. An entry belongs to a file as it was stamped before and after loading: a replaced file is never
served from memory. Past the budget columns that were not used for a while make room; where there are none, what is there stays,
so that a table larger than the budget is cached in part.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb

from sabot_sql.catalog.sources import scan_sql
from sabot_sql.catalog.stamps import Stamp, is_settled, stamp
from sabot_sql.catalog.table import ScanSpec, Split
from sabot_sql.types import Schema, quote_identifier

log = logging.getLogger(__name__)

HOT_READS = 2
"""A column is loaded when it was read so often."""

UNUSED_S = 60.0
"""Columns that were not used for so long make room for others."""

PAUSE_S = 0.05
"""How long the loader waits for further columns of the same split."""

KINDS = ("parquet", "csv", "json")
NICENESS = 19
LONGEST = 4096
"""Splits about which something is remembered."""

Column = tuple[str, str]
"""Name and SQL type."""


@dataclass(frozen=True, slots=True)
class SplitKey:
    """A range of rows of a file as it was when it was looked at, read in one way as the columns of a table: two tables may give
    a column of the file different types."""

    path: str
    stamp: Stamp
    first_row: int
    num_rows: int | None
    reader: str
    schema: Schema


@dataclass(slots=True)
class Entry:
    """What is known of one split.

    Attributes:
        reads: how often each column was read from the file.
        database: name of the attached database that holds `columns`; None where nothing is loaded.
        users: scans that read from it now.
        used_s: when the last one began.
        is_refused: it cannot be loaded.
        rows: of the split, once something is loaded.
    """

    spec: ScanSpec
    split: Split
    reads: dict[Column, int] = field(default_factory=dict)
    database: str | None = None
    columns: frozenset[Column] = frozenset()
    size_bytes: int = 0
    users: int = 0
    used_s: float = 0.0
    is_refused: bool = False
    rows: int = 0


class ColumnCache:
    """The cached columns of one DuckDB instance. Thread-safe.

    Args:
        root: the instance; cursors are made of it.
        budget_bytes: what the columns may take; 0 for no cache.
    """

    def __init__(self, root: duckdb.DuckDBPyConnection, budget_bytes: int) -> None:
        self._root = root
        self.budget_bytes = budget_bytes
        self._entries: dict[SplitKey, Entry] = {}  # the least recently used first
        self._hot: dict[SplitKey, None] = {}
        self._changed = threading.Condition()
        self._loader: threading.Thread | None = None
        self._loading: duckdb.DuckDBPyConnection | None = None
        self._closed = False
        self._numbers = 0

    @property
    def used_bytes(self) -> int:
        """What the columns take now."""
        with self._changed:
            return sum(e.size_bytes for e in self._entries.values())

    @contextlib.contextmanager
    def reading(self, spec: ScanSpec, splits: Sequence[Split], names: Sequence[str]) -> Iterator[str | None]:
        """The table expression that holds the columns `names` of all `splits`, while inside; None where one is not cached."""
        found = self._take(spec, splits, names)
        try:
            yield None if found is None else _union([e.database for e in found if e.database], names)
        finally:
            with self._changed:
                for entry in found or ():
                    entry.users -= 1

    def rows_of(self, spec: ScanSpec, split: Split) -> int:
        """Rows of a split that is cached; 0 where it is not."""
        key = _key(spec, split)
        with self._changed:
            entry = None if key is None else self._entries.get(key)
            return entry.rows if entry is not None and entry.database is not None else 0

    def holds(self, spec: ScanSpec, split: Split, names: Sequence[str]) -> bool:
        """Whether the columns `names` of `split` are cached."""
        if not self._may_hold(spec) or (key := _key(spec, split)) is None:
            return False
        with self._changed:
            entry = self._entries.get(key)
            return entry is not None and entry.database is not None and entry.columns.issuperset(_columns(spec, names))

    def _take(self, spec: ScanSpec, splits: Sequence[Split], names: Sequence[str]) -> list[Entry] | None:
        if not self._may_hold(spec):
            return None
        keys = [_key(spec, s) for s in splits]
        wanted = _columns(spec, names)
        with self._changed:
            found = []
            for key in keys:
                entry = None if key is None else self._entries.get(key)
                if key is None or entry is None or entry.database is None or not entry.columns.issuperset(wanted):
                    return None
                self._entries[key] = self._entries.pop(key)
                found.append(entry)
            for entry in found:
                entry.users += 1
                entry.used_s = time.monotonic()
            return found

    def was_read(self, spec: ScanSpec, splits: Sequence[Split], names: Sequence[str]) -> None:
        """Take note that columns of `splits` were read from their files; those that are hot now are loaded soon."""
        if not self._may_hold(spec) or not names:
            return
        columns = _columns(spec, names)
        if spec.kind != "parquet" and any("TIME ZONE" in t for _, t in columns):
            return  # the text of such a value means something else in each session
        for split in splits:
            if (key := _key(spec, split)) is None:
                continue
            with self._changed:
                entry = self._entries.pop(key, None) or Entry(spec, split)
                self._entries[key] = entry
                for column in columns:
                    entry.reads[column] = entry.reads.get(column, 0) + 1
                hot = {c for c, reads in entry.reads.items() if reads >= HOT_READS}
                if not entry.is_refused and not hot <= entry.columns:
                    self._hot[key] = None
                    self._wake()
                self._forget()

    def close(self) -> None:
        """Stop loading; the instance may be closed then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._loading is not None:
                self._loading.interrupt()
        if self._loader is not None:
            self._loader.join()

    def _may_hold(self, spec: ScanSpec) -> bool:
        return self.budget_bytes > 0 and spec.kind in KINDS and not self._closed

    def _wake(self) -> None:
        if self._loader is None:
            self._loader = threading.Thread(target=self._load_hot, name="column-cache", daemon=True)
            self._loader.start()
        self._changed.notify_all()

    def _forget(self) -> None:
        """Forget what was read of the oldest splits of which nothing is loaded."""
        for key, entry in list(self._entries.items())[: len(self._entries) - LONGEST]:
            if entry.database is None:
                del self._entries[key]

    # the loader's thread

    def _load_hot(self) -> None:
        if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._changed:
                while not self._hot and not self._closed:
                    self._changed.wait()
                self._changed.wait(PAUSE_S)
                if self._closed:
                    return
                key = next(iter(self._hot))
                del self._hot[key]
                entry = self._entries.get(key)
            if entry is not None:
                self._load(key, entry)

    def _load(self, key: SplitKey, entry: Entry) -> None:
        with self._changed:
            columns = frozenset(c for c, reads in entry.reads.items() if reads >= HOT_READS) | entry.columns
        self._numbers += 1
        name = f"hot_{self._numbers}"
        try:
            if self._is_current(key) and self._make_room(entry, _likely_bytes(entry, columns)):
                size = self._fill(name, entry, [c for c, _ in sorted(columns)])
                if self._is_current(key) and self._make_room(entry, size):
                    self._swap(entry, name, columns, size)
                    return
                self._run(f"DETACH {name}")
        except duckdb.Error as error:
            entry.is_refused = True
            if not self._closed:
                log.info("columns of %s are not kept: %s", key.path, error)
                with contextlib.suppress(duckdb.Error):
                    self._run(f"DETACH DATABASE IF EXISTS {name}")

    def _fill(self, name: str, entry: Entry, names: Sequence[str]) -> int:
        """Load columns into a database of their own; its bytes."""
        before = self._table_bytes()
        split, number = entry.split, entry.split.file
        bounds = [f"file_row_number >= {split.first_row}"] if split.first_row else []
        if split.num_rows is not None and split.num_rows != entry.spec.files[number].rows:
            bounds.append(f"file_row_number < {split.first_row + split.num_rows}")
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        selected = ", ".join(map(quote_identifier, names))
        self._run(f"ATTACH ':memory:' AS {name} (COMPRESS)")
        self._run(f"CREATE TABLE {name}.t AS SELECT {selected} FROM {scan_sql(entry.spec, [number])}{where}")
        self._run(f"CHECKPOINT {name}")
        entry.rows = int(self._run(f"SELECT count(*) FROM {name}.t")[0][0])
        return max(1, self._table_bytes() - before)

    def _swap(self, entry: Entry, name: str, columns: frozenset[Column], size: int) -> None:
        """Put a loaded database in the place of the entry's, when nobody reads from that."""
        with self._changed:
            while entry.users and not self._closed:
                self._changed.wait(PAUSE_S)
            old, entry.database, entry.columns, entry.size_bytes = entry.database, name, columns, size
            entry.used_s = time.monotonic()
        if old is not None:
            self._run(f"DETACH {old}")

    def _make_room(self, entry: Entry, size: int) -> bool:
        """Whether `size` bytes fit beside the others, after those that are not used any more are gone."""
        if size > self.budget_bytes:
            return False
        while self.used_bytes - entry.size_bytes + size > self.budget_bytes:
            with self._changed:
                before_s = time.monotonic() - UNUSED_S
                idle = (e for e in self._entries.values() if e.database and not e.users and e.used_s < before_s)
                oldest = next((e for e in idle if e is not entry), None)
                if oldest is None:
                    return False
                name, oldest.database, oldest.columns, oldest.size_bytes = oldest.database, None, frozenset(), 0
                oldest.reads.clear()
            self._run(f"DETACH {name}")
        return True

    @staticmethod
    def _is_current(key: SplitKey) -> bool:
        return stamp(key.path) == key.stamp

    def _table_bytes(self) -> int:
        sql = "SELECT coalesce(sum(memory_usage_bytes), 0)::BIGINT FROM duckdb_memory() WHERE tag = 'IN_MEMORY_TABLE'"
        return int(self._run(sql)[0][0])

    def _run(self, sql: str) -> list[tuple[int, ...]]:
        cursor = self._root.cursor()
        with self._changed:
            self._loading = cursor
        try:
            if self._closed:
                raise duckdb.InterruptException("the cache is closed")
            found: list[tuple[int, ...]] = cursor.execute(sql).fetchall()
            return found
        finally:
            with self._changed:
                self._loading = None
            cursor.close()


def _key(spec: ScanSpec, split: Split) -> SplitKey | None:
    """The split of the file as it is now; None while a change could go unseen."""
    file = spec.files[split.file]
    looked_ns = time.time_ns()
    found = stamp(file.path)
    if found is None or not is_settled(found, looked_ns) or (found[1], found[2]) != (file.size_bytes, file.mtime_ns):
        return None
    variants = spec.options.get("variant_of")
    options = spec.options["variants"][variants[split.file]] if variants else spec.options
    reader = json.dumps([spec.kind, options, spec.hive, file.partition], default=str)
    return SplitKey(file.path, found, split.first_row, split.num_rows, reader, spec.schema)


def _columns(spec: ScanSpec, names: Sequence[str]) -> frozenset[Column]:
    wanted = frozenset(names)
    return frozenset((f.name, str(f.type)) for f in spec.schema if f.name in wanted)


def _likely_bytes(entry: Entry, columns: frozenset[Column]) -> int:
    """What columns may take before they are compressed."""
    split = entry.split
    rows = split.num_rows or entry.spec.files[split.file].rows
    return split.size_bytes * 2 if rows is None else rows * 16 * len(columns)


def _union(databases: Sequence[str], names: Sequence[str]) -> str:
    selected = ", ".join(map(quote_identifier, names)) or "1"
    if len(databases) == 1:
        return f"{databases[0]}.t"
    return "(" + " UNION ALL ".join(f"SELECT {selected} FROM {name}.t" for name in databases) + ")"
