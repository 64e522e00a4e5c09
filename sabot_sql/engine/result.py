"""From the last stage's blocks to the answer: DuckDB's names and types."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from sabot_sql.errors import InternalError
from sabot_sql.executor.huge_values import check_huge
from sabot_sql.planner.physical import DistributedPlan
from sabot_sql.types import arrow_type


def answer_schema(plan: DistributedPlan) -> pa.Schema:
    """The Arrow schema DuckDB gives for the result of `plan`."""
    return pa.schema([pa.field(f.name, arrow_type(f.type, plan.session.timezone)) for f in plan.schema])


def answer_table(plan: DistributedPlan, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The result of `plan` from the batches of its last stage, in their order.

    Inside agents decimals are as narrow as they can be and strings have 64-bit offsets; here every column becomes what
    DuckDB returns. The blocks' memory is not kept.

    Raises:
        QueryError: INVALID_VALUE, a HUGEINT has more digits than Arrow's decimals.
    """
    schema = answer_schema(plan)
    chunks: list[list[pa.Array]] = [[] for _ in schema]
    for batch in batches:
        if batch.num_columns != len(schema):
            raise InternalError(f"the last stage gave {batch.num_columns} columns instead of {len(schema)}")
        for column, array in zip(chunks, batch.columns):
            column.append(array)
    columns = [_column(parts, field.type) for parts, field in zip(chunks, schema)]
    table = pa.Table.from_arrays(columns, schema=schema)
    check_huge(table, (str(f.type) for f in plan.schema))
    return table


def _column(parts: list[pa.Array], wanted: pa.DataType) -> pa.ChunkedArray:
    if not parts:
        return pa.chunked_array([], type=wanted)
    return pa.chunked_array([_owned(p) if p.type == wanted else _cast(p, wanted) for p in parts], type=wanted)


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """`array` as `wanted`, in which parts that are only NULL may have no type; Arrow casts nothing to that."""
    if pa.types.is_null(wanted):
        return pa.nulls(len(array))
    if not _holds_null(wanted):
        return array.cast(wanted)
    if pa.types.is_struct(wanted):
        members = [_cast(array.field(i), wanted.field(i).type) for i in range(wanted.num_fields)]
        return pa.StructArray.from_arrays(members, fields=list(wanted), mask=array.is_null())
    if pa.types.is_list(wanted):
        lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        values = _cast(array.flatten(), wanted.value_type)
        return pa.ListArray.from_arrays(offsets, values, type=wanted, mask=array.is_null())
    return pa.array(array.to_pylist(), wanted)


def _holds_null(t: pa.DataType) -> bool:
    return pa.types.is_null(t) or any(_holds_null(t.field(i).type) for i in range(t.num_fields))


def _owned(array: pa.Array) -> pa.Array:
    """`array` in memory of its own, so that the mapped block file under it can go."""
    return pa.concat_arrays([array, array.slice(0, 0)]) if len(array) else array
