"""A table made of files: listed, looked at when it is first asked for, and looked at again when its files change."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from sabot_sql.catalog.listing import Listing, is_glob, list_sources, split_suffix, watched_folders
from sabot_sql.catalog.reading import Look, Memory, missing_error, read_error
from sabot_sql.catalog.sources import Inspector
from sabot_sql.catalog.sources_csv import read_csv
from sabot_sql.catalog.sources_ipc import read_ipc
from sabot_sql.catalog.sources_json import read_json
from sabot_sql.catalog.sources_parquet import read_parquet
from sabot_sql.catalog.stamps import Watch
from sabot_sql.catalog.table import ScanSpec, SourceKind, Table, TableStatistics
from sabot_sql.errors import NotSupported, ReadError, SabotError
from sabot_sql.types import Schema

Reader = Callable[[Inspector, Look], tuple[ScanSpec, TableStatistics]]
READERS: dict[SourceKind, Reader] = {"parquet": read_parquet, "csv": read_csv, "json": read_json, "ipc": read_ipc}
LOOKS = 3
"""Times a listing is tried while files come and go under it."""


class Versions:
    """Counts the changes of a catalog's tables. Thread-safe."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self.current = 0

    def advance(self) -> int:
        """The next version."""
        self.current = next(self._count)
        return self.current


@dataclass(frozen=True, slots=True)
class State:
    """What was found at one look. `table` is None where a folder has no data files (yet)."""

    watch: Watch
    table: Table | None
    skipped: tuple[str, ...]


class FileTable:
    """A table over files, folders or patterns. Thread-safe.

    Args:
        paths: absolute; read in this order.
        location: what to call the place in messages and lists.
        owned: whether the files are the catalog's own and are removed on `close`.
        hive: whether names of folders may give columns.
        columns: with the types that they are to have; () for those of the files.
        memory: what is known of files already.
    """

    def __init__(
        self,
        name: str,
        paths: tuple[str, ...],
        inspector: Inspector,
        versions: Versions,
        *,
        location: str = "",
        owned: bool = False,
        hive: bool = True,
        columns: Schema = (),
        memory: Memory | None = None,
    ) -> None:
        self.name = name
        self.paths = paths
        self.location = location or ", ".join(paths)
        self._inspector = inspector
        self._versions = versions
        self._owned = owned
        self._lock = threading.Lock()
        self._hive = hive
        self._columns = columns
        self._memory: Memory = memory or {}
        self._state: State | None = None

    @property
    def memory(self) -> Memory:
        """What is known of each file."""
        return self._memory

    def table(self) -> Table | None:
        """The table as its files are now; None where there are none."""
        return self.state().table

    def state(self) -> State:
        """What the last look found, or a new look where anything changed since."""
        state = self._state
        if state is not None and state.watch.is_current():
            return state
        with self._lock:
            state = self._state
            if state is None or not state.watch.is_current():
                state = self._state = self._look(state)
            return state

    def locations(self) -> tuple[str, ...]:
        """Files and folders that the table is read from."""
        if self._owned:
            return ()
        return tuple(watched_folders(path)[0] if is_glob(path) else path for path in self.paths)

    def close(self) -> None:
        """Remove the files if they are the catalog's own."""
        if self._owned:
            for path in self.paths:
                if os.path.exists(path):
                    os.unlink(path)

    def _look(self, old: State | None) -> State:
        try:
            listing, watch = self._list()
        except PermissionError as error:
            # looked at again by every look-up: rights may change without a trace in any stamp
            unsettled = Watch((), (), 0, settled=False)
            return State(unsettled, self._unusable(read_error(self.name, str(error.filename), "listed", error), 0, ()), ())
        if old is not None and old.watch.settled and old.watch.files == watch.files and old.skipped == listing.skipped:
            return State(watch, old.table, old.skipped)
        table = self._read(listing, watch, old)
        if old is not None and old.watch.files == watch.files and same(old.table, table):
            table = old.table
        return State(watch, table, listing.skipped)

    def _list(self) -> tuple[Listing, Watch]:
        """The files and their stamps, taken before any of them is opened."""
        for _ in range(LOOKS):
            listing = list_sources(self.paths)
            watch = Watch.of((*listing.folders, *listing.missing), listing.files)
            if all(found is not None for _, found in watch.files):
                return listing, watch
        gone = next(path for path, found in watch.files if found is None)
        return Listing(folders=listing.folders, missing=(gone,)), Watch.of((*listing.folders, gone), ())

    def _read(self, listing: Listing, watch: Watch, old: State | None) -> Table | None:
        try:
            kind = self._kind(listing, old)
            if kind is None:
                return None
            stamps = {path: found for path, found in watch.files if found is not None}
            look = Look.at(
                self.name, self.location, stamps, listing.files, watch.looked_ns, self._memory, self._hive, self._columns
            )
            scan, statistics = READERS[kind](self._inspector, look)
            self._memory = look.learnt
        except (ReadError, NotSupported) as error:
            size_bytes = sum(found[1] for _, found in watch.files if found is not None)
            return self._unusable(error, size_bytes, listing.skipped)
        return Table(self.name, scan, statistics, self._versions.advance(), self.location, listing.skipped)

    def _unusable(self, error: SabotError, size_bytes: int, skipped: tuple[str, ...]) -> Table:
        return unusable(self.name, self.location, self._versions.advance(), error, size_bytes, skipped)

    def _kind(self, listing: Listing, old: State | None) -> SourceKind | None:
        """The one format of the files; None where there are no files.

        Raises:
            ReadError: files are gone.
            NotSupported: several formats, or a table format that is more than its files.
        """
        if listing.missing:
            raise missing_error(self.name, listing.missing[0])
        if any(path.endswith("/_delta_log") for path in listing.skipped):
            raise NotSupported(
                f'table "{self.name}": {self.location} is a Delta table',
                hint="export the current version to a folder of Parquet files",
            )
        if not listing.files:
            if old is not None and old.table is not None:
                raise missing_error(self.name, f"every data file of {self.location}")
            return None
        first: dict[SourceKind | None, str] = {}
        for path in listing.files:
            first.setdefault(split_suffix(path)[1], path)
        if len(first) > 1:
            names = ", ".join(map(os.path.basename, first.values()))
            raise NotSupported(
                f'table "{self.name}": {self.location} has files of several formats ({names})',
                hint="keep one format to a folder",
            )
        return next(iter(first))


def same(old: Table | None, new: Table | None) -> bool:
    """Whether two looks found the same table, versions apart."""
    if old is None or new is None:
        return old is new
    return (old.error is None) == (new.error is None) and replace(new, version=old.version) == old


def raised(error: SabotError) -> SabotError:
    """A copy of `error` to raise: one exception object must not collect the tracebacks of several threads."""
    return SabotError.from_problem(error.to_problem())


def unusable(
    name: str, location: str, version: int, error: SabotError, size_bytes: int = 0, skipped: tuple[str, ...] = ()
) -> Table:
    """A table that is listed and raises `error` when it is used."""
    statistics = TableStatistics(None, size_bytes, "unknown")
    return Table(name, ScanSpec("parquet", (), ()), statistics, version, location, skipped, error)
