"""Whether two answers to one query are the same: names, types, values and order. The one comparison that the demo, the
tests and the benchmarks use."""

from __future__ import annotations

import decimal
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

NOTHING = 1e-9
"""What is left of a double where everything cancels out is smaller."""


def difference(want: pa.Table, got: pa.Table, ordered_by: Sequence[int] = ()) -> str:
    """What first differs between two answers, as one sentence; empty when nothing does.

    Args:
        want: the reference answer.
        got: the answer to judge.
        ordered_by: positions of the output columns by which the query orders its rows, outermost first. Those columns
            must agree row by row; beyond them rows are compared as a bag, because SQL leaves the order of ties open.

    Doubles agree within 1e-9 relative (sums depend on their order); everything else must be equal.
    """
    if got.schema.names != want.schema.names:
        return f"columns {got.schema.names} instead of {want.schema.names}"
    for w, g in zip(want.schema, got.schema):
        if w.type != g.type:
            return f"column {w.name} is {g.type} instead of {w.type}"
    if got.num_rows != want.num_rows:
        return f"{got.num_rows:,} rows instead of {want.num_rows:,}"
    ours, theirs = _columns(got), _columns(want)
    for i in ordered_by:
        for row, (w, g) in enumerate(zip(theirs[i], ours[i])):
            if not same_value(w, g):
                return f"order: row {row}, column {want.schema.names[i]}: {g!r} instead of {w!r}"
    for w, g in zip(sorted(zip(*theirs), key=_rank), sorted(zip(*ours), key=_rank)):
        if not all(map(same_value, w, g)):
            return f"row {g!r} instead of {w!r}"[:400]
    return ""


def same_value(a: Any, b: Any) -> bool:
    """Equal, or both floats within 1e-9 relative; NaN equals NaN; nested values member by member."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=NOTHING)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[k], b[k]) for k in a)
    return bool(a == b) and type(a) is type(b)


def _columns(table: pa.Table) -> list[list[Any]]:
    return [table.column(i).to_pylist() for i in range(table.num_columns)]


def _rank(row: tuple[Any, ...]) -> list[str]:
    """A total order over rows that the last digits of floats do not disturb."""
    return [_rank_value(v) for v in row]


def _rank_value(value: Any) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return "nan"
        return f"{0.0 if abs(value) < NOTHING else value:.6e}"
    return str(value.normalize()) if isinstance(value, decimal.Decimal) else repr(value)
