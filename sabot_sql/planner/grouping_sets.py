"""GROUPING SETS, ROLLUP and CUBE as one plain aggregate over rows that are repeated for each set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.types import BIGINT, INTEGER


def expand_grouping_sets(plan: lg.Aggregate, sets: Sequence[Sequence[int]], functions: Sequence[Sequence[int]]) -> lg.Plan:
    """The groups, the calls and a column for each GROUPING() of an aggregate over several sets.

        Aggregate sets ((a, b), (a), ())        UnionAll
          input                           ->      Aggregate a, case when set in (0) then b end, set
                                                    Unnest [0, 1] as set
                                                      input
                                                  Aggregate
                                                    input

    A set of nothing has its own branch, as it gives a row even where there is none to group.

    Args:
        sets: positions among the groups.
        functions: for each GROUPING() the positions of its arguments.
    """
    numbered = list(enumerate(sets))
    keyed = [(n, s) for n, s in numbered if s]
    branches: list[lg.Plan] = []
    if keyed:
        branches.append(_keyed_sets(plan, keyed, functions))
    for _ in range(len(numbered) - len(keyed)):
        whole = replace(plan, groups=(), names=plan.names[len(plan.groups) :])
        nulls = tuple(ex.Const(None, g.type) for g in plan.groups)
        calls = tuple(ex.Ref(i, c.type) for i, c in enumerate(plan.calls))
        masks = tuple(ex.Const((1 << len(f)) - 1, BIGINT) for f in functions)
        names = (*plan.names, *(f"grouping{i}" for i in range(len(functions))))
        branches.append(lg.Compute(_one_row(whole), (*nulls, *calls, *masks), names))
    return branches[0] if len(branches) == 1 else lg.UnionAll(tuple(branches))


def _one_row(plan: lg.Aggregate) -> lg.Plan:
    if plan.calls:
        return plan
    return lg.Aggregate(plan.input, (), (lg.Call("count_star", (), BIGINT),), ("count",))


def _keyed_sets(plan: lg.Aggregate, keyed: list[tuple[int, Sequence[int]]], functions: Sequence[Sequence[int]]) -> lg.Plan:
    width = len(plan.input.schema)
    listed = ", ".join(str(n) for n, _ in keyed)
    repeated = lg.Extend(plan.input, (), (f"unnest([{listed}])",), (INTEGER,), None, "Unnest")
    number = ex.Ref(width, INTEGER)
    groups: list[Expr] = []
    for i, group in enumerate(plan.groups):
        having = [n for n, s in keyed if i in s]
        if len(having) == len(keyed):
            groups.append(group)
            continue
        inside = ex.disjunction(tuple(ex.Compare("=", number, ex.Const(n, INTEGER)) for n in having))
        groups.append(ex.Case(((inside, group),), ex.Const(None, group.type), group.type))
    count = len(groups)
    names = (*plan.names[:count], "set", *plan.names[count:])
    grouped = lg.Aggregate(repeated, (*groups, number), plan.calls, names)
    set_ref = ex.Ref(count, INTEGER)
    masks = tuple(_mask(set_ref, keyed, f) for f in functions)
    calls = tuple(ex.Ref(count + 1 + i, c.type) for i, c in enumerate(plan.calls))
    refs = tuple(ex.Ref(i, g.type) for i, g in enumerate(groups))
    return lg.Compute(grouped, (*refs, *calls, *masks), (*plan.names, *(f"grouping{i}" for i in range(len(functions)))))


def _mask(number: Expr, keyed: list[tuple[int, Sequence[int]]], arguments: Sequence[int]) -> Expr:
    """GROUPING(): a bit for each argument, the last the lowest, 1 where the set does not hold it."""
    values = {n: sum((a not in s) << bit for bit, a in enumerate(reversed(arguments))) for n, s in keyed}
    whens = tuple((ex.Compare("=", number, ex.Const(n, INTEGER)), ex.Const(v, BIGINT)) for n, v in values.items())
    return ex.Case(whens, ex.Const(0, BIGINT), BIGINT)
