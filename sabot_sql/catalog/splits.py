"""Cutting a table into splits: pieces that tasks read side by side."""

from __future__ import annotations

from collections.abc import Sequence

from sabot_sql.catalog.table import DataFile, Split, Table
from sabot_sql.errors import NotSupported

DUCKDB_ROW_GROUP = 122_880


def splits(table: Table, target_bytes: int) -> list[Split]:
    """Pieces of about `target_bytes`, in scan order; files without rows have none.

    Parquet is cut between row groups, Arrow IPC between record batches, a DuckDB table at multiples of 122,880 rowids (the
    last piece is open at its end, since row counts there are estimates); CSV and JSON files stay whole. A piece never
    spans two files.

    Args:
        target_bytes: size in the file, compressed as it lies there.

    Raises:
        NotSupported: the table is a view of a DuckDB file.
    """
    found: list[Split] = []
    for number, file in enumerate(table.scan.files):
        match table.scan.kind:
            case "parquet" | "ipc":
                found += grouped(number, file, target_bytes)
            case "view":
                raise NotSupported(f"{table.name} is a view of a DuckDB file, which is read by the local route only")
            case "duckdb":
                found += rowid_ranges(table.statistics.rows or 0, table.statistics.size_bytes, target_bytes)
            case _:
                found.append(Split(number, 0, None, file.size_bytes))
    return found


def grouped(number: int, file: DataFile, target_bytes: int) -> list[Split]:
    """Splits of one file whose row groups (record batches) are grouped to about `target_bytes`."""
    total = sum(file.row_groups)
    if not total:
        return []
    return [
        Split(number, first, rows, file.size_bytes * rows // total)
        for first, rows in runs(file.row_groups, max(1, target_bytes * total // max(1, file.size_bytes)))
    ]


def runs(rows_of: Sequence[int], target_rows: int) -> list[tuple[int, int]]:
    """Adjoining groups taken together while that brings them nearer to `target_rows`, as (first row, rows)."""
    found: list[tuple[int, int]] = []
    first = held = 0
    for rows in rows_of:
        if held and held + rows / 2 > target_rows:
            found.append((first, held))
            first, held = first + held, 0
        held += rows
    if held:
        found.append((first, held))
    return found


def rowid_ranges(rows: int, size_bytes: int, target_bytes: int) -> list[Split]:
    """Ranges of rowid of about `target_bytes`, each a multiple of DuckDB's row group."""
    pieces = max(1, round(size_bytes / max(1, target_bytes)))
    groups = max(1, -(-rows // DUCKDB_ROW_GROUP))
    step = -(-groups // pieces) * DUCKDB_ROW_GROUP
    starts = list(range(0, max(rows, 1), step))
    share = size_bytes // len(starts)
    return [Split(0, start, None if start == starts[-1] else step, share) for start in starts]
