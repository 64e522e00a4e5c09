"""Whether two answers are the same, also where they are too large to be compared in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from sabot_sql.client.difference import difference

SMALL_ROWS = 20_000
"""Answers up to this size are compared row by row in Python."""

CLOSE = 1e-9


def same_answer(want: pa.Table, got: pa.Table, ordered_by: Sequence[int] = ()) -> str:
    """As `difference`; large answers by a hash of each row and by their ordered columns value by value. Floating-point columns
    of large answers are compared by their sums, weighted by the hash of the rest of the row: within 1e-9."""
    if max(want.num_rows, got.num_rows) <= SMALL_ROWS:
        return difference(want, got, ordered_by)
    if want.schema != got.schema:
        return f"columns {got.schema} instead of {want.schema}"
    for i in ordered_by:
        if not want.column(i).combine_chunks().equals(got.column(i).combine_chunks()):
            return f"the order by column {i} differs"
    found = [_sums(table) for table in (want, got)]
    if all(map(_is_close, *found)):
        return ""
    return f"rows, xor and sum of hashes, and weighted sums {found[1]} instead of {found[0]}"


def _sums(table: pa.Table) -> tuple[Any, ...]:
    names = [f"c{i}" for i in range(table.num_columns)]
    exact = ", ".join(n for n, t in zip(names, table.schema.types) if not pa.types.is_floating(t)) or "0"
    floats = [n for n, t in zip(names, table.schema.types) if pa.types.is_floating(t)]
    weighted = "".join(f", count({n}), sum({n} * (hash({exact}) % 1009)::DOUBLE)" for n in floats)
    with duckdb.connect() as judge:
        judge.register("rows", table.rename_columns(names))
        asked = f"SELECT count(*), bit_xor(hash({exact})), sum(hash({exact})){weighted} FROM rows"
        return tuple(judge.sql(asked).fetchall()[0])


def _is_close(want: Any, got: Any) -> bool:
    if isinstance(want, float) and isinstance(got, float):
        return math.isclose(want, got, rel_tol=CLOSE) or (math.isnan(want) and math.isnan(got))
    return bool(want == got)
