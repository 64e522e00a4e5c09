"""What Parquet footers tell of a table: rows, row groups and the bounds of each column, merged over row groups and files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.table import ColumnStatistics
from sabot_sql.types import Schema

MOST_CHUNKS = 100_000
"""Column chunks of one file whose statistics are read (about 5 us each)."""

EPOCH = dt.datetime(1970, 1, 1)
Bounds = tuple[Any, Any, bool]
"""(min, max, exact)."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """One top-level column of one file. `bounds` is None where unknown; a column without values has `has_values` False;
    `groups` are the bounds of each row group."""

    bounds: Bounds | None
    has_values: bool
    null_count: int | None
    groups: tuple[tuple[Any, Any] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Footer:
    """One file's footer. `columns` is keyed by folded name; `schema` is pyarrow's ParquetSchema."""

    rows: int
    row_groups: tuple[int, ...]
    schema: Any
    columns: dict[str, ColumnFacts]


def read_footer(path: str) -> Footer:
    """Read the footer of one Parquet file, and nothing else of it."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns: dict[str, ColumnFacts] = {}
    if metadata.num_columns * len(groups) <= MOST_CHUNKS:
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        top_level = [(i, fold(leaf.name)) for i, leaf in enumerate(leaves) if leaf.path == leaf.name]
        names = [name for _, name in top_level]
        row_counts = [group.num_rows for group in groups]
        columns = {
            name: of_groups([chunk_facts(group.column(i)) for group in groups], row_counts)
            for i, name in top_level
            if names.count(name) == 1
        }
    return Footer(metadata.num_rows, tuple(group.num_rows for group in groups), metadata.schema, columns)


def of_groups(facts: list[ColumnFacts], row_counts: list[int]) -> ColumnFacts:
    """The facts of a column from those of its row groups."""
    merged = merge(found for found, rows in zip(facts, row_counts) if rows)
    return replace(merged, groups=tuple(None if found.bounds is None else found.bounds[:2] for found in facts))


def chunk_facts(chunk: Any) -> ColumnFacts:
    """The facts of one column chunk."""
    found = chunk.statistics
    if found is None:
        return ColumnFacts(None, True, None)
    nulls = found.null_count if found.has_null_count else None
    if not found.has_min_max:
        return ColumnFacts(None, nulls != chunk.num_values, nulls)
    return ColumnFacts(bounds_of(found), True, nulls)


def bounds_of(found: Any) -> Bounds | None:
    """Bounds as plain Python values. Strings may be cut short in a footer, so theirs are not exact; those of floats leave
    NaN out, so theirs are not exact either."""
    logical = found.logical_type.type
    try:
        if logical == "TIMESTAMP" and "nanoseconds" in str(found.logical_type):
            low, high = found.min_raw, found.max_raw
            exact = low % 1000 == 0 and high % 1000 == 0
            bounds = (timestamp_of(low // 1000), timestamp_of(-(-high // 1000)), exact)
            zoned = '"isAdjustedToUTC": true' in found.logical_type.to_json()
        else:
            bounds = (found.min, found.max, not isinstance(found.min, float | str))
            zoned = isinstance(found.min, dt.datetime) and found.min.tzinfo is not None
    except (ValueError, OverflowError, TypeError):  # a value that Python's types do not hold, or bytes that are not UTF-8
        return None
    low, high, exact = bounds
    if zoned:
        low, high = low.replace(tzinfo=dt.UTC), high.replace(tzinfo=dt.UTC)
    return (low, high, exact) if isinstance(low, int | float | str | Decimal | dt.date) else None


def timestamp_of(microseconds: int) -> dt.datetime:
    """The timestamp `microseconds` after 1970."""
    return EPOCH + dt.timedelta(microseconds=microseconds)


def merge(facts: Iterable[ColumnFacts]) -> ColumnFacts:
    """The facts of all pieces together; unknown where one with values is unknown."""
    bounds: list[Bounds] = []
    known, has_values = True, False
    null_count: int | None = 0
    for found in facts:
        null_count = None if null_count is None or found.null_count is None else null_count + found.null_count
        if found.has_values:
            has_values = True
            if found.bounds is None:
                known = False
            else:
                bounds.append(found.bounds)
    if not known or not bounds:
        return ColumnFacts(None, has_values, null_count)
    low, high = min(low for low, _, _ in bounds), max(high for _, high, _ in bounds)
    return ColumnFacts((low, high, all(exact for _, _, exact in bounds)), has_values, null_count)


def column_statistics(
    footers: list[Footer], schema: Schema, hive: tuple[str, ...], same_types: set[str]
) -> dict[str, ColumnStatistics]:
    """The statistics of each column of `schema`.

    Args:
        same_types: folded names of the columns that have the table's type in every file; bounds of the others are of
            several types and say nothing.
    """
    found = {}
    for field in schema:
        name = fold(field.name)
        if field.name in hive:
            continue
        pieces = [footer.columns.get(name, absent(footer, name)) for footer in footers if footer.rows]
        merged = merge(pieces) if name in same_types else ColumnFacts(None, True, merge_nulls(pieces))
        low, high, exact = merged.bounds or (None, None, False)
        groups = group_bounds(footers, name) if low is not None else ()
        found[field.name] = ColumnStatistics(
            low, high, merged.null_count, None, exact, group_bounds=groups, counts_nulls=merged.null_count is not None
        )
    return found


def group_bounds(footers: list[Footer], name: str) -> tuple[tuple[Any, Any] | None, ...]:
    """The bounds of a column in each row group of all files."""
    found: list[tuple[Any, Any] | None] = []
    for footer in footers:
        facts = footer.columns.get(name)
        found += facts.groups if facts is not None else (None,) * len(footer.row_groups)
    return tuple(found)


def absent(footer: Footer, name: str) -> ColumnFacts:
    """The facts of a column that `footer` tells nothing of: all NULL where the file does not have it."""
    has_it = any(fold(footer.schema.column(i).path.split(".")[0]) == name for i in range(len(footer.schema)))
    return ColumnFacts(None, True, None) if has_it or "." in name else ColumnFacts(None, False, footer.rows)


def merge_nulls(pieces: list[ColumnFacts]) -> int | None:
    """NULLs of all pieces together."""
    counts = [piece.null_count for piece in pieces if piece.null_count is not None]
    return sum(counts) if len(counts) == len(pieces) else None
