"""How many rows a logical operator gives, from the catalog's statistics; decides build sides, exchanges and join order.

The classic System R assumptions (Selinger et al., SIGMOD 1979): uniform values, independent conditions, the smaller key set
contained in the larger. Nothing here can make an answer wrong, only a plan slower.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.types import Lane, SqlType

UNKNOWN_ROW_BYTES = 64
UNKNOWN_SELECTIVITY = 0.25
LIKE_SELECTIVITY = 0.1


def column_bytes(t: SqlType) -> int:
    """About how many bytes a value takes between operators."""
    match t.lane:
        case Lane.INT | Lane.UINT | Lane.FLOAT:
            return 8
        case Lane.WIDE:
            return 16
    return 32


def table_rows(get: lg.Get) -> float:
    """The rows of the scanned table; guessed from its size where no footer tells."""
    statistics = get.table.statistics
    if statistics.rows is not None:
        return float(statistics.rows)
    return max(1.0, statistics.size_bytes / UNKNOWN_ROW_BYTES)


def _column_distinct(get: lg.Get, position: int) -> float:
    field = get.schema[position]
    total = table_rows(get)
    statistics = get.table.statistics.columns.get(field.name)
    if statistics is not None:
        if statistics.distinct_count is not None:
            return float(statistics.distinct_count)
        low, high = as_number(statistics.min), as_number(statistics.max)
        if field.type.lane is Lane.INT and low is not None and high is not None:
            scale = 10.0**field.type.scale
            return min(total, (high - low) * scale + 1)
    return total if field.type.lane is Lane.FLOAT else max(1.0, total / 10)


def _origin(plan: lg.Plan, index: int) -> tuple[lg.Get, int] | None:
    """The scan and the column in it that output column `index` of `plan` copies."""
    match plan:
        case lg.Get():
            return plan, index
        case lg.Compute():
            expr = plan.exprs[index]
            return _origin(plan.input, expr.index) if isinstance(expr, ex.Ref) else None
        case lg.Select() | lg.Order() | lg.Slice():
            return _origin(plan.input, index)
        case lg.Aggregate():
            if index < len(plan.groups) and isinstance(group := plan.groups[index], ex.Ref):
                return _origin(plan.input, group.index)
        case lg.Join():
            width = len(plan.left.schema)
            if index < width:
                return _origin(plan.left, index)
            return _origin(plan.right, index - width) if plan.kind != "mark" else None
    return None


class Estimator:
    """Row estimates over the plans of one query; remembers what it worked out for each operator."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[lg.Plan, float]] = {}

    def rows(self, plan: lg.Plan) -> float:
        """The estimated number of output rows, at least 1."""
        found = self._known.get(id(plan))
        if found is None or found[0] is not plan:
            found = self._known[id(plan)] = (plan, max(1.0, self._rows(plan)))
        return found[1]

    def distinct_values(self, plan: lg.Plan, expr: Expr) -> float:
        """About how many distinct values `expr` has over the rows of `plan`."""
        rows = self.rows(plan)
        if isinstance(expr, ex.Const):
            return 1.0
        if not isinstance(expr, ex.Ref):
            refs = ex.references(expr)
            if expr.type.id == "BOOLEAN":
                return 2.0
            return (
                min(rows, math.prod(self.distinct_values(plan, ex.Ref(i, plan.schema[i].type)) for i in refs)) if refs else 1.0
            )
        found = _origin(plan, expr.index)
        if found is None:
            return max(1.0, rows / 2)
        get, position = found
        return max(1.0, min(rows, _column_distinct(get, position)))

    def _rows(self, plan: lg.Plan) -> float:
        match plan:
            case lg.Get():
                whole = replace(plan, filters=())
                return table_rows(plan) * math.prod(self.selectivity(whole, f) for f in plan.filters)
            case lg.OneRow():
                return float(plan.num_rows)
            case lg.Select():
                return self._rows(plan.input) * self.selectivity(plan.input, plan.predicate)
            case lg.Compute():
                return self._rows(plan.input)
            case lg.Aggregate():
                rows = self.rows(plan.input)
                if not plan.groups:
                    return 1.0
                return min(rows, math.prod(self.distinct_values(plan.input, g) for g in plan.groups))
            case lg.Join():
                return self._join_rows(plan)
            case lg.Order() | lg.Slice():
                return self._rows(plan.input) if plan.limit is None else min(self._rows(plan.input), float(plan.limit))
            case lg.UnionAll():
                return sum(map(self._rows, plan.inputs))

    def _join_rows(self, join: lg.Join) -> float:
        left, right = self.rows(join.left), self.rows(join.right)
        matched = left * right
        containment = 1.0
        for c in join.conditions:
            if c.op in ("=", "IS NOT DISTINCT FROM"):
                ours, theirs = self.distinct_values(join.left, c.left), self.distinct_values(join.right, c.right)
                matched /= max(ours, theirs, 1.0)
                containment = min(containment, theirs / max(ours, 1.0))
            else:
                matched *= UNKNOWN_SELECTIVITY
        if join.residual is not None:
            matched *= UNKNOWN_SELECTIVITY
        match join.kind:
            case "semi":
                return left * min(1.0, containment)
            case "anti":
                return left * max(0.1, 1.0 - min(1.0, containment))
            case "mark" | "single":
                return left
            case "left":
                return max(left, matched)
            case "right":
                return max(right, matched)
            case "full":
                return max(left, right, matched)
        return matched

    def selectivity(self, plan: lg.Plan, predicate: Expr) -> float:
        """The share of rows of `plan` for which `predicate` is true, 0 to 1."""
        match predicate:
            case ex.Logic(op="AND", args=args):
                return math.prod(self.selectivity(plan, a) for a in args)
            case ex.Logic(op="OR", args=args):
                return 1.0 - math.prod(1.0 - self.selectivity(plan, a) for a in args)
            case ex.Not(arg=arg):
                return 1.0 - self.selectivity(plan, arg)
            case ex.Const(value=value):
                return 1.0 if value is True else 0.0
            case ex.IsNull(negated=negated):
                return 0.95 if negated else 0.05
            case ex.InList(arg=arg, items=items):
                share = min(1.0, len(items) / self.distinct_values(plan, arg))
                return 1.0 - share if predicate.negated else share
            case ex.Compare(op=op, left=ex.Ref() as column, right=ex.Const() as constant):
                return self._comparison(plan, op, column, constant)
            case ex.Compare(op="="):
                return 1.0 / max(1.0, *(self.distinct_values(plan, e) for e in (predicate.left, predicate.right)))
            case ex.Call(name="prefix" | "suffix" | "contains" | "~~" | "like_escape"):
                return LIKE_SELECTIVITY
        return UNKNOWN_SELECTIVITY

    def _comparison(self, plan: lg.Plan, op: str, column: ex.Ref, constant: ex.Const) -> float:
        if op in ("=", "IS NOT DISTINCT FROM"):
            return 1.0 / self.distinct_values(plan, column)
        if op in ("<>", "IS DISTINCT FROM"):
            return 1.0 - 1.0 / self.distinct_values(plan, column)
        found = _origin(plan, column.index)
        value = constant_number(constant)
        if found is None or value is None:
            return UNKNOWN_SELECTIVITY
        get, position = found
        statistics = get.table.statistics.columns.get(get.schema[position].name)
        low, high = (as_number(statistics.min), as_number(statistics.max)) if statistics else (None, None)
        if low is None or high is None:
            return UNKNOWN_SELECTIVITY
        below = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else float(value > low)
        return below if op in ("<", "<=") else 1.0 - below


def as_number(value: Any) -> float | None:
    """A statistics bound as a number on the scale of `constant_number`; None for text and unknown."""
    match value:
        case bool() | int() | float() | Decimal():
            return float(value)
        case dt.datetime():
            return value.replace(tzinfo=value.tzinfo or dt.UTC).timestamp() * 1e6
        case dt.date():
            return float(value.toordinal() - 719163)
    return None


def constant_number(constant: ex.Const) -> float | None:
    """A constant as a number: DATE in days, TIMESTAMP in microseconds, DECIMAL in units; None for text and NULL."""
    if constant.value is None or isinstance(constant.value, str):
        return None
    value = float(constant.value)
    match constant.type.id:
        case "DECIMAL":
            return value / 10.0**constant.type.scale
        case "TIMESTAMP_S":
            return value * 1e6
        case "TIMESTAMP_MS":
            return value * 1e3
        case "TIMESTAMP_NS":
            return value / 1e3
    return value
