"""Window expressions of DuckDB's serialised plan, as SQL texts with the expressions that they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.render import render_constant
from sabot_sql.types import SqlType, quote_identifier

Json = dict[str, Any]

BOUNDS = {
    "UNBOUNDED_PRECEDING": "UNBOUNDED PRECEDING",
    "UNBOUNDED_FOLLOWING": "UNBOUNDED FOLLOWING",
    "CURRENT_ROW": "CURRENT ROW",
    "EXPR_PRECEDING": "PRECEDING",
    "EXPR_FOLLOWING": "FOLLOWING",
}
UNITS = ("ROWS", "RANGE", "GROUPS")
EXCLUDED = {"CURRENT_ROW": "CURRENT ROW", "GROUP": "GROUP", "TIES": "TIES"}


class Reads:
    """The expressions that texts read; `place` gives what stands for one in a text."""

    def __init__(self) -> None:
        self.exprs: list[Expr] = []

    def place(self, expr: Expr) -> str:
        """`{n}` for the n-th expression; a constant stands for itself, as some functions ask for one."""
        if isinstance(expr, ex.Const):
            return render_constant(expr).replace("{", "{{").replace("}", "}}")
        return "{" + str(self.position(expr)) + "}"

    def position(self, expr: Expr) -> int:
        """Where `expr` stands among the expressions."""
        if expr not in self.exprs:
            self.exprs.append(expr)
        return self.exprs.index(expr)


def order_text(keys: list[lg.OrderKey], reads: Reads) -> str:
    """The terms of an ORDER BY."""
    return ", ".join(
        f"{reads.place(k.expr)} {'DESC' if k.descending else 'ASC'} NULLS {'FIRST' if k.nulls_first else 'LAST'}" for k in keys
    )


def aggregate_text(call: lg.Call, reads: Reads) -> str:
    """SQL of an aggregate call; `{n}` stands for the n-th expression of `reads`."""
    inside = "*" if call.function == "count_star" else ", ".join(map(reads.place, call.args))
    if call.distinct:
        inside = f"DISTINCT {inside}"
    if call.order:
        inside += f" ORDER BY {order_text(list(call.order), reads)}"
    where = "" if call.filter is None else f" FILTER (WHERE {reads.place(call.filter)})"
    name = "count" if call.function == "count_star" else call.function
    return f"{quote_identifier(name)}({inside}){where}"


def windows(
    entries: list[Json],
    child: lg.Plan,
    expression: Callable[[Json], Expr],
    order_keys: Callable[[list[Json]], tuple[lg.OrderKey, ...]],
    type_of: Callable[[Json], SqlType],
) -> lg.Plan:
    """`child` with a column for each window expression, in their order; those of one PARTITION BY are one operator."""
    plan, width = child, len(child.schema)
    groups: dict[frozenset[Expr], list[int]] = {}
    partitions = [[expression(p) for p in e["partitions"]] for e in entries]
    for i, found in enumerate(partitions):
        keys = frozenset(p for p in found if not isinstance(p, ex.Const))
        groups.setdefault(keys, []).append(i)
    places: dict[int, int] = {}
    for numbers in groups.values():
        reads = Reads()
        together = tuple(dict.fromkeys(reads.position(p) for p in partitions[numbers[0]] if not isinstance(p, ex.Const)))
        texts = tuple(_window(entries[i], partitions[i], reads, expression, order_keys) for i in numbers)
        types = tuple(type_of(entries[i]["return_type"]) for i in numbers)
        at = len(plan.schema)
        places |= {number: at + i for i, number in enumerate(numbers)}
        plan = lg.Extend(plan, tuple(reads.exprs), texts, types, together, "Window")
    if [places[i] for i in range(len(entries))] == list(range(width, width + len(entries))):
        return plan
    schema = plan.schema
    positions = [*range(width), *(places[i] for i in range(len(entries)))]
    return lg.Compute(plan, tuple(ex.Ref(p, schema[p].type) for p in positions), tuple(schema[p].name for p in positions))


def _window(
    e: Json,
    partitions: list[Expr],
    reads: Reads,
    expression: Callable[[Json], Expr],
    order_keys: Callable[[list[Json]], tuple[lg.OrderKey, ...]],
) -> str:
    kind = e["type"]
    if kind == "WINDOW_AGGREGATE":
        name = str(e["qname"]["path"][-1])
    elif kind.startswith("WINDOW_"):
        name = kind.removeprefix("WINDOW_").lower()
    else:
        raise NotSupported(f"window function {kind.lower()} cannot run distributed yet")
    if name == "count_star":
        name, args = "count", ["*"]
    else:
        args = [reads.place(expression(c)) for c in e["children"]]
    for extra in ("offset_expr", "default_expr"):
        if e.get(extra):
            args.append(reads.place(expression(e[extra])))
    inside = ("DISTINCT " if e.get("distinct") else "") + ", ".join(args)
    if e.get("arg_orders"):
        inside += " ORDER BY " + order_text(list(order_keys(e["arg_orders"])), reads)
    if e.get("ignore_nulls"):
        inside += " IGNORE NULLS"
    text = f"{quote_identifier(name)}({inside})"
    if e.get("filters"):
        text += f" FILTER (WHERE {reads.place(expression(e['filters']))})"
    parts = []
    if partitions:
        parts.append("PARTITION BY " + ", ".join(map(reads.place, partitions)))
    if e["orders"]:
        parts.append("ORDER BY " + order_text(list(order_keys(e["orders"])), reads))
    parts.append(_frame(e, reads, expression, order_keys))
    return f"{text} OVER ({' '.join(p for p in parts if p)})"


def _frame(
    e: Json,
    reads: Reads,
    expression: Callable[[Json], Expr],
    order_keys: Callable[[list[Json]], tuple[lg.OrderKey, ...]],
) -> str:
    """The frame clause; none for the default frame, which functions without frames do not take."""
    exclude = EXCLUDED.get(e["exclude_clause"])
    start, end = e["start"], e["end"]
    if (start, end, exclude) == ("UNBOUNDED_PRECEDING", "CURRENT_ROW_RANGE", None):
        return ""
    unit = next((u for bound in (start, end) for u in UNITS if bound.endswith("_" + u)), "ROWS")
    sides = ((start, e.get("start_expr")), (end, e.get("end_expr")))
    exprs = [None if offset is None else expression(offset) for _, offset in sides]
    if unit == "RANGE" and any(exprs):
        (key,) = order_keys(e["orders"])
        exprs = [
            None if x is None else _distance(key, x, kind.startswith("EXPR_PRECEDING")) for (kind, _), x in zip(sides, exprs)
        ]
    low, high = (_bound(kind, x, reads) for (kind, _), x in zip(sides, exprs))
    return f"{unit} BETWEEN {low} AND {high}" + (f" EXCLUDE {exclude}" if exclude else "")


def _distance(key: lg.OrderKey, bound: Expr, preceding: bool) -> Expr:
    """How far from the row's key a RANGE frame reaches: DuckDB's plan holds the key where it ends, `key - distance` for what
    comes before in ascending order."""
    sign = "-" if preceding != key.descending else "+"
    keys = (key.expr, key.expr.arg) if isinstance(key.expr, ex.Cast) else (key.expr,)  # DATE - INTERVAL is a TIMESTAMP
    if isinstance(bound, ex.Call) and bound.name == sign and len(bound.args) == 2 and bound.args[0] in keys:
        return bound.args[1]
    t = key.expr.type
    if t != bound.type or not (t.is_integer or t.id == "DECIMAL"):
        raise NotSupported("this RANGE frame, whose end DuckDB has rewritten, cannot run distributed yet")
    return ex.Cast(ex.Call("-", (key.expr, bound) if sign == "-" else (bound, key.expr), t), t, False)


def _bound(kind: str, offset: Expr | None, reads: Reads) -> str:
    name = kind
    for unit in UNITS:
        name = name.removesuffix("_" + unit)
    if name not in BOUNDS:
        raise NotSupported(f"window bound {kind.lower()} cannot run distributed yet")
    if offset is None:
        return BOUNDS[name]
    return f"{reads.place(offset)} {BOUNDS[name]}"
