"""Compute expressions that only DuckDB evaluates below the joins, where the scan does it in passing."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.types import Field

# Functions that give a value or NULL for every input and never an error, so that it is safe to evaluate them on rows which
# a join would have dropped.
TOTAL = frozenset(
    """~~ !~~ ~~* !~~* prefix suffix contains starts_with ends_with like_escape ilike_escape not_like_escape
    lower upper length strlen substring substr left right trim ltrim rtrim reverse concat || year month day quarter
    dayofweek dayofyear week hour minute second last_day coalesce strip_accents regexp_matches regexp_full_match""".split()
)


def push_computations(plan: lg.Plan) -> lg.Plan:
    """Move what is computed from one side of a join to that side.

        Aggregate sum(case when p_type like 'PROMO%' then x end)     Aggregate sum(case when $2 then x end)
          Join                                                   ->    Join
            Get lineitem                                                 Get lineitem
            Get part                                                     Compute [p_partkey, p_type like 'PROMO%']

    Only expressions without a kernel that cannot fail; only to sides whose rows the join does not pad with NULLs.
    """
    match plan:
        case lg.Compute(input=lg.Join() as join):
            new_join, exprs = _split(join, plan.exprs)
            plan = lg.Compute(new_join, exprs, plan.names)
        case lg.Select(input=lg.Join() as join):
            width = len(join.schema)
            new_join, (predicate,) = _split(join, (plan.predicate,))
            plan = lg.Select(new_join, predicate)
            if len(new_join.schema) != width:
                plan = _hide(plan, join)
        case lg.Aggregate(input=lg.Join() as join):
            plan = _split_aggregate(plan, join)
    if isinstance(plan, lg.Join) and plan.residual is not None:
        plan = _split_residual(plan)
    return lg.with_inputs(plan, tuple(push_computations(i) for i in plan.inputs))


def _split_aggregate(plan: lg.Aggregate, join: lg.Join) -> lg.Aggregate:
    exprs = (*plan.groups, *(e for c in plan.calls for e in c.exprs))
    new_join, found = _split(join, exprs)
    moved = dict(zip(exprs, found))
    groups = tuple(moved[g] for g in plan.groups)
    calls = tuple(c.over(moved.__getitem__) for c in plan.calls)
    return lg.Aggregate(new_join, groups, calls, plan.names)


def _split_residual(join: lg.Join) -> lg.Plan:
    assert join.residual is not None
    # the residual decides on pairs of rows before any padding, so both sides of every kind take part
    new, (residual,) = _split(replace(join, residual=None, kind="inner"), (join.residual,))
    changed = replace(join, left=new.left, right=new.right, conditions=new.conditions, residual=residual)
    return changed if len(changed.schema) == len(join.schema) else _hide(changed, join)


def _hide(plan: lg.Plan, join: lg.Join) -> lg.Plan:
    """The columns of `join` out of `plan`, whose join has more of them on either side."""
    inner = plan.input if isinstance(plan, lg.Select) else plan
    assert isinstance(inner, lg.Join)
    width, shift = len(join.left.schema), len(inner.left.schema)
    positions = [i if i < width else i - width + shift for i in range(len(join.schema))]
    refs = tuple(ex.Ref(p, f.type) for p, f in zip(positions, join.schema))
    return lg.Compute(plan, refs, tuple(f.name for f in join.schema))


def _split(join: lg.Join, exprs: tuple[Expr, ...]) -> tuple[lg.Join, tuple[Expr, ...]]:
    """`join` with more columns on its sides, and `exprs` over it with those columns in place of what they compute."""
    width, total = len(join.left.schema), len(join.left.schema) + len(join.right.schema)
    sides = {"inner": ["left", "right"], "full": []}.get(join.kind, ["left"])
    found: dict[Expr, str] = {}
    for expr in exprs:
        _collect(expr, width, sides, found)
    if not found or join.kind == "mark":
        return join, exprs
    added = {side: [e for e, s in found.items() if s == side] for side in ("left", "right")}
    left = _append(join.left, added["left"])
    right = _append(join.right, [ex.remap(e, {i: i - width for i in range(width, total)}) for e in added["right"]])
    shift = len(added["left"])
    moved = {i: i if i < width else i + shift for i in range(total)}
    places = {e: width + i for i, e in enumerate(added["left"])} | {e: total + shift + i for i, e in enumerate(added["right"])}
    residual = ex.remap(join.residual, moved) if join.residual is not None else None
    new = replace(join, left=left, right=right, residual=residual)
    return new, tuple(_replace(e, places, moved) for e in exprs)


def _collect(expr: Expr, width: int, sides: list[str], found: dict[Expr, str]) -> None:
    """The largest parts of `expr` that are worth moving and may be moved, and to which side."""
    refs = ex.references(expr)
    if refs and not isinstance(expr, ex.Ref) and not ex.has_kernel(expr) and is_total(expr):
        side = "left" if max(refs) < width else "right" if min(refs) >= width else ""
        if side in sides and expr.type.lane is not None:
            found[expr] = side
            return
    for child in ex.children(expr):
        _collect(child, width, sides, found)


def is_total(expr: Expr) -> bool:
    """Whether evaluating `expr` cannot fail, whatever the row."""
    for e in ex.walk(expr):
        match e:
            case ex.Call(name=name) if name not in TOTAL:
                return False
            case ex.Cast(is_try=False):
                return False
    return True


def _replace(expr: Expr, places: dict[Expr, int], moved: dict[int, int]) -> Expr:
    if expr in places:
        return ex.Ref(places[expr], expr.type)
    if isinstance(expr, ex.Ref):
        return replace(expr, index=moved[expr.index])
    return ex.with_children(expr, tuple(_replace(c, places, moved) for c in ex.children(expr)))


def _append(plan: lg.Plan, exprs: list[Expr]) -> lg.Plan:
    if not exprs:
        return plan
    fields = (*plan.schema, *(Field(f"computed{i}", e.type) for i, e in enumerate(exprs)))
    refs = tuple(ex.Ref(i, f.type) for i, f in enumerate(plan.schema))
    return lg.Compute(plan, (*refs, *exprs), tuple(f.name for f in fields))
