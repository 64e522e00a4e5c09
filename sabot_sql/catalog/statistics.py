"""What was learnt of a table by looking at its rows, beside what its files say themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sabot_sql.catalog.table import ColumnStatistics, Learnt, TableStatistics


@dataclass(frozen=True, slots=True)
class Finding:
    """What learning found.

    Attributes:
        rows: rows of the table; None where neither the files nor the scan tell.
        counted: whether every one was counted.
        columns: by name; `min`, `max` and `null_count` only where the files do not say them.
    """

    rows: int | None
    counted: bool
    columns: dict[str, ColumnStatistics]
    learnt: Learnt


def merged(known: TableStatistics, found: Finding) -> TableStatistics:
    """`known` with what was learnt; where both say something, the files are right."""
    columns = dict(known.columns)
    for name, column in found.columns.items():
        columns[name] = merged_column(columns.get(name, ColumnStatistics()), column)
    rows, confidence = known.rows, known.confidence
    if confidence != "exact" and found.rows is not None:
        rows, confidence = found.rows, "exact" if found.counted else "statistics"
    return TableStatistics(rows, known.size_bytes, confidence, columns, found.learnt)


def merged_column(known: ColumnStatistics, found: ColumnStatistics) -> ColumnStatistics:
    """One column of `merged`."""
    attained = found.attained and known.exact
    if known.min is None and known.max is None:
        known = replace(known, min=found.min, max=found.max, exact=found.exact)
    return replace(
        known,
        null_count=found.null_count if known.null_count is None else known.null_count,
        distinct_count=found.distinct_count,
        distinct_from=found.distinct_from,
        histogram=found.histogram,
        most_common=found.most_common,
        average_bytes=found.average_bytes,
        attained=attained,
    )
