"""How much of its rows a predicate keeps, and which values it leaves of the columns it names."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params, constant
from sabot_sql.planner.distribution import EQUALITY, IS_NULL, LIKE, OTHER, RANGE, Distribution, like_matcher
from sabot_sql.planner.expression_values import (
    PARTS,
    SAMPLED,
    UNIT_DAYS,
    date_part,
    expression_distinct,
    plain_column,
    sample_of,
)
from sabot_sql.planner.relations import Column, Limits, Scope

MOST_ITEMS = 200
"""Items of an IN list that are looked at one by one; of a longer one the first stand for all."""

Kept = tuple[float, Limits | None]
UNREAD: Kept = (OTHER, None)

FLIPPED: dict[type, type] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.EQ: exp.EQ,
    exp.NEQ: exp.NEQ,
}
COMPARISONS = (exp.LT, exp.LTE, exp.GT, exp.GTE)


def all_of(nodes: Sequence[Any], scope: Scope, params: Params) -> Kept:
    """What several predicates keep together, taken as independent; the ends of a range are put together first.

    Returns:
        the share of rows, and what is left of the columns.
    """
    kept = 1.0
    limits: Limits = {}
    ranges: dict[Column, _Ends] = {}
    for node in nodes:
        while type(node) is exp.Paren:
            node = node.args["this"]
        if (ends := _ends(node, scope, params)) is not None:
            column = ends.column
            ranges[column] = ends if column not in ranges else ranges[column].meet(ends)
            continue
        found, left = one(node, scope, params)
        kept *= found
        if left:
            _meet(limits, left)
    for ends in ranges.values():
        found, left = ends.kept()
        kept *= found
        _meet(limits, left)
    return kept, limits


def one(node: Any, scope: Scope, params: Params) -> Kept:
    """What one predicate keeps."""
    read = _READERS.get(type(node))
    return UNREAD if read is None else read(node, scope, params)


def _meet(into: Limits, other: Limits | None) -> None:
    if not other:
        return
    if not into:
        into.update(other)
        return
    for column, limit in other.items():
        if (before := into.get(column)) is None:
            into[column] = limit
            continue
        ranges = before[0]
        if limit[2] or not before[2]:
            pairs = [(max(a[0], b[0]), min(a[1], b[1])) for a in before[0] for b in limit[0]]
            ranges = [r for r in pairs if r[0] <= r[1]] or [(math.inf, -math.inf)]
        counts = [c for c in (before[1], limit[1]) if c is not None]
        into[column] = (ranges, min(counts) if counts else None, before[2] or limit[2])


class _Ends:
    """One range over a column, as conjuncts build it up."""

    __slots__ = ("column", "high", "high_open", "low", "low_open")

    def __init__(self, column: Column, low: float | None, low_open: bool, high: float | None, high_open: bool) -> None:
        self.column = column
        self.low, self.low_open = low, low_open
        self.high, self.high_open = high, high_open

    def meet(self, other: _Ends) -> _Ends:
        found = _Ends(self.column, self.low, self.low_open, self.high, self.high_open)
        if other.low is not None and (found.low is None or other.low >= found.low):
            found.low, found.low_open = other.low, other.low_open
        if other.high is not None and (found.high is None or other.high <= found.high):
            found.high, found.high_open = other.high, other.high_open
        return found

    def kept(self) -> tuple[float, Limits]:
        distribution = self.column.distribution
        assert distribution is not None
        found = distribution.between(self.low, self.high, self.low_open, self.high_open)
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        step = distribution.step
        if step == int(step) and step >= 1 and not distribution.is_text:  # whole numbers: > 5 is from 6 on
            low, high = low + 1 if self.low_open else low, high - 1 if self.high_open else high
        if found is None:
            found = RANGE if self.low is None or self.high is None else RANGE * RANGE
        distinct = None if distribution.distinct is None else max(1.0, distribution.distinct * found)
        return found, {self.column: ([(low, high)], distinct, True)}


def _ends(node: Any, scope: Scope, params: Params) -> _Ends | None:
    """`node` as a range over a column; None where it is none, or its ends are not known."""
    kind = type(node)
    args = node.args
    if kind is exp.Between:
        column, shift = plain_column(args["this"], scope, params)
        if column is None or column.distribution is None or args.get("symmetric"):
            return None
        low, high = _place(column, args["low"], shift, params), _place(column, args["high"], shift, params)
        return None if low is None or high is None else _Ends(column, low, False, high, False)
    if kind not in COMPARISONS:
        return None
    column, shift = plain_column(args["this"], scope, params)
    other = args["expression"]
    if column is None:
        column, shift = plain_column(other, scope, params)
        other, kind = args["this"], FLIPPED[kind]
    if column is None or column.distribution is None:
        return None
    at = _place(column, other, shift, params)
    if at is None:
        return None
    if kind is exp.GT or kind is exp.GTE:
        return _Ends(column, at, kind is exp.GT, None, False)
    return _Ends(column, None, False, at, kind is exp.LT)


def _place(column: Column, node: Any, shift: Any, params: Params) -> float | None:
    assert column.distribution is not None
    at = column.distribution.place(constant(node, params))
    return at if shift is None or at is None else at - shift


def _comparison(node: Any, scope: Scope, params: Params) -> Kept:
    """A comparison that is no range with known ends."""
    kind = type(node)
    left, right = node.args["this"], node.args["expression"]
    while type(left) is exp.Paren:
        left = left.args["this"]
    if kind is exp.NullSafeEQ:
        kind = exp.EQ
    elif kind is exp.NullSafeNEQ:
        kind = exp.NEQ
    if kind is exp.NEQ:
        same, _ = _comparison(exp_eq(left, right), scope, params)
        return _missed(same, plain_column(left, scope, params)[0])
    if type(left) is exp.Column and type(right) is exp.Column:
        if scope.given and node in scope.given:
            return 1.0, None
        return _columns(scope.column(left), scope.column(right), kind), None
    if type(left) is exp.Tuple and type(right) is exp.Tuple and kind is exp.EQ:
        pairs = zip(left.expressions, right.expressions)
        return all_of([exp_eq(a, b) for a, b in pairs], scope, params)
    column, shift = plain_column(left, scope, params)
    if column is None:
        column, shift = plain_column(right, scope, params)
        if column is not None:
            left, right, kind = right, left, FLIPPED[kind]
    if kind is not exp.EQ:
        return _of_function(left, right, kind, scope, params)
    value = constant(right, params)
    if column is None:
        return _of_function(left, right, kind, scope, params)
    distribution = column.distribution
    if distribution is None:
        distinct = column.distinct
        return (1 / distinct if distinct else EQUALITY), {column: ((), 1.0, False)}
    if shift is not None:
        at = _place(column, right, shift, params)
        kept = distribution.point(None)
        return kept, None if at is None else {column: ([(at, at)], 1.0, False)}
    at = distribution.place(value)
    kept = distribution.point(value)
    return kept, {column: ([(at, at)] if at is not None else (), 1.0, True)}


def exp_eq(left: Any, right: Any) -> Any:
    """`left = right` beside the tree: making a node as usual would take both out of it."""
    found = exp.EQ()
    found.args["this"], found.args["expression"] = left, right
    return found


def _columns(left: Column | None, right: Column | None, kind: type) -> float:
    """Two columns of one relation compared."""
    guess = EQUALITY if kind is exp.EQ else RANGE
    if left is None or right is None:
        return guess
    if kind is exp.EQ:
        counts = [c.distinct for c in (left, right) if c.distinct]
        return 1 / max(counts) if counts else guess
    if left.distribution is None or right.distribution is None:
        return guess
    if kind is exp.GT or kind is exp.GTE:
        left, right = right, left
    assert left.distribution is not None
    assert right.distribution is not None
    return left.distribution.before(right.distribution)


def _of_function(left: Any, right: Any, kind: type, scope: Scope, params: Params) -> Kept:
    """A comparison of what a function makes of a column."""
    value = constant(right, params)
    if (part := date_part(left)) is not None and isinstance(value, int):
        unit, inner = part
        if unit == "YEAR":
            return _of_year(inner, value, kind, scope, params), None
        if kind is exp.EQ and unit in PARTS:
            return 1 / PARTS[unit], None
    if kind is exp.EQ:
        if type(left) is exp.TimestampTrunc or type(left) is exp.DateTrunc:
            return _of_trunc(left, value, scope, params), None
        if type(left) is exp.Case:
            return _of_case(left, value, scope, params), None
        return _of_values(left, value, scope, params), None
    return RANGE, None


def _of_values(node: Any, value: Any, scope: Scope, params: Params) -> float:
    """An expression equal to `value`: its share of a sample, or one of its values."""
    texts = sample_of(node, scope, params) if isinstance(value, str) and type(node) in SAMPLED else None
    if texts and value in texts:
        return texts[value] / texts.total()
    distinct = expression_distinct(node, scope, params)
    if texts and distinct and distinct < texts.total():
        return 1 / texts.total()  # rarer than one of them
    return 1 / distinct if distinct else EQUALITY


def _of_year(inner: Any, year: int, kind: type, scope: Scope, params: Params) -> float:
    column, _ = plain_column(inner, scope, params)
    guess = EQUALITY if kind is exp.EQ else RANGE
    if column is None or column.distribution is None or not 1 <= year <= 9998:
        return guess
    start, end = (column.distribution.place(dt.date(y, 1, 1)) for y in (year, year + 1))
    low = {exp.EQ: start, exp.GTE: start, exp.GT: end}.get(kind)
    high = {exp.EQ: end, exp.LTE: end, exp.LT: start}.get(kind)
    if start is None or end is None:
        return guess
    found = column.distribution.between(low, high, end_open=True)
    return guess if found is None else found


def _of_trunc(node: Any, value: Any, scope: Scope, params: Params) -> float:
    column, _ = plain_column(node.args["this"], scope, params)
    unit = str(node.args["unit"].name).upper() if node.args.get("unit") is not None else ""
    if column is None or column.distribution is None or unit not in UNIT_DAYS:
        return EQUALITY
    at = column.distribution.place(value)
    scale = 86_400 if isinstance(column.distribution.stats.min, dt.datetime) else 1
    if at is None:
        return EQUALITY
    found = column.distribution.between(at, at + UNIT_DAYS[unit] * scale, end_open=True)
    return EQUALITY if found is None else found


def _of_case(node: Any, value: Any, scope: Scope, params: Params) -> float:
    """CASE ... END = value: the conditions that lead to it."""
    operand = node.args.get("this")
    kept, left = 0.0, 1.0
    for branch in node.args.get("ifs") or ():
        condition = branch.args["this"]
        if operand is not None:
            condition = exp_eq(operand, condition)
        share = left * all_of([condition], scope, params)[0]
        kept += share * _chance(branch.args["true"], value, params)
        left -= share
    return min(1.0, kept + left * _chance(node.args.get("default"), value, params))


def _chance(result: Any, value: Any, params: Params) -> float:
    if result is None or type(result) is exp.Null:
        return 0.0
    found = constant(result, params)
    if found is None or value is None:
        return EQUALITY
    return float(found == value)


def _and(node: Any, scope: Scope, params: Params) -> Kept:
    return all_of(list(node.flatten()), scope, params)


def _or(node: Any, scope: Scope, params: Params) -> Kept:
    """Shares add up for values of one column, else the branches are taken as independent."""
    parts = [all_of([branch], scope, params) for branch in node.flatten()]
    first = parts[0][1] or {}
    shared = [c for c in first if all(left and c in left for _, left in parts)]
    alone = len(shared) == 1 and all(left is not None and len(left) == 1 for _, left in parts)
    kept, missed = 0.0, 1.0
    for share, _ in parts:
        kept, missed = kept + share, missed * (1 - share)
    limits: Limits = {}
    for column in shared:
        found = [left[column] for _, left in parts if left]
        counts = [f[1] for f in found if f[1] is not None]
        ranges = [r for f in found for r in f[0]] if all(f[0] for f in found) else []
        limits[column] = (ranges, sum(counts) if len(counts) == len(found) else None, all(f[2] for f in found))
    return min(1.0, kept) if alone else 1 - missed, limits


def _not(node: Any, scope: Scope, params: Params) -> Kept:
    inner = node.args["this"]
    while type(inner) is exp.Paren:
        inner = inner.args["this"]
    kept, _ = all_of([inner], scope, params)
    of_column = type(inner) is not exp.Is and type(inner.args.get("this")) is exp.Column
    return _missed(kept, scope.column(inner.args["this"]) if of_column else None)


def _missed(kept: float, column: Column | None) -> Kept:
    """The rows that a predicate over `column` is false for: neither those it keeps nor NULLs."""
    nulls = column.distribution.null_share if column is not None and column.distribution is not None else 0.0
    return max(0.0, 1.0 - nulls - kept), None


def _in(node: Any, scope: Scope, params: Params) -> Kept:
    items = node.expressions
    if not items:
        return UNREAD
    column, shift = plain_column(node.args["this"], scope, params)
    looked_at = items[:MOST_ITEMS]
    scale = len(items) / len(looked_at)
    if column is None or column.distribution is None or shift is not None:
        kept = sum(_comparison(exp_eq(node.args["this"], item), scope, params)[0] for item in looked_at)
        if column is None:
            scope.expressions.append((node.args["this"], float(len(items))))
            return min(OTHER if kept > OTHER and len(items) > 1 else kept * scale, 1.0), None
        return min(1.0, kept * scale), {column: ((), float(len(items)), False)}
    distribution = column.distribution
    kept, ranges = 0.0, []
    known = scale == 1.0
    for value in {constant(item, params) for item in looked_at}:
        kept += distribution.point(value)
        at = distribution.place(value)
        if at is None:
            known = False
        else:
            ranges.append((at, at))
    return min(1.0, kept * scale), {column: (ranges if known else (), float(len(items)), known)}


def _is(node: Any, scope: Scope, params: Params) -> Kept:
    inner, what = node.args["this"], node.args["expression"]
    negated = False
    if type(what) is exp.Not:
        negated, what = True, what.args["this"]
    if type(what) is exp.Null:
        column, _ = plain_column(inner, scope, params)
        kept = IS_NULL
        if column is not None and column.distribution is not None and column.distribution.stats.null_count is not None:
            kept = column.distribution.null_share
        return (1 - kept if negated else kept), None
    if type(what) is exp.Boolean:
        kept, _ = all_of([inner], scope, params)
        return (kept if bool(what.args["this"]) != negated else 1 - kept), None
    return UNREAD


def _like(node: Any, scope: Scope, params: Params) -> Kept:
    column, _ = plain_column(node.args["this"], scope, params)
    pattern = constant(node.args["expression"], params)
    if not isinstance(pattern, str):
        return (1 - LIKE if node.args.get("negate") else LIKE), None
    found = _pattern(column, pattern, type(node) is exp.ILike)
    return _missed(found[0], column) if node.args.get("negate") else found


def _pattern(column: Column | None, pattern: str, ignore_case: bool = False) -> Kept:
    distribution = column.distribution if column is not None else None
    if column is None or distribution is None:
        return (LIKE if pattern.strip("%") else 1.0), None
    if "%" not in pattern and "_" not in pattern and not ignore_case:
        at = distribution.place(pattern)
        return distribution.point(pattern), {column: ([(at, at)] if at is not None else (), 1.0, True)}
    if ignore_case:
        return _ignoring_case(distribution, pattern), None
    kept = distribution.like(pattern, like_matcher(pattern, False))
    prefix = pattern[: min(i for i in (pattern.find("%"), pattern.find("_"), len(pattern)) if i >= 0)]
    if not prefix:
        return kept, None
    low, high = distribution.prefixed(prefix)
    ranges = [(low, high)] if low is not None and high is not None else []
    distinct = None if distribution.distinct is None else max(1.0, distribution.distinct * kept)
    return kept, {column: (ranges, distinct, True)}


def _ignoring_case(distribution: Distribution, pattern: str) -> float:
    return distribution.like("%" + pattern if pattern[:1] != "%" else pattern, like_matcher(pattern, True))


def _starts(node: Any, scope: Scope, params: Params) -> Kept:
    column, _ = plain_column(node.args["this"], scope, params)
    prefix = constant(node.args["expression"], params)
    return _pattern(column, prefix + "%") if isinstance(prefix, str) and not set(prefix) & set("%_") else (LIKE, None)


def _contains(node: Any, scope: Scope, params: Params) -> Kept:
    column, _ = plain_column(node.args["this"], scope, params)
    part = constant(node.args["expression"], params)
    return _pattern(column, f"%{part}%") if isinstance(part, str) and not set(part) & set("%_") else (LIKE, None)


def _boolean(node: Any, scope: Scope, params: Params) -> Kept:
    return (1.0 if node.args["this"] else 0.0), None


def _bare(node: Any, scope: Scope, params: Params) -> Kept:
    """A column that is true or false itself."""
    column = scope.column(node)
    if column is None or column.distribution is None or not column.distribution.stats.most_common:
        return UNREAD
    return column.distribution.point(True), {column: ((), 1.0, False)}


def _case(node: Any, scope: Scope, params: Params) -> Kept:
    return _of_case(node, True, scope, params), None


def _between(node: Any, scope: Scope, params: Params) -> Kept:
    """BETWEEN whose ends are not constants: two comparisons."""
    args = node.args
    ends: list[Any] = []
    for kind, end in ((exp.GTE, "low"), (exp.LTE, "high")):
        made = kind()
        made.args["this"], made.args["expression"] = args["this"], args[end]
        ends.append(made)
    return all_of(ends, scope, params)


_READERS: dict[type, Callable[[Any, Scope, Params], Kept]] = {
    exp.EQ: _comparison,
    exp.NEQ: _comparison,
    exp.NullSafeEQ: _comparison,
    exp.NullSafeNEQ: _comparison,
    exp.LT: _comparison,
    exp.LTE: _comparison,
    exp.GT: _comparison,
    exp.GTE: _comparison,
    exp.And: _and,
    exp.Or: _or,
    exp.Not: _not,
    exp.Paren: lambda node, scope, params: all_of([node], scope, params),
    exp.Between: _between,
    exp.In: _in,
    exp.Is: _is,
    exp.Like: _like,
    exp.ILike: _like,
    exp.StartsWith: _starts,
    exp.Contains: _contains,
    exp.RegexpLike: lambda node, scope, params: (LIKE, None),
    exp.SimilarTo: lambda node, scope, params: (LIKE, None),
    exp.Boolean: _boolean,
    exp.Column: _bare,
    exp.Case: _case,
    exp.Null: lambda node, scope, params: (0.0, None),
}
