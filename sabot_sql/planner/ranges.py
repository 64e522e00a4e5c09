"""Where a large sort is cut: values of its first key that part the rows into ranges of about equal size.

They come from the catalog's histograms, so nothing is sampled while the query runs. Ranges that turn out uneven cost time,
never the order: equal values of the key are in one range, whatever the cuts are.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import EPOCH, UNITS, Estimator, origin_of
from sabot_sql.types import Lane, SqlType

FEWEST_ROWS = 300_000
"""Below so many estimated rows one task sorts them about as fast as two do."""

LANES = (Lane.INT, Lane.UINT, Lane.FLOAT, Lane.BYTES)
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}

Bound = int | float | str


def range_bounds(plan: lg.Order, estimator: Estimator, partitions: int) -> tuple[Bound, ...]:
    """Where the first key's values are cut into at most `partitions` ranges, ascending and in physical form; empty where
    one task had better sort all rows."""
    key = plan.keys[0]
    if partitions < 2 or plan.limit is not None or plan.offset or estimator.rows(plan.input) < FEWEST_ROWS:
        return ()
    if not isinstance(key.expr, ex.Ref) or key.expr.type.lane not in LANES:
        return ()
    column, found = estimator.column(plan.input, key.expr), origin_of(plan.input, key.expr.index)
    if column is None or found is None or column.stats.histogram is None:
        return ()
    values = [physical(v, key.expr.type) for v in column.stats.histogram]
    if any(type(v) is not type(values[0]) for v in values):
        return ()
    kept = within(sorted(v for v in values if v is not None), *found)
    return cuts(kept, partitions, column.null_share, key.nulls_first != key.descending)


def cuts(histogram: Sequence[Any], partitions: int, null_share: float, nulls_below: bool) -> tuple[Bound, ...]:
    """At most partitions - 1 of the histogram's bounds, rising, that part values and NULLs into shares of one size.

    A value that fills several shares is a range of its own, which ends below the next bound.

    Args:
        nulls_below: whether NULLs are in the range of the smallest values, not of the greatest.

    Example:
        >>> cuts(range(101), 4, 0.0, False), cuts([0, 5, 5, 5, 9], 4, 0.0, False), cuts(range(101), 2, 0.5, False)
        ((25, 50, 75), (5, 9), ())
    """
    found: list[Bound] = []
    last = len(histogram) - 1
    for i in range(1, partitions):
        share = (i / partitions - (null_share if nulls_below else 0.0)) / max(1e-9, 1.0 - null_share)
        if not 0.0 < share < 1.0:
            continue
        floor = found[-1] if found else histogram[0] if histogram else None
        bound = next((b for b in histogram[round(share * last) :] if b > floor), None)
        if bound is not None:
            found.append(bound)
    return tuple(found)


def within(values: Sequence[Any], get: lg.Get, position: int) -> list[Any]:
    """Those of `values` of a scanned column that the scan's own conditions on it let through."""
    low: Any = None
    high: Any = None
    for condition in get.filters:
        match condition:
            case ex.Compare(left=ex.Ref(index=index), right=ex.Const(value=value, sql=None)):
                op: str = condition.op
            case ex.Compare(left=ex.Const(value=value, sql=None), right=ex.Ref(index=index)):
                op = FLIPPED.get(condition.op, "")
            case _:
                continue
        if index != position or not values or type(value) is not type(values[0]):
            continue
        if op in (">", ">=", "="):
            low = value if low is None else max(low, value)
        if op in ("<", "<=", "="):
            high = value if high is None else min(high, value)
    return [v for v in values if (low is None or v >= low) and (high is None or v <= high)]


def physical(value: Any, kind: SqlType) -> Bound | None:
    """A value of the catalog's statistics as `Const` holds it; None where it has no such form.

    Example:
        >>> from sabot_sql.types import parse_type
        >>> physical(Decimal("1.5"), parse_type("DECIMAL(15,2)")), physical(dt.date(1970, 1, 3), parse_type("DATE"))
        (150, 2)
    """
    found: int | None = None
    match value:
        case bool():
            return None
        case str() if kind.lane is Lane.BYTES:
            return value
        case int() | float() if kind.lane is Lane.FLOAT:
            return float(value) if math.isfinite(value) else None
        case int() | Decimal() if kind.id == "DECIMAL":
            found = int(Decimal(value).scaleb(kind.scale))
        case dt.datetime() if kind.id in UNITS:
            moment = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
            found = (moment - EPOCH) // dt.timedelta(microseconds=1) * UNITS[kind.id] // 10**6
        case dt.date() if kind.id == "DATE" and not isinstance(value, dt.datetime):
            found = value.toordinal() - EPOCH.toordinal()
        case int() if kind.is_integer:
            found = value
    smallest, greatest = (0, 2**64 - 1) if kind.lane is Lane.UINT else (-(2**63), 2**63 - 1)
    return found if found is not None and smallest <= found <= greatest else None
