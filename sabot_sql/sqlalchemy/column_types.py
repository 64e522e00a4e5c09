"""SQL types as SQLAlchemy's, both ways: what columns are reflected as, and how their values come."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import types as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import sqltypes
from sqlalchemy.sql.type_api import NativeForEmulated
from sqlalchemy.types import TypeEngine

from sabot_sql.dbapi.errors import DataError
from sabot_sql.types import SqlType, parse_type


class TINYINT(sa.Integer):
    """An integer of 8 bits."""

    __visit_name__ = "TINYINT"


class UTINYINT(sa.Integer):
    """An unsigned integer of 8 bits."""

    __visit_name__ = "UTINYINT"


class USMALLINT(sa.Integer):
    """An unsigned integer of 16 bits."""

    __visit_name__ = "USMALLINT"


class UINTEGER(sa.Integer):
    """An unsigned integer of 32 bits."""

    __visit_name__ = "UINTEGER"


class UBIGINT(sa.Integer):
    """An unsigned integer of 64 bits."""

    __visit_name__ = "UBIGINT"


class HUGEINT(sa.Integer):
    """An integer of 128 bits; sums of integers are of this type."""

    __visit_name__ = "HUGEINT"


class UHUGEINT(sa.Integer):
    """An unsigned integer of 128 bits."""

    __visit_name__ = "UHUGEINT"


class NamedType(sa.UserDefinedType[Any]):
    """A type that SQLAlchemy has none for, by its SQL text: STRUCT, MAP, UNION, ENUM, BIT, TIMESTAMP_NS.

    Example:
        >>> NamedType("MAP(VARCHAR, INTEGER)").get_col_spec()
        'MAP(VARCHAR, INTEGER)'
    """

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **_: Any) -> str:
        """The text."""
        return self.text

    class Comparator(sa.UserDefinedType.Comparator[Any]):
        """A field of a STRUCT and a value of a MAP by `column["name"]`."""

        def __getitem__(self, key: Any) -> Any:
            from sqlalchemy import literal_column
            from sqlalchemy.sql.elements import BinaryExpression
            from sqlalchemy.sql.operators import getitem

            name = "'" + key.replace("'", "''") + "'" if isinstance(key, str) else str(int(key))
            return BinaryExpression(self.expr, literal_column(name), getitem, type_=sa.NullType())

    comparator_factory = Comparator


class INTERVAL(NativeForEmulated, sqltypes._AbstractInterval):
    """An INTERVAL as a timedelta.

    Values with months are refused with a DataError, as a month is no number of days: `cast(column, String)` reads them.
    """

    __visit_name__ = "INTERVAL"
    native = True

    @property
    def _type_affinity(self) -> type[sa.Interval]:
        return sa.Interval

    @property
    def python_type(self) -> type[dt.timedelta]:
        """A timedelta."""
        return dt.timedelta

    def as_generic(self, allow_nulltype: bool = False) -> sa.Interval:
        """SQLAlchemy's Interval."""
        return sa.Interval(native=True)

    @classmethod
    def adapt_emulated_to_native(cls, impl: Any, **kw: Any) -> INTERVAL:
        """This in place of the Interval that is kept as a date."""
        return cls()

    def bind_processor(self, dialect: Dialect) -> Any:
        """None: a timedelta goes as it is."""
        return None

    def literal_processor(self, dialect: Dialect) -> Callable[[dt.timedelta], str]:
        """An INTERVAL literal."""
        return lambda value: f"to_microseconds({value // dt.timedelta(microseconds=1)})"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], dt.timedelta | None]:
        """Makes a timedelta of (months, days, nanoseconds)."""
        return timedelta_of


def timedelta_of(value: Any) -> dt.timedelta | None:
    """The timedelta that (months, days, nanoseconds) is.

    Example:
        >>> timedelta_of((0, 2, 1_500_000_000))
        datetime.timedelta(days=2, seconds=1, microseconds=500000)
    """
    if value is None:
        return None
    months, days, nanoseconds = value
    if months:
        raise DataError(f"the interval of {months} months is no timedelta\nhint: cast(column, String) reads it as text")
    return dt.timedelta(days=days, microseconds=nanoseconds / 1000)


class NUMERIC(sa.Numeric[Any]):
    """Decimals as they are; a double that takes a decimal's place (a quotient) becomes one where Decimal is wanted."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Makes a Decimal, or a float under `asdecimal=False`."""
        if self.asdecimal:
            return lambda value: Decimal(repr(value)) if isinstance(value, float) else value
        return lambda value: None if value is None else float(value)


class _JsonPlace:
    """Binds a place in a JSON document as DuckDB's path text."""

    def _text(self, value: Any) -> str:
        return json_path([value])

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        return self._text

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        return lambda value: "'" + self._text(value).replace("'", "''") + "'"


class JsonIndex(_JsonPlace, sa.JSON.JSONIndexType):
    """A key or an index."""


class JsonPath(_JsonPlace, sa.JSON.JSONPathType):
    """Keys and indexes, one inside the other."""

    def _text(self, value: Any) -> str:
        return json_path(value)


def json_path(places: Iterable[str | int]) -> str:
    """DuckDB's text of a path.

    Example:
        >>> json_path(["a b", 0, -1])
        '$."a b"[0][#-1]'
    """
    steps = (f"[{'#' if p < 0 else ''}{p}]" if isinstance(p, int) else '."' + p.replace('"', '\\"') + '"' for p in places)
    return "$" + "".join(steps)


COLSPECS: dict[type[TypeEngine[Any]], type[TypeEngine[Any]]] = {
    sa.Interval: INTERVAL,
    sa.Numeric: NUMERIC,
    sa.JSON.JSONIndexType: JsonIndex,
    sa.JSON.JSONPathType: JsonPath,
}

SIMPLE: dict[str, Callable[[], TypeEngine[Any]]] = {
    "BOOLEAN": sa.BOOLEAN, "TINYINT": TINYINT, "SMALLINT": sa.SMALLINT, "INTEGER": sa.INTEGER, "BIGINT": sa.BIGINT,
    "UTINYINT": UTINYINT, "USMALLINT": USMALLINT, "UINTEGER": UINTEGER, "UBIGINT": UBIGINT, "HUGEINT": HUGEINT,
    "UHUGEINT": UHUGEINT, "FLOAT": sa.REAL, "DOUBLE": sa.DOUBLE, "VARCHAR": sa.VARCHAR, "BLOB": sa.BLOB, "DATE": sa.DATE,
    "TIME": sa.TIME, "TIMESTAMP": sa.TIMESTAMP, "TIMESTAMP_S": sa.TIMESTAMP, "TIMESTAMP_MS": sa.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": lambda: sa.TIMESTAMP(timezone=True), "TIME WITH TIME ZONE": lambda: sa.TIME(timezone=True),
    "INTERVAL": INTERVAL, "UUID": sa.UUID, "JSON": sa.JSON, "NULL": sa.NullType,
}  # fmt: skip


def sqlalchemy_type(text: str) -> TypeEngine[Any]:
    """The SQLAlchemy type of a column whose SQL type is `text`.

    Example:
        >>> sqlalchemy_type("DECIMAL(10,2)"), sqlalchemy_type("INTEGER[]")
        (DECIMAL(precision=10, scale=2), ARRAY(INTEGER()))
    """
    try:
        return _of(parse_type(text))
    except ValueError:  # a type that the client does not know
        return NamedType(text)


def _of(kind: SqlType) -> TypeEngine[Any]:
    if (make := SIMPLE.get(kind.id)) is not None:
        return make()
    match kind.id:
        case "DECIMAL":
            return sa.DECIMAL(kind.width, kind.scale)
        case "LIST" | "ARRAY":
            inner = _of(kind.children[0])
            if isinstance(inner, sa.ARRAY):
                return sa.ARRAY(inner.item_type, dimensions=(inner.dimensions or 1) + 1)
            return sa.ARRAY(inner)
    return NamedType(str(kind))
