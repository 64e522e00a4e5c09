"""From the last stage's blocks to the answer: DuckDB's names and types."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from sabot_sql.errors import InternalError
from sabot_sql.executor.huge_values import check_huge
from sabot_sql.planner.physical import DistributedPlan
from sabot_sql.types import arrow_type


def answer_schema(plan: DistributedPlan) -> pa.Schema:
    """The Arrow schema DuckDB gives for the result of `plan`."""
    return pa.schema([pa.field(f.name, arrow_type(f.type, plan.session.timezone)) for f in plan.schema])


def answer_table(plan: DistributedPlan, parts: Sequence[Iterable[pa.RecordBatch]], threads: int = 1) -> pa.Table:
    """The result of `plan` from the batches of its last stage, in their order.

    Inside agents decimals are as narrow as they can be and strings have 64-bit offsets; here every column becomes what
    DuckDB returns. The blocks' memory is not kept.

    Args:
        parts: the batches of each block.
        threads: how many parts are read at a time.

    Raises:
        QueryError: INVALID_VALUE, a HUGEINT has more digits than Arrow's decimals.
    """
    schema = answer_schema(plan)
    if threads > 1 and len(parts) > 1:
        with ThreadPoolExecutor(min(threads, len(parts)), thread_name_prefix="answer") as pool:
            found = list(pool.map(functools.partial(_answered, schema=schema), parts))
    else:
        found = [_answered(part, schema) for part in parts]
    table = pa.Table.from_batches([batch for part in found for batch in part], schema)
    check_huge(table, (str(f.type) for f in plan.schema))
    return table


def _answered(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> list[pa.RecordBatch]:
    return list(answer_batches(batches, schema))


def answer_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches under the types of `schema`, in memory of their own, one by one."""
    for batch in batches:
        if batch.num_columns != len(schema):
            raise InternalError(f"the last stage gave {batch.num_columns} columns instead of {len(schema)}")
        columns = [_owned(a) if a.type == t else _cast(a, t) for a, t in zip(batch.columns, schema.types)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


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
