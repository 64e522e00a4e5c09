"""Types that Parquet, Polars or pandas cannot hold, refused by name: what these libraries raise names no column, and Polars
panics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.errors import NotSupported
from sabot_sql.types import quote_identifier

Target = Literal["Parquet", "Polars", "pandas"]


def _is_union(kind: pa.DataType) -> bool:
    return bool(pt.is_union(kind))


def _is_union_or_interval(kind: pa.DataType) -> bool:
    return bool(pt.is_union(kind) or pt.is_interval(kind))


def _is_not_in_parquet(kind: pa.DataType) -> bool:
    return _is_union_or_interval(kind) or bool(pt.is_struct(kind) and kind.num_fields == 0)


REFUSED: dict[Target, Callable[[pa.DataType], bool]] = {
    "Parquet": _is_not_in_parquet,
    "Polars": _is_union_or_interval,
    "pandas": _is_union,
}


def refuse_types(table: pa.Table, sql_types: Sequence[str], target: Target) -> None:
    """Raise where a column of `table` has a type that `target` cannot hold.

    Raises:
        NotSupported: naming the first such column, its type and a cast.
    """
    refused = REFUSED[target]
    for field, sql_type in zip(table.schema, sql_types):
        if _any(field.type, refused):
            raise NotSupported(
                f'column "{field.name}" is of type {sql_type}, which {target} cannot hold',
                hint=f"cast it: {quote_identifier(field.name)}::VARCHAR",
            )


def _any(kind: pa.DataType, refused: Callable[[pa.DataType], bool]) -> bool:
    """Whether `kind` or a type inside it is refused."""
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return refused(kind) or any(_any(child, refused) for child in inner)


def write_parquet(table: pa.Table, sql_types: Sequence[str], where: Any) -> None:
    """Write `table` as Parquet to a path or a pyarrow sink.

    Raises:
        NotSupported: as `refuse_types`; or a value lies beyond what Parquet has for its type (TIMESTAMP_S, whose seconds
            become milliseconds: the infinite ones).
    """
    import pyarrow.parquet as pq

    refuse_types(table, sql_types, "Parquet")
    try:
        pq.write_table(table, where)
    except pa.ArrowInvalid as exc:
        if (place := first_not_in_parquet(table)) is None:
            raise
        name = table.column_names[place]
        raise NotSupported(
            f'column "{name}" has a value of type {sql_types[place]} that Parquet cannot hold',
            hint=f"cast it: {quote_identifier(name)}::VARCHAR",
        ) from exc


def first_not_in_parquet(table: pa.Table) -> int | None:
    """The place of the first column that Parquet cannot hold, for its type or for one of its values."""
    import pyarrow.parquet as pq

    for place in range(table.num_columns):
        try:
            pq.write_table(table.select([place]), pa.BufferOutputStream())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return place
    return None
