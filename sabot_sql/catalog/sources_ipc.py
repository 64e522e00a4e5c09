"""Arrow IPC files: record batches from the footer and their message headers; no buffer is read or decompressed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.catalog.ipc_dataset import ipc_dataset
from sabot_sql.catalog.ipc_files import OWNED
from sabot_sql.catalog.reading import FileLook, Look, read_error
from sabot_sql.catalog.sources import DuckDBError, Inspector
from sabot_sql.catalog.table import ScanSpec, TableStatistics
from sabot_sql.errors import NotSupported
from sabot_sql.types import Schema

__all__ = ["ipc_dataset", "read_ipc"]

IN_MEMORY = "memory"
"""The location of tables that were handed over in memory: we wrote their files."""

RECORD_BATCH = 3
"""`MessageHeader.RecordBatch` in the format's Message.fbs."""


@dataclass(frozen=True, slots=True)
class IpcFacts:
    """One file's schema and the rows of each of its record batches."""

    schema: pa.Schema
    batch_rows: tuple[int, ...]


def read_ipc(inspector: Inspector, look: Look) -> tuple[ScanSpec, TableStatistics]:
    """Describe the Arrow IPC files of a table.

    Raises:
        ReadError: a file is not an Arrow IPC file (the stream format is not one).
        NotSupported: files of several schemas, Hive folders, or a type that DuckDB does not read from Arrow.
    """
    facts = [look.learn(file, lambda file: facts_of(look.table, file)) for file in look.files]
    for file, found in zip(look.files, facts):
        if not found.schema.equals(facts[0].schema):
            raise NotSupported(
                f'table "{look.table}": {file.path} has other columns than {look.files[0].path}',
                hint="Arrow files of one table must have one schema; convert them to Parquet to unite them by name",
            )
    if look.partitions()[1]:
        raise NotSupported(f'table "{look.table}": Arrow files in Hive folders', hint="convert them to Parquet")
    schema = describe_arrow(inspector, look.table, facts[0].schema)
    if [field.name for field in schema] != facts[0].schema.names:
        raise NotSupported(f'table "{look.table}": {look.files[0].path} has two columns of one name', hint="rename one")
    files = tuple(file.data_file(sum(found.batch_rows), found.batch_rows) for file, found in zip(look.files, facts))
    rows = sum(sum(found.batch_rows) for found in facts)
    options = {OWNED: True} if look.location == IN_MEMORY else {}
    return ScanSpec("ipc", schema, files, options), TableStatistics(rows, look.size_bytes, "exact")


def describe_arrow(inspector: Inspector, table: str, schema: pa.Schema) -> Schema:
    """The SQL columns of Arrow data.

    Raises:
        NotSupported: naming the first column that DuckDB cannot read.
    """
    try:
        return inspector.describe_arrow(schema)
    except (DuckDBError, pa.ArrowException) as error:
        for field in schema:
            try:
                inspector.describe_arrow(pa.schema([field]))
            except (DuckDBError, pa.ArrowException):
                raise NotSupported(
                    f'table "{table}": column "{field.name}" has the Arrow type {field.type}, which DuckDB does not read',
                    hint="cast the column",
                ) from error
        raise


def facts_of(table: str, file: FileLook) -> IpcFacts:
    """The schema and batches of one file. Nothing is mapped: the file may be cut short meanwhile."""
    try:
        with pa.OSFile(file.path) as source, pa.ipc.open_file(source) as reader:
            return IpcFacts(reader.schema, batch_rows(source))
    except (OSError, pa.ArrowException, struct.error) as error:
        raise read_error(table, file.path, "read as an Arrow IPC file (the stream format is not one)", error) from error


def batch_rows(source: pa.NativeFile) -> tuple[int, ...]:
    """The rows of each record batch of the file.

    Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format (File.fbs, Message.fbs).
    """
    size = source.size()
    footer_bytes = struct.unpack_from("<i", source.read_at(10, size - 10))[0]
    footer = memoryview(source.read_at(footer_bytes, size - 10 - footer_bytes))
    root = struct.unpack_from("<I", footer, 0)[0]
    blocks = table_field(footer, root, 3)
    if blocks is None:
        return ()
    start = blocks + struct.unpack_from("<I", footer, blocks)[0]
    found = []
    for number in range(struct.unpack_from("<I", footer, start)[0]):
        offset, message_bytes = struct.unpack_from("<qi", footer, start + 4 + 24 * number)
        found.append(message_rows(memoryview(source.read_at(message_bytes, offset))))
    return tuple(found)


def message_rows(message: memoryview) -> int:
    """The rows of the record batch whose encapsulated message starts here."""
    prefix = 8 if bytes(message[:4]) == b"\xff\xff\xff\xff" else 4
    body = message[prefix:]
    root = struct.unpack_from("<I", body, 0)[0]
    kind, header = table_field(body, root, 1), table_field(body, root, 2)
    if kind is None or header is None or body[kind] != RECORD_BATCH:
        raise struct.error("the file's footer does not point at a record batch")
    length = table_field(body, header + struct.unpack_from("<I", body, header)[0], 0)
    rows: int = 0 if length is None else struct.unpack_from("<q", body, length)[0]
    return rows


def table_field(data: memoryview, table: int, field: int) -> int | None:
    """Where field number `field` of the FlatBuffers table at `table` lies; None where it is left at its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * field)[0]
    return table + offset if offset else None
