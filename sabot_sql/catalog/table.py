"""What the rest of the system knows of a table: one scan description, statistics and splits.

A `ScanSpec` is made once by the catalog and obeyed by planner, local engine and agents alike: nobody looks at the files
again to guess a type or a CSV dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sabot_sql.errors import SabotError
from sabot_sql.types import Schema

UPLOADED = "uploaded/"
"""What the locations of tables begin with that were put over HTTP, where others have a path."""

SourceKind = Literal["parquet", "csv", "json", "ipc", "duckdb", "view"]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a table, with the identity that a scan checks before it trusts what was learnt of the file.

    Attributes:
        path: absolute path.
        size_bytes, mtime_ns: as `os.stat` gave them when the file was looked at.
        rows: number of rows, or None where only a scan would tell (CSV, JSON).
        row_groups: rows of each row group (Parquet), record batch (Arrow IPC); empty otherwise.
        partition: values of the Hive partition columns, as (name, text) pairs; text None is NULL.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    rows: int | None = None
    row_groups: tuple[int, ...] = ()
    partition: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How to read a table, wherever it is read.

    Attributes:
        kind: the format.
        schema: all columns in order, Hive partition columns last, as DuckDB types them.
        files: the data files in scan order (sorted by path); for kind `duckdb` the one database file.
        options: reader options, JSON-able: for `csv` every argument of DuckDB's `read_csv` that sniffing fixed (delim,
            quote, escape, header, columns, dateformat, ...), for `json` those of `read_json`, for `duckdb`
            {"schema": ..., "table": ...}; empty for the others. Where the files of a Parquet, CSV or JSON table differ,
            {"variants": [options, ...], "variant_of": [variant of each file, ...]}; `catalog.sources.scan_sql` knows how
            to read that.
        hive: names of the Hive partition columns.
    """

    kind: SourceKind
    schema: Schema
    files: tuple[DataFile, ...]
    options: dict[str, Any] = field(default_factory=dict)
    hive: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """A piece of a table that one task reads: whole files or row ranges of one.

    Attributes:
        file: position in `ScanSpec.files`; for kind `duckdb` always 0.
        first_row, num_rows: the range inside the file (for `duckdb`: of rowid); num_rows None means to the end.
        size_bytes: about how many bytes of the file the range covers.
    """

    file: int
    first_row: int = 0
    num_rows: int | None = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """What is known of a column without a scan, by the files themselves or learnt in the background.

    Attributes:
        min, max: plain Python values (int, float, str, Decimal, date, datetime) or None where unknown; no value lies outside.
        null_count: NULLs; an estimate where `distinct_from` is "sample" and the files do not count them.
        counts_nulls: whether `null_count` is what the files' own footers say of all rows.
        attained: whether the files say that `min` and `max` are values of the column, and not just bounds.
        distinct_count: distinct values, NULL not counted.
        exact: whether the bounds are exact or only bounds.
        histogram: n + 1 bounds of n buckets that each hold 1/n of the values that are not NULL, ascending; a value that
            fills buckets stands several times. None for types without an order that is worth it, and where unknown.
        most_common: (value, share of all rows, NULLs counted), falling; all values where there are `distinct_count` of them.
        group_bounds: (min, max) of each row group of every file, in scan order; None for one whose bounds are not known.
            Empty where the files have none.
        average_bytes: average size of a value that is not NULL.
        distinct_from: how `distinct_count` is known: counted (every row was looked at), by a sketch of all rows (a few per
            cent off), or extrapolated from a sample; "" where it is not known.
    """

    min: Any = None
    max: Any = None
    null_count: int | None = None
    distinct_count: int | None = None
    exact: bool = False
    histogram: tuple[Any, ...] | None = None
    most_common: tuple[tuple[Any, float], ...] = ()
    average_bytes: float | None = None
    distinct_from: Literal["", "count", "sketch", "sample"] = ""
    group_bounds: tuple[tuple[Any, Any] | None, ...] = ()
    counts_nulls: bool = False
    attained: bool = False


@dataclass(frozen=True, slots=True)
class Learnt:
    """When and from what statistics were learnt: `rows_sampled` rows; distinct counts as each column says."""

    at: datetime
    rows_sampled: int
    took_s: float


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """rows is None where unknown; `confidence` says where the figure is from: `exact` (file footers, or counted),
    `statistics` (sampled or derived), `unknown`. `learnt` is set where the columns hold what a scan in the background found.
    """

    rows: int | None
    size_bytes: int
    confidence: Literal["exact", "statistics", "unknown"]
    columns: dict[str, ColumnStatistics] = field(default_factory=dict)
    learnt: Learnt | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalog at one moment. `version` changes whenever the files, the schema or the statistics do.

    `error` is set where the table is listed but cannot be used (a corrupt file, say): `Catalog.table` raises it, only
    `Catalog.tables` gives such a table out, without columns.
    """

    name: str
    scan: ScanSpec
    statistics: TableStatistics
    version: int
    location: str = ""
    skipped: tuple[str, ...] = ()
    error: SabotError | None = field(default=None, compare=False)

    @property
    def schema(self) -> Schema:
        """All columns in order."""
        return self.scan.schema

    @property
    def is_uploaded(self) -> bool:
        """Whether it was put over HTTP or written by a statement, and its files are our own."""
        return self.location.startswith(UPLOADED)


TAKEN = frozenset(("main", "temp", "system", "information_schema", "pg_catalog"))
"""Schemas that are not a table's own."""


def spellings(name: str) -> list[tuple[str, ...]]:
    """How a table may be written: by its name as it is, and with a schema before each of its dots.

    Example:
        >>> spellings("t"), spellings("s.t.u")
        ([('t',)], [('s.t.u',), ('s', 't.u'), ('s.t', 'u')])
    """
    parts = [(name[:i], name[i + 1 :]) for i, char in enumerate(name) if char == "."]
    return [(name,), *(part for part in parts if all(part) and part[0].lower() not in TAKEN)]
