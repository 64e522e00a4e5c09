"""What the readers of all formats share: the files looked at, what is remembered of each, and how a failure is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sabot_sql.catalog.csv_damage import csv_damage
from sabot_sql.catalog.hive import Partition, fold, partitions_of
from sabot_sql.catalog.stamps import Stamp, is_settled
from sabot_sql.catalog.table import DataFile
from sabot_sql.errors import ReadError
from sabot_sql.types import Schema

T = TypeVar("T")
REPLACE = "replace the file or move it out of the data folder"
"""What to do about a file that cannot be read."""

Memory = dict[str, tuple[Stamp, bool, Any]]
"""What was learnt of each file: its stamp, whether that is to be trusted, and the facts."""


@dataclass(frozen=True, slots=True)
class FileLook:
    """One file with the stamp it had before it was opened."""

    path: str
    stamp: Stamp
    settled: bool

    @property
    def size_bytes(self) -> int:
        return self.stamp[1]

    def data_file(self, rows: int | None = None, row_groups: tuple[int, ...] = (), partition: Partition = ()) -> DataFile:
        """The file as the scan description carries it."""
        return DataFile(self.path, self.stamp[1], self.stamp[2], rows, row_groups, partition)


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of a table's files.

    Attributes:
        location: folder, file or pattern, for messages.
        memory: facts of the previous look; files that have not changed since are not opened again.
        learnt: facts of this one.
        hive: whether names of folders may give columns.
        columns: with the types that the table is to have; () for those of the files.
    """

    table: str
    location: str
    files: tuple[FileLook, ...]
    memory: Memory
    learnt: Memory
    hive: bool = True
    columns: Schema = ()

    @staticmethod
    def at(
        table: str,
        location: str,
        stamps: dict[str, Stamp],
        files: tuple[str, ...],
        looked_ns: int,
        memory: Memory,
        hive: bool = True,
        columns: Schema = (),
    ) -> Look:
        looks = tuple(FileLook(path, stamps[path], is_settled(stamps[path], looked_ns)) for path in files)
        return Look(table, location, looks, memory, {}, hive, columns)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def learn(self, file: FileLook, read: Callable[[FileLook], T]) -> T:
        """What `read` finds in `file`, or what it found before when the file is the same."""
        known = self.memory.get(file.path)
        facts: T = known[2] if known is not None and known[1] and known[0] == file.stamp else read(file)
        self.learnt[file.path] = (file.stamp, file.settled, facts)
        return facts

    def partitions(self) -> tuple[list[Partition], tuple[str, ...]]:
        """The partition of each file and the names of the partition columns."""
        if not self.hive:
            return [()] * len(self.files), ()
        found = partitions_of([file.path for file in self.files])
        return found, tuple(name for name, _ in found[0])


def hive_columns(schema: Schema, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of `schema` that come from the path, as they are named there."""
    folded = {fold(key) for key in keys}
    return tuple(field.name for field in schema if fold(field.name) in folded)


def named(partition: Partition, hive: tuple[str, ...]) -> Partition:
    """The partition under the names its columns have in the schema."""
    names = {fold(name): name for name in hive}
    return tuple((names[fold(key)], value) for key, value in partition if fold(key) in names)


def uniform_or_variants(options: list[dict[str, Any]]) -> dict[str, Any]:
    """The options of all files, as one set where they agree, else as `variants` and `variant_of`."""
    variants: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}
    variant_of = []
    for found in options:
        number = numbers.setdefault(json.dumps(found), len(variants))
        if number == len(variants):
            variants.append(found)
        variant_of.append(number)
    return variants[0] if len(variants) == 1 else {"variants": variants, "variant_of": variant_of}


def read_error(table: str, path: str, doing: str, error: Exception) -> ReadError:
    """The error for a file that cannot be read, with the engine's own words beside it."""
    if isinstance(error, FileNotFoundError):
        return missing_error(table, path)
    if isinstance(error, PermissionError):
        return ReadError(
            f'table "{table}": {path} cannot be opened: permission denied',
            code="EXTERNAL_SOURCE",
            hint="give the user that runs this process the right to read it",
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    path, reason = csv_damage(str(error)) or (path, lines[0])
    return ReadError(
        f'table "{table}": {path} cannot be {doing}: {reason}',
        code="FILE_CORRUPT",
        hint=REPLACE,
        engine_message=str(error),
    )


def missing_error(table: str, path: str) -> ReadError:
    """The error for a file that is gone."""
    return ReadError(f'table "{table}": {path} is gone', code="FILE_MISSING", hint="put it back, or unregister the table")
