"""The manifest of a table that is kept here: the one file that says which files the table is, written whole or not.

A table is what its manifest says, and is there when the manifest is; whatever else lies in its folder is a leftover. The
folder is named after a hash of the table's name, so that no name leads anywhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.sources import sql_type
from sabot_sql.errors import QueryError
from sabot_sql.types import Field, Schema

log = logging.getLogger(__name__)

FILE = "manifest.json"
FORMAT = 1
WRITTEN = 2
"""The format of what statements made: with types, partitions, views or commits."""

MOST_COMMITS = 256
"""Commits that a manifest remembers."""

NAME_CHARS = 128


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A Parquet file in the folder of its table."""

    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a table consists of.

    Attributes:
        name: as it was given.
        content: another one whenever the table was made or replaced; appending leaves it as it is.
        files: in the order of the rows.
        sources: of a table that was registered: absolute paths and patterns of files that are not ours. It has no `files`.
        columns: their SQL types, where a statement made the table; of a view those that it had when it was made.
        partition_by: columns by whose values rows lie in files of their own.
        view: the query of a view, which has no files.
        commits: ids of the queries that wrote last, and the rows of each: what is done again is not written again.
    """

    name: str
    content: str
    files: tuple[StoredFile, ...] = ()
    sources: tuple[str, ...] = ()
    columns: Schema = ()
    partition_by: tuple[str, ...] = ()
    view: str = ""
    commits: tuple[tuple[str, int], ...] = ()

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    def committed(self, query_id: str) -> int | None:
        """The rows that a query wrote; None where it is not known to have written any."""
        return next((rows for by, rows in self.commits if by == query_id), None)

    def after(self, query_id: str, rows: int) -> tuple[tuple[str, int], ...]:
        """Its commits with one more."""
        return (*self.commits, (query_id, rows))[-MOST_COMMITS:] if query_id else self.commits


def folder_name(name: str) -> str:
    """The name of the folder of a table.

    Example:
        >>> folder_name("Trips") == folder_name("trips"), len(folder_name("../x"))
        (True, 32)
    """
    return hashlib.sha256(fold(name).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a table that is put.

    Raises:
        QueryError: it is empty, long, begins or ends with a blank, or has a dot, a slash or what cannot be printed.
    """
    why = None
    if not name or name != name.strip():
        why = "it is empty, or begins or ends with a blank"
    elif len(name) > NAME_CHARS:
        why = f"it has {len(name):,} characters, and may have {NAME_CHARS}"
    elif any(char in "./\\\ufffd" or not char.isprintable() for char in name):
        why = "it has a dot, a slash, a backslash or a character that cannot be printed"
    if why is not None:
        raise QueryError(f"{name[:64]!r} cannot be the name of a table: {why}", hint="write letters, digits, _, - and blanks")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; None where there is none.

    Raises:
        ValueError: it is not one of ours.
        OSError: it cannot be read.
    """
    try:
        data = json.loads((folder / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, WRITTEN):
        raise ValueError("its format is not known")
    try:
        files = tuple(StoredFile(str(name), int(rows), int(size_bytes)) for name, rows, size_bytes in data["files"])
        found = Manifest(str(data["name"]), str(data["content"]), files, tuple(map(str, data["sources"])))
        if data["format"] == FORMAT:
            return found
        return replace(
            found,
            columns=tuple(Field(str(name), sql_type(str(kind))) for name, kind in data["columns"]),
            partition_by=tuple(map(str, data["partition_by"])),
            view=str(data["view"]),
            commits=tuple((str(by), int(rows)) for by, rows in data["commits"]),
        )
    except (KeyError, TypeError) as exc:
        raise ValueError(f"it lacks {exc}") from exc


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the one of a folder. When this returns it is on the disk; a process that ends meanwhile leaves the old
    one or the new one.

    Raises:
        OSError: the disk is full or cannot be written; the old one stays.
    """
    files = [[file.name, file.rows, file.size_bytes] for file in manifest.files]
    data: dict[str, Any] = {
        "format": FORMAT, "name": manifest.name, "content": manifest.content, "files": files, "sources": manifest.sources,
    }  # fmt: skip
    if manifest.columns or manifest.commits:
        columns = [[field.name, str(field.type)] for field in manifest.columns]
        more = {"partition_by": manifest.partition_by, "view": manifest.view, "commits": manifest.commits}
        data |= {"format": WRITTEN, "columns": columns, **more}
    part = folder / f".{FILE}.{secrets.token_hex(6)}"
    try:
        with open(part, "x", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / FILE)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _settle(folder)


def remove_manifest(folder: Path) -> None:
    """Take the table away; its files are leftovers then."""
    with contextlib.suppress(FileNotFoundError):
        (folder / FILE).unlink()
    _settle(folder)


def _settle(folder: Path) -> None:
    """Have what was just renamed or removed last through a power cut too."""
    try:
        sync(folder)
    except OSError as error:  # it is done, for everybody but a power cut
        log.warning("%s cannot be flushed: %s", folder, error)


def sync(path: Path) -> None:
    """Have what was written of a file, or what was named in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
