"""What is read of each column for its statistics: the value, its hash and its size, as SQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sabot_sql.types import Field, SqlType, quote_identifier

TEXT_CHARS = 64
"""Text is read up to here; longer values take part in everything but the most common values and the bounds."""

ZONED = "TIMESTAMP WITH TIME ZONE"
TIMESTAMPS = frozenset(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"))
PLAIN = frozenset(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT DECIMAL".split(),
)
WIDTHS = {
    **dict.fromkeys(("BOOLEAN", "TINYINT", "UTINYINT"), 1),
    **dict.fromkeys(("SMALLINT", "USMALLINT"), 2),
    **dict.fromkeys(("INTEGER", "UINTEGER", "FLOAT", "DATE"), 4),
    **dict.fromkeys(("BIGINT", "UBIGINT", "DOUBLE", "TIME", "TIME_NS", ZONED, *TIMESTAMPS), 8),
    **dict.fromkeys(("HUGEINT", "UHUGEINT", "UUID", "INTERVAL"), 16),
}


@dataclass(frozen=True, slots=True)
class Column:
    """Column number 3, say, of a table as a sample has it: `v3` its value, `h3` its hash, `l3` its bytes.

    All are NULL where the column is. `v3` also is where the value has no place on a line (NaN, infinity, years that Python
    does not know), and is not there at all for types that have no such line; the hash is not there where `v3` is the whole
    value, nor the bytes where the type says them.
    """

    number: int
    field: Field

    @property
    def is_text(self) -> bool:
        """Whether values are read as text, cut to `TEXT_CHARS`."""
        return self.field.type.id in ("VARCHAR", "ENUM")

    @property
    def has_values(self) -> bool:
        """Whether `v` is there."""
        return value_sql(self.field.type, "x") is not None

    @property
    def has_sizes(self) -> bool:
        """Whether `l` is there."""
        return size_sql(self.field.type, "x") is not None

    @property
    def has_order(self) -> bool:
        """Whether a histogram says something."""
        return self.has_values and self.field.type.id != "BOOLEAN"

    @property
    def value(self) -> str:
        """`v` in a sample."""
        return f"v{self.number}" if self.has_values else "NULL::BOOLEAN"

    @property
    def hash(self) -> str:
        """`h` in a sample."""
        return hash_of(f"v{self.number}") if self.field.type.id in PLAIN else f"h{self.number}"

    @property
    def size(self) -> str:
        """`l` in a sample."""
        return f"l{self.number}" if self.has_sizes else "NULL::BIGINT"

    def names(self) -> list[str]:
        """The sample's columns for this one."""
        found = [self.value] if self.has_values else []
        found += [] if self.field.type.id in PLAIN else [self.hash]
        return [*found, self.size] if self.has_sizes else found

    def expressions(self) -> list[str]:
        """`names` over the table's own column."""
        name = quote_identifier(self.field.name)
        of = {"v": value_sql(self.field.type, name), "h": hash_of(name), "l": size_sql(self.field.type, name)}
        return [f"{of[short[0]]} AS {short}" for short in self.names()]

    def hashed(self) -> str:
        """The hash over the table's own column, under the name `h3`."""
        return f"{hash_of(quote_identifier(self.field.name))} AS h{self.number}"

    def plain(self, value: Any) -> Any:
        """What DuckDB gives for `v`, as statistics hold it."""
        if self.field.type.id == ZONED and isinstance(value, dt.datetime):
            return value.replace(tzinfo=dt.UTC)
        return value


def hash_of(value: str) -> str:
    """The hash of `value`; NULL has none."""
    return f"CASE WHEN {value} IS NOT NULL THEN hash({value}) END"


def columns_of(schema: Sequence[Field]) -> list[Column]:
    """The columns of a table, numbered."""
    return [Column(number, field) for number, field in enumerate(schema)]


def value_sql(found: SqlType, name: str) -> str | None:
    """The expression of `v`; None for types whose values are of no use in statistics."""
    if found.id in PLAIN:
        return name
    if found.id in ("FLOAT", "DOUBLE"):
        return f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    if found.id == "DATE":
        return f"CASE WHEN {name} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {name} END"
    if found.id in TIMESTAMPS:
        return in_calendar(f"CAST({name} AS TIMESTAMP)")
    if found.id == ZONED:
        return in_calendar(f"CASE WHEN isfinite({name}) THEN make_timestamp(epoch_us({name})) END")
    if found.id in ("VARCHAR", "ENUM"):
        return f"left(CAST({name} AS VARCHAR), {TEXT_CHARS})"
    return None


def in_calendar(moment: str) -> str:
    """`moment` where Python has it."""
    first, last = "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"
    return f"CASE WHEN {moment} BETWEEN {first} AND {last} THEN {moment} END"


def size_sql(found: SqlType, name: str) -> str | None:
    """The expression of `l`, in bytes; None where the type says it, or nothing cheap does."""
    if found.id in ("VARCHAR", "JSON"):
        return f"strlen(CAST({name} AS VARCHAR))"
    if found.id == "BLOB":
        return f"octet_length({name})"
    return None


def width_of(found: SqlType) -> float | None:
    """Bytes of every value of the type, where they are all alike."""
    if found.id == "DECIMAL":
        return next(bytes for digits, bytes in ((4, 2), (9, 4), (18, 8), (38, 16)) if found.width <= digits)
    if found.id == "ENUM":
        return 1 if len(found.names) <= 256 else 4
    return WIDTHS.get(found.id)
