"""How many rows a logical operator gives, from the catalog's statistics; decides build sides, exchanges and join order.

The classic System R assumptions (Selinger et al., SIGMOD 1979): uniform values, independent conditions, the smaller key set
contained in the larger. Nothing here can make an answer wrong, only a plan slower.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sabot_sql.catalog.hive import fold
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.distribution import IS_NULL, LIKE, Distribution, like_matcher
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.pruning import facts_of
from sabot_sql.types import Lane, Schema, SqlType

UNKNOWN_ROW_BYTES = 64
UNKNOWN_SELECTIVITY = 0.25
SOURCE_ROWS = 1000.0
MOST_ITEMS = 200
MOST_UNKNOWN = 100.0
"""Distinct values of a text of which nothing is known: too many would make a large join look small."""
RANGES = ("<", "<=", ">", ">=")
EQUALITIES = ("=", "IS NOT DISTINCT FROM")
LEAST = 1e-4
"""What a range keeps at the least whose ends meet."""


def column_bytes(t: SqlType) -> int:
    """About how many bytes a value takes between operators."""
    match t.lane:
        case Lane.INT | Lane.UINT | Lane.FLOAT:
            return 8
        case Lane.WIDE:
            return 16
    return 32


def row_bytes(schema: Schema) -> int:
    """About how many bytes a row takes between operators."""
    return sum(column_bytes(f.type) for f in schema)


def table_rows(get: lg.Get) -> float:
    """The rows of the scanned table; guessed from its size where no footer tells."""
    statistics = get.table.statistics
    if statistics.rows is not None:
        return float(statistics.rows)
    return max(1.0, statistics.size_bytes / UNKNOWN_ROW_BYTES)


def _values(get: lg.Get, position: int) -> Distribution | None:
    """How the values of a scanned column lie, where the catalog knows."""
    return facts_of(get.table).distribution(fold(get.schema[position].name))


def _is_counted(get: lg.Get, position: int) -> bool:
    """Whether the distinct values of a scanned column are known, or the bounds of its integers are."""
    field, values = get.schema[position], _values(get, position)
    if field.type.id == "BOOLEAN" or (values is not None and values.distinct is not None):
        return True
    return values is not None and field.type.lane is Lane.INT and values.low is not None and values.high is not None


def _column_distinct(get: lg.Get, position: int) -> float:
    field = get.schema[position]
    total = table_rows(get)
    values = _values(get, position)
    if values is not None and values.distinct is not None:
        return values.distinct
    if values is not None and field.type.lane is Lane.INT and values.low is not None and values.high is not None:
        return min(total, (values.high - values.low) * 10.0**field.type.scale + 1)
    return total if field.type.lane is Lane.FLOAT else max(1.0, min(total / 10, MOST_UNKNOWN))


def _remainders(expr: Expr) -> float:
    """The most values that an integer's remainder by a constant has of one sign; of any other expression infinity."""
    if isinstance(expr, ex.Call) and expr.name in ("%", "mod") and expr.type.is_integer:
        divisor = expr.args[1]
        if isinstance(divisor, ex.Const) and divisor.value:
            return abs(float(divisor.value))
    return math.inf


def origin_of(plan: lg.Plan, index: int) -> tuple[lg.Get, int] | None:
    """The scan and the column in it that output column `index` of `plan` copies."""
    match plan:
        case lg.Get():
            return plan, index
        case lg.Compute():
            expr = plan.exprs[index]
            return origin_of(plan.input, expr.index) if isinstance(expr, ex.Ref) else None
        case lg.Select() | lg.Order() | lg.Slice() | lg.Sample() | lg.Shared():
            return origin_of(plan.input, index)
        case lg.Extend():
            return origin_of(plan.input, index) if index < len(plan.input.schema) else None
        case lg.Aggregate():
            if index < len(plan.groups) and isinstance(group := plan.groups[index], ex.Ref):
                return origin_of(plan.input, group.index)
        case lg.Join():
            width = len(plan.left.schema)
            if index < width:
                return origin_of(plan.left, index)
            return origin_of(plan.right, index - width) if plan.kind != "mark" else None
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
            found = math.prod(self.distinct_values(plan, ex.Ref(i, plan.schema[i].type)) for i in refs) if refs else 1.0
            return min(rows, found, _remainders(expr))
        origin = origin_of(plan, expr.index)
        if origin is None:
            return max(1.0, rows / 2)
        get, position = origin
        return max(1.0, min(rows, _column_distinct(get, position)))

    def is_known(self, plan: lg.Plan, expr: Expr) -> bool:
        """Whether `distinct_values` of `expr` over `plan` are counted or bounded, and not guessed."""
        if isinstance(expr, ex.Ref):
            origin = origin_of(plan, expr.index)
            return origin is not None and _is_counted(*origin)
        if expr.type.id == "BOOLEAN" or _remainders(expr) < math.inf:
            return True
        return all(self.is_known(plan, ex.Ref(i, plan.schema[i].type)) for i in ex.references(expr))

    def _rows(self, plan: lg.Plan) -> float:
        match plan:
            case lg.Get():
                whole = replace(plan, filters=())
                return table_rows(plan) * self._all(whole, plan.filters)
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
                return min(rows, math.prod(self.distinct_values(plan.input, g) for g in dict.fromkeys(plan.groups)))
            case lg.Join():
                return self._join_rows(plan)
            case lg.Order() | lg.Slice():
                return self._rows(plan.input) if plan.limit is None else min(self._rows(plan.input), float(plan.limit))
            case lg.UnionAll():
                return sum(map(self._rows, plan.inputs))
            case lg.Extend() | lg.Sample():
                return self._rows(plan.input)
            case lg.Shared():
                return self.rows(plan.input)
            case lg.Relational():
                return max(map(self._rows, plan.inputs), default=SOURCE_ROWS)

    def _join_rows(self, join: lg.Join) -> float:
        left, right = self.rows(join.left), self.rows(join.right)
        matched = left * right
        containment = 1.0
        seen: set[tuple[str, Expr]] = set()
        pairs: list[tuple[Expr, Expr]] = []
        for c in join.conditions:
            if c.op not in EQUALITIES:
                matched *= UNKNOWN_SELECTIVITY
                continue
            if not seen.isdisjoint(sides := (("left", c.left), ("right", c.right))):
                continue  # the other side's columns are equal to one another, which is counted where they are joined
            seen.update(sides)
            pairs.append((c.left, c.right))
            ours, theirs = self.distinct_values(join.left, c.left), self.distinct_values(join.right, c.right)
            matched /= max(ours, theirs, 1.0)
            containment = min(containment, theirs / max(ours, 1.0))
        if len(pairs) > 1:
            matched *= self.correlation(join.left, join.right, pairs)
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

    def correlation(self, left: lg.Plan, right: lg.Plan, pairs: Sequence[tuple[Expr, Expr]]) -> float:
        """How many times more rows a join on several columns gives than if they had nothing to do with each other, at least 1.

        A table cannot have more combinations of values than rows. Where it has fewer rows than its columns' values would
        make combinations, and so it is with a foreign key of several columns, the smaller table's rows are the combinations.
        """
        product = math.prod(max(self.distinct_values(left, a), self.distinct_values(right, b)) for a, b in pairs)
        tables = [
            rows
            for plan, exprs in ((left, [a for a, _ in pairs]), (right, [b for _, b in pairs]))
            if (rows := self._combinations(plan, exprs)) is not None
        ]
        return max(1.0, product / min(tables)) if tables else 1.0

    def _combinations(self, plan: lg.Plan, exprs: Sequence[Expr]) -> float | None:
        """The rows of the one table that `exprs` are columns of, where those are fewer than combinations of their values."""
        found = [origin_of(plan, e.index) if isinstance(e, ex.Ref) else None for e in exprs]
        known = [f for f in found if f is not None]
        if len(known) < len(found) or len({id(get) for get, _ in known}) != 1:
            return None
        rows = max(1.0, table_rows(known[0][0]))
        return rows if math.prod(_column_distinct(get, i) for get, i in known) > rows else None

    def selectivity(self, plan: lg.Plan, predicate: Expr) -> float:
        """The share of rows of `plan` for which `predicate` is true, 0 to 1."""
        match predicate:
            case ex.Logic(op="AND", args=args):
                return self._all(plan, args)
            case ex.Logic(op="OR", args=args):
                return 1.0 - math.prod(1.0 - self.selectivity(plan, a) for a in args)
            case ex.Not(arg=arg):
                return 1.0 - self.selectivity(plan, arg)
            case ex.Const(value=value):
                return 1.0 if value is True else 0.0
            case ex.IsNull(arg=arg, negated=negated):
                nulls = IS_NULL
                if isinstance(arg, ex.Ref) and (values := self.column(plan, arg)) and values.stats.null_count is not None:
                    nulls = values.null_share
                return 1.0 - nulls if negated else nulls
            case ex.InList(arg=arg, items=items):
                shares = [self._equality(plan, arg, item) for item in items[:MOST_ITEMS]]
                share = min(1.0, sum(shares) * len(items) / max(1, len(shares)))
                return 1.0 - share if predicate.negated else share
            case ex.Compare(op=op, left=ex.Ref() as column, right=ex.Const() as constant):
                return self._comparison(plan, op, column, constant)
            case ex.Compare(op="="):
                return 1.0 / max(1.0, *(self.distinct_values(plan, e) for e in (predicate.left, predicate.right)))
            case ex.Compare(op="<" | "<=" | ">" | ">=" as op, left=ex.Ref() as left, right=ex.Ref() as right):
                ours, theirs = self.column(plan, left), self.column(plan, right)
                if ours is None or theirs is None:
                    return UNKNOWN_SELECTIVITY
                return ours.before(theirs) if op[0] == "<" else theirs.before(ours)
            case ex.Call(name="prefix" | "suffix" | "contains" | "~~" | "like_escape" as name, args=args):
                return self._like(plan, name, args)
        return UNKNOWN_SELECTIVITY

    def _all(self, plan: lg.Plan, predicates: Sequence[Expr]) -> float:
        """What several predicates keep together: the two ends of a range over one column are one interval, all else is taken
        as independent."""
        kept = 1.0
        ends: dict[int, list[ex.Compare]] = {}
        for p in predicates:
            if isinstance(p, ex.Compare) and p.op in RANGES and isinstance(p.left, ex.Ref) and isinstance(p.right, ex.Const):
                ends.setdefault(p.left.index, []).append(p)
            else:
                kept *= self.selectivity(plan, p)
        for found in ends.values():
            below, above = ([p for p in found if p.op[0] == sign] for sign in "<>")
            shares = [min((self.selectivity(plan, p) for p in side), default=1.0) for side in (below, above)]
            if below and above and shares[0] + shares[1] > 1.0:
                kept *= max(shares[0] + shares[1] - 1.0, LEAST)
            else:
                kept *= shares[0] * shares[1]
        return kept

    def column(self, plan: lg.Plan, column: ex.Ref) -> Distribution | None:
        """How the values lie of the scanned column that `column` copies."""
        found = origin_of(plan, column.index)
        return None if found is None else _values(*found)

    def _equality(self, plan: lg.Plan, arg: Expr, item: Expr) -> float:
        """The share of rows in which `arg` equals `item`."""
        values = self.column(plan, arg) if isinstance(arg, ex.Ref) else None
        if values is not None and isinstance(item, ex.Const) and (value := plain_value(item)) is not None:
            # a scan of fewer rows than values is told so by `distinct_values`
            return max(values.point(value), 0.0) if values.distinct else 1.0 / self.distinct_values(plan, arg)
        return 1.0 / self.distinct_values(plan, arg)

    def _comparison(self, plan: lg.Plan, op: str, column: ex.Ref, constant: ex.Const) -> float:
        if op in ("=", "IS NOT DISTINCT FROM"):
            return self._equality(plan, column, constant)
        if op in ("<>", "IS DISTINCT FROM"):
            return 1.0 - self._equality(plan, column, constant)
        values = self.column(plan, column)
        at = values.place(plain_value(constant)) if values is not None else None
        if values is None or at is None:
            return UNKNOWN_SELECTIVITY
        found = values.between(None, at, end_open=op == "<") if op[0] == "<" else values.between(at, None, start_open=op == ">")
        return UNKNOWN_SELECTIVITY if found is None else found

    def _like(self, plan: lg.Plan, name: str, args: tuple[Expr, ...]) -> float:
        """The share of rows whose text is like a pattern, or begins with, ends with or contains a text."""
        if len(args) < 2 or not isinstance(args[0], ex.Ref) or not isinstance(args[1], ex.Const):
            return LIKE
        values, pattern = self.column(plan, args[0]), args[1].value
        if values is None or not isinstance(pattern, str) or (name != "~~" and set(pattern) & set("%_")):
            return LIKE
        pattern = {"prefix": f"{pattern}%", "suffix": f"%{pattern}", "contains": f"%{pattern}%"}.get(name, pattern)
        return values.like(pattern, like_matcher(pattern, False))


def plain_value(constant: ex.Const) -> Any:
    """A constant as the catalog's statistics hold values; None where it is NULL or of a type without statistics.

    Example:
        >>> from sabot_sql.types import parse_type
        >>> plain_value(ex.Const(8036, parse_type("DATE"))), plain_value(ex.Const(5, parse_type("DECIMAL(15,2)")))
        (datetime.date(1992, 1, 2), Decimal('0.05'))
    """
    value, kind = constant.value, constant.type.id
    if value is None or constant.sql is not None or isinstance(value, (bool, str)):
        return value if isinstance(value, (bool, str)) else None
    try:
        if kind == "DATE":
            return EPOCH.date() + dt.timedelta(days=int(value))
        if kind == "DECIMAL":
            return Decimal(int(value)).scaleb(-constant.type.scale)
        if kind in UNITS:
            return EPOCH + dt.timedelta(microseconds=int(value) * 10**6 // UNITS[kind])
    except (OverflowError, ValueError, ArithmeticError):
        return None
    return None if kind.startswith("TIME") else value


EPOCH = dt.datetime(1970, 1, 1)
UNITS = {"TIMESTAMP": 10**6, "TIMESTAMP WITH TIME ZONE": 10**6, "TIMESTAMP_S": 1, "TIMESTAMP_MS": 10**3, "TIMESTAMP_NS": 10**9}
"""Ticks a second of each type."""
