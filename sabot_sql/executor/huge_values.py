"""HUGEINT and UHUGEINT in answers: DuckDB hands both over as DECIMAL(38,0), also what does not fit in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import pyarrow as pa

from sabot_sql.errors import QueryError
from sabot_sql.types import SqlType, parse_type, quote_identifier, struct_members

HUGE = ("HUGEINT", "UHUGEINT")


def check_huge(table: pa.Table, types: Iterable[str]) -> None:
    """Raise for values of more than 38 digits: of HUGEINT they come as invalid decimals, of UHUGEINT from 2^127 on as
    negative ones.

    Args:
        types: the SQL types of the columns, as DuckDB writes them; those without a HUGEINT cost nothing.

    Raises:
        QueryError: INVALID_VALUE, naming the column and a cast.
    """
    types = list(types)
    if not any("HUGEINT" in text for text in types):
        return
    for name, text, column in zip(table.column_names, types, table.columns):
        if "HUGEINT" in text and not _fits(column, sql_type := parse_type(text)):
            plain = sql_type.id in HUGE
            raise QueryError(
                f'column "{name}" has a value of more than 38 digits, which does not fit in an Arrow decimal',
                code="INVALID_VALUE",
                hint=f"cast it: {quote_identifier(name)}::{_as_text(sql_type)}" + (" or ::DOUBLE" if plain else ""),
            )


def _fits(column: pa.ChunkedArray, sql_type: SqlType) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return not any(_has_negative(leaf) for chunk in column.chunks for leaf in _unsigned(chunk, sql_type))


def _has_negative(values: pa.Array) -> bool:
    import pyarrow.compute as pc  # 70 ms that only who has such a column pays

    least = pc.min(values).as_py()
    return least is not None and least < 0


def _unsigned(array: pa.Array, sql_type: SqlType) -> Iterator[pa.Array]:
    """The UHUGEINT values in `array`, which is of type `sql_type`."""
    match sql_type.id:
        case "UHUGEINT":
            yield array
        case "LIST" | "ARRAY":
            yield from _unsigned(array.flatten(), sql_type.children[0])
        case "MAP":
            yield from _unsigned(array.keys, sql_type.children[0])
            yield from _unsigned(array.items, sql_type.children[1])
        case "STRUCT" | "TUPLE":
            for child, child_type in zip(struct_members(array), sql_type.children):
                yield from _unsigned(child, child_type)
        case "UNION":
            for position, child_type in enumerate(sql_type.children):
                yield from _unsigned(array.field(position), child_type)


def _as_text(sql_type: SqlType) -> SqlType:
    """`sql_type` with VARCHAR in place of every HUGEINT and UHUGEINT, and of what cannot be cast member by member."""
    if sql_type.id in (*HUGE, "UNION", "TUPLE"):
        return SqlType("VARCHAR")
    return dataclasses.replace(sql_type, children=tuple(map(_as_text, sql_type.children)))
