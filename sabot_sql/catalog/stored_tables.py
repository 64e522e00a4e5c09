"""Tables that are kept here, in one folder: each is committed as a whole, and its old files go when nobody reads them.

    tables/incoming/             bodies and files that are being made; emptied at the start
    tables/<hash of the name>/   a table: manifest.json, and the Parquet files that it names

A process that ends at any moment leaves each table as it was or as it was to be. Files that no manifest names are removed once
all queries have ended that ran when they were given up: those queries go on with what they began with.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.retired import Retired
from sabot_sql.catalog.stored_manifest import (
    FILE,
    Manifest,
    StoredFile,
    check_name,
    folder_name,
    read_manifest,
    remove_manifest,
    sync,
    write_manifest,
)
from sabot_sql.errors import QueryError, SabotError
from sabot_sql.types import Schema

log = logging.getLogger(__name__)

Mode = Literal["create", "append", "replace"]

INCOMING = "incoming"
PARQUET = ".parquet"
MOST_TABLES = 10_000
MOST_FILES = 10_000
"""Files of one table: each append adds one, and each look-up looks at all."""


class ContentChanged(Exception):
    """The table is not the one that rows were made to fit."""


class StoredTables:
    """The tables in `folder`, which is made. Thread-safe; for one process at a time.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.incoming = folder / INCOMING
        self.revision = 0
        self._lock = threading.Lock()
        self._tables: dict[str, Manifest] = {}
        self._views = 0
        self._retired = Retired()
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(mode=0o700, exist_ok=True)
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and entry != self.incoming:
                self._open(entry)
        self._views = sum(bool(each.view) for each in self._tables.values())

    def _open(self, folder: Path) -> None:
        try:
            manifest = read_manifest(folder)
        except (OSError, ValueError) as error:
            log.warning("a table in %s is left out, its manifest cannot be read: %s", folder, error)
            return
        named = {file.name for file in manifest.files} if manifest else set()
        left = tuple(path for path in folder.iterdir() if path.name not in named and path.name != FILE)
        if manifest is not None:
            self._tables[fold(manifest.name)] = manifest
        if left or manifest is None:
            self._retired.add(functools.partial(remove_files, left or (folder / "nothing",)))

    def tables(self) -> dict[str, Manifest]:
        """All of them, by folded name."""
        with self._lock:
            return dict(self._tables)

    def get(self, key: str) -> Manifest | None:
        """The table of a folded name."""
        return self._tables.get(key)

    @property
    def has_views(self) -> bool:
        """Whether there are any views."""
        return self._views > 0

    def paths(self, manifest: Manifest) -> tuple[str, ...]:
        """What a table is read from."""
        folder = self.folder / folder_name(manifest.name)
        return manifest.sources or tuple(str(folder / file.name) for file in manifest.files)

    def check(self, name: str, mode: Mode) -> Manifest | None:
        """See whether rows may be put, before any are received; the table as it is.

        Raises:
            QueryError: the name cannot be one; TABLE_EXISTS; NOT_FOUND, to append; there are too many tables or files.
        """
        check_name(name)
        with self._lock:
            return self._checked(name, mode)

    def _checked(self, name: str, mode: Mode, new_files: int = 1) -> Manifest | None:
        found = self._tables.get(fold(name))
        if found is not None and found.view:
            raise is_a_view(found.name)
        if found is None:
            if mode == "append":
                raise QueryError(
                    f'there is no table "{name}" to append to', code="NOT_FOUND", hint="put it with mode=create first"
                )
            if len(self._tables) >= MOST_TABLES:
                raise QueryError(f"there are {MOST_TABLES:,} tables already", hint="drop some first")
            return None
        if mode == "create":
            raise table_exists(name)
        if mode == "append" and found.sources:
            raise QueryError(f'table "{name}" is read from files of the server, and nothing is appended to those')
        if mode == "append" and len(found.files) + new_files > MOST_FILES:
            raise QueryError(
                f'table "{name}" has {MOST_FILES:,} files: each append adds one',
                hint="replace it by one, and append more rows at a time",
            )
        return found

    def new_folder(self) -> Path:
        """A folder in `incoming` that nobody has.

        Raises:
            OSError: it cannot be made.
        """
        folder = self.incoming / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def new_file(self, suffix: str) -> Path:
        """A name in `incoming` that nobody has."""
        return self.incoming / f"{secrets.token_hex(16)}{suffix}"

    def commit(self, name: str, file: Path, rows: int, mode: Mode, content: str | None = None) -> Manifest:
        """Make a Parquet file in `incoming` the table, or a part of it; the file is taken over.

        Args:
            content: of the table that the rows were made to fit, to append.

        Raises:
            ContentChanged: the table was replaced or dropped meanwhile.
            QueryError: as `check`.
            OSError: the disk is full or cannot be written; the table stays as it was.
        """
        return self.commit_files(name, [(file, rows)], mode, content)

    def commit_files(
        self,
        name: str,
        staged: Sequence[tuple[Path, int]],
        mode: Mode,
        content: str | None = None,
        *,
        columns: Schema = (),
        partition_by: tuple[str, ...] = (),
        query_id: str = "",
    ) -> Manifest:
        """Make Parquet files in `incoming` the table, or parts of it, in their order; they are taken over.

        Args:
            staged: files and their rows.
            content: of the table that the rows were made to fit, to append.
            columns, partition_by: of the table that is made.
            query_id: of the statement that writes; one that has written already changes nothing.

        Raises:
            as `commit`.
        """
        new = [(path, StoredFile(f"{secrets.token_hex(16)}{PARQUET}", rows, path.stat().st_size)) for path, rows in staged]
        for path, _ in new:
            sync(path)
        with self._lock:
            now = self._tables.get(fold(name))
            if now is not None and query_id and now.committed(query_id) is not None:
                return now
            if mode == "append" and (now is None or now.content != content):
                raise ContentChanged
            old = self._checked(name, mode, len(new))
            folder = self._folder(name)
            moved: list[Path] = []
            try:
                for path, stored in new:
                    os.rename(path, folder / stored.name)
                    moved.append(folder / stored.name)
                sync(folder)
                made = Manifest(name, secrets.token_hex(8), columns=columns, partition_by=partition_by)
                if old is not None:
                    made = old if mode == "append" else replace(made, commits=old.commits)
                files = tuple(stored for _, stored in new)
                commits = made.after(query_id, sum(stored.rows for stored in files))
                made = replace(made, files=(*made.files, *files), commits=commits)
                write_manifest(folder, made)
            except BaseException:
                for path in moved:
                    path.unlink(missing_ok=True)
                raise
            self._change(name, made, () if mode == "append" else self._owned(old))
        return made

    def define_view(self, name: str, query: str, columns: Schema, replace_it: bool) -> None:
        """Make a query a view.

        Raises:
            QueryError: TABLE_EXISTS; it cannot have this name.
            OSError: the disk is full or cannot be written.
        """
        check_name(name)
        with self._lock:
            old = self._tables.get(fold(name))
            if old is not None and not (old.view and replace_it):
                raise table_exists(name) if old.view or not replace_it else is_no_view(name)
            if old is None and len(self._tables) >= MOST_TABLES:
                raise QueryError(f"there are {MOST_TABLES:,} tables already", hint="drop some first")
            made = Manifest(name, secrets.token_hex(8), columns=columns, view=query)
            write_manifest(self._folder(name), made)
            self._change(name, made, ())

    def register(self, name: str, sources: tuple[str, ...], replace_it: bool) -> Manifest:
        """Make files that are not ours a table; they stay where they are.

        Raises:
            QueryError: as `check`.
            OSError: the disk is full or cannot be written.
        """
        check_name(name)
        with self._lock:
            old = self._checked(name, "replace" if replace_it else "create")
            made = Manifest(name, secrets.token_hex(8), (), sources)
            write_manifest(self._folder(name), made)
            self._change(name, made, self._owned(old))
        return made

    def drop(self, name: str) -> None:
        """Take a table away; files that are not ours stay.

        Raises:
            QueryError: NOT_FOUND.
        """
        with self._lock:
            old = self._tables.get(fold(name))
            if old is None:
                raise QueryError(f"there is no table {name}", code="NOT_FOUND", hint="GET /v1/tables lists them")
            folder = self.folder / folder_name(name)
            remove_manifest(folder)
            self._change(name, None, self._owned(old) or (folder / "nothing",))

    def _folder(self, name: str) -> Path:
        folder = self.folder / folder_name(name)
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync(self.folder)
        return folder

    def _owned(self, manifest: Manifest | None) -> tuple[Path, ...]:
        if manifest is None:
            return ()
        folder = self.folder / folder_name(manifest.name)
        return tuple(folder / file.name for file in manifest.files)

    def _change(self, name: str, manifest: Manifest | None, given_up: tuple[Path, ...]) -> None:
        if manifest is None:
            del self._tables[fold(name)]
        else:
            self._tables[fold(name)] = manifest
        self._views = sum(bool(each.view) for each in self._tables.values())
        self.revision += 1
        if given_up:
            self._retired.add(functools.partial(remove_files, given_up))

    def sweep(self, running: Callable[[], Iterable[str]]) -> None:
        """Remove the files that were given up and that no query reads any more.

        Args:
            running: gives the ids of the queries that run now.
        """
        with self._lock:  # no table is put into a folder that goes
            self._retired.sweep(running)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, and their folders where no table is left there."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if has_no_table(path.parent):
            with contextlib.suppress(OSError):  # others lie there
                path.parent.rmdir()


def has_no_table(folder: Path) -> bool:
    """Whether a folder has no table any more."""
    return not (folder / FILE).exists()


def is_a_view(name: str, code: str = "TABLE_EXISTS") -> SabotError:
    """The error for a view where a table is wanted."""
    return QueryError(f'"{name}" is a view and not a table', code=code, hint="take another name, or DROP VIEW first")


def is_no_view(name: str, code: str = "TABLE_EXISTS") -> SabotError:
    """The error for a table where a view is wanted."""
    return QueryError(f'"{name}" is a table and not a view', code=code, hint="take another name, or DROP TABLE first")


def table_exists(name: str) -> SabotError:
    """TABLE_EXISTS."""
    return QueryError(f'table "{name}" exists', code="TABLE_EXISTS", hint="mode=replace (replace=True), or drop it first")
