"""From the last stage's blocks to the answer: DuckDB's names and types."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

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
    if pa.types.is_null(wanted):
        return pa.chunked_array([pa.nulls(len(p)) for p in parts], type=wanted)
    return pa.chunked_array([_owned(p) if p.type == wanted else p.cast(wanted) for p in parts], type=wanted)


def _owned(array: pa.Array) -> pa.Array:
    """`array` in memory of its own, so that the mapped block file under it can go."""
    return pa.concat_arrays([array, array.slice(0, 0)]) if len(array) else array
