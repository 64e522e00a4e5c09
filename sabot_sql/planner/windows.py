"""Window expressions of DuckDB's serialised plan, as SQL texts with the expressions that they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.render import INFIX, PREFIX, render
from sabot_sql.types import INTEGER, SqlType, quote_identifier

Json = dict[str, Any]

BOUNDS = {
    "UNBOUNDED_PRECEDING": "UNBOUNDED PRECEDING",
    "UNBOUNDED_FOLLOWING": "UNBOUNDED FOLLOWING",
    "CURRENT_ROW": "CURRENT ROW",
    "EXPR_PRECEDING": "PRECEDING",
    "EXPR_FOLLOWING": "FOLLOWING",
}
FOLDED = INFIX | PREFIX | {"list_value"}
UNITS = ("ROWS", "RANGE", "GROUPS")
INTERVAL = SqlType("INTERVAL")
ZERO_INTERVAL = ex.Const(None, INTERVAL, "to_days(0)")
ZERO, ONE = ex.Const(0, INTEGER), ex.Const(1, INTEGER)
NEAR = (ZERO, ZERO_INTERVAL)
A_MOMENT = ex.Const(None, INTERVAL, "to_microseconds(1)")
EXCLUDED = {"CURRENT_ROW": "CURRENT ROW", "GROUP": "GROUP", "TIES": "TIES"}


def is_constant(expr: Expr) -> bool:
    """Whether `expr` is a constant, or is made of constants by what DuckDB folds: a plan that it did not optimize has such."""
    if isinstance(expr, ex.Cast) or (isinstance(expr, ex.Call) and expr.name in FOLDED):
        return all(map(is_constant, ex.children(expr)))
    return isinstance(expr, ex.Const)


class Reads:
    """The expressions that texts read; `place` gives what stands for one in a text."""

    def __init__(self) -> None:
        self.exprs: list[Expr] = []

    def place(self, expr: Expr) -> str:
        """`{n}` for the n-th expression; a constant stands for itself, as some functions ask for one."""
        if is_constant(expr):
            return render(expr, ()).replace("{", "{{").replace("}", "}}")
        return "{" + str(self.position(expr)) + "}"

    def position(self, expr: Expr) -> int:
        """Where `expr` stands among the expressions."""
        if expr not in self.exprs:
            self.exprs.append(expr)
        return self.exprs.index(expr)


def order_text(keys: Sequence[lg.OrderKey], reads: Reads, over: Sequence[Expr] = ()) -> str:
    """The terms of an ORDER BY.

    Args:
        over: the arguments of the call with DISTINCT that is ordered: its keys must be written as expressions over these.
    """
    return ", ".join(
        f"{_key_text(k.expr, reads, over)} {'DESC' if k.descending else 'ASC'} NULLS {'FIRST' if k.nulls_first else 'LAST'}"
        for k in keys
    )


def _key_text(key: Expr, reads: Reads, over: Sequence[Expr]) -> str:
    """A key that is constant is cast: DuckDB takes a bare literal for a mistake."""
    if over and key not in over and not is_constant(key):
        return _text_over(key, over, reads)
    text = reads.place(key)
    return f"CAST({text} AS {key.type})" if isinstance(key, ex.Const) else text


def _text_over(expr: Expr, parts: Sequence[Expr], reads: Reads) -> str:
    """`expr` as a text that reads `parts`, and of the columns only those that stand in none of them."""
    places: list[str] = []

    def inside(e: Expr) -> Expr:
        if e in parts or isinstance(e, ex.Ref):
            places.append(reads.place(e))
            return ex.Ref(len(places) - 1, e.type)
        return ex.with_children(e, tuple(map(inside, ex.children(e))))

    found = inside(expr)
    marks = [f"\0{i}\0" for i in range(len(places))]  # no text that is rendered has this character
    text = render(found, marks).replace("{", "{{").replace("}", "}}")
    for mark, place in zip(marks, places):
        text = text.replace(mark, place)
    return text


def aggregate_text(call: lg.Call, reads: Reads) -> str:
    """SQL of an aggregate call; `{n}` stands for the n-th expression of `reads`."""
    inside = "*" if call.function == "count_star" else ", ".join(map(reads.place, call.args))
    if call.distinct:
        inside = f"DISTINCT {inside}"
    if call.order:
        inside += f" ORDER BY {order_text(call.order, reads, call.args if call.distinct else ())}"
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
    keys, frame = _frame(e, list(order_keys(e["orders"])), reads, expression)
    if keys:
        parts.append("ORDER BY " + order_text(keys, reads))
    parts.append(frame)
    return f"{text} OVER ({' '.join(p for p in parts if p)})"


def _frame(e: Json, keys: list[lg.OrderKey], reads: Reads, expression: Callable[[Json], Expr]) -> tuple[list[lg.OrderKey], str]:
    """The ORDER BY and the frame clause; none for the default frame, which functions without frames do not take."""
    exclude = EXCLUDED.get(e["exclude_clause"])
    start, end = e["start"], e["end"]
    if (start, end, exclude) == ("UNBOUNDED_PRECEDING", "CURRENT_ROW_RANGE", None):
        return keys, ""
    unit = next((u for bound in (start, end) for u in UNITS if bound.endswith("_" + u)), "ROWS")
    offsets = [expression(e[name]) if e.get(name) else None for name in ("start_expr", "end_expr")]
    if unit == "RANGE" and any(o is not None for o in offsets):
        keys, offsets = _distances(keys[0], offsets, [kind.startswith("EXPR_PRECEDING") for kind in (start, end)])
    low, high = (_bound(b, o, reads) for b, o in zip((start, end), offsets))
    return keys, f"{unit} BETWEEN {low} AND {high}" + (f" EXCLUDE {exclude}" if exclude else "")


def _distances(
    key: lg.OrderKey, bounds: list[Expr | None], precedings: list[bool]
) -> tuple[list[lg.OrderKey], list[Expr | None]]:
    """The key of a RANGE frame and how far its bounds are from it: the plan has the bounds themselves, `key - distance`."""
    found = [None if b is None else _distance(key, b, preceding) for b, preceding in zip(bounds, precedings)]
    if isinstance(key.expr, ex.Const) and all(b is None or isinstance(b, ex.Const) for b in bounds):
        # of any type: every row is a peer of every other one, and a bound is at the key or beyond all rows
        key, found = replace(key, expr=ZERO), [b and (ZERO if b in NEAR else ONE) for b in found]
    return [key], found


def _distance(key: lg.OrderKey, bound: Expr, preceding: bool) -> Expr:
    sign, t = "-" if preceding != key.descending else "+", key.expr.type
    # either side may be cast to the type in which they are compared
    if _bare(bound) == _bare(key.expr):
        return ZERO_INTERVAL if t.id.startswith("TIMESTAMP") else ZERO
    if isinstance(bound, ex.Const) and isinstance(key.expr, ex.Const):
        at, beyond = (ZERO_INTERVAL, A_MOMENT) if t.id.startswith(("DATE", "TIME")) else (ZERO, ONE)
        return at if bound.value is None and bound.sql is None else beyond
    sides = _bare(bound)
    if isinstance(sides, ex.Call) and sides.name == sign and len(sides.args) == 2 and _is_key(sides.args[0], key.expr):
        distance = sides.args[1]
        if distance.type.is_integer and t.id == "TIMESTAMP":  # a date that is compared with one plus an interval
            return ex.Call("to_days", (ex.Cast(distance, INTEGER),), INTERVAL)
        return distance
    if t != bound.type or not (t.is_integer or t.id == "DECIMAL"):
        raise NotSupported("this RANGE frame, whose end DuckDB has rewritten, cannot run distributed yet")
    return ex.Cast(ex.Call("-", (key.expr, bound) if sign == "-" else (bound, key.expr), t), t)


def _is_key(found: Expr, key: Expr) -> bool:
    """Whether a bound begins with the key, of which constants may be folded into another type."""
    return _bare(found) == _bare(key) or (is_constant(found) and is_constant(key))


def _bare(expr: Expr) -> Expr:
    return _bare(expr.arg) if isinstance(expr, ex.Cast) else expr


def _bound(kind: str, offset: Expr | None, reads: Reads) -> str:
    name = kind
    for unit in UNITS:
        name = name.removesuffix("_" + unit)
    if name not in BOUNDS:
        raise NotSupported(f"window bound {kind.lower()} cannot run distributed yet")
    if offset is None:
        return BOUNDS[name]
    return f"{reads.place(offset)} {BOUNDS[name]}"
