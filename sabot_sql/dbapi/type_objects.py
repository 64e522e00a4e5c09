"""Type objects and constructors of PEP 249."""

from __future__ import annotations

import datetime as dt


class TypeObject:
    """A group of SQL types; equal to every type code of `cursor.description` that is of the group.

    Example:
        >>> NUMBER == "DECIMAL(10,2)", STRING == "BIGINT", DATETIME == "TIMESTAMP WITH TIME ZONE"
        (True, False, True)
    """

    def __init__(self, name: str, types: str) -> None:
        self.name = name
        self.types = frozenset(types.split(","))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return not other.endswith("]") and other.partition("(")[0] in self.types
        return self is other

    __hash__ = None  # type: ignore[assignment]  # what is equal to many type codes has no hash of its own

    def __repr__(self) -> str:
        return self.name


STRING = TypeObject("STRING", "VARCHAR,JSON,UUID,ENUM,BIT")
BINARY = TypeObject("BINARY", "BLOB,GEOMETRY")
NUMBER = TypeObject(
    "NUMBER",
    "BOOLEAN,TINYINT,SMALLINT,INTEGER,BIGINT,HUGEINT,UTINYINT,USMALLINT,UINTEGER,UBIGINT,UHUGEINT,FLOAT,DOUBLE,DECIMAL,BIGNUM",
)
DATETIME = TypeObject(
    "DATETIME",
    "DATE,TIME,TIME_NS,TIME WITH TIME ZONE,TIMESTAMP,TIMESTAMP_S,TIMESTAMP_MS,TIMESTAMP_NS,TIMESTAMP WITH TIME ZONE,INTERVAL",
)
ROWID = TypeObject("ROWID", "ROWID")  # no column is of this type

Date = dt.date
Time = dt.time
Timestamp = dt.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> dt.date:
    """The local date of `ticks` seconds since 1970."""
    return dt.date.fromtimestamp(ticks)


def TimeFromTicks(ticks: float) -> dt.time:
    """The local time of day of `ticks` seconds since 1970."""
    return dt.datetime.fromtimestamp(ticks).time()


def TimestampFromTicks(ticks: float) -> dt.datetime:
    """The local time of `ticks` seconds since 1970."""
    return dt.datetime.fromtimestamp(ticks)
