"""Aggregate below a join what comes from one side of it, where that side has few combinations of keys and groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import EQUALITIES, Estimator
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.kernel_aggregates import has_kernel
from sabot_sql.planner.physical import sum_type
from sabot_sql.planner.rules.push_computations import is_total
from sabot_sql.planner.rules.push_filters import is_volatile, substitute
from sabot_sql.types import Lane

LEAST_ROWS = 200_000
"""Below so many rows a further aggregate costs more than it saves."""

MOST_GROUPS = 50_000
"""More groups than these cost more below the join than the join's rows above it."""

LEAST_SHARE = 0.5
"""The share of the side's rows that the join must keep: rows it would drop are aggregated in vain."""

AGAIN = {"sum": "sum", "count": "sum", "count_star": "sum", "min": "min", "max": "max"}
"""The function that aggregates what a function gave for parts of the rows."""


def push_aggregates(plan: lg.Plan) -> lg.Plan:
    """Aggregate one side of an inner join by its join keys first (eager aggregation, Yan and Larson, VLDB 1995).

        Aggregate s_nation, sum(l_quantity)        Aggregate s_nation, sum(sum)
          Join l_suppkey = s_suppkey         ->      Join l_suppkey = s_suppkey
            Get lineitem                               Aggregate l_suppkey, sum(l_quantity)
            Get supplier                                 Get lineitem
                                                       Get supplier

    Only sums, counts and extremes of one side that cannot fail on rows which the join drops, and only where the catalog knows
    that there will be few groups.
    """
    return _push(plan, Estimator())


def _push(plan: lg.Plan, estimator: Estimator) -> lg.Plan:
    if isinstance(plan, lg.Aggregate) and plan.groups and plan.calls:
        join, groups, calls = _over_join(plan)
        if join is not None:
            plan = _eager(plan, join, groups, calls, estimator) or plan
    return lg.with_inputs(plan, tuple(_push(i, estimator) for i in plan.inputs))


def _over_join(plan: lg.Aggregate) -> tuple[lg.Join | None, tuple[Expr, ...], tuple[lg.Call, ...]]:
    """The inner join that `plan` aggregates, through projections, with groups and calls over its columns."""
    below, groups, calls = plan.input, plan.groups, plan.calls
    while isinstance(below, lg.Compute) and not any(map(is_volatile, below.exprs)):
        exprs = below.exprs
        groups = tuple(substitute(g, exprs) for g in groups)
        calls = tuple(c.over(lambda e: substitute(e, exprs)) for c in calls)  # noqa: B023
        below = below.input
    if not isinstance(below, lg.Join) or below.kind != "inner" or below.residual is not None or not below.conditions:
        return None, groups, calls
    return below, groups, calls


def _eager(
    plan: lg.Aggregate, join: lg.Join, groups: tuple[Expr, ...], calls: tuple[lg.Call, ...], estimator: Estimator
) -> lg.Plan | None:
    if any(c.op not in EQUALITIES for c in join.conditions) or not all(map(_is_mergeable, calls)):
        return None
    if any(map(is_volatile, groups)):
        return None
    width = len(join.left.schema)
    sides = {s for c in calls for a in c.args for s in _sides(a, width)} or {
        "left" if estimator.rows(join.left) >= estimator.rows(join.right) else "right"
    }
    if len(sides) > 1 or any(len(_sides(g, width)) > 1 for g in groups):
        return None
    left = sides == {"left"}
    here, shift = (join.left, 0) if left else (join.right, width)

    def local(expr: Expr) -> Expr:
        return ex.remap(expr, {i: i - shift for i in ex.references(expr)})

    keys = [c.left if left else c.right for c in join.conditions]
    ours = [local(g) for g in groups if _sides(g, width) == sides]
    by = tuple(dict.fromkeys((*keys, *ours)))
    made = tuple(dict.fromkeys(c.over(local) for c in calls))
    if not all(map(_is_group, by)) or not all(is_total(a) for c in made for a in c.args):
        return None
    names = (*(f"g{i}" for i in range(len(by))), *(f"s{i}" for i in range(len(made))))
    first = lg.Aggregate(here, by, made, names)
    return _rebuilt(plan, join, groups, calls, first, local) if _pays(first, join, estimator) else None


def _pays(first: lg.Aggregate, join: lg.Join, estimator: Estimator) -> bool:
    rows = estimator.rows(first.input)
    if rows < LEAST_ROWS or estimator.rows(join) < LEAST_SHARE * rows:
        return False
    return estimator.rows(first) <= MOST_GROUPS and all(estimator.is_known(first.input, g) for g in first.groups)


def _rebuilt(
    plan: lg.Aggregate,
    join: lg.Join,
    groups: tuple[Expr, ...],
    calls: tuple[lg.Call, ...],
    first: lg.Aggregate,
    local: Callable[[Expr], Expr],
) -> lg.Plan:
    """`plan` over `join`, one of whose inputs `first` stands for."""
    left = first.input is join.left
    width, narrow, total = len(join.left.schema), len(first.schema), len(join.schema)
    # where columns of the join stand now: those of the other side move, those of this one are read through `first`
    moved = {i: i - width + narrow for i in range(width, total)} if left else {i: i for i in range(width)}
    start = 0 if left else width

    def column(position: int) -> ex.Ref:
        return ex.Ref(start + position, first.schema[position].type)

    def over(group: Expr) -> Expr:
        refs = ex.references(group)
        if refs and not refs <= moved.keys():
            return column(first.groups.index(local(group)))
        return ex.remap(group, {i: moved[i] for i in refs})

    conditions = tuple(
        replace(c, left=ex.Ref(i, c.left.type)) if left else replace(c, right=ex.Ref(i, c.right.type))
        for c in join.conditions
        for i in (first.groups.index(c.left if left else c.right),)
    )
    inner = replace(join, left=first if left else join.left, right=join.right if left else first, conditions=conditions)
    again = []
    for call in calls:
        state = column(len(first.groups) + first.calls.index(call.over(local)))
        function = AGAIN[call.function]
        again.append(lg.Call(function, (state,), sum_type(state.type) if function == "sum" else state.type))
    above = lg.Aggregate(inner, tuple(map(over, groups)), tuple(again), plan.names)
    wanted = plan.schema
    if all(f.type == w.type for f, w in zip(above.schema, wanted)):
        return above
    refs = (ex.Ref(i, f.type) for i, f in enumerate(above.schema))
    return lg.Compute(above, tuple(r if r.type == w.type else ex.Cast(r, w.type) for r, w in zip(refs, wanted)), plan.names)


def _is_mergeable(call: lg.Call) -> bool:
    """Whether what `call` gives for parts of the rows, each any number of times, can be aggregated to what it gives for all."""
    if call.function not in AGAIN or call.distinct or call.filter is not None or call.order or not has_kernel(call):
        return False
    # a sum of wide values may be too large over rows that the join drops
    return call.function != "sum" or call.args[0].type.lane is not Lane.WIDE


def _is_group(expr: Expr) -> bool:
    """Whether rows may be grouped by `expr` before it is looked at; zeros of either sign would become one."""
    return is_total(expr) and expr.type.lane is not None and expr.type.lane is not Lane.FLOAT


def _sides(expr: Expr, width: int) -> frozenset[str]:
    return frozenset("left" if i < width else "right" for i in ex.references(expr))
