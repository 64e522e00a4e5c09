"""Which SQL types a table that is put may have: those that a Parquet file gives back as they were, or as a wider one."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.catalog.hive import fold
from sabot_sql.errors import NotSupported, QueryError
from sabot_sql.types import Field, Schema, SqlType, parse_type, quote_identifier

KEPT = frozenset(
    (
        "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE DECIMAL VARCHAR JSON BLOB "
        "UUID DATE TIME TIME_NS TIMESTAMP TIMESTAMP_NS TIMESTAMPTZ_NS"
    ).split()
) | {"TIMESTAMP WITH TIME ZONE"}
WIDENED = {"TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP", "ENUM": "VARCHAR", "NULL": "INTEGER"}
MOST_COLUMNS = 10_000


def kept_schema(table: str, columns: Schema) -> Schema:
    """The columns that a table has when it is made of `columns`.

    Raises:
        QueryError: there are none, or too many.
        NotSupported: naming the first column of a type that no table can have.
    """
    if not 0 < len(columns) <= MOST_COLUMNS:
        raise QueryError(f'table "{table}" has {len(columns):,} columns; it may have 1 to {MOST_COLUMNS:,}')
    found = []
    for field in columns:
        kind = kept_type(field.type)
        if kind is None:
            raise NotSupported(
                f'table "{table}": column "{field.name}" is of type {field.type}, which a table that is put cannot hold',
                hint="cast it, to VARCHAR or DECIMAL(38,0) say",
            )
        found.append(Field(field.name, kind))
    return tuple(found)


def kept_type(kind: SqlType) -> SqlType | None:
    """The type that a column of type `kind` is kept as; None where there is none.

    Example:
        >>> str(kept_type(SqlType("ARRAY", children=(SqlType("TIMESTAMP_S"),), size=2))), kept_type(SqlType("INTERVAL"))
        ('TIMESTAMP[]', None)
    """
    if kind.id in KEPT:
        return kind
    if kind.id in WIDENED:
        return SqlType(WIDENED[kind.id])
    if kind.id not in ("LIST", "ARRAY", "STRUCT", "MAP") or not kind.children:
        return None
    children = tuple(kept_type(child) for child in kind.children)
    inner = tuple(child for child in children if child is not None)
    if len(inner) < len(children):
        return None
    return SqlType("LIST", children=inner) if kind.id == "ARRAY" else replace(kind, children=inner)


CAST_BACK = {
    "HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)", "ENUM": "VARCHAR", "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
}  # fmt: skip
"""Types that a file holds as another one, from which they are cast when they are read."""


def stored_type(kind: SqlType) -> SqlType | None:
    """The type by which a file holds a column that is read as `kind`; None where it cannot.

    Example:
        >>> str(stored_type(SqlType("LIST", children=(SqlType("HUGEINT"),)))), stored_type(SqlType("INTERVAL"))
        ('DECIMAL(38,0)[]', None)
    """
    if kind.id in CAST_BACK:
        return parse_type(CAST_BACK[kind.id])
    if kind.id in KEPT:
        return kind
    if kind.id not in ("LIST", "ARRAY", "STRUCT", "MAP") or not kind.children:
        return None
    inner = tuple(found for child in kind.children if (found := stored_type(child)) is not None)
    if len(inner) < len(kind.children):
        return None
    return SqlType("LIST", children=inner) if kind.id == "ARRAY" else replace(kind, children=inner)


def written_schema(table: str, columns: Schema) -> Schema:
    """The columns of a table that a statement makes of `columns`.

    Raises:
        QueryError: there are none, or too many.
        NotSupported: naming the first column of a type that no Parquet file gives back.
    """
    if not 0 < len(columns) <= MOST_COLUMNS:
        raise QueryError(f'table "{table}" has {len(columns):,} columns; it may have 1 to {MOST_COLUMNS:,}')
    found = tuple(Field(field.name, field.type.settled) for field in columns)
    for field in found:
        if stored_type(field.type) is None:
            raise NotSupported(
                f'table "{table}": column "{field.name}" is of type {field.type}, which Parquet files cannot hold',
                hint="cast it, to VARCHAR say",
            )
    return found


def refuse_equal_names(table: str, names: list[str]) -> None:
    """Raise where two columns have one name, or one has none that SQL could write.

    Raises:
        QueryError: naming it.
    """
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise QueryError(f'table "{table}": column {number} has no name')
        if "\0" in name:
            raise QueryError(f'table "{table}": the name of column {number} has a NUL in it', hint="give it another name")
        other = seen.setdefault(fold(name), name)
        if number > len(seen):
            twice = f'two columns are named "{name}"' if other == name else f'"{other}" and "{name}" are one name in SQL'
            raise QueryError(f'table "{table}": {twice}', hint="rename one of them")


def refuse_misfits(table: str, given: Schema, columns: Schema, any_type: bool = False) -> None:
    """Raise where rows with the columns `given`, in any order, are no rows of a table.

    Args:
        any_type: their types are nobody's wish (CSV): only the names count.

    Raises:
        QueryError: TYPE_MISMATCH or UNDEFINED_COLUMN, naming the column.
    """
    wanted = {fold(field.name): field for field in columns}
    found = {fold(field.name): field for field in given}
    for key, field in found.items():
        if key not in wanted:
            raise QueryError(
                f'table "{table}" has no column "{field.name}"', code="UNDEFINED_COLUMN",
                hint=f"its columns are {', '.join(quote_identifier(c.name) for c in columns)}",
            )  # fmt: skip
    for key, field in wanted.items():
        if key not in found:
            raise QueryError(f'the rows lack column "{field.name}" of table "{table}"', code="UNDEFINED_COLUMN")
        fitting = (found[key].type, kept_type(found[key].type))
        if not any_type and found[key].type.id != "NULL" and field.type not in fitting:
            raise QueryError(
                f'column "{field.name}" is of type {field.type} in table "{table}", and {found[key].type} in these rows',
                code="TYPE_MISMATCH", hint=f"cast it to {field.type}",
            )  # fmt: skip
