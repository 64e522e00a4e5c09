"""Expressions that DataFusion computes as DuckDB does: see local_datafusion_proven."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from sqlglot import exp

Kind = Literal["int", "float", "decimal", "text", "date", "timestamp", "instant", "time", "bool", "real", "null"]
Columns = dict[str, Kind | None]
Scope = dict[str, Columns]

FLOATING = frozenset(("float", "real"))
ORDERED_ALIKE: tuple[Kind, ...] = ("int", "decimal", "text", "date", "timestamp", "instant", "time", "bool")


class Unproven(Exception):
    """Names the construct that is not on the list."""


class Rows:
    """Expressions over the columns of one FROM; `sums` collects the sums of integers."""

    def __init__(self, scope: Scope, sums: list[exp.Expression]) -> None:
        self.scope = scope
        self.sums = sums
        self.joined = len(scope) > 1

    def has(self, name: str) -> bool:
        return any(name in columns for columns in self.scope.values())

    def value(self, node: exp.Expression) -> Kind:
        """The kind of a proven expression."""
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Paren():
                return self.value(node.this)
            case exp.Literal():
                return _literal(node)
            case exp.Null():
                return "null"
            case exp.Boolean():
                return "bool"
            case exp.Neg():
                kind = self.value(node.this)
                if kind not in ("float", "decimal") and not isinstance(node.this, exp.Literal):
                    raise Unproven("negation of an integer column")
                return kind
            case exp.Cast():
                return self._cast(node)
            case exp.Add() | exp.Sub() | exp.Mul():
                return self._arithmetic(node)
            case exp.DPipe():
                if self.value(node.this) == self.value(node.expression) == "text":
                    return "text"
                raise Unproven("|| of other types than VARCHAR")
            case exp.Count() | exp.Sum() | exp.Avg() | exp.Min() | exp.Max():
                return self._aggregate(node)
            case exp.Case():
                return self._case(node)
            case exp.Coalesce():
                return self._same([node.this, *node.expressions], "COALESCE")
            case exp.Nullif():
                self._comparable(node.this, node.expression)
                return self._same([node.this, node.expression], "NULLIF")
            case exp.Filter() if isinstance(node.this, AGGREGATES):
                self.predicate(node.expression.this)
                return self._aggregate(node.this)
            case exp.Window() if isinstance(node.this, exp.Rank | exp.DenseRank):
                return self._rank(node)
            case exp.Year() | exp.Month() | exp.Day() | exp.Length() | exp.Left() | exp.Right() | exp.Substring() | exp.Trim():
                return self._function(node)
        if isinstance(node, PREDICATES):
            self.predicate(node)
            return "bool"
        raise Unproven(name_of(node))

    def _column(self, node: exp.Expression) -> Kind:
        name, of = node.name.lower(), node.table.lower()
        held = [c[name] for alias, c in self.scope.items() if name in c and of in ("", alias)]
        if len(held) != 1 or node.args.get("db"):
            raise Unproven(f"column {name}")
        if held[0] is None:
            raise Unproven(f"the type of column {name}")
        return held[0]

    def _cast(self, node: exp.Expression) -> Kind:
        if isinstance(node, exp.TryCast):
            raise Unproven("TRY_CAST")
        inner = node.this
        if isinstance(inner, exp.Literal) and inner.is_string and node.is_type(exp.DataType.Type.DATE):
            if not _is_date(inner.name):
                raise Unproven(f"the date {inner.name!r}")
            return "date"
        if self.value(inner) == "int" and node.is_type(exp.DataType.Type.DOUBLE):
            return "float"
        raise Unproven(f"CAST to {node.args['to'].sql()}")

    def _arithmetic(self, node: exp.Expression) -> Kind:
        left, right = self.value(node.this), self.value(node.expression)
        if "float" in (left, right) and {left, right} <= {"float", "int", "decimal"}:
            sides = (node.this, node.expression)
            if all(k == "float" or isinstance(s, exp.Literal) or k == "int" for k, s in zip((left, right), sides)):
                return "float"
        if left == right == "decimal" and not isinstance(node, exp.Mul):
            return "decimal"
        raise Unproven(f"{node.key.upper()} of other types than DOUBLE")

    def _aggregate(self, node: exp.Expression) -> Kind:
        inner = node.this
        if isinstance(node, exp.Count):
            if isinstance(inner, exp.Star):
                return "int"
            items = inner.expressions if isinstance(inner, exp.Distinct) else [inner]
            if len(items) != 1 or node.expressions or (isinstance(inner, exp.Distinct) and self.value(items[0]) in FLOATING):
                raise Unproven("COUNT of several columns, or DISTINCT of DOUBLE")
            self.value(items[0])
            return "int"
        kind = self.value(inner) if isinstance(inner, exp.Expression) and not isinstance(inner, exp.Distinct) else None
        allowed = {"sum": ("int", "float", "decimal"), "avg": ("int", "float")}.get(node.key, ORDERED_ALIKE)
        if kind is None or kind not in allowed or node.expressions:
            raise Unproven(f"{node.key.upper()} of {kind or 'DISTINCT'}")
        if node.key == "sum" and kind == "int":
            self.sums.append(node)
            return "decimal"
        return "float" if node.key == "avg" else kind

    def _rank(self, node: exp.Expression) -> Kind:
        order = node.args.get("order")
        extra = [k for k, v in node.args.items() if v and k not in ("this", "partition_by", "order", "over")]
        if extra or node.this.expressions or order is None:
            raise Unproven(f"{node.this.key.upper()} with {(extra or ['no ORDER BY'])[0].upper()}")
        for key in [*(node.args.get("partition_by") or ()), *(o.this for o in order.expressions)]:
            if not isinstance(key, exp.Column) or self.value(key) not in ORDERED_ALIKE:
                raise Unproven(f"{node.this.key.upper()} over an expression, or over DOUBLE")
        return "int"

    def _function(self, node: exp.Expression) -> Kind:
        kind = self.value(node.this)
        extra = [v for k, v in node.args.items() if v and k != "this"]
        if isinstance(node, exp.Year | exp.Month | exp.Day):
            if kind in ("date", "timestamp") and not extra:
                return "int"
        elif kind == "text" and isinstance(node, exp.Length | exp.Trim):
            if not extra:
                return "int" if isinstance(node, exp.Length) else "text"
        elif kind == "text" and all(isinstance(v, exp.Literal) and v.is_int for v in extra):
            start = node.args.get("start")
            if start is None or int(start.name) > 0:
                return "text"
        raise Unproven(name_of(node))

    def _case(self, node: exp.Expression) -> Kind:
        if node.this is not None:
            raise Unproven("CASE with an operand")
        for branch in node.args["ifs"]:
            self.predicate(branch.this)
        values = [branch.args["true"] for branch in node.args["ifs"]]
        otherwise = node.args.get("default")
        return self._same([*values, *([otherwise] if otherwise is not None else [])], "CASE")

    def _same(self, nodes: list[exp.Expression], what: str) -> Kind:
        kinds = {self.value(n) for n in nodes} - {"null"}
        if len(kinds) != 1:
            raise Unproven(f"{what} of different types")
        return kinds.pop()

    def predicate(self, node: exp.Expression) -> None:
        """Check a condition."""
        match node:
            case exp.And() | exp.Or():
                self.predicate(node.this)
                self.predicate(node.expression)
            case exp.Not() | exp.Paren():
                self.predicate(node.this)
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                self._comparable(node.this, node.expression)
            case exp.Between() if not node.args.get("symmetric"):
                self._comparable(node.this, node.args["low"])
                self._comparable(node.this, node.args["high"])
            case exp.In() if node.expressions and all(isinstance(e, (exp.Literal, exp.Cast)) for e in node.expressions):
                for item in node.expressions:
                    self._comparable(node.this, item)
            case exp.NullSafeEQ() | exp.NullSafeNEQ():
                self._comparable(node.this, node.expression)
            case exp.Is() if isinstance(node.expression, exp.Null):
                self.value(node.this)
            case exp.Is() if isinstance(node.expression, exp.Boolean) and self.value(node.this) == "bool":
                pass
            case exp.StartsWith() if isinstance(node.expression, exp.Literal):
                if self.value(node.this) != "text" or self.value(node.expression) != "text":
                    raise Unproven("starts_with of other types than VARCHAR")
            case exp.Like() if isinstance(node.expression, exp.Literal) and "\\" not in node.expression.name:
                if self.value(node.this) != "text":
                    raise Unproven("LIKE of other types than VARCHAR")
            case exp.Boolean():
                pass
            case exp.Column() if self.value(node) == "bool":
                pass
            case _:
                raise Unproven(name_of(node))

    def _comparable(self, left: exp.Expression, right: exp.Expression) -> None:
        kinds = {self.value(left), self.value(right)}
        exact = kinds <= {"int", "decimal"} and (len(kinds) == 1 or any(isinstance(n, exp.Literal) for n in (left, right)))
        if not exact and kinds not in ({"text"}, {"date"}, {"timestamp"}, {"instant"}, {"bool"}):
            raise Unproven(f"comparison of {' and '.join(sorted(kinds))}")


PREDICATES = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.Between,
    exp.In,
    exp.Is,
    exp.Like,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.StartsWith,
)
AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and dt.date.fromisoformat(text) is not None
    except ValueError:
        return False


def _literal(node: exp.Expression) -> Kind:
    if node.is_string:
        return "text"
    if node.is_int:
        if len(node.name) > 18:
            raise Unproven("integers above 18 digits")
        return "int"
    return "float" if "e" in node.name.lower() else "decimal"


def name_of(node: exp.Expression) -> str:
    if isinstance(node, exp.Anonymous):
        return f"function {node.name.lower()}"
    return f"function {node.sql_name().lower()}" if isinstance(node, exp.Func) else node.key.upper()
