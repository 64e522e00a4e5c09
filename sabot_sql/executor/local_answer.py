"""DuckDB's answer as an Arrow table that stays within a limit while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa

from sabot_sql.executor.answer_size import refuse_larger

# How DuckDB begins the message of an error, and the class that it is where DuckDB raises it itself.
CLASSES: dict[str, type[duckdb.Error]] = {
    "Conversion Error": duckdb.ConversionException,
    "Out of Range Error": duckdb.OutOfRangeException,
    "Invalid Input Error": duckdb.InvalidInputException,
    "Out of Memory Error": duckdb.OutOfMemoryException,
    "INTERRUPT Error": duckdb.InterruptException,
    "IO Error": duckdb.IOException,
    "Serialization Error": duckdb.SerializationException,
    "Not implemented Error": duckdb.NotImplementedException,
    "Permission Error": duckdb.PermissionException,
    "INTERNAL Error": duckdb.InternalException,
}


def collect(reader: pa.RecordBatchReader, max_bytes: int) -> pa.Table:
    """The whole of an answer that DuckDB streams.

    Raises:
        QueryError: RESULT_TOO_LARGE, as soon as there are more than `max_bytes`.
        duckdb.Error: what the query fails with on its way.
    """
    schema, rows = streamed(reader)
    batches = []
    size = 0
    for batch in rows():
        size += batch.nbytes
        refuse_larger(size, max_bytes)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema)


def streamed(reader: pa.RecordBatchReader) -> tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]:
    """The schema of an answer that DuckDB streams, and what gives its batches, or the error of DuckDB's that ends them."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except OSError as error:  # Arrow's interface carries the message only
            message = str(error)
            raise CLASSES.get(message.partition(":")[0], duckdb.Error)(message) from error

    return reader.schema, batches
