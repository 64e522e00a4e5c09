"""Which aggregate calls the kernels run, and as what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.physical import AggregateCall, AggregateName, sum_type
from sabot_sql.types import DOUBLE, INTEGER, SqlType

AGGREGATES: dict[str, AggregateName] = {
    "count_star": "count_star",
    "count": "count",
    "sum": "sum",
    "avg": "avg",
    "mean": "avg",
    "min": "min",
    "max": "max",
    "bool_and": "min",
    "bool_or": "max",
    "count_if": "sum",
    "countif": "sum",
}

OVER_WHOLE_GROUPS: dict[str, AggregateName] = {
    "var_samp": "var_samp",
    "variance": "var_samp",
    "var_pop": "var_pop",
    "stddev": "stddev_samp",
    "stddev_samp": "stddev_samp",
    "stddev_pop": "stddev_pop",
    "median": "quantile_cont",
    "quantile_cont": "quantile_cont",
}
"""What has no state that kernels know."""


def has_kernel(call: lg.Call) -> bool:
    """Whether the aggregate operator runs `call`."""
    name = AGGREGATES.get(call.function)
    if name is None or call.order or len(call.args) != (0 if name == "count_star" else 1):
        return False
    if name == "count_star" or (name == "count" and not call.distinct):
        return True
    return _aggregates(name, call.args[0].type, call.type)


def are_over_whole_groups(calls: Sequence[lg.Call]) -> bool:
    """Whether quantiles among `calls` want whole groups in one task, and the aggregate operator then runs all of them."""
    wanted = [c for c in calls if not has_kernel(c)]
    return any(_fraction(c) is not None for c in wanted) and all(map(_has_whole_kernel, wanted))


def _has_whole_kernel(call: lg.Call) -> bool:
    name = OVER_WHOLE_GROUPS.get(call.function)
    if name is None or call.order or call.distinct or call.type != DOUBLE:
        return False
    arg = call.args[0].type
    return _fraction(call) is not None if name == "quantile_cont" else arg == DOUBLE and len(call.args) == 1


def _fraction(call: lg.Call) -> float | None:
    """Which quantile of DOUBLE values `call` asks for; None for another call."""
    if not call.args or not (call.args[0].type == DOUBLE or call.args[0].type.is_integer):
        return None
    match call.function, call.args[1:]:
        case "median", ():
            return 0.5
        case "quantile_cont", (ex.Const(value=float(fraction)),) if 0 <= fraction <= 1:
            return fraction
    return None


def kernel_call(call: lg.Call, place: Callable[[Expr], int]) -> AggregateCall:
    """A call that has a kernel; `place` tells at which position an expression of the input is to stand."""
    name = (AGGREGATES | OVER_WHOLE_GROUPS)[call.function]
    where = None if call.filter is None else place(call.filter)
    if name == "count_star":
        return AggregateCall(name, None, None, call.type, call.distinct, where)
    arg = call.args[0]
    if name == "quantile_cont":
        arg = arg if arg.type == DOUBLE else ex.Cast(arg, DOUBLE)
        return AggregateCall(name, place(arg), DOUBLE, call.type, filter=where, fraction=_fraction(call))
    if name == "count" and not call.distinct and arg.type.lane is None:
        arg = ex.Case(((ex.IsNull(arg, negated=True), ex.Const(0, INTEGER)),), ex.Const(None, INTEGER), INTEGER)
    distinct = call.distinct and name not in ("min", "max")
    return AggregateCall(name, place(arg), arg.type, call.type, distinct, where)


def state_texts(call: AggregateCall) -> tuple[str, ...]:
    """SQL of the columns of `state_types` over the columns c0, c1, ... of the input.

    Example:
        >>> state_texts(AggregateCall("avg", 2, DOUBLE, DOUBLE, filter=4))
        ('sum(c2) FILTER (WHERE c4)', 'count(c2) FILTER (WHERE c4)')
    """
    where = "" if call.filter is None else f" FILTER (WHERE c{call.filter})"
    match call.function:
        case "count_star":
            return (f"count(*){where}",)
        case "avg":
            return (f"sum(c{call.arg}){where}", f"count(c{call.arg}){where}")
    return (f"{call.function}(c{call.arg}){where}",)


def merge_text(text: str, column: str) -> str:
    """SQL of one of `state_texts` over states in `column`."""
    name = text.partition("(")[0]
    return f"{name if name in ('min', 'max') else 'sum'}({column})"


def _aggregates(name: AggregateName, arg: SqlType, result: SqlType) -> bool:
    """Whether the aggregate operator runs `name` over `arg` with the type DuckDB gives it."""
    numeric = arg.is_integer or arg.id in ("DECIMAL", "FLOAT", "DOUBLE", "BOOLEAN")
    match name:
        case "sum":
            return numeric and arg.id != "UHUGEINT" and result == sum_type(arg)
        case "avg":
            return numeric and arg.id != "UHUGEINT" and result == DOUBLE
        case "min" | "max":
            return arg.lane is not None and result == arg
    return arg.lane is not None
