"""What the rest of the system knows of a table: one scan description, statistics and splits.

A `ScanSpec` is made once by the catalog and obeyed by planner, local engine and agents alike: nobody looks at the files
again to guess a type or a CSV dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sabot_sql.errors import SabotError
from sabot_sql.types import Schema

SourceKind = Literal["parquet", "csv", "json", "ipc", "duckdb"]


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
    """What is known of a column without a scan. `min` and `max` are plain Python values (int, float, str, Decimal, date,
    datetime) or None where unknown; `exact` says whether the bounds are exact or only bounds."""

    min: Any = None
    max: Any = None
    null_count: int | None = None
    distinct_count: int | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """rows is None where unknown; `confidence` says where the figure is from: `exact` (file footers), `statistics`
    (sampled or derived), `unknown`."""

    rows: int | None
    size_bytes: int
    confidence: Literal["exact", "statistics", "unknown"]
    columns: dict[str, ColumnStatistics] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the catalog at one moment. `version` changes whenever the files or the schema do.

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
