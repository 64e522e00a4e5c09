"""Arrow columns as the Python values of a DB-API row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.dbapi.errors import DataError

BATCH_ROWS = 16_384
WHOLE = frozenset(("HUGEINT", "UHUGEINT"))


def python_rows(table: pa.Table, sql_types: Sequence[str], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of `table` as tuples, converted a batch at a time.

    Raises:
        DataError: Python has no such value: nanoseconds, years beyond 9999.
    """
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        if not batch.num_columns:
            yield from iter([()] * batch.num_rows)
            continue
        yield from zip(*(python_values(c, t, n) for c, t, n in zip(batch.columns, sql_types, names)))


def python_values(array: pa.Array, sql_type: str, name: str) -> list[Any]:
    """The values of one column: HUGEINT as int, UUID as uuid.UUID, INTERVAL as (months, days, nanoseconds), all else as
    Arrow gives it.

    Args:
        name: of the column, for messages.

    Example:
        >>> from decimal import Decimal
        >>> python_values(pa.array([Decimal(7), None]), "HUGEINT", "n")
        [7, None]
    """
    try:
        if sql_type in WHOLE:
            return [None if value is None else int(value) for value in array.to_pylist()]
        if sql_type == "UUID":
            return [None if value is None else uuid.UUID(value) for value in array.to_pylist()]
        return _without_nanoseconds(array).to_pylist()  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, ValueError, OverflowError) as exc:
        raise DataError(
            f'column "{name}" of type {sql_type} has a value that Python cannot hold: {exc}\n'
            "hint: cast it in the statement, or take it as Arrow: fetch_arrow_table()"
        ) from exc


def _without_nanoseconds(array: pa.Array) -> pa.Array:
    """Times in microseconds, which is what Python's have; refused where that loses digits."""
    kind = array.type
    if pt.is_timestamp(kind) and kind.unit == "ns":
        return array.cast(pa.timestamp("us", kind.tz))
    if pt.is_time64(kind) and kind.unit == "ns":
        return array.cast(pa.time64("us"))
    return array
