"""Express the join kinds that no operator runs by those that one does."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.nullness import is_never_null
from sabot_sql.planner.whole_joins import duckdb_mark
from sabot_sql.types import BIGINT, BOOLEAN, VARCHAR

EQUALITIES = ("=", "IS NOT DISTINCT FROM")


def rewrite_joins(plan: lg.Plan) -> lg.Plan:
    """Rewrite mark joins into semi, anti and left joins, and right joins into left ones.

        Select mark                           Compute [left columns, TRUE]
          Join mark                     ->      Join semi

    and likewise `not mark` into an anti join, where NULLs cannot make the mark unknown (EXISTS, and NOT IN over columns that
    have none). Any other use computes the mark: TRUE where a left join with the distinct keys finds one, NULL where SQL's IN
    does not know, else FALSE.
    """
    if isinstance(plan, lg.Select) and isinstance(plan.input, lg.Join) and plan.input.kind == "mark":
        return _select_mark(plan, plan.input)
    plan = lg.with_inputs(plan, tuple(rewrite_joins(i) for i in plan.inputs))
    if isinstance(plan, lg.Join):
        match plan.kind:
            case "mark":
                return _mark(plan)
            case "right":
                return _swap(plan)
            case "single" if _is_unique(plan.right, {c.right for c in plan.conditions if c.op in EQUALITIES}):
                return replace(plan, kind="left")
            case "single":
                return _single(plan)
    return plan


MANY_ROWS = "More than one row returned by a subquery used as an expression - scalar subqueries can only return a single row."


def _single(join: lg.Join) -> lg.Plan:
    """A left join that fails where a row has several matches: those after the first are numbered, and asked for nothing."""
    if join.residual is not None or any(c.op not in EQUALITIES for c in join.conditions):
        raise NotSupported("a scalar subquery that may give several rows cannot run distributed yet")
    width, others = len(join.left.schema), len(join.right.schema)
    keys = tuple(dict.fromkeys(c.right for c in join.conditions))
    by = "PARTITION BY " + ", ".join("{" + str(i) + "}" for i in range(len(keys))) if keys else ""
    numbered = lg.Extend(join.right, keys, (f"row_number() OVER ({by})",), (BIGINT,), tuple(range(len(keys))), "Window")
    joined = lg.Join(join.left, numbered, "left", join.conditions)
    several = ex.Compare(">", ex.Ref(width + others, BIGINT), ex.Const(1, BIGINT))
    values = []
    for i, f in enumerate(join.right.schema):
        fails = ex.Cast(ex.Call("error", (ex.Const(MANY_ROWS, VARCHAR),), VARCHAR), f.type)
        values.append(ex.Case(((several, fails),), ex.Ref(width + i, f.type), f.type))
    return lg.Compute(joined, (*_refs(join.left), *values), tuple(f.name for f in join.schema))


def _select_mark(select: lg.Select, join: lg.Join) -> lg.Plan:
    parts = ex.conjuncts(select.predicate)
    mark = ex.Ref(len(join.left.schema), BOOLEAN)
    left, right = rewrite_joins(join.left), rewrite_joins(join.right)
    known = all(c.op == "IS NOT DISTINCT FROM" or (c.op == "=" and _has_values(c, left, right)) for c in join.conditions)
    for part, kind, value in ((mark, "semi", True), (ex.Not(mark), "anti", False)):
        if part in parts and (kind == "semi" or known):
            exists = replace(join, left=left, right=right, kind="semi" if kind == "semi" else "anti")
            refs = (*_refs(left), ex.Const(value, BOOLEAN))
            plan: lg.Plan = lg.Compute(exists, refs, tuple(f.name for f in join.schema))
            rest = tuple(p for p in parts if p != part)
            return lg.Select(plan, ex.conjunction(rest)) if rest else plan
    return replace(select, input=_mark(replace(join, left=left, right=right)))


def _has_values(condition: lg.Condition, left: lg.Plan, right: lg.Plan) -> bool:
    """Whether neither side of a condition is ever NULL."""
    return is_never_null(left, condition.left) and is_never_null(right, condition.right)


def _is_unique(plan: lg.Plan, keys: set[Expr]) -> bool:
    """Whether no two rows of `plan` agree in all of `keys`: they hold every group of an aggregate, or there is one row."""
    match plan:
        case lg.Aggregate():
            return all(ex.Ref(i, g.type) in keys for i, g in enumerate(plan.groups))
        case lg.Compute():
            below = {plan.exprs[k.index] for k in keys if isinstance(k, ex.Ref)}
            return _is_unique(plan.input, below)
        case lg.Select() | lg.Shared():
            return _is_unique(plan.input, keys)
        case lg.Join():
            ours: set[Expr] = {k for k in keys if isinstance(k, ex.Ref) and k.index < len(plan.left.schema)}
            theirs = {c.right for c in plan.conditions if c.op in EQUALITIES}
            single = plan.kind in ("semi", "anti", "mark") or (
                plan.kind in ("left", "inner") and _is_unique(plan.right, theirs)
            )
            return single and _is_unique(plan.left, ours)
        case lg.Slice() | lg.Order():
            return plan.limit is not None and plan.limit <= 1
    return isinstance(plan, lg.OneRow)


def _refs(plan: lg.Plan, offset: int = 0) -> tuple[Expr, ...]:
    return tuple(ex.Ref(offset + i, f.type) for i, f in enumerate(plan.schema))


def _mark(join: lg.Join) -> lg.Plan:
    """left columns and the mark, computed from two left joins: one with the distinct keys, one with their counts."""
    equal = [c for c in join.conditions if c.op == "="]
    correlated = [c for c in join.conditions if c.op == "IS NOT DISTINCT FROM"]
    if join.residual is not None or len(equal) > 1 or len(equal) + len(correlated) != len(join.conditions):
        return duckdb_mark(join)
    width = len(join.left.schema)
    keys = tuple(c.right for c in (*equal, *correlated))
    names = tuple(f"k{i}" for i in range(len(keys)))
    distinct = lg.Aggregate(join.right, keys, (), names)
    flagged = lg.Compute(distinct, (*_refs(distinct), ex.Const(True, BOOLEAN)), (*names, "found"))
    on = tuple(lg.Condition(c.left, c.op, ex.Ref(i, c.right.type)) for i, c in enumerate((*equal, *correlated)))
    plan: lg.Plan = lg.Join(join.left, flagged, "left", on)
    found = ex.IsNull(ex.Ref(width + len(keys), BOOLEAN), negated=True)
    if equal and not _has_values(equal[0], join.left, join.right):
        plan, unknown = _unknown(plan, join, equal[0], correlated)
        mark: Expr = ex.Case(
            ((found, ex.Const(True, BOOLEAN)), (unknown, ex.Const(None, BOOLEAN))), ex.Const(False, BOOLEAN), BOOLEAN
        )
    else:
        mark = found
    return lg.Compute(plan, (*_refs(join.left), mark), tuple(f.name for f in join.schema))


def _unknown(plan: lg.Plan, join: lg.Join, equal: lg.Condition, correlated: list[lg.Condition]) -> tuple[lg.Plan, Expr]:
    """`plan` joined with the number of candidates and of those that are not NULL, and the condition under which IN does
    not know: there are candidates, and the probe or one of them is NULL."""
    width = len(plan.schema)
    groups = tuple(c.right for c in correlated)
    calls = (lg.Call("count_star", (), BIGINT), lg.Call("count", (equal.right,), BIGINT))
    names = (*(f"g{i}" for i in range(len(groups))), "candidates", "not_null")
    counts = lg.Aggregate(join.right, groups, calls, names)
    on = tuple(lg.Condition(c.left, c.op, ex.Ref(i, c.right.type)) for i, c in enumerate(correlated))
    candidates, not_null = (ex.Ref(width + len(groups) + i, BIGINT) for i in range(2))
    zero = ex.Const(0, BIGINT)
    some_null = ex.Logic("OR", (ex.IsNull(equal.left), ex.Compare("<", not_null, candidates)))
    unknown = ex.Logic("AND", (ex.Compare(">", candidates, zero), some_null))
    return lg.Join(plan, counts, "left", on), unknown


def _swap(join: lg.Join) -> lg.Plan:
    """A right join as a left join with its sides exchanged, columns put back in order."""
    left_width, right_width = len(join.left.schema), len(join.right.schema)
    order = {i: right_width + i for i in range(left_width)} | {left_width + i: i for i in range(right_width)}
    swapped = lg.Join(
        join.right,
        join.left,
        "left",
        tuple(lg.Condition(c.right, _mirror(c.op), c.left) for c in join.conditions),
        ex.remap(join.residual, order) if join.residual is not None else None,
    )
    refs = tuple(ex.Ref(order[i], f.type) for i, f in enumerate(join.schema))
    return lg.Compute(swapped, refs, tuple(f.name for f in join.schema))


MIRRORED: dict[ex.CompareOp, ex.CompareOp] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _mirror(op: ex.CompareOp) -> ex.CompareOp:
    """The comparison that holds when both sides change places."""
    return MIRRORED.get(op, op)
