"""Aggregates that DuckDB runs in two steps: it makes a state of each group where the rows are, and another task merges them.

    partial   SELECT c0, stddev(c1) EXPORT_STATE FROM in0 GROUP BY c0
    merge     SELECT c0, combine_aggr(to_aggregate_state(c1, 'stddev', ['DOUBLE'])) FROM in0 GROUP BY c0
    final     SELECT c0, finalize(combine_aggr(to_aggregate_state(c1, 'stddev', ['DOUBLE']))) FROM in0 GROUP BY c0

Between the steps a state is a column of a plain type, which this module knows for each function. Left out is what has no
small state (`median`, `list`, `string_agg`, quantiles), none that DuckDB hands out (`mode`, `histogram`, `entropy`), and
`product`, whose zeros and infinities give another answer in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import column_bytes
from sabot_sql.planner.render import render
from sabot_sql.planner.windows import Reads, aggregate_text, is_constant
from sabot_sql.types import BIGINT, BOOLEAN, DOUBLE, HUGEINT, LANES, UBIGINT, SqlType, quote_identifier


def _struct(**fields: SqlType) -> SqlType:
    return SqlType("STRUCT", children=tuple(fields.values()), names=tuple(fields))


def _list(child: SqlType) -> SqlType:
    return SqlType("LIST", children=(child,))


UTINYINT = SqlType("UTINYINT")

VARIANCE = _struct(count=UBIGINT, mean=DOUBLE, dsquared=DOUBLE)
COVARIANCE = _struct(count=UBIGINT, meanx=DOUBLE, meany=DOUBLE, co_moment=DOUBLE)
CORRELATION = _struct(cov_pop=COVARIANCE, dev_pop_x=VARIANCE, dev_pop_y=VARIANCE)
SLOPE = _struct(cov_pop=COVARIANCE, var_pop=VARIANCE)
SIDE = _struct(count=UBIGINT, var_pop=VARIANCE)
AVERAGE = _struct(sum=DOUBLE, count=UBIGINT)
SKEWNESS = _struct(n=UBIGINT, mean=DOUBLE, m2=DOUBLE, m3=DOUBLE)
KURTOSIS = _struct(n=UBIGINT, mean=DOUBLE, m2=DOUBLE, m3=DOUBLE, m4=DOUBLE)
COMPENSATED = _struct(value=DOUBLE, err=DOUBLE)
REGISTERS = _struct(precision=UTINYINT, registers=_list(UTINYINT))
CENTROIDS = _struct(count=UBIGINT, min=DOUBLE, max=DOUBLE, centroids=_list(_struct(mean=DOUBLE, weight=DOUBLE)))

OF_ONE: dict[str, SqlType] = {
    **dict.fromkeys("stddev stddev_samp stddev_pop variance var_samp var_pop sem".split(), VARIANCE),
    "skewness": SKEWNESS,
    **dict.fromkeys(("kurtosis", "kurtosis_pop"), KURTOSIS),
    **dict.fromkeys(("fsum", "kahan_sum", "sumkahan"), COMPENSATED),
    "favg": _struct(count=UBIGINT, value=DOUBLE, err=DOUBLE),
}
"""States of functions of one DOUBLE."""

OF_TWO: dict[str, SqlType] = {
    **dict.fromkeys(("covar_pop", "covar_samp"), COVARIANCE),
    "corr": CORRELATION,
    **dict.fromkeys(("regr_avgx", "regr_avgy"), AVERAGE),
    "regr_count": UBIGINT,
    "regr_intercept": _struct(count=UBIGINT, sum_x=DOUBLE, sum_y=DOUBLE, slope=SLOPE),
    "regr_r2": _struct(corr=CORRELATION, var_pop_x=VARIANCE, var_pop_y=VARIANCE),
    "regr_slope": SLOPE,
    **dict.fromkeys(("regr_sxx", "regr_syy"), SIDE),
    "regr_sxy": _struct(count=UBIGINT, cov_pop=COVARIANCE),
}
"""States of functions of two DOUBLEs."""

FIRST = frozenset(("first", "any_value", "arbitrary"))
"""Functions that keep the first value: states are merged in the order of their rows. Of two states of `last`, too, DuckDB keeps
the first."""

BEST = frozenset("arg_max arg_min argmax argmin max_by min_by arg_max_null arg_min_null".split())
"""Functions that keep the value beside the largest or smallest one; of several the first."""

EXTREMES = frozenset(("min", "max"))
IDEMPOTENT = EXTREMES | {"bool_and", "bool_or", "bit_and", "bit_or"}
"""Functions to which a value more than once is nothing new."""

REPEATED = IDEMPOTENT | {"bit_xor"}
"""Functions whose answer is its own state: they are called again over their answers."""

# Types whose values read back from a state as they were written; of wider integers not all digits travel inside of others.
KEPT = frozenset(LANES) - {"HUGEINT", "JSON"} | {"DECIMAL", "INTERVAL"}
MEASURES = frozenset("SMALLINT INTEGER BIGINT DOUBLE DECIMAL DATE TIME TIMESTAMP".split())
NESTED = frozenset(("STRUCT", "TUPLE", "LIST", "ARRAY", "MAP"))

QUANTILE = "approx_quantile"
STATE_BYTES = {"approx_count_distinct": 1100, QUANTILE: 2500}


@dataclass(frozen=True, slots=True)
class State:
    """The state of one call.

    Attributes:
        type: of the column that carries it.
        made: the call that makes it.
    """

    type: SqlType
    made: lg.Call

    @property
    def num_bytes(self) -> float:
        """About what a state takes between operators."""
        return STATE_BYTES.get(self.made.function.lower()) or type_bytes(self.type)

    def partial(self, reads: Reads) -> str:
        """SQL of the state over rows; `{n}` stands for the n-th expression of `reads`."""
        return aggregate_text(self.made, reads) + ("" if self._is_repeated else " EXPORT_STATE")

    def merged(self, column: str) -> str:
        """SQL of the state over states in `column`."""
        call = self.made
        if self._is_repeated:
            return f"{quote_identifier(call.function)}({column})"
        given = [column, f"'{call.function}'", f"[{', '.join(_quoted(str(a.type)) for a in call.args)}]"]
        if call.function.lower() == QUANTILE:  # it is bound to the share
            given.append(f"[NULL, {render(call.args[1], ())}]")
        return f"combine_aggr(to_aggregate_state({', '.join(given)}))"

    def final(self, column: str) -> str:
        """SQL of the answer over states in `column`."""
        return self.merged(column) if self._is_repeated else f"finalize({self.merged(column)})"

    @property
    def _is_repeated(self) -> bool:
        return self.made.function.lower() in REPEATED


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def type_bytes(t: SqlType) -> float:
    """About how many bytes a value of `t` takes between operators, field by field."""
    return sum(map(type_bytes, t.children)) if t.id == "STRUCT" else column_bytes(t)


def states_of(calls: Sequence[lg.Call]) -> tuple[State, ...] | None:
    """The states of `calls`; None where one of them has none."""
    found = tuple(_state(c) for c in calls)
    known = tuple(s for s in found if s is not None)
    return known if len(known) == len(found) else None


def _state(call: lg.Call) -> State | None:
    name, types = call.function.lower(), tuple(a.type for a in call.args)
    if call.distinct and name in IDEMPOTENT:
        call = replace(call, distinct=False)
    if call.distinct or call.order:
        return None
    found = state_type(name, types)
    if found is None or (name == QUANTILE and not is_constant(call.args[1])):
        return None
    return State(found, call)


def state_type(name: str, types: tuple[SqlType, ...]) -> SqlType | None:
    """The type of the state of function `name` over arguments of `types`, as DuckDB bound them; None where it has none.

    Example:
        >>> str(state_type("avg", (SqlType("BIGINT"),)))
        'STRUCT("count" UBIGINT, "value" HUGEINT)'
    """
    if name == "count_star":
        return BIGINT
    if types == (DOUBLE, DOUBLE) and name in OF_TWO:
        return OF_TWO[name]
    if len(types) == 1:
        return _of_one(name, types[0])
    if len(types) != 2:
        return None
    if name in BEST:
        return _struct(arg=types[0], by=types[1]) if all(map(_is_kept, types)) else None
    return CENTROIDS if name == QUANTILE and types[0].id in MEASURES else None


def _of_one(name: str, t: SqlType) -> SqlType | None:
    if t == DOUBLE and name in OF_ONE:
        return OF_ONE[name]
    if name == "count":
        return BIGINT
    if name in FIRST:
        return _struct(value=t) if _is_kept(t) else None
    if name in EXTREMES:
        return t if t == HUGEINT or _is_kept(t) else None
    if name == "approx_count_distinct":
        return REGISTERS if _is_kept(t) else None
    rules: dict[str, Callable[[SqlType], SqlType | None]] = {
        "sum": _sum,
        "avg": _average,
        "mean": _average,
        **dict.fromkeys(("bool_and", "bool_or"), lambda t: t if t == BOOLEAN else None),
        **dict.fromkeys(("count_if", "countif"), lambda t: BIGINT if t == BOOLEAN else None),
        **dict.fromkeys(("bit_and", "bit_or", "bit_xor"), lambda t: t if t.is_integer and t.id != "UHUGEINT" else None),
    }
    return rules[name](t) if name in rules else None


def _sum(t: SqlType) -> SqlType | None:
    """Sums of numbers of up to 16 bits are kept in 64, those of all other exact numbers in 128."""
    if t == DOUBLE:
        return DOUBLE
    if t.id in ("BOOLEAN", "SMALLINT") or (t.id == "DECIMAL" and t.width <= 4):
        return BIGINT
    return HUGEINT if t.id in ("INTEGER", "BIGINT", "HUGEINT", "DECIMAL") else None


def _average(t: SqlType) -> SqlType | None:
    found = HUGEINT if t.id in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIME") else _sum(t) if t != BOOLEAN else None
    return None if found is None else _struct(count=UBIGINT, value=found)


def _is_kept(t: SqlType) -> bool:
    return t.id in KEPT or (t.id in NESTED and all(map(_is_kept, t.children)))
