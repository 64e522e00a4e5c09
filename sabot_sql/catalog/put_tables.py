"""Putting tables into a catalog: a body that was received becomes a table, or a part of one, as a whole or not at all."""

from __future__ import annotations

import glob
import io
import os
import threading
import time
from pathlib import Path

from sabot_sql.catalog.disk_room import has_room, is_full, no_room
from sabot_sql.catalog.entries import FileTable, Versions, raised
from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.incoming import Format, Importer, Stop, too_late
from sabot_sql.catalog.listing import is_glob, list_sources
from sabot_sql.catalog.sources import Inspector
from sabot_sql.catalog.stored_root import StoredRoot
from sabot_sql.catalog.stored_tables import PARQUET, ContentChanged, Mode, StoredTables
from sabot_sql.errors import ConfigError, QueryError, ServiceError
from sabot_sql.types import Schema

TRIES = 3
"""Times that rows are made to fit a table which others replace meanwhile."""


class Body:
    """A file that a body is received into. Thread-safe: `discard` may come while another thread writes.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, store: StoredTables) -> None:
        self.path = store.new_file(".body")
        self._file = io.FileIO(self.path, "xb")
        self._lock = threading.Lock()
        self._in_use = False

    def write(self, piece: bytes) -> None:
        """Append a piece.

        Raises:
            ServiceError: the disk is full or cannot be written.
        """
        with self._lock:
            if self._file.closed:
                return  # nobody waits for it any more
            try:
                if not has_room(self.path.parent, len(piece)):
                    raise no_room()
                left = memoryview(piece)
                while left:
                    left = left[self._file.write(left) :]
            except OSError as error:
                raise no_room() if is_full(error) else ServiceError(f"the body cannot be kept: {error}") from error

    def use(self) -> bool:
        """Take it over, with the duty to discard it; False where it is gone already."""
        with self._lock:
            if self._file.closed:
                return False
            self._in_use = True
            return True

    def discard(self, if_unused: bool = False) -> None:
        """Remove the file.

        Args:
            if_unused: leave it to whoever has taken it over.
        """
        with self._lock:
            if not (if_unused and self._in_use):
                self._file.close()
                self.path.unlink(missing_ok=True)


class PutTables:
    """Puts tables into `store`, which this makes a root of a catalog. Thread-safe."""

    def __init__(self, store: StoredTables, inspector: Inspector, versions: Versions) -> None:
        self.root = StoredRoot(store, inspector, versions)
        self._store = store
        self._inspector = inspector
        self._versions = versions
        self._importer = Importer(store.incoming)
        self._closing = threading.Event()

    def put(self, name: str, body: Body, kind: Format, mode: Mode, deadline_s: float) -> int:
        """Make a body that is wholly received the table, or append it; its rows.

        Args:
            deadline_s: `time.monotonic()` at which it is too late.

        Raises:
            QueryError, NotSupported, QueryTimeout, OutOfMemory, ServiceError: as `Importer.write` and `StoredTables.commit`.
        """
        stop = Stop(deadline_s, self._closing)
        for _ in range(TRIES):
            target = self._store.new_file(PARQUET)
            old = self._store.check(name, mode)
            columns = self._columns(name) if mode == "append" else None
            try:
                rows = self._importer.write(name, body.path, kind, target, columns, stop)
                if time.monotonic() > deadline_s:
                    raise too_late()
                self._store.commit(name, target, rows, mode, old.content if old is not None else None)
            except ContentChanged:
                continue
            except OSError as error:
                raise no_room(f'table "{name}"') if is_full(error) else _unwritable(name, error) from error
            finally:
                target.unlink(missing_ok=True)
            self._versions.advance()
            return rows
        raise QueryError(f'table "{name}" was replaced again and again meanwhile', hint="send the rows again")

    def _columns(self, name: str) -> Schema | None:
        table = self.root.find(fold(name))
        if table is not None and table.error is not None:
            raise raised(table.error)
        return None if table is None else table.schema

    def register(self, name: str, uri: str, kind: str, folders: tuple[str, ...], replace: bool) -> None:
        """Make files that lie on this machine a table.

        Args:
            uri: an absolute path or pattern, of files below one of `folders`.

        Raises:
            QueryError: it lies elsewhere, there is nothing, or the files are of another format or none.
        """
        if not uri.isprintable():
            raise QueryError("the uri has a character that cannot be printed")
        path = os.path.abspath(uri) if is_glob(uri) else os.path.realpath(uri)
        allowed = [os.path.join(os.path.realpath(os.path.expanduser(folder)), "") for folder in folders]
        self._refuse_outside(uri, (fixed_part(path),), allowed)  # before anything is looked for
        listing = list_sources((path,))
        self._refuse_outside(uri, listing.files, allowed)
        if not listing.files:
            raise QueryError(f"there is nothing that can be read at {uri}")
        entry = FileTable(name, (path,), self._inspector, self._versions)
        table = entry.table()
        if table is None or table.error is not None:
            raise QueryError(f"{uri} cannot be a table: {table.error.detail if table and table.error else 'it has no files'}")
        if table.scan.kind != kind:
            raise QueryError(f"{uri} holds {table.scan.kind}, not {kind}")
        try:
            self._store.register(name, (path,), replace)
        except OSError as error:
            raise _unwritable(name, error) from error
        self._versions.advance()

    @staticmethod
    def _refuse_outside(uri: str, paths: tuple[str, ...], allowed: list[str]) -> None:
        for path in paths:
            real = os.path.join(os.path.realpath(path), "")
            if not any(real.startswith(folder) for folder in allowed):
                raise QueryError(
                    f"{uri} does not lie below a folder that tables may be read from",
                    code="PERMISSION_DENIED",
                    hint="the setting tables.folders names these",
                )

    def new_body(self) -> Body:
        """Where a body is received into.

        Raises:
            ServiceError: the disk is full or cannot be written.
        """
        try:
            return Body(self._store)
        except OSError as error:
            raise no_room() if is_full(error) else ServiceError(f"the body cannot be kept: {error}") from error

    def close(self) -> None:
        """End what is being put, with nothing left of it."""
        self._closing.set()
        self._importer.close()


def fixed_part(path: str) -> str:
    """The folder that a pattern looks below; of another path, itself.

    Example:
        >>> fixed_part("/data/trips/*.parquet"), fixed_part("/data/trips")
        ('/data/trips', '/data/trips')
    """
    parts = path.split("/")
    end = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return "/".join(parts[:end]) or "/"


def open_store(folder: Path) -> StoredTables:
    """The tables that were put into the state folder `folder`.

    Raises:
        ConfigError: it cannot be read or written.
    """
    try:
        return StoredTables(folder / "tables")
    except OSError as error:
        raise ConfigError(f"the tables in {folder} cannot be opened: {error}") from error


def _unwritable(name: str, error: OSError) -> ServiceError:
    return ServiceError(f'table "{name}" cannot be written: {error.strerror or error}')
