"""Where a column cannot be NULL, by what the files count and what conditions let pass."""

from __future__ import annotations

from sabot_sql.catalog.table import Table
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr

NULL_SAFE = ("IS DISTINCT FROM", "IS NOT DISTINCT FROM")


def counted_nulls(table: Table, column: int) -> int | None:
    """The NULLs of a column where the files count them, in the type that the table has."""
    if column < 0 or "variants" in table.scan.options or table.schema[column].type.children:
        return None
    known = table.statistics.columns.get(table.schema[column].name)
    return known.null_count if known is not None and known.counts_nulls else None


def is_never_null(plan: lg.Plan, expr: Expr) -> bool:
    """Whether `expr` over the rows of `plan` is known to have a value in each."""
    match expr:
        case ex.Const():
            return expr.value is not None
        case ex.Ref(index=index):
            return _column(plan, index)
    return False


def _column(plan: lg.Plan, index: int) -> bool:
    match plan:
        case lg.Get(filters=filters):
            return counted_nulls(plan.table, plan.columns[index]) == 0 or any(_asks_for(f, index) for f in filters)
        case lg.Compute(exprs=exprs):
            return is_never_null(plan.input, exprs[index])
        case lg.Select():
            return any(_asks_for(p, index) for p in ex.conjuncts(plan.predicate)) or _column(plan.input, index)
        case lg.Slice() | lg.Order() | lg.Sample() | lg.Shared():
            return _column(plan.input, index)
        case lg.Extend():
            return index < len(plan.input.schema) and _column(plan.input, index)
        case lg.Aggregate(groups=groups):
            return index < len(groups) and is_never_null(plan.input, groups[index])
        case lg.UnionAll():
            return all(_column(one, index) for one in plan.inputs)
        case lg.Join(kind="inner" | "left" | "semi" | "anti" | "mark"):
            width = len(plan.left.schema)
            if index < width:
                return _column(plan.left, index)
            return plan.kind == "inner" and _column(plan.right, index - width)
    return False


def _asks_for(predicate: Expr, index: int) -> bool:
    """Whether `predicate` can only be true where a column is not NULL."""
    match predicate:
        case ex.IsNull(arg=ex.Ref(index=found), negated=True):
            return found == index
        case ex.Compare(op=op, left=left, right=right) if op not in NULL_SAFE:
            return any(isinstance(side, ex.Ref) and side.index == index for side in (left, right))
    return False
