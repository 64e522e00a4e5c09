"""Whether a file is a whole Arrow IPC stream, and what its messages need when they are decoded; no data is decoded here.

A message says how long its buffers become when they are decompressed, and who decodes it believes that: it is looked at before.

Source: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from sabot_sql.catalog.sources_ipc import RECORD_BATCH, table_field

CONTINUATION = b"\xff\xff\xff\xff"
SCHEMA, DICTIONARY_BATCH = 1, 2
METADATA_BYTES = 64 << 20
MIB = 1 << 20


def check_stream(stream: BinaryIO, decoded_bytes: int) -> None:
    """See that every message of a stream is there, up to the mark of its end.

    Args:
        decoded_bytes: what a batch may need in memory, and what all dictionaries together may; what is not compressed and no
            delta is read where it lies, and needs nothing.

    Raises:
        ValueError: what is wrong, in words.
    """
    try:
        _check(stream, os.fstat(stream.fileno()).st_size, decoded_bytes)
    except (struct.error, IndexError) as error:
        raise ValueError("it has a message that cannot be read") from error


def _check(stream: BinaryIO, size: int, decoded_bytes: int) -> None:
    dictionaries = 0
    is_first = True
    for kind, metadata, header, start, length in _messages(stream, size):
        if is_first != (kind == SCHEMA):
            raise ValueError("it does not begin with a schema" if is_first else "it has a second schema")
        is_first = False
        if kind == SCHEMA:
            continue
        batch, is_delta = header, False
        if kind == DICTIONARY_BATCH:
            data, delta = table_field(metadata, header, 1), table_field(metadata, header, 2)
            if data is None:
                raise ValueError("a dictionary has no values")
            batch, is_delta = _at(metadata, data), delta is not None and bool(metadata[delta])
        needed = _decoded(stream, metadata, batch, start, length)
        if kind == DICTIONARY_BATCH:
            dictionaries += needed or (length if is_delta else 0)
            needed = dictionaries
        if needed > decoded_bytes:
            what = "its dictionaries have" if kind == DICTIONARY_BATCH else "a batch has"
            raise ValueError(f"{what} {needed // MIB:,} MiB when decompressed, and may have {decoded_bytes // MIB:,}")


def _messages(stream: BinaryIO, size: int) -> Iterator[tuple[int, memoryview, int, int, int]]:
    """Each message: its kind, its metadata, where the header lies in that, and where in the file its body begins and how long
    that is."""
    at = 0
    while True:
        stream.seek(at)
        prefix = stream.read(8)
        framed = prefix[:4] == CONTINUATION
        head = prefix[4:8] if framed else prefix[:4]
        if len(head) < 4:
            raise ValueError("it is cut short: the mark of its end is missing")
        at += 8 if framed else 4
        length = struct.unpack("<i", head)[0]
        if length == 0:
            if at != size:
                raise ValueError(f"{size - at:,} bytes follow its end")
            return
        if not 8 <= length <= METADATA_BYTES or at + length > size:
            raise ValueError("it is cut short" if at + length > size > length > 0 else "it is no stream of messages")
        stream.seek(at)
        metadata = memoryview(stream.read(length))
        root = struct.unpack_from("<I", metadata, 0)[0]
        kind, header, body = (table_field(metadata, root, field) for field in (1, 2, 3))
        if kind is None or header is None or metadata[kind] not in (SCHEMA, DICTIONARY_BATCH, RECORD_BATCH):
            raise ValueError("it has a message that is no part of a table")
        body_bytes = 0 if body is None else struct.unpack_from("<q", metadata, body)[0]
        at += length
        if body_bytes < 0 or at + body_bytes > size:
            raise ValueError("it is cut short")
        yield metadata[kind], metadata, _at(metadata, header), at, body_bytes
        at += body_bytes


def _decoded(stream: BinaryIO, metadata: memoryview, batch: int, start: int, length: int) -> int:
    """The bytes that the buffers of a batch have when they are decompressed; 0 where they are not compressed."""
    if table_field(metadata, batch, 3) is None:
        return 0
    field = table_field(metadata, batch, 2)
    if field is None:
        return 0
    vector = _at(metadata, field)
    count = struct.unpack_from("<I", metadata, vector)[0]
    if vector + 4 + 16 * count > len(metadata):
        raise ValueError("it has a message that cannot be read")
    total = 0
    for number in range(count):
        offset, size = struct.unpack_from("<qq", metadata, vector + 4 + 16 * number)
        if offset < 0 or size < 0 or offset + size > length:
            raise ValueError("a buffer lies outside of its message")
        if size >= 8:
            stream.seek(start + offset)
            decoded = struct.unpack("<q", stream.read(8))[0]
            total += max(decoded, size)
    return total


def _at(metadata: memoryview, place: int) -> int:
    """What the offset at `place` leads to."""
    found: int = place + struct.unpack_from("<I", metadata, place)[0]
    return found
