"""Which files a table has: folders, Hive folders, globs and single files become one list in scan order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sabot_sql.catalog.hive import is_partition
from sabot_sql.catalog.table import SourceKind

SUFFIXES: dict[str, SourceKind] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
}
DATABASE_SUFFIXES = (".duckdb", ".db")
READABLE = ", ".join(SUFFIXES)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one source.

    Attributes:
        files: absolute paths in scan order.
        folders: folders whose change may change the list.
        skipped: what lies there and is not read.
        missing: named files, folders and patterns that are not there.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def split_suffix(file_name: str) -> tuple[str, SourceKind | None]:
    """The name without its suffix, and the format that the suffix stands for.

    Example:
        >>> split_suffix("Orders.csv.gz"), split_suffix("notes.txt")
        (('Orders', 'csv'), ('notes.txt', None))
    """
    lower = file_name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return file_name[: -len(suffix)], SUFFIXES[suffix]
    return file_name, None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over: `.x`, `_x`, and names that are not UTF-8."""
    return name.startswith((".", "_")) or any("\udc80" <= char <= "\udcff" for char in name)


def leads_to(entry: os.DirEntry[str]) -> Literal["folder", "file", "nothing"]:
    """What an entry of a folder is, or is a link to."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "nothing"
    except OSError:  # a link to itself, or into a folder that may not be entered
        return "nothing"


def is_glob(path: str) -> bool:
    """Whether `path` is a pattern and not the name of a file that is there."""
    return any(char in path for char in "*?[") and not os.path.lexists(path)


def list_sources(paths: Iterable[str]) -> Listing:
    """The files of all `paths` (files, folders, patterns), in the order given, each folder and pattern sorted."""
    files: list[str] = []
    folders: list[str] = []
    skipped: list[str] = []
    missing: list[str] = []
    for path in paths:
        found = list_glob(path) if is_glob(path) else list_folder(path) if os.path.isdir(path) else list_file(path)
        files += found.files
        folders += found.folders
        skipped += found.skipped
        missing += found.missing
    return Listing(tuple(files), tuple(dict.fromkeys(folders)), tuple(skipped), tuple(missing))


def list_file(path: str) -> Listing:
    """One file by its name."""
    return Listing((path,)) if os.path.isfile(path) else Listing(missing=(path,))


def list_folder(folder: str) -> Listing:
    """The data files in `folder` and in the Hive folders under it; other folders in it are skipped."""
    files: list[str] = []
    folders = [folder]
    skipped: list[str] = []
    inner: list[str] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return Listing(missing=(folder,))
    for entry in entries:
        if is_hidden(entry.name):
            skipped.append(entry.path)
        elif (kind := leads_to(entry)) == "folder":
            (inner if is_partition(entry.name) else skipped).append(entry.path)
        elif split_suffix(entry.name)[1] and kind == "file":
            files.append(entry.path)
        else:
            skipped.append(entry.path)
    for path in inner:
        below = list_folder(path)
        files += below.files
        folders += below.folders
        skipped += below.skipped
    return Listing(tuple(files), tuple(folders), tuple(skipped))


def list_glob(pattern: str) -> Listing:
    """The files that match `pattern`, in DuckDB's order: by folder name level by level, files before folders."""
    names = [name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name)]
    files = tuple(path for path in sorted(names, key=scan_order) if split_suffix(path)[1])
    skipped = tuple(sorted(set(names) - set(files)))
    return Listing(files, watched_folders(pattern), skipped, () if files else (pattern,))


def scan_order(path: str) -> tuple[tuple[bool, str], ...]:
    """Sort key that puts the files of a folder before those of its sub-folders."""
    *folders, name = path.split("/")
    return (*((True, folder) for folder in folders), (False, name))


def watched_folders(pattern: str) -> tuple[str, ...]:
    """The folders that decide what `pattern` matches: the last one without a wildcard, and all that match below it."""
    parts = pattern.split("/")
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part) or i == len(parts) - 1)
    root = "/".join(parts[:fixed]) or "/"
    found = [root]
    for end in range(fixed + 1, len(parts)):
        found += sorted(path.rstrip("/") for path in glob.iglob("/".join(parts[:end]) + "/", recursive=True))
    return tuple(dict.fromkeys(found))
