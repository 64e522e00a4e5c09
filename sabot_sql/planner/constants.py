"""Constant expressions of sqlglot's tree as Python values, and values as places on a line."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from sqlglot import exp

Params = Mapping[str, Any]

TEXT_BYTES = 16
"""Bytes of a text that tell its place."""


def constant(node: Any, params: Params) -> Any:
    """The value of a constant expression; None where it is none, NULL, or one that is not read here.

    Example:
        >>> import sqlglot
        >>> constant(sqlglot.parse_one("date '1994-01-31' + interval 1 month", dialect="duckdb"), {})
        datetime.datetime(1994, 2, 28, 0, 0)
    """
    read = _READERS.get(type(node))
    if read is None:
        return None
    try:
        return read(node, params)
    except (ValueError, ArithmeticError, TypeError, AttributeError):  # a date that there is none of, a sum of text
        return None


def _literal(node: Any, params: Params) -> Any:
    text = node.args["this"]
    if node.args.get("is_string"):
        return text
    return int(text) if text.isdigit() else Decimal(text)


def _cast(node: Any, params: Params) -> Any:
    value = constant(node.args["this"], params)
    to = node.args["to"].this
    if to is exp.DType.DATE:
        if isinstance(value, dt.datetime):
            return value.date()
        return dt.date.fromisoformat(value) if isinstance(value, str) else value
    if to in exp.DataType.TEMPORAL_TYPES:
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value)
        return dt.datetime.combine(value, dt.time()) if type(value) is dt.date else value
    if isinstance(value, str) and to in exp.DataType.NUMERIC_TYPES:
        return Decimal(value)
    if to in exp.DataType.TEXT_TYPES and value is not None and not isinstance(value, str):
        return str(value)
    return value


def _arithmetic(node: Any, params: Params) -> Any:
    left, kind = constant(node.args["this"], params), type(node)
    right_node = node.args["expression"]
    if type(right_node) is exp.Interval:
        return _moved(left, right_node, 1 if kind is exp.Add else -1, params)
    right = constant(right_node, params)
    if isinstance(left, dt.date) and isinstance(right, int) and kind in (exp.Add, exp.Sub):
        return left + dt.timedelta(days=right if kind is exp.Add else -right)
    if left is None or right is None or isinstance(left, (str, dt.date)) or isinstance(right, (str, dt.date)):
        return None
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
    match kind:
        case exp.Add:
            return left + right
        case exp.Sub:
            return left - right
        case exp.Mul:
            return left * right
    return float(left) / float(right)


def _moved(value: Any, interval: Any, sign: int, params: Params) -> Any:
    """A date or time plus or minus an interval; DuckDB makes a TIMESTAMP of a DATE here."""
    unit = str(interval.args.get("unit") or "").upper().removesuffix("S")
    amount = constant(interval.args.get("this"), params)
    if not isinstance(value, dt.date) or amount is None:
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    count = sign * int(str(amount))
    if (seconds := _SECONDS.get(unit)) is not None:
        return value + dt.timedelta(seconds=seconds * count)
    total = value.year * 12 + value.month - 1 + _MONTHS[unit] * count if unit in _MONTHS else None
    if total is None:
        return None
    for day in (value.day, 30, 29, 28):
        try:
            return value.replace(year=total // 12, month=total % 12 + 1, day=min(day, value.day))
        except ValueError:
            continue
    return None


_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400, "WEEK": 604_800}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12, "DECADE": 120, "CENTURY": 1200}


def _now(node: Any, params: Params) -> Any:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _today(node: Any, params: Params) -> Any:
    return dt.datetime.now(dt.UTC).date()


def _negative(node: Any, params: Params) -> Any:
    return -constant(node.args["this"], params)


def _inner(node: Any, params: Params) -> Any:
    return constant(node.args["this"], params)


def _parameter(node: Any, params: Params) -> Any:
    value = params.get(str(node.name))
    return value if isinstance(value, (bool, int, float, str, Decimal, dt.date)) else None


def _function(node: Any, params: Params) -> Any:
    name = str(node.args["this"]).lower()
    return _now(node, params) if name in ("now", "transaction_timestamp") else None


_READERS: dict[type, Callable[[Any, Params], Any]] = {
    exp.Literal: _literal,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Add: _arithmetic,
    exp.Sub: _arithmetic,
    exp.Mul: _arithmetic,
    exp.Div: _arithmetic,
    exp.Neg: _negative,
    exp.Paren: _inner,
    exp.Placeholder: _parameter,
    exp.Parameter: _parameter,
    exp.Boolean: lambda node, params: bool(node.args["this"]),
    exp.CurrentDate: _today,
    exp.CurrentTimestamp: _now,
    exp.Anonymous: _function,
}


def ordinal(value: Any, like: Any = None) -> float | None:
    """`value` as a place on a line, in the order of its type; text is first read as the type of `like`.

    Dates are days, times are seconds, text is its first bytes: what is equal here may differ there.

    Example:
        >>> ordinal("1970-01-03", dt.date(2020, 1, 1)) - ordinal(dt.date(1970, 1, 1))
        2.0
    """
    try:
        if like is not None and type(value) is not type(like):
            value = _as_type_of(value, like)
        kind = type(value)
        if kind is int or kind is float or kind is bool or kind is Decimal:
            return None if value != value else float(value)
        if kind is dt.date:
            return float(value.toordinal())
        if kind is str:
            return int.from_bytes(value.encode("utf-8", "surrogatepass")[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0"), "big")
        if kind is dt.datetime:
            naive = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
            return float((naive - _EPOCH).total_seconds())
    except (ValueError, ArithmeticError):
        return None
    return None


_EPOCH = dt.datetime(1970, 1, 1)


def _as_type_of(value: Any, like: Any) -> Any:
    if isinstance(value, str):
        match like:
            case dt.datetime():
                return dt.datetime.fromisoformat(value)
            case dt.date():
                return _day_and_part(dt.datetime.fromisoformat(value))
            case bool():
                return value.lower() in ("true", "t", "1")
            case int() | float() | Decimal():
                return Decimal(value)
    if isinstance(like, dt.datetime) and type(value) is dt.date:
        return dt.datetime.combine(value, dt.time())
    if type(like) is dt.date and isinstance(value, dt.datetime):
        return _day_and_part(value)
    numeric = (bool, int, float, Decimal)
    if isinstance(value, numeric) and not isinstance(like, numeric):
        raise ValueError(value)
    return value


def _day_and_part(moment: dt.datetime) -> float:
    return moment.toordinal() + (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86_400
