"""Drop every column that nothing above reads."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.rules.push_filters import substitute
from sabot_sql.types import BOOLEAN


def prune_columns(plan: lg.Plan) -> lg.Plan:
    """Keep in each operator only the columns that its parents read.

        Compute [a]                    Compute [a]
          Join                   ->      Join
            Get t [a, k, x, y]             Get t [a, k]
            Get u [k, z]                   Get u [k]

    The output of the whole plan stays as it is.
    """
    pruned, positions = _prune(plan, frozenset(range(len(plan.schema))))
    return _restore(pruned, positions, plan)


Positions = dict[int, int]


def _restore(pruned: lg.Plan, positions: Positions, plan: lg.Plan) -> lg.Plan:
    """`pruned` with the columns of `plan` in their order, where pruning moved any."""
    if all(positions[i] == i for i in positions) and len(pruned.schema) == len(plan.schema):
        return pruned
    refs = tuple(ex.Ref(positions[i], f.type) for i, f in enumerate(plan.schema))
    return lg.Compute(pruned, refs, tuple(f.name for f in plan.schema))


def _narrow(plan: lg.Plan, where: Positions, needed: frozenset[int]) -> tuple[lg.Plan, Positions]:
    """`plan` without the columns that only its own conditions read."""
    keep = sorted(needed)
    if not keep:
        return _row(plan), {}
    if len(keep) == len(plan.schema):
        return plan, where
    fields = [plan.schema[where[i]] for i in keep]
    refs = tuple(ex.Ref(where[i], f.type) for i, f in zip(keep, fields))
    return lg.Compute(plan, refs, tuple(f.name for f in fields)), {old: at for at, old in enumerate(keep)}


def _row(plan: lg.Plan) -> lg.Plan:
    """A column that only stands for the row, where nothing but the number of rows is read."""
    return lg.Compute(plan, (ex.Const(True, BOOLEAN),), ("row",))


def _used(exprs: tuple[Expr, ...]) -> frozenset[int]:
    return frozenset(i for e in exprs for i in ex.references(e))


def _prune(plan: lg.Plan, needed: frozenset[int]) -> tuple[lg.Plan, Positions]:
    """`plan` without the columns that are not `needed`, and where each needed column now is."""
    match plan:
        case lg.Get():
            keep = sorted(needed | _used(plan.filters))
            where = {old: new for new, old in enumerate(keep)}
            filters = tuple(ex.remap(f, where) for f in plan.filters)
            pruned = replace(plan, columns=tuple(plan.columns[i] for i in keep), filters=filters)
            return _narrow(pruned, where, needed)
        case lg.Compute():
            if not needed:
                return _row(_prune(plan.input, frozenset())[0]), {}
            keep = sorted(needed)
            exprs = tuple(plan.exprs[i] for i in keep)
            child, where = _prune(plan.input, _used(exprs))
            moved = tuple(ex.remap(e, where) for e in exprs)
            if isinstance(child, lg.Compute) and all(isinstance(e, ex.Ref) for e in child.exprs):
                moved, child = tuple(substitute(e, child.exprs) for e in moved), child.input
            new = lg.Compute(child, moved, tuple(plan.names[i] for i in keep))
            return new, {old: i for i, old in enumerate(keep)}
        case lg.Select():
            child, where = _prune(plan.input, needed | ex.references(plan.predicate))
            return lg.Select(child, ex.remap(plan.predicate, where)), where
        case lg.Order():
            child, where = _prune(plan.input, needed | _used(tuple(k.expr for k in plan.keys)))
            keys = tuple(replace(k, expr=ex.remap(k.expr, where)) for k in plan.keys)
            return replace(plan, input=child, keys=keys), where
        case lg.Slice() | lg.Sample():
            child, where = _prune(plan.input, needed)
            return replace(plan, input=child), where
        case lg.Aggregate():
            return _prune_aggregate(plan, needed)
        case lg.Join():
            return _prune_join(plan, needed)
        case lg.UnionAll():
            inputs: list[lg.Plan] = []
            keep = sorted(needed)
            if not keep:
                return lg.UnionAll(tuple(_row(_prune(i, needed)[0]) for i in plan.inputs)), {}
            for one in plan.inputs:
                child, where = _prune(one, needed)
                refs = tuple(ex.Ref(where[i], one.schema[i].type) for i in keep)
                identity = [r.index for r in refs] == list(range(len(child.schema)))
                inputs.append(child if identity else lg.Compute(child, refs, tuple(one.schema[i].name for i in keep)))
            return lg.UnionAll(tuple(inputs)), {old: new for new, old in enumerate(keep)}
        case lg.Extend():
            return _prune_extend(plan, needed)
        case lg.Relational():
            whole = tuple(prune_columns(i) for i in plan.inputs)
            return lg.with_inputs(plan, whole), {i: i for i in range(len(plan.schema))}
        case lg.Shared():
            return _narrow(plan, {i: i for i in range(len(plan.schema))}, needed)
        case lg.OneRow():
            return plan, {i: i for i in range(len(plan.schema))}


def _prune_extend(plan: lg.Extend, needed: frozenset[int]) -> tuple[lg.Plan, Positions]:
    width = len(plan.input.schema)
    child, where = _prune(plan.input, frozenset(i for i in needed if i < width) | _used(plan.exprs))
    new = replace(plan, input=child, exprs=tuple(ex.remap(e, where) for e in plan.exprs))
    shift = len(child.schema)
    return _narrow(new, where | {width + i: shift + i for i in range(len(plan.texts))}, needed)


def _prune_aggregate(plan: lg.Aggregate, needed: frozenset[int]) -> tuple[lg.Plan, Positions]:
    width = len(plan.groups)
    calls = [i for i in range(len(plan.calls)) if width + i in needed]
    if not width and not calls:
        calls = [0]
    used = tuple(plan.calls[i] for i in calls)
    child, where = _prune(plan.input, _used((*plan.groups, *(e for c in used for e in c.exprs))))
    new = lg.Aggregate(
        child,
        tuple(ex.remap(g, where) for g in plan.groups),
        tuple(c.over(lambda e: ex.remap(e, where)) for c in used),
        (*plan.names[:width], *(plan.names[width + i] for i in calls)),
    )
    return new, {i: i for i in range(width)} | {width + old: width + at for at, old in enumerate(calls)}


def _prune_join(plan: lg.Join, needed: frozenset[int]) -> tuple[lg.Plan, Positions]:
    width = len(plan.left.schema)
    residual = ex.references(plan.residual) if plan.residual is not None else frozenset()
    reads = (needed | residual) if plan.kind != "mark" else (needed - {width})
    left, left_at = _prune(plan.left, frozenset(i for i in reads if i < width) | _used(tuple(c.left for c in plan.conditions)))
    right_needed = frozenset(i - width for i in reads if i >= width) | _used(tuple(c.right for c in plan.conditions))
    right, right_at = _prune(plan.right, right_needed)
    shift = len(left.schema)
    where = left_at | {width + old: shift + new for old, new in right_at.items()}
    new = lg.Join(
        left,
        right,
        plan.kind,
        tuple(lg.Condition(ex.remap(c.left, left_at), c.op, ex.remap(c.right, right_at)) for c in plan.conditions),
        ex.remap(plan.residual, where) if plan.residual is not None else None,
        plan.words,
    )
    if plan.kind in ("semi", "anti"):
        return _narrow(new, left_at, needed)
    if plan.kind == "mark":
        return new, {width: shift} | left_at
    return _narrow(new, where, needed)
