"""The tables that are kept here, as a place that the catalog's tables come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from sabot_sql.catalog.entries import FileTable, Versions
from sabot_sql.catalog.listing import is_glob, watched_folders
from sabot_sql.catalog.sources import Inspector
from sabot_sql.catalog.stored_manifest import Manifest
from sabot_sql.catalog.stored_tables import StoredTables
from sabot_sql.catalog.table import UPLOADED, ScanSpec, Table, TableStatistics


class StoredRoot:
    """`store` as one catalog sees it. Thread-safe."""

    def __init__(self, store: StoredTables, inspector: Inspector, versions: Versions) -> None:
        self.store = store
        self._inspector = inspector
        self._versions = versions
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[Manifest, FileTable]] = {}
        self._views: dict[str, tuple[Manifest, Table]] = {}
        self._revision = store.revision

    def find(self, key: str) -> Table | None:
        """The table whose folded name is `key`."""
        while (manifest := self.store.get(key)) is not None:
            if manifest.view:
                return self._view(key, manifest)
            found = self._entry(key, manifest).table()
            if found is None or found.error is None or manifest is self.store.get(key):
                return found  # else its files went while they were looked at, and there are others
        return None

    def tables(self) -> Iterator[Table]:
        """All tables, those that cannot be read with their error."""
        for key, manifest in self.store.tables().items():
            if manifest.view:
                yield self._view(key, manifest)
            elif (found := self._entry(key, manifest).table()) is not None:
                yield found

    def names(self) -> list[str]:
        """The names of tables, without a look at their files."""
        return [manifest.name for manifest in self.store.tables().values()]

    def skipped(self) -> tuple[str, ...]:
        """Files of registered tables that are not read."""
        found = self.store.tables().items()
        return tuple(path for key, each in found if each.sources for path in self._entry(key, each).state().skipped)

    def locations(self) -> tuple[str, ...]:
        """The folder of all tables that were put or will be, and where the files of registered ones lie."""
        sources = (path for manifest in self.store.tables().values() for path in manifest.sources)
        return (str(self.store.folder), *(watched_folders(path)[0] if is_glob(path) else path for path in sources))

    def close(self) -> None:
        """Nothing to free."""

    def _view(self, key: str, manifest: Manifest) -> Table:
        """A view as lists show it; what reads it has its query in its place."""
        known = self._views.get(key)
        if known is None or known[0] is not manifest:
            scan = ScanSpec("view", manifest.columns, (), {"listed": True})
            statistics = TableStatistics(None, 0, "unknown")
            location = f"{UPLOADED}{manifest.name}"
            known = self._views[key] = manifest, Table(manifest.name, scan, statistics, self._versions.advance(), location)
        return known[1]

    def _entry(self, key: str, manifest: Manifest) -> FileTable:
        known = self._entries.get(key)
        if known is not None and known[0] is manifest:
            return known[1]
        with self._lock:
            known = self._entries.get(key)
            if known is not None and known[0] is manifest:
                return known[1]
            if self.store.revision != self._revision:
                self._forget_dropped()
            location = ", ".join(manifest.sources) or f"{UPLOADED}{manifest.name}"
            made = FileTable(
                manifest.name, self.store.paths(manifest), self._inspector, self._versions, location=location,
                hive=bool(manifest.sources), columns=manifest.columns, memory=known[1].memory if known is not None else None,
            )  # fmt: skip
            self._entries[key] = (manifest, made)
            self._versions.advance()
            return made

    def _forget_dropped(self) -> None:
        self._revision = self.store.revision
        there = self.store.tables()
        self._entries = {key: entry for key, entry in self._entries.items() if key in there}
        self._views = {key: entry for key, entry in self._views.items() if key in there}
