"""Where tables come from: a folder whose sub-folders and files are tables, and a DuckDB file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from sabot_sql.catalog.entries import FileTable, Versions, unusable
from sabot_sql.catalog.hive import fold, is_partition
from sabot_sql.catalog.listing import is_hidden, leads_to, split_suffix
from sabot_sql.catalog.reading import missing_error
from sabot_sql.catalog.sources import Inspector
from sabot_sql.catalog.sources_duckdb import read_database
from sabot_sql.catalog.stamps import Watch
from sabot_sql.catalog.table import Table
from sabot_sql.errors import ConfigError, ReadError, SabotError


class FolderRoot:
    """A folder of tables; tables that appear in it later are found, and those that go are missed by name. Thread-safe."""

    def __init__(self, path: str, inspector: Inspector, versions: Versions) -> None:
        self.path = path
        self._inspector = inspector
        self._versions = versions
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._tables: dict[str, FileTable] = {}
        self._clashes: dict[str, tuple[str, str]] = {}
        self._gone: dict[str, FileTable] = {}
        self._skipped: tuple[str, ...] = ()
        self._refresh()

    def find(self, key: str) -> Table | None:
        """The table whose folded name is `key`.

        Raises:
            ReadError: it was there, and its folder or file is gone.
            ConfigError: two folders or files have that name.
        """
        self._refresh()
        if key in self._clashes:
            raise self._clash(key)
        found = self._tables.get(key)
        if found is not None:
            return found.table()
        if key in self._gone:
            raise missing_error(self._gone[key].name, self._gone[key].location)
        return None

    def tables(self) -> Iterator[Table]:
        """All tables, those that cannot be used with their error."""
        self._refresh()
        for key, entry in list(self._tables.items()):
            if key in self._clashes:
                yield unusable(entry.name, entry.location, self._versions.current, self._clash(key))
            elif (found := entry.table()) is not None:
                yield found

    def names(self) -> list[str]:
        """The names of tables, without a look at their files."""
        return [entry.name for entry in self._tables.values()]

    def skipped(self) -> tuple[str, ...]:
        """What lies in the folder and in its tables and is not read."""
        self._refresh()
        inner = (path for entry in list(self._tables.values()) for path in entry.state().skipped)
        return (*self._skipped, *inner)

    def locations(self) -> tuple[str, ...]:
        return (self.path,)

    def close(self) -> None:
        """Nothing to free."""

    def _refresh(self) -> None:
        watch = self._watch
        if watch is not None and watch.is_current():
            return
        with self._lock:
            if self._watch is not None and self._watch.is_current():
                return
            watch = Watch.of((self.path,), ())
            self._list()
            self._watch = watch

    def _list(self) -> None:
        places, self._skipped = self._places()
        tables: dict[str, FileTable] = {}
        clashes: dict[str, tuple[str, str]] = {}
        changed = False
        for name, paths, location in places:
            key = fold(name)
            if key in tables:
                clashes[key] = (tables[key].location, location)
                continue
            known = self._tables.get(key)
            if known is None or known.paths != paths:
                known = FileTable(name, paths, self._inspector, self._versions, location=location)
                changed = True
            tables[key] = known
        gone = {key: entry for key, entry in self._tables.items() if key not in tables}
        if changed or gone or clashes != self._clashes:
            self._versions.advance()
        self._gone = {key: entry for key, entry in {**self._gone, **gone}.items() if key not in tables}
        self._tables, self._clashes = tables, clashes

    def _places(self) -> tuple[list[tuple[str, tuple[str, ...], str]], tuple[str, ...]]:
        """Name, paths and location of each table in the folder; and what is skipped."""
        places: list[tuple[str, tuple[str, ...], str]] = []
        skipped: list[str] = []
        partitions: list[str] = []
        try:
            entries = sorted(os.scandir(self.path), key=lambda entry: entry.name)
        except FileNotFoundError:
            return [], ()
        for entry in entries:
            stem, kind = split_suffix(entry.name)
            if is_hidden(entry.name):
                skipped.append(entry.path)
            elif (found := leads_to(entry)) == "folder":
                if is_partition(entry.name):
                    partitions.append(entry.path)
                else:
                    places.append((entry.name, (entry.path,), entry.path))
            elif kind is not None and found == "file":
                places.append((stem, (entry.path,), entry.path))
            else:
                skipped.append(entry.path)
        if partitions:
            # the folder itself is partitioned: its Hive folders together are one table of the folder's name
            places.append((os.path.basename(self.path), tuple(partitions), self.path))
        return places, tuple(skipped)

    def _clash(self, key: str) -> SabotError:
        one, other = self._clashes[key]
        return ConfigError(f'table "{self._tables[key].name}" may be {one} or {other}', hint="rename one of them")


class DatabaseRoot:
    """The tables and views of a DuckDB file. Thread-safe.

    Args:
        prefix: what goes before the names of tables, e.g. ``crm.``.
    """

    def __init__(self, path: str, inspector: Inspector, versions: Versions, prefix: str = "") -> None:
        self.path = path
        self._prefix = prefix
        self._inspector = inspector
        self._versions = versions
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._tables: dict[str, Table] = {}
        self._skipped: tuple[str, ...] = ()
        self._refresh()

    def find(self, key: str) -> Table | None:
        """The table whose folded name is `key`.

        Raises:
            ReadError: the file is gone, is no DuckDB file any more, or is open for writing elsewhere.
        """
        self._refresh()
        return self._tables.get(key)

    def tables(self) -> Iterator[Table]:
        """All tables; where the file cannot be read any more, those it had, with the error."""
        try:
            self._refresh()
        except ReadError as error:
            yield from (unusable(found.name, found.location, found.version, error) for found in self._tables.values())
            return
        yield from list(self._tables.values())

    def names(self) -> list[str]:
        """The names of tables."""
        return [found.name for found in self._tables.values()]

    def skipped(self) -> tuple[str, ...]:
        """The views, macros and types of the file that statements cannot use, and why."""
        return self._skipped

    def locations(self) -> tuple[str, ...]:
        return (self.path,)

    def close(self) -> None:
        """Nothing to free."""

    def _refresh(self) -> None:
        watch = self._watch
        if watch is not None and watch.is_current():
            return
        with self._lock:
            if self._watch is not None and self._watch.is_current():
                return
            # what was committed and not yet checkpointed lies in the write-ahead log
            watch = Watch.of((), (self.path, self.path + ".wal"))
            stamp = watch.files[0][1]
            if stamp is None:
                raise ReadError(f"{self.path} is gone", code="FILE_MISSING", hint="put it back")
            found, self._skipped = self._read(stamp)
            if self._watch is None or self._watch.files != watch.files:
                self._tables = found
            self._watch = watch

    def _read(self, stamp: tuple[int, int, int, int]) -> tuple[dict[str, Table], tuple[str, ...]]:
        found, skipped = read_database(self._inspector, self.path, stamp)
        texts = tuple(f"{self.path}: {item.kind} {self._prefix}{item.name}: {item.why}" for item in skipped)
        version = self._versions.advance()
        tables = {}
        for inner in found:
            name = self._prefix + inner.name
            tables[fold(name)] = Table(name, inner.scan, inner.statistics, version, self.path, texts)
        return tables, texts
