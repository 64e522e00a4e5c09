"""Columns of files that an agent reads again and again, kept decoded in its memory.

A split is cached column by column in the compressed form of DuckDB's own tables (bit-packed, dictionaries), which it scans two
to four times faster than Parquet. What queries read for the second time is loaded by a thread that takes only idle time, so
that no query waits for it. An entry belongs to a file as it was stamped before and after loading: a replaced file is never
served from memory. Past the budget columns that were not used for a while make room; where there are none, what is there stays,
so that a table larger than the budget is cached in part.

Splits that are loaded are put together into one table when there is time: over several, DuckDB runs a pipeline for each, with
groups of its own. A table is merged with others as a log-structured merge tree does it (O'Neil et al., Acta Informatica 1996):
not with much smaller ones, so that each row is copied a few times only however often files are added.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
MERGED_SHARE = 8
"""A table of several splits takes at most this part of the budget, as it is there twice while it is made."""

MERGING_SHARE = 16
"""What is loaded leaves this part of the budget to merging: small splits take a block of DuckDB's each, which merging frees."""

LARGEST_SHARE = 0.75
"""The largest of the tables that are put together has at most this share of them."""

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


@dataclass(slots=True, eq=False)
class Segment:
    """Columns of some splits in one table.

    Attributes:
        database: name of the attached database that holds the table.
        number: the table's column that says of which split a row is, by its place in `keys`.
        users: scans that read from it now.
        used_s: when the last one began.
    """

    database: str
    number: str
    columns: frozenset[Column]
    keys: tuple[SplitKey, ...]
    size_bytes: int
    users: int = 0
    used_s: float = 0.0

    def text(self, names: str, first: int, last: int) -> str:
        """The table expression of the columns `names` of the splits from `first` to `last`."""
        if last - first + 1 == len(self.keys):
            return f"SELECT {names} FROM {self.database}.t"
        return f"SELECT {names} FROM {self.database}.t WHERE {self.number} BETWEEN {first} AND {last}"


Run = tuple[Segment, int, int]
"""Splits of a segment that follow each other, from the first to the last."""


@dataclass(slots=True)
class Entry:
    """What is known of one split.

    Attributes:
        reads: how often each column was read from the file.
        segment: where columns of it are loaded, and their place there.
        size_bytes: its share of the segment.
        is_refused: it cannot be loaded.
        rows: of the split, once something is loaded.
    """

    spec: ScanSpec
    split: Split
    reads: dict[Column, int] = field(default_factory=dict)
    segment: Segment | None = None
    place: int = 0
    size_bytes: int = 0
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
        self._may_merge = False

    @property
    def used_bytes(self) -> int:
        """What the columns take now."""
        with self._changed:
            return sum(s.size_bytes for s in {e.segment for e in self._entries.values()} if s is not None)

    @contextlib.contextmanager
    def reading(self, spec: ScanSpec, splits: Sequence[Split], names: Sequence[str]) -> Iterator[str | None]:
        """The table expression that holds the columns `names` of all `splits`, while inside; None where one is not cached."""
        found = self._take(spec, splits, names)
        try:
            yield None if found is None else _union(found, names)
        finally:
            with self._changed:
                for segment, _, _ in found or ():
                    segment.users -= 1

    def rows_of(self, spec: ScanSpec, split: Split) -> int:
        """Rows of a split that is cached; 0 where it is not."""
        key = _key(spec, split)
        with self._changed:
            entry = None if key is None else self._entries.get(key)
            return entry.rows if entry is not None and entry.segment is not None else 0

    def holds(self, spec: ScanSpec, split: Split, names: Sequence[str]) -> bool:
        """Whether the columns `names` of `split` are cached."""
        if not self._may_hold(spec) or (key := _key(spec, split)) is None:
            return False
        with self._changed:
            entry = self._entries.get(key)
            return entry is not None and entry.segment is not None and entry.segment.columns >= _columns(spec, names)

    def _take(self, spec: ScanSpec, splits: Sequence[Split], names: Sequence[str]) -> list[Run] | None:
        """Where the columns of the splits are, in sequence, for as long as they are used."""
        if not self._may_hold(spec):
            return None
        keys = [_key(spec, s) for s in splits]
        wanted = _columns(spec, names)
        with self._changed:
            found: list[Run] = []
            for key, split in zip(keys, splits):
                entry = None if key is None else self._entries.get(key)
                if key is None or entry is None or entry.segment is None or not entry.segment.columns >= wanted:
                    return None
                self._entries[key] = self._entries.pop(key)
                entry.spec, entry.split = spec, split
                if found and found[-1][0] is entry.segment and found[-1][2] + 1 == entry.place:
                    found[-1] = (entry.segment, found[-1][1], entry.place)
                else:
                    found.append((entry.segment, entry.place, entry.place))
            for segment, _, _ in found:
                segment.users += 1
                segment.used_s = time.monotonic()
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
                if not entry.is_refused and not (entry.segment and hot <= entry.segment.columns):
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
            if entry.segment is None:
                del self._entries[key]

    # the loader's thread

    def _load_hot(self) -> None:
        if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._changed:
                while not (self._hot or self._may_merge or self._closed):
                    self._changed.wait()
                self._changed.wait(PAUSE_S)
                if self._closed:
                    return
                key = next(iter(self._hot), None)
                if key is not None:
                    del self._hot[key]
                entry = None if key is None else self._entries.get(key)
            try:
                if key is not None and entry is not None and self._load(key, entry):
                    self._may_merge = True
                elif self._may_merge:
                    self._may_merge = self._merge()
            except duckdb.Error as error:
                self._may_merge = False
                if not self._closed:
                    log.info("columns are not kept: %s", error)

    def _load(self, key: SplitKey, entry: Entry) -> bool:
        """Load what is hot of a split, if there is room for it; whether it was."""
        with self._changed:
            before = entry.segment.columns if entry.segment else frozenset[Column]()
            columns = frozenset(c for c, reads in entry.reads.items() if reads >= HOT_READS) | before
        if not self._is_current(key) or not self._make_room(entry, _likely_bytes(entry, columns)):
            return False
        split, spec = entry.split, entry.spec
        bounds = [f"file_row_number >= {split.first_row}"] if split.first_row else []
        if split.num_rows is not None and split.num_rows != spec.files[split.file].rows:
            bounds.append(f"file_row_number < {split.first_row + split.num_rows}")
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        made = self._made(columns, [(key, scan_sql(spec, [split.file]) + where)])
        if made is None:
            entry.is_refused = True
            return False
        if not self._is_current(key) or not self._make_room(entry, made.size_bytes):
            self._run(f"DETACH {made.database}")
            return False
        entry.rows = int(self._run(f"SELECT count(*) FROM {made.database}.t")[0][0])
        self._swap(made)
        return True

    def _merge(self) -> bool:
        """Put some segments of one table together; whether there were any."""
        tables: dict[object, list[Segment]] = {}
        seen: set[Segment] = set()
        with self._changed:
            since_s = time.monotonic() - UNUSED_S
            for key, entry in self._entries.items():
                segment = entry.segment
                if segment is not None and segment not in seen and segment.used_s >= since_s:
                    seen.add(segment)
                    table = entry.spec.files[0].path, key.reader, key.schema, segment.columns
                    tables.setdefault(table, []).append(segment)
        most_bytes = min(self.budget_bytes // MERGED_SHARE, self.budget_bytes - self.used_bytes)
        for segments in tables.values():
            if chosen := alike(segments, most_bytes):
                return self._put_together(chosen)
        return False

    def _put_together(self, segments: Sequence[Segment]) -> bool:
        with self._changed:
            for key in [k for s in segments for k in s.keys]:
                if (entry := self._entries.get(key)) is not None and not self._is_current(key):
                    entry.segment = None
            kept = [(k, e) for k, e in self._entries.items() if e.segment in segments]
        kept.sort(key=lambda pair: (pair[1].split.file, pair[1].split.first_row))
        made = None
        if kept:
            parts = [(k, f"{e.segment.database}.t WHERE {e.segment.number} = {e.place}") for k, e in kept if e.segment]
            made = self._made(segments[0].columns, parts)
        if made is not None:
            self._swap(made)
        self._drop_unused(segments)
        return made is not None

    def _made(self, columns: frozenset[Column], parts: Sequence[tuple[SplitKey, str]]) -> Segment | None:
        """A new segment of splits, each from what follows FROM; None where that cannot be read."""
        names = [c for c, _ in sorted(columns)]
        number = "split"
        while number in map(str.lower, names):
            number += "_"
        selected = ", ".join(map(quote_identifier, names))
        self._numbers += 1
        database = f"hot_{self._numbers}"
        try:
            before = self._table_bytes()
            self._run(f"ATTACH ':memory:' AS {database} (COMPRESS)")
            for i, (_, source) in enumerate(parts):
                make = f"INSERT INTO {database}.t" if i else f"CREATE TABLE {database}.t AS"
                self._run(f"{make} SELECT {i} AS {number}, {selected} FROM {source}")
                self._run(f"CHECKPOINT {database}")
            size_bytes = max(1, self._table_bytes() - before)
        except duckdb.Error as error:
            if not self._closed:
                log.info("columns of %s are not kept: %s", parts[0][0].path, error)
                with contextlib.suppress(duckdb.Error):
                    self._run(f"DETACH DATABASE IF EXISTS {database}")
            return None
        return Segment(database, number, columns, tuple(key for key, _ in parts), size_bytes)

    def _swap(self, made: Segment) -> None:
        """Have the splits of a new segment read from it."""
        with self._changed:
            entries = [(i, e) for i, key in enumerate(made.keys) if (e := self._entries.get(key)) is not None]
            left = {e.segment for _, e in entries if e.segment is not None}
            rows = max(1, sum(e.rows for _, e in entries))
            for place, entry in entries:
                entry.segment, entry.place = made, place
                entry.size_bytes = made.size_bytes * entry.rows // rows
            made.used_s = time.monotonic()
        self._drop_unused((*left, made))

    def _drop_unused(self, segments: Iterable[Segment]) -> None:
        """Drop those of which no split is read any more, once no scan does."""
        for segment in segments:
            with self._changed:
                if any((e := self._entries.get(key)) is not None and e.segment is segment for key in segment.keys):
                    continue
                while segment.users and not self._closed:
                    self._changed.wait(PAUSE_S)
            with contextlib.suppress(duckdb.Error):
                self._run(f"DETACH DATABASE IF EXISTS {segment.database}")

    def _make_room(self, entry: Entry, size: int) -> bool:
        """Whether `size` bytes fit beside the others, after those that are not used any more are gone."""
        most_bytes = self.budget_bytes - self.budget_bytes // MERGING_SHARE
        if size > most_bytes:
            return False
        while self.used_bytes - entry.size_bytes + size > most_bytes:
            with self._changed:
                before_s = time.monotonic() - UNUSED_S
                idle = (e.segment for e in self._entries.values() if e.segment and e.segment is not entry.segment)
                oldest = next((s for s in idle if not s.users and s.used_s < before_s), None)
                if oldest is None:
                    return False
                for each in self._entries.values():
                    if each.segment is oldest:
                        each.segment, each.size_bytes = None, 0
                        each.reads.clear()
            self._drop_unused([oldest])
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


def alike(segments: Iterable[Segment], most_bytes: int) -> list[Segment]:
    """Those to put together: the smaller ones, of `most_bytes` in all, none of which is much larger than the others."""
    found = sorted(segments, key=lambda s: s.size_bytes)
    total = sum(s.size_bytes for s in found)
    while found and (total > most_bytes or found[-1].size_bytes > LARGEST_SHARE * total):
        total -= found.pop().size_bytes
    return found if len(found) > 1 else []


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


def _union(runs: Sequence[Run], names: Sequence[str]) -> str:
    selected = ", ".join(map(quote_identifier, names)) or "1"
    return "(" + " UNION ALL ".join(segment.text(selected, first, last) for segment, first, last in runs) + ")"
