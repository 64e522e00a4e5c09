"""What a sample says of one column: how many values it has, which are common, and how they lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from sabot_sql.catalog.sample_columns import TEXT_CHARS, Column
from sabot_sql.catalog.sketch import Seen
from sabot_sql.catalog.sources_sample import Reading

BUCKETS = 100
MOST_COMMON = 100
ABOVE_AVERAGE = 1.25
FEWEST_ROWS = 10
DEVIATIONS = 5
FEWEST_BLOCKS = 3


def group(reading: Reading, column: Column) -> Seen:
    """Make the table `groups` of the column's values in the sample: `v`, its rows `c` and its blocks."""
    reading.connection.execute(
        "CREATE OR REPLACE TABLE groups AS SELECT any_value(v) AS v, sum(c)::BIGINT AS c, count(*) AS blocks FROM ("
        f"SELECT {column.hash} AS h, b, any_value({column.value}) AS v, count(*) AS c FROM sample GROUP BY h, b"
        ") WHERE h IS NOT NULL GROUP BY h"
    ).fetchall()
    ((distinct, in_one, in_two, rows),) = reading.connection.execute(
        "SELECT count(*), count(*) FILTER (blocks = 1), count(*) FILTER (blocks = 2), coalesce(sum(c), 0)::BIGINT FROM groups"
    ).fetchall()
    ((blocks,),) = reading.connection.execute("SELECT count(DISTINCT b) FROM sample").fetchall()
    return Seen(distinct, in_one, in_two, blocks, rows)


def most_common(
    reading: Reading, column: Column, seen: Seen, distinct: int, sample_rows: int, whole: bool
) -> tuple[tuple[Any, float], ...]:
    """The common values of `groups` with their share of all rows; every value where there are few.

    A value is common when it has a quarter more rows than the average one. In a sample it must also be more than chance
    (five standard deviations of the average value's rows), and not of one place alone (three blocks).

    Args:
        distinct: the distinct values of the whole column, as far as known.
        whole: whether the sample is the whole table.
    """
    if not column.has_values or not seen.rows:
        return ()
    uncut = f"length(v) < {TEXT_CHARS}" if column.is_text else "v IS NOT NULL"
    if seen.distinct == distinct <= MOST_COMMON:
        found = reading.connection.execute(f"SELECT v, c FROM groups WHERE {uncut} ORDER BY c DESC, v").fetchall()
        if len(found) == distinct:
            return tuple((column.plain(v), c / sample_rows) for v, c in found)
    average = seen.rows / max(1, distinct)
    at_least = max(FEWEST_ROWS, ABOVE_AVERAGE * average)
    blocks = 1
    if not whole:
        at_least += DEVIATIONS * math.sqrt(average)
        blocks = min(FEWEST_BLOCKS, seen.blocks)
    common = f"{uncut} AND c >= {at_least} AND blocks >= {blocks}"
    found = reading.connection.execute(
        f"SELECT v, c FROM groups WHERE {common} ORDER BY c DESC, v LIMIT {MOST_COMMON}"
    ).fetchall()
    return tuple((column.plain(v), c / sample_rows) for v, c in found)


def histogram(reading: Reading, column: Column, low: Any, high: Any) -> tuple[Any, ...] | None:
    """Bounds of buckets of one height over `groups`, with the known ends of the column.

    Args:
        low, high: bounds of all values, or None.
    """
    if not column.has_order:
        return None
    found = reading.connection.sql("SELECT v, c FROM groups WHERE v IS NOT NULL ORDER BY v").to_arrow_table()
    if found.num_rows < 2:
        return None
    ends = np.cumsum(found.column("c").to_numpy())
    places = np.searchsorted(ends, ends[-1] * np.arange(BUCKETS + 1) / BUCKETS)
    bounds = [column.plain(value) for value in found.column("v").take(pa.array(places)).to_pylist()]
    if low is not None and low < bounds[0]:
        bounds[0] = low
    if high is not None and high > bounds[-1]:
        bounds[-1] = high
    return tuple(bounds)
