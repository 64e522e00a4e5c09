"""Stamps: what `os.stat` says of files and folders, kept to see cheaply whether anything changed since.

A file counts as replaced when its inode, size, mtime or ctime differs: a rename over it changes the inode, a rewrite in
place size or mtime, a copy that restores an old mtime still changes the ctime. Two writes within one tick of the file
system's clock can leave all four equal, so what was stamped less than `SETTLE_NS` after its last change is not trusted:
the next look reads it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sabot_sql.catalog.table import DataFile
from sabot_sql.errors import ReadError

SETTLE_NS = 20_000_000

Stamp = tuple[int, int, int, int]
"""(inode, size, mtime_ns, ctime_ns)."""


def stamp(path: str) -> Stamp | None:
    """The stamp of `path`; None where nothing is."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Watch:
    """The stamps of a table's folders and files at one moment.

    Folder stamps show added, removed and renamed files; a rewrite in place shows only in the file's own stamp. So every file
    is looked at every time: about 2 us each, where opening a file to read it takes a hundred times that.

    Attributes:
        looked_ns: `time.time_ns()` before the first stamp was taken.
    """

    folders: tuple[tuple[str, Stamp | None], ...]
    files: tuple[tuple[str, Stamp | None], ...]
    looked_ns: int
    settled: bool

    @staticmethod
    def of(folders: Iterable[str], files: Iterable[str]) -> Watch:
        looked_ns = time.time_ns()
        stamped_folders = tuple((path, stamp(path)) for path in folders)
        stamped_files = tuple((path, stamp(path)) for path in files)
        settled = all(is_settled(found, looked_ns) for _, found in (*stamped_folders, *stamped_files))
        return Watch(stamped_folders, stamped_files, looked_ns, settled)

    def is_current(self) -> bool:
        """Whether everything still is as it was stamped."""
        if not self.settled:
            return False
        return all(stamp(path) == old for path, old in self.folders) and all(stamp(path) == old for path, old in self.files)


def is_settled(found: Stamp | None, looked_ns: int) -> bool:
    """Whether a change after `looked_ns` is sure to give another stamp."""
    return found is None or not 0 <= looked_ns - found[3] < SETTLE_NS


def check_unchanged(file: DataFile) -> None:
    """Raise when `file` is not what a plan was made for.

    Raises:
        ReadError: FILE_MISSING or FILE_CHANGED.
    """
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise ReadError(
            f"file {file.path} is missing", code="FILE_MISSING", hint="was it moved or deleted? run the query again"
        ) from error
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise ReadError(
            f"file {file.path} has changed since the query was planned", code="FILE_CHANGED", hint="run the query again"
        )
