"""Turn an aggregate over distinct values into two plain ones, so that its first step runs where the rows are."""

from __future__ import annotations

from dataclasses import replace

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg


def rewrite_distinct(plan: lg.Plan) -> lg.Plan:
    """Aggregate distinct values by first making them distinct.

        Aggregate g, count(distinct x)        Aggregate g, count(x)
          input                         ->      Aggregate g, x
                                                  input

    Only where every call is DISTINCT over one and the same argument and none has a FILTER.
    """
    plan = lg.with_inputs(plan, tuple(rewrite_distinct(i) for i in plan.inputs))
    if not isinstance(plan, lg.Aggregate) or not plan.calls:
        return plan
    argument = plan.calls[0].args
    if any(not c.distinct or c.args != argument or c.filter is not None or c.order for c in plan.calls) or len(argument) != 1:
        return plan
    width = len(plan.groups)
    values = lg.Aggregate(plan.input, (*plan.groups, *argument), (), (*plan.names[:width], "value"))
    value = ex.Ref(width, argument[0].type)
    groups = tuple(ex.Ref(i, g.type) for i, g in enumerate(plan.groups))
    calls = tuple(replace(c, args=(value,), distinct=False) for c in plan.calls)
    return lg.Aggregate(values, groups, calls, plan.names)
