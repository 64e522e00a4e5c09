"""Hive partitions: `year=2024/month=01/` in a path gives every row of the file the columns year and month."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
Partition = tuple[tuple[str, str | None], ...]


def is_partition(folder: str) -> bool:
    """Whether a folder of this name is a Hive partition: `key=value` with exactly one `=` and a key."""
    return folder.count("=") == 1 and folder[0] != "=" and "?" not in folder and "\n" not in folder


def partition_of(path: str) -> Partition:
    """The partition columns in the folders of `path`, as DuckDB finds them; the first of two equal keys counts.

    Example:
        >>> partition_of("/d/year=2024/city=S%C3%A3o/x=NULL/f.parquet")
        (('year', '2024'), ('city', 'São'), ('x', None))
    """
    found: dict[str, tuple[str, str | None]] = {}
    for folder in path.split("/")[:-1]:
        if is_partition(folder):
            key, _, value = folder.partition("=")
            null = value == DEFAULT_PARTITION or value.upper() == "NULL"
            found.setdefault(fold(key), (key, None if null else unquote(value)))
    return tuple(found.values())


def partitions_of(paths: Sequence[str]) -> list[Partition]:
    """The partitions of each path, or empty ones where the paths do not all have the same keys (then none of it counts)."""
    found = [partition_of(path) for path in paths]
    keys = {frozenset(fold(key) for key, _ in partition) for partition in found}
    return found if len(keys) == 1 else [()] * len(found)


def fold(name: str) -> str:
    """`name` as DuckDB compares identifiers: ASCII letters without case, all others as they are.

    Example:
        >>> fold("ÄbC")
        'Äbc'
    """
    return name.lower() if name.isascii() else name.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
