"""Statistics of Hive partition columns, from the files' paths and row counts alone: exact, whatever the sample saw."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Any

from sabot_sql.catalog.column_summary import BUCKETS, MOST_COMMON
from sabot_sql.catalog.sample_columns import Column, value_sql, width_of
from sabot_sql.catalog.sources import literal, type_text
from sabot_sql.catalog.sources_sample import Reading
from sabot_sql.catalog.table import ColumnStatistics


def partition_columns(reading: Reading) -> dict[str, ColumnStatistics]:
    """The statistics of each partition column; none where the files do not say their rows."""
    scan = reading.table.scan
    if any(file.rows is None for file in scan.files):
        return {}
    found = {}
    for column in reading.columns:
        name = column.field.name
        if name in scan.hive:
            rows_of: dict[str | None, int] = {}
            for file in scan.files:
                text = dict(file.partition).get(name)
                rows_of[text] = rows_of.get(text, 0) + (file.rows or 0)
            found[name] = of_texts(reading, column, rows_of)
    return found


def of_texts(reading: Reading, column: Column, rows_of: dict[str | None, int]) -> ColumnStatistics:
    """The statistics of one column.

    Args:
        rows_of: rows of each value, as the path writes it.
    """
    total, nulls = sum(rows_of.values()), rows_of.pop(None, 0)
    texts = [text for text, rows in rows_of.items() if text is not None and rows]
    width = sum(len(text) * rows_of[text] for text in texts) / max(1, total - nulls)
    average = width if column.field.type.id == "VARCHAR" else width_of(column.field.type)
    value = value_sql(column.field.type, f"CAST(x AS {type_text(column.field.type)})")
    rows: dict[Any, int] = {}
    if value is not None and texts:
        sql = f"SELECT x, {value} FROM (SELECT unnest({literal(texts)}) AS x)"
        for text, found in reading.connection.execute(sql).fetchall():
            if found is None:
                return ColumnStatistics(null_count=nulls, distinct_count=len(texts), distinct_from="count")
            rows[column.plain(found)] = rows.get(column.plain(found), 0) + rows_of[text]
    ordered = sorted(rows)
    common = sorted(rows.items(), key=lambda item: -item[1])[:MOST_COMMON]
    return ColumnStatistics(
        min=ordered[0] if ordered else None,
        max=ordered[-1] if ordered else None,
        null_count=nulls,
        distinct_count=len(ordered) or len(texts),
        exact=bool(ordered),
        histogram=equal_buckets(ordered, [rows[v] for v in ordered]) if column.has_order and len(ordered) > 1 else None,
        most_common=tuple((v, n / total) for v, n in common),
        average_bytes=average,
        distinct_from="count",
    )


def equal_buckets(values: list[Any], rows: list[int]) -> tuple[Any, ...]:
    """The bounds of buckets of one height.

    Example:
        >>> equal_buckets([1, 2], [50, 150])[24:27]
        (1, 1, 2)
    """
    ends = list(accumulate(rows))
    return tuple(values[min(bisect_left(ends, ends[-1] * n / BUCKETS), len(values) - 1)] for n in range(BUCKETS + 1))
