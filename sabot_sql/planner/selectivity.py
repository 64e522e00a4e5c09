"""How much of a table a predicate keeps: by the bounds of its columns, else by a guess.

Two figures. *Kept*: the share of rows for which the predicate is true. *Overlap*: the share that a scan must look at,
which the minimum and maximum of a column prove to be smaller than everything; 1.0 where nothing is proven.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlglot import exp

from sabot_sql.catalog.table import ColumnStatistics

ColumnOf = Callable[[exp.Column], ColumnStatistics | None]
Params = Mapping[str, Any]

# what a predicate keeps where nothing is known of the column; the classic guesses of System R (Selinger 1979)
EQUALITY = 0.1
RANGE = 1 / 3
BETWEEN = 0.25
LIKE = 0.1
IS_NULL = 0.05
OTHER = 0.5

FLIPPED = {exp.LT: exp.GT, exp.LTE: exp.GTE, exp.GT: exp.LT, exp.GTE: exp.LTE, exp.EQ: exp.EQ}


@dataclass(frozen=True, slots=True)
class Share:
    """What a predicate keeps of the rows, and how much of the table a scan must look at for it."""

    kept: float
    overlap: float = 1.0


ALL = Share(1.0)
NONE = Share(0.0, 0.0)


def share(predicate: exp.Expression, column_of: ColumnOf, params: Params) -> Share:
    """The share of rows that `predicate` keeps."""
    match predicate:
        case exp.Paren():
            return share(predicate.this, column_of, params)
        case exp.And():
            left, right = share(predicate.this, column_of, params), share(predicate.expression, column_of, params)
            # two ends of one range are one interval; for anything else this is the product
            return Share(_both(left.kept, right.kept, predicate), _both(left.overlap, right.overlap, predicate))
        case exp.Or():
            left, right = share(predicate.this, column_of, params), share(predicate.expression, column_of, params)
            return Share(left.kept + right.kept - left.kept * right.kept, min(1.0, left.overlap + right.overlap))
        case exp.Not():
            return _negated(predicate, column_of, params)
        case exp.EQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            return _comparison(predicate, column_of, params)
        case exp.Between():
            return _between(predicate, column_of, params)
        case exp.In():
            return _in(predicate, column_of, params)
        case exp.Is():
            return _is(predicate, column_of)
        case exp.NEQ():
            return Share(1 - EQUALITY)
        case exp.Like() | exp.ILike() | exp.RegexpLike():
            return Share(LIKE)
        case exp.Boolean():
            return ALL if predicate.this else NONE
    return Share(OTHER)


def _negated(predicate: exp.Expression, column_of: ColumnOf, params: Params) -> Share:
    inner = predicate.this
    if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
        return Share(1 - _is(inner, column_of).kept)
    return Share(max(0.0, 1 - share(inner, column_of, params).kept))


def _both(left: float, right: float, both: exp.Expression) -> float:
    """`a >= 1 AND a < 5`: the overlap of the intervals, not the product of their lengths."""
    one, other = both.this, both.expression
    if _is_range(one) and _is_range(other) and isinstance(one.this, exp.Column) and one.this == other.this:
        lower = isinstance(one, (exp.GT, exp.GTE)), isinstance(other, (exp.GT, exp.GTE))
        if lower[0] != lower[1] and left + right > 1.0:
            return max(0.0, left + right - 1.0)
    return left * right


def _is_range(node: exp.Expression) -> bool:
    return isinstance(node, (exp.LT, exp.LTE, exp.GT, exp.GTE))


def _comparison(node: exp.Expression, column_of: ColumnOf, params: Params) -> Share:
    column, other, kind = node.this, node.expression, type(node)
    if not isinstance(column, exp.Column) and isinstance(other, exp.Column):
        column, other, kind = other, column, FLIPPED[kind]
    guess = Share(EQUALITY if kind is exp.EQ else RANGE)
    if not isinstance(column, exp.Column):
        return guess
    stats = column_of(column)
    if stats is None:
        return guess
    value = constant(other, params)
    if kind is exp.EQ:
        return _point(stats, value, guess)
    low, high = (value, None) if kind in (exp.GT, exp.GTE) else (None, value)
    return _interval(stats, low, high, guess, open_ended=kind in (exp.LT, exp.GT))


def _between(node: exp.Expression, column_of: ColumnOf, params: Params) -> Share:
    stats = column_of(node.this) if isinstance(node.this, exp.Column) else None
    if stats is None:
        return Share(BETWEEN)
    low, high = constant(node.args["low"], params), constant(node.args["high"], params)
    return _interval(stats, low, high, Share(BETWEEN))


def _in(node: exp.Expression, column_of: ColumnOf, params: Params) -> Share:
    items = node.expressions
    if not items:  # IN (SELECT ...)
        return Share(OTHER)
    guess = Share(min(1.0, EQUALITY * len(items)))
    stats = column_of(node.this) if isinstance(node.this, exp.Column) else None
    if stats is None:
        return guess
    points = [_point(stats, constant(item, params), Share(EQUALITY)) for item in items]
    return Share(min(1.0, sum(p.kept for p in points)), min(1.0, sum(p.overlap for p in points)))


def _is(node: exp.Expression, column_of: ColumnOf) -> Share:
    if isinstance(node.expression, exp.Null) and isinstance(node.this, exp.Column):
        stats = column_of(node.this)
        if stats is not None and stats.null_count == 0:
            return NONE
        return Share(IS_NULL)
    return Share(OTHER)


def _point(stats: ColumnStatistics, value: Any, guess: Share) -> Share:
    """`column = value`."""
    low, high, at = ordinal(stats.min), ordinal(stats.max), ordinal(value, stats.min)
    distinct = stats.distinct_count
    if isinstance(stats.min, str) and isinstance(value, str) and stats.max is not None:
        if value < stats.min or (stats.exact and value > stats.max):
            return NONE
        return Share(1 / distinct) if distinct else guess
    if low is None or high is None or at is None:
        return Share(1 / distinct) if distinct else guess
    if at < low or at > high:
        return NONE
    if distinct:
        return Share(1 / distinct, 1 / distinct)
    if isinstance(stats.min, (int, dt.date)) and not isinstance(stats.min, (bool, dt.datetime)):
        one = 1 / max(1.0, high - low + 1)
        return Share(one, one)
    return Share(min(guess.kept, 1.0), guess.kept)


def _interval(stats: ColumnStatistics, lower: Any, upper: Any, guess: Share, open_ended: bool = False) -> Share:
    """`column` between `lower` and `upper`, None for no end."""
    low, high = ordinal(stats.min), ordinal(stats.max)
    if low is None or high is None:
        return _text_interval(stats, lower, upper, guess)
    ends = ordinal(lower, stats.min), ordinal(upper, stats.min)
    if (lower is not None and ends[0] is None) or (upper is not None and ends[1] is None) or ends == (None, None):
        return guess
    # whole numbers and days are steps of width one: between 1 and 1 is one of them
    step = 1.0 if isinstance(stats.min, (int, dt.date)) and not isinstance(stats.min, dt.datetime) else 0.0
    start = low if ends[0] is None else max(low, ends[0] + (step if open_ended else 0.0))
    end = high if ends[1] is None else min(high, ends[1] - (step if open_ended else 0.0))
    if end < start:
        return NONE
    span = high - low + step
    found = min(1.0, (end - start + step) / span) if span > 0 else 1.0
    return Share(found, found)


def _text_interval(stats: ColumnStatistics, lower: Any, upper: Any, guess: Share) -> Share:
    """Text has an order but no distance: only a range wholly outside is known."""
    if isinstance(stats.min, str) and isinstance(stats.max, str):
        if isinstance(upper, str) and upper < stats.min:
            return NONE
        if isinstance(lower, str) and stats.exact and lower > stats.max:
            return NONE
    return guess


def ordinal(value: Any, like: Any = None) -> float | None:
    """`value` as a place on a line; text is first read as the type of `like`."""
    try:
        if isinstance(value, str) and like is not None and not isinstance(like, str):
            value = _read(value, like)
        if isinstance(like, dt.datetime) and type(value) is dt.date:
            value = dt.datetime.combine(value, dt.time())
        if type(like) is dt.date and isinstance(value, dt.datetime):
            return value.toordinal() + (value.hour * 3600 + value.minute * 60 + value.second) / 86_400
    except (ValueError, ArithmeticError):
        return None
    match value:
        case bool():
            return float(value)
        case int() | float() | Decimal():
            return float(value)
        case dt.datetime():
            naive = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
            return (naive - dt.datetime(1970, 1, 1)).total_seconds()
        case dt.date():
            return float(value.toordinal())
    return None


def _read(text: str, like: Any) -> Any:
    match like:
        case dt.datetime():
            return dt.datetime.fromisoformat(text)
        case dt.date():
            return dt.datetime.fromisoformat(text) if len(text) > 10 else dt.date.fromisoformat(text)
        case int() | float() | Decimal():
            return Decimal(text)
    raise ValueError(text)


def constant(node: exp.Expression, params: Params) -> Any:
    """The value of a constant expression; None where it is none that is read here."""
    match node:
        case exp.Literal():
            return node.this if node.is_string else _number(node.this)
        case exp.Paren():
            return constant(node.this, params)
        case exp.Neg():
            value = constant(node.this, params)
            return -value if isinstance(value, (int, float, Decimal)) else None
        case exp.Placeholder() | exp.Parameter():
            return params.get(str(node.name))
        case exp.Cast():
            return _cast(node, params)
        case exp.Add() | exp.Sub():
            return _shifted(node, params)
    return None


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        try:
            return Decimal(text)
        except ArithmeticError:
            return None


def _cast(node: exp.Expression, params: Params) -> Any:
    value = constant(node.this, params)
    if not isinstance(value, str):
        return value
    try:
        if node.is_type(exp.DataType.Type.DATE):
            return dt.date.fromisoformat(value)
        if node.is_type(*exp.DataType.TEMPORAL_TYPES):
            return dt.datetime.fromisoformat(value)
        if node.is_type(*exp.DataType.NUMERIC_TYPES):
            return Decimal(value)
    except (ValueError, ArithmeticError):
        return None
    return value


def _shifted(node: exp.Expression, params: Params) -> Any:
    """`date - interval '90' day` and sums of numbers."""
    sign = 1 if isinstance(node, exp.Add) else -1
    left, right = constant(node.this, params), node.expression
    if isinstance(right, exp.Interval):
        return _moved(left, right, sign)
    other = constant(right, params)
    if isinstance(left, dt.date) and isinstance(other, int):
        return left + dt.timedelta(days=sign * other)
    if isinstance(left, (int, Decimal)) and isinstance(other, (int, Decimal)):
        return left + sign * other
    return None


def _moved(value: Any, interval: exp.Expression, sign: int) -> Any:
    unit = str(interval.args.get("unit") or "").upper().removesuffix("S")
    amount = constant(interval.this, {}) if interval.this is not None else None
    try:
        count = sign * int(str(amount))
    except (TypeError, ValueError):
        return None
    if not isinstance(value, dt.date):
        return None
    days = {"DAY": 1, "WEEK": 7}.get(unit)
    months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}.get(unit)
    try:
        if days:
            return value + dt.timedelta(days=days * count)
        if months:
            total = value.year * 12 + value.month - 1 + months * count
            return value.replace(year=total // 12, month=total % 12 + 1, day=min(value.day, 28))
    except (ValueError, OverflowError):
        return None
    return None
