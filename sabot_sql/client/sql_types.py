"""The SQL type behind an Arrow type, for answers that came without their SQL types."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.types import SCALARS, Field, Schema, SqlType

ID_OF_ARROW = {arrow: name for name, arrow in SCALARS.items() if name != "HUGEINT"} | {pa.null(): "NULL"}


def schema_of(schema: pa.Schema) -> Schema:
    """The columns of an Arrow schema with the SQL types that DuckDB would give them."""
    return tuple(Field(field.name, sql_type_of(field.type)) for field in schema)


def sql_type_of(arrow: pa.DataType) -> SqlType:
    """The SQL type whose values DuckDB returns as `arrow`; the plainest where there are several (VARCHAR for a UUID).

    Example:
        >>> str(sql_type_of(pa.list_(pa.decimal128(10, 2))))
        'DECIMAL(10,2)[]'
    """
    if (name := ID_OF_ARROW.get(arrow)) is not None:
        return SqlType(name)
    if pt.is_decimal(arrow):
        return SqlType("DECIMAL", arrow.precision, arrow.scale)
    if pt.is_timestamp(arrow):
        return SqlType("TIMESTAMP WITH TIME ZONE")
    if pt.is_map(arrow):
        return SqlType("MAP", children=(sql_type_of(arrow.key_type), sql_type_of(arrow.item_type)))
    if pt.is_fixed_size_list(arrow):
        return SqlType("ARRAY", children=(sql_type_of(arrow.value_type),), size=arrow.list_size)
    if pt.is_list(arrow) or pt.is_large_list(arrow):
        return SqlType("LIST", children=(sql_type_of(arrow.value_type),))
    if pt.is_struct(arrow):
        fields = [arrow.field(i) for i in range(arrow.num_fields)]
        return SqlType("STRUCT", children=tuple(sql_type_of(f.type) for f in fields), names=tuple(f.name for f in fields))
    if pt.is_binary(arrow) or pt.is_large_binary(arrow) or pt.is_binary_view(arrow):
        return SqlType("BLOB")
    return SqlType("VARCHAR")
