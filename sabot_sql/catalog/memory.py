"""Tables that a caller hands over (Arrow, pandas, polars): written once as an Arrow IPC file that every engine can map."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.errors import NotSupported
from sabot_sql.types import Schema

BATCH_ROWS = 122_880


def is_tabular(source: Any) -> bool:
    """Whether `source` is Arrow data or anything that exports it."""
    return hasattr(source, "__arrow_c_stream__") or isinstance(source, pa.RecordBatch)


def write_ipc(name: str, source: Any, path: Path, describe: Callable[[pa.Schema], Schema]) -> None:
    """Write `source` to `path` as an uncompressed Arrow IPC file in batches of 122,880 rows.

    The file appears under its name when it is complete. Dictionaries and runs are expanded, views become plain strings:
    every reader takes these, and batches can then be read one by one. Of columns with one name the later ones are renamed
    as DuckDB does.

    Args:
        describe: gives DuckDB's columns for an Arrow schema.

    Raises:
        NotSupported: a column has no Arrow form, or one that DuckDB does not know.
    """
    part = path.with_name(path.name + ".part")
    try:
        reader = open_reader(source)
        plain = pa.schema([pa.field(f.name, plain_type(f.type), f.nullable, extension_of(f)) for f in reader.schema])
        schema = pa.schema([field.with_name(column.name) for field, column in zip(plain, describe(plain))])
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in rebatched(reader, schema):
                writer.write_batch(batch)
    except (pa.ArrowException, OverflowError) as error:
        part.unlink(missing_ok=True)
        raise NotSupported(
            f'table "{name}" cannot be turned into Arrow: {"; ".join(map(str, error.args))}', hint="cast the column before"
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    os.replace(part, path)


def open_reader(source: Any) -> pa.RecordBatchReader:
    """The batches of `source`. The index of a pandas frame is no column, and its timestamps with a time zone are in
    microseconds, as DuckDB takes them."""
    if isinstance(source, pa.RecordBatch):
        source = pa.Table.from_batches([source])
    elif type(source).__module__.partition(".")[0] == "pandas":
        source = pa.Table.from_pandas(source, preserve_index=False)
        zoned = [
            f.with_type(pa.timestamp("us", f.type.tz)) if pa.types.is_timestamp(f.type) and f.type.tz else f
            for f in source.schema
        ]
        source = source.cast(pa.schema(zoned), safe=False)
    return pa.RecordBatchReader.from_stream(source)


def plain_type(found: pa.DataType) -> pa.DataType:
    """The type a column of type `found` is stored as."""
    types = pa.types
    if types.is_dictionary(found) or types.is_run_end_encoded(found):
        return plain_type(found.value_type)
    if types.is_null(found):
        return pa.int32()
    if types.is_string_view(found):
        return pa.large_string()
    if types.is_binary_view(found):
        return pa.large_binary()
    if types.is_float16(found):
        return pa.float32()
    if types.is_decimal256(found) and found.precision <= 38:
        return pa.decimal128(found.precision, found.scale)
    return found


def extension_of(field: pa.Field) -> dict[bytes, bytes] | None:
    """The field's metadata that names an extension type; all other metadata is the source's own business."""
    return {k: v for k, v in (field.metadata or {}).items() if k.startswith(b"ARROW:extension:")} or None


def rebatched(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `reader` as `schema`, in batches of `BATCH_ROWS`."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        while batch.num_rows:
            head = batch.slice(0, BATCH_ROWS - rows)
            batch = batch.slice(head.num_rows)
            held.append(head)
            rows += head.num_rows
            if rows == BATCH_ROWS:
                yield from joined(held, schema)
                held, rows = [], 0
    if held:
        yield from joined(held, schema)


def joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """`batches` as one batch of `schema`."""
    columns = []
    for number, field in enumerate(schema):
        chunks = [decoded(batch.column(number)) for batch in batches]
        whole = pa.chunked_array(chunks, chunks[0].type).cast(field.type).combine_chunks()
        columns.append(pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole)
    yield pa.RecordBatch.from_arrays(columns, schema=schema)


def decoded(array: pa.Array) -> pa.Array:
    """`array` without dictionary or runs."""
    if pa.types.is_dictionary(array.type):
        values = decoded(array.dictionary)
        # the values first: string views have no kernel that takes by index
        return values.cast(plain_type(values.type)).take(array.indices)
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute as pc  # 70 ms

        return decoded(pc.run_end_decode(array))
    return array
