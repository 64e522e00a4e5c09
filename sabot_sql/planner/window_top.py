"""Conditions on a window function: they go into DuckDB's query, and those that keep the first rows of each partition also to
where the rows are, before these come together.

A row that is among the first k of its partition is among the first k of those that lie beside it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import Estimator
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.render import render
from sabot_sql.planner.rules.push_filters import substitute

RANKING = re.compile(r'"?(row_number|rank|dense_rank|rank_dense)"?\(\) OVER ')

WINDOW = "Window"
"""Name of the operator over whole partitions."""

LEAST_GAIN = 2
"""How many times fewer rows must be expected for keeping the first ones where they are to pay."""


def kept(sql: str, predicate: Expr, width: int) -> str:
    """The rows of `sql` for which `predicate` is true."""
    names = [f"c{i}" for i in range(width)]
    return f"SELECT {', '.join(names)} FROM ({sql}) AS windows({', '.join(names)}) WHERE {render(predicate, names)}"


def first_rows(plan: lg.Extend, predicate: Expr) -> tuple[int, int] | None:
    """Up to which place in its partition `predicate` keeps rows; None where it is another condition, or where a function of
    `plan` also depends on rows that come later."""
    windows = {text.partition(" OVER ")[2] for text in plan.texts}
    if plan.name != WINDOW or len(windows) != 1 or not all(map(RANKING.match, plan.texts)):
        return None
    first, limits = len(plan.input.schema), []
    for part in ex.conjuncts(predicate):
        match part:
            case ex.Compare("<=" | "=", ex.Ref(index=index), ex.Const(value=int(limit))) if index >= first:
                limits.append((limit, index - first))
            case ex.Compare("<", ex.Ref(index=index), ex.Const(value=int(limit))) if index >= first:
                limits.append((limit - 1, index - first))
    return min(limits, default=None)


def below_columns(plan: lg.Select) -> lg.Plan:
    """`plan` with its condition below columns that are only put in another order, where a window is right below these."""
    match plan.input:
        case lg.Compute(input=lg.Extend(name=name), exprs=exprs) as compute if name == WINDOW:
            if all(isinstance(e, ex.Ref) for e in exprs):
                return replace(compute, input=lg.Select(compute.input, substitute(plan.predicate, exprs)))
    return plan


def first_of_each(plan: lg.Extend, places: tuple[int, ...], width: int, limit: int, function: int) -> str:
    """SQL of the first rows of each partition, of `width` columns of which those at `places` are what the functions read.

    Args:
        limit, function: as `first_rows` gives them.
    """
    names = ", ".join(f"c{i}" for i in range(width))
    text = plan.texts[function].format(*(f"c{i}" for i in places))
    return f"SELECT {names} FROM (SELECT {names}, {text} AS place FROM in0) WHERE place <= {limit}"


def pays(plan: lg.Extend, limit: int, tasks: int, estimator: Estimator) -> bool:
    """Whether keeping the first rows in each of `tasks` is expected to leave much fewer."""
    keys = [plan.exprs[i] for i in plan.together or ()]
    if not all(estimator.is_known(plan.input, key) for key in keys):
        return False
    partitions = math.prod(estimator.distinct_values(plan.input, key) for key in keys)
    return LEAST_GAIN * partitions * limit * tasks <= estimator.rows(plan.input)
