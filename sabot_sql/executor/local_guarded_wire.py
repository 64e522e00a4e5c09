"""What goes between this process and its guarded ones: a header (`planner.wire`) with its length before it, and an answer's
rows as an Arrow IPC stream behind it. Nothing is pickled."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sabot_sql.catalog.table import Table, TableStatistics
from sabot_sql.planner.wire import from_wire, to_wire

LENGTH = struct.Struct("<Q")

UNKNOWN = TableStatistics(None, 0, "unknown")

TIME, INTERVAL, UUID, PLAIN = "time", "interval", "uuid", "plain"


def packed(header: dict[str, Any]) -> bytes:
    """A header with its length before it."""
    data = to_wire(header)
    return LENGTH.pack(len(data)) + data


def unpacked(receive: Callable[[int], bytes | bytearray | memoryview]) -> dict[str, Any]:
    """The next header; `receive` gives so many bytes."""
    (size,) = LENGTH.unpack(receive(LENGTH.size))
    return from_wire(bytes(receive(size)), dict)


def bare(tables: Sequence[Table]) -> tuple[Table, ...]:
    """`tables` as a scan needs them, without what was learnt of them."""
    return tuple(replace(table, statistics=UNKNOWN, skipped=(), error=None) for table in tables)


def to_plain(value: Any) -> Any:
    """A parameter as the wire takes it."""
    match value:
        case list():
            return [PLAIN, *map(to_plain, value)]
        case dict():
            return {name: to_plain(part) for name, part in value.items()}
        case dt.time():
            return [TIME, value.isoformat()]
        case dt.timedelta():
            return [INTERVAL, value.days, value.seconds, value.microseconds]
        case uuid.UUID():
            return [UUID, str(value)]
        case dt.datetime():  # pandas' own kind of it has another text
            return dt.datetime.combine(value.date(), value.timetz())
        case str():
            return str(value)
    return value


def from_plain(value: Any) -> Any:
    """The parameter that `to_plain` wrote."""
    if isinstance(value, dict):
        return {name: from_plain(part) for name, part in value.items()}
    if not isinstance(value, list):
        return value
    match value:
        case ["time", text]:
            return dt.time.fromisoformat(text)
        case ["interval", days, seconds, microseconds]:
            return dt.timedelta(days, seconds, microseconds)
        case ["uuid", text]:
            return uuid.UUID(text)
    return [from_plain(part) for part in value[1:]]
