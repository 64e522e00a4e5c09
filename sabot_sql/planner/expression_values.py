"""What expressions over columns are: a column with a constant added, a part of a date, and how many values they have."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params, constant
from sabot_sql.planner.relations import Column, Scope

# values that a part of a date may have
PARTS = {"MONTH": 12, "DAY": 31, "DAYOFWEEK": 7, "DOW": 7, "ISODOW": 7, "HOUR": 24, "MINUTE": 60, "SECOND": 60, "QUARTER": 4,
         "WEEK": 53, "DAYOFYEAR": 366, "DOY": 366, "DAYOFMONTH": 31,
         "WEEKOFYEAR": 53}  # fmt: skip
PART_NODES = {exp.Month: "MONTH", exp.Day: "DAY", exp.DayOfWeek: "DOW", exp.Quarter: "QUARTER", exp.Hour: "HOUR",
              exp.Week: "WEEK", exp.DayOfMonth: "DAY", exp.DayOfYear: "DOY",
              exp.Minute: "MINUTE", exp.Second: "SECOND"}  # fmt: skip
UNIT_DAYS = {"DAY": 1, "WEEK": 7, "MONTH": 30.44, "QUARTER": 91.3, "YEAR": 365.25, "DECADE": 3652.5}


def plain_column(node: Any, scope: Scope, params: Params) -> tuple[Column | None, Any]:
    """The column that `node` is, up to a cast or a constant added; and that constant."""
    kind = type(node)
    if kind is exp.Column:
        return scope.column(node), None
    if kind is exp.Paren or kind is exp.Cast:
        return plain_column(node.args["this"], scope, params)
    if kind is exp.Add or kind is exp.Sub:
        column, shift = plain_column(node.args["this"], scope, params)
        value = constant(node.args["expression"], params)
        if column is not None and shift is None and isinstance(value, int):
            return column, value if kind is exp.Add else -value
    return None, None


def date_part(node: Any) -> tuple[str, Any] | None:
    """The part that is taken of a date, and of what: `year(d)`, `extract(month from d)`."""
    kind = type(node)
    if kind is exp.Extract:
        return str(node.args["this"].name).upper(), node.args["expression"]
    if kind is exp.Year:
        return "YEAR", node.args["this"]
    if (name := PART_NODES.get(kind)) is not None:
        return name, node.args["this"]
    return None


def expression_distinct(node: Any, scope: Scope, params: Params, rows: float = math.inf) -> float | None:
    """About how many distinct values an expression has over `rows` rows of the scope; None where that is not known."""
    kind = type(node)
    if kind is exp.Column:
        column = scope.column(node)
        return None if column is None else column.distinct if rows == math.inf else column.distinct_of(rows)
    if kind is exp.Paren or kind is exp.Alias or kind is exp.Cast or kind is exp.TryCast:
        return expression_distinct(node.args["this"], scope, params, rows)
    if kind is exp.Literal or kind is exp.Null or kind is exp.Boolean:
        return 1.0
    for other, count in scope.expressions:
        if type(other) is kind and other == node:
            return count
    if isinstance(node, (exp.Predicate, exp.Connector, exp.Not)):
        return 2.0
    if (part := date_part(node)) is not None:
        return _span(part[1], part[0], scope, params) if part[0] == "YEAR" else float(PARTS.get(part[0], 0)) or None
    if kind is exp.TimestampTrunc or kind is exp.DateTrunc:
        return _span(node.args["this"], str(node.args["unit"].name).upper(), scope, params)
    if kind is exp.Mod and isinstance(divisor := constant(node.args["expression"], params), int) and divisor:
        return float(abs(divisor))
    if kind is exp.Case:
        results = [b.args["true"] for b in node.args.get("ifs") or ()] + [node.args.get("default")]
        if all(r is None or isinstance(r, (exp.Literal, exp.Null, exp.Boolean)) for r in results):
            return float(len(results))
    found = _of_columns(node, scope, params, rows)
    if kind in SAMPLED and (texts := sample_of(node, scope, params)) is not None:
        # where nearly all of a sample differ there are many more
        return float(len(texts)) if len(texts) < 0.7 * texts.total() or found is None else found
    return found


def sample_of(node: Any, scope: Scope, params: Params) -> Counter[str] | None:
    """What functions of a text column give over the bounds of its histogram, which are a sample of it; None where there is
    no such sample or a function is not read."""
    functions: list[tuple[Any, ...]] = []
    while type(node) is not exp.Column:
        function = _text_function(node, params)
        if function is None:
            return None
        functions.append(function)
        node = node.args["this"]
    column = scope.column(node)
    distribution = column.distribution if column is not None else None
    if distribution is None or not distribution.is_text or len(distribution.stats.histogram or ()) < LEAST_SAMPLE:
        return None
    key = tuple(functions)
    if (found := distribution.samples.get(key)) is None:
        found = Counter(_applied(text, key) for text in distribution.stats.histogram or ())
        if len(distribution.samples) < MOST_SAMPLES:
            distribution.samples[key] = found
    return found


def _text_function(node: Any, params: Params) -> tuple[Any, ...] | None:
    """A function of one text, and what it takes besides."""
    kind = type(node)
    if kind not in SAMPLED:
        return None
    if kind is exp.Substring:
        start, length = constant(node.args.get("start"), params), constant(node.args.get("length"), params)
        if not isinstance(start, int) or start < 1 or not (node.args.get("length") is None or isinstance(length, int)):
            return None
        return (exp.Left, None if length is None else start - 1 + length, start - 1)
    if kind is exp.Left or kind is exp.Right:
        count = constant(node.args["expression"], params)
        return (kind, count, 0) if isinstance(count, int) and count > 0 else None
    return (kind,)


def _applied(text: str, functions: tuple[tuple[Any, ...], ...]) -> str:
    for kind, *how in reversed(functions):
        if kind is exp.Left:
            text = text[how[1] : how[0]]
        elif kind is exp.Right:
            text = text[-how[0] :]
        elif kind is exp.Lower or kind is exp.Upper:
            text = text.lower() if kind is exp.Lower else text.upper()
        elif kind is exp.Trim:
            text = text.strip()
    return text


SAMPLED = frozenset((exp.Substring, exp.Left, exp.Right, exp.Lower, exp.Upper, exp.Trim, exp.Paren))
LEAST_SAMPLE = 20
MOST_SAMPLES = 64


def _of_columns(node: Any, scope: Scope, params: Params, rows: float) -> float | None:
    """An expression has no more values than its columns together."""
    product = 1.0
    for column in node.find_all(exp.Column):
        found = expression_distinct(column, scope, params, rows)
        if found is None:
            return None
        product *= found
    return min(product, rows)


def _span(node: Any, unit: str, scope: Scope, params: Params) -> float | None:
    """How many years, months, ... the values of a date column reach over."""
    column, _ = plain_column(node, scope, params)
    if column is None or column.distribution is None or column.low is None or column.high is None or unit not in UNIT_DAYS:
        return None
    sample = column.distribution.stats.min
    if not isinstance(sample, dt.date) or math.isinf(column.low) or math.isinf(column.high):
        return None
    days = (column.high - column.low) / (86_400 if isinstance(sample, dt.datetime) else 1)
    return max(1.0, float(math.ceil((days + 1) / UNIT_DAYS[unit] - 0.02)))
