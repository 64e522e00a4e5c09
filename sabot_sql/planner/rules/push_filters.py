"""Move conditions as far down as they may go: into scans, to the join side they speak of, into join conditions."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr


def push_filters(plan: lg.Plan) -> lg.Plan:
    """Push every condition towards the scans.

        Select a.x > 1 and a.k = b.k          Join on a.k = b.k
          Join on nothing               ->      Get a where x > 1
            Get a                               Get b
            Get b

    A condition stays where it is above a limit, above the null-supplying side of an outer join, above an aggregate whose
    results it reads, and where it is volatile.
    """
    return _push(plan, ())


def is_volatile(expr: Expr) -> bool:
    """Whether `expr` may give another value at each evaluation."""
    return any(isinstance(e, ex.Call) and e.name in ex.VOLATILE for e in ex.walk(expr))


def substitute(expr: Expr, by: tuple[Expr, ...]) -> Expr:
    """`expr` with each column reference replaced by the expression at its position."""
    return ex.transform(expr, lambda e: by[e.index] if isinstance(e, ex.Ref) else e)


def _push(plan: lg.Plan, parts: tuple[Expr, ...]) -> lg.Plan:
    """`plan` with the conditions `parts` over its output applied."""
    match plan:
        case lg.Select():
            own = ex.conjuncts(plan.predicate)
            if any(map(is_volatile, own)):
                return _above(replace(plan, input=_push(plan.input, ())), parts)
            # its own first: what it lets through is all that those above may be asked about
            return _push(plan.input, (*own, *(p for p in parts if p not in own)))
        case lg.Get():
            movable = tuple(p for p in parts if not is_volatile(p))
            new = (*plan.filters, *(p for p in movable if p not in plan.filters))
            return _above(replace(plan, filters=new) if movable else plan, tuple(p for p in parts if is_volatile(p)))
        case lg.Compute():
            if any(map(is_volatile, plan.exprs)):
                return _above(replace(plan, input=_push(plan.input, ())), parts)
            return replace(plan, input=_push(plan.input, tuple(substitute(p, plan.exprs) for p in parts)))
        case lg.Aggregate():
            below = tuple(p for p in parts if (r := ex.references(p)) and max(r) < len(plan.groups) and not is_volatile(p))
            pushed = replace(plan, input=_push(plan.input, tuple(substitute(p, plan.groups) for p in below)))
            return _above(pushed, tuple(p for p in parts if p not in below))
        case lg.Order() if plan.limit is None and not plan.offset:
            return replace(plan, input=_push(plan.input, parts))
        case lg.UnionAll():
            return replace(plan, inputs=tuple(_push(i, parts) for i in plan.inputs))
        case lg.Join():
            return _push_join(plan, parts)
    return _above(lg.with_inputs(plan, tuple(_push(i, ()) for i in plan.inputs)), parts)


def _above(plan: lg.Plan, parts: tuple[Expr, ...]) -> lg.Plan:
    return lg.Select(plan, ex.conjunction(parts)) if parts else plan


def _push_join(join: lg.Join, parts: tuple[Expr, ...]) -> lg.Plan:
    width = len(join.left.schema)
    left: list[Expr] = []
    right: list[Expr] = []
    above: list[Expr] = []
    conditions = list(join.conditions)
    residual: list[Expr] = []
    for part in parts:
        side = _side(part, width)
        if side == "left" and join.kind != "full" and join.kind != "right" and not is_volatile(part):
            left.append(part)
        elif join.kind == "inner" and not is_volatile(part):
            _place(part, width, left, right, conditions, residual)
        else:
            above.append(part)
    for part in ex.conjuncts(join.residual) if join.residual is not None else ():
        if join.kind == "inner":
            _place(part, width, left, right, conditions, residual)
        elif join.kind in ("left", "semi", "anti") and _side(part, width) == "right" and not is_volatile(part):
            right.append(_shift(part, -width))
        else:
            residual.append(part)
    new = replace(
        join,
        left=_push(join.left, tuple(left)),
        right=_push(join.right, tuple(right)),
        conditions=tuple(conditions),
        residual=ex.conjunction(tuple(residual)) if residual else None,
    )
    return _above(new, tuple(above))


def _place(
    part: Expr, width: int, left: list[Expr], right: list[Expr], conditions: list[lg.Condition], residual: list[Expr]
) -> None:
    """Put one condition of an inner join where it belongs."""
    match _side(part, width):
        case "left":
            left.append(part)
        case "right":
            right.append(_shift(part, -width))
        case _ if (condition := _condition(part, width)) is not None:
            conditions.append(condition)
        case _:
            residual.append(part)


def _condition(part: Expr, width: int) -> lg.Condition | None:
    """`part` as a join condition where it equates an expression of one side with one of the other."""
    if not isinstance(part, ex.Compare) or part.op not in ("=", "IS NOT DISTINCT FROM"):
        return None
    sides = (_side(part.left, width), _side(part.right, width))
    if sides == ("left", "right"):
        return lg.Condition(part.left, part.op, _shift(part.right, -width))
    if sides == ("right", "left"):
        return lg.Condition(part.right, part.op, _shift(part.left, -width))
    return None


def _side(expr: Expr, width: int) -> str:
    """Which input of a join `expr` reads: left, right, both or none."""
    refs = ex.references(expr)
    if not refs:
        return "none"
    if max(refs) < width:
        return "left"
    return "right" if min(refs) >= width else "both"


def _shift(expr: Expr, by: int) -> Expr:
    return ex.transform(expr, lambda e: replace(e, index=e.index + by) if isinstance(e, ex.Ref) else e)
