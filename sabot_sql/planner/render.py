"""Bound expressions back to DuckDB SQL, exactly typed.

Binding the text again must give each node the type it had: constants are typed, columns that Arrow carries under another
type are cast back, and function results are cast to their bound type wherever binding again could choose another one
(`CAST(d AS DECIMAL(16,2)) + ...` would grow a digit). A cast to the type that is already there costs nothing: DuckDB drops
it while binding.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from sabot_sql.errors import InternalError, NotSupported
from sabot_sql.planner.expressions import Call, Case, Cast, Compare, Const, Expr, InList, IsNull, Lambda, Logic, Not, Ref, walk
from sabot_sql.types import SqlType, quote_identifier

# Types whose Arrow form reads back as another SQL type.
NOT_CARRIED = frozenset(
    ("UUID", "JSON", "HUGEINT", "UHUGEINT", "ENUM", "TIME_NS", "TIME WITH TIME ZONE", "BIT", "UNION", "TUPLE")
)

INFIX = frozenset("+ - * / // % || ~~ !~~ ~~* !~~* ~~~ ^ ** & | << >> -> ->> @> <@ && ^@".split())
PREFIX = frozenset("- + ~ @".split())

# Keywords rather than functions of the catalog: never quoted.
SYNTAX = frozenset(("coalesce",))

# Functions of one value a query: the planner replaces them by constants, or agents would disagree.
CLOCK = frozenset(
    "now get_current_timestamp transaction_timestamp current_date today current_time get_current_time "
    "current_localtime current_localtimestamp".split()
)

# Functions whose result type does not depend on how exactly their arguments are typed.
FIXED_TYPE = frozenset(
    "~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape prefix suffix contains starts_with "
    "regexp_matches regexp_full_match ^@ substring substr lower upper length strlen".split()
)

TIMESTAMP_INFINITY = 2**63 - 1
DATE_INFINITY = 2**31 - 1

# What Python's dates cover is written as a literal: DuckDB reads it faster than a call, and so do people.
EPOCH = dt.datetime(1970, 1, 1)
EPOCH_DAY = dt.date(1970, 1, 1).toordinal() - 1
LAST_DAY = dt.date.max.toordinal() - 1 - EPOCH_DAY
DAY_US = 86_400_000_000


def render(expr: Expr, columns: Sequence[str]) -> str:
    """`expr` as DuckDB SQL of exactly its type.

    Args:
        columns: SQL of the input's columns by position, quoted already.

    Raises:
        NotSupported: a function that needs the query's clock, or a constant that has no SQL form.

    Example:
        >>> from sabot_sql.types import BIGINT
        >>> render(Compare("<", Ref(0, BIGINT), Const(3, BIGINT)), ['"a"'])
        '("a" < CAST(3 AS BIGINT))'
    """
    match expr:
        case Ref(index=index, type=t):
            return f"CAST({columns[index]} AS {t})" if is_not_carried(t) else columns[index]
        case Const():
            return render_constant(expr)
        case Call():
            return _call(expr, columns)
        case Cast(arg=arg, type=t, is_try=is_try):
            return f"{'TRY_CAST' if is_try else 'CAST'}({render(arg, columns)} AS {_type(t)})"
        case Compare(op=op, left=left, right=right):
            return f"({render(left, columns)} {op} {render(right, columns)})"
        case Logic(op=op, args=args):
            return "(" + f" {op} ".join(render(a, columns) for a in args) + ")"
        case Not(arg=arg):
            return f"(NOT {render(arg, columns)})"
        case IsNull(arg=arg, negated=negated):
            return f"({render(arg, columns)} IS {'NOT ' if negated else ''}NULL)"
        case InList(arg=arg, items=items, negated=negated):
            listed = ", ".join(render(i, columns) for i in items)
            return f"({render(arg, columns)} {'NOT ' if negated else ''}IN ({listed}))"
        case Case():
            return _case(expr, columns)
        case Lambda():
            raise InternalError("a lambda stands outside of a call")


def render_output(expr: Expr, columns: Sequence[str]) -> str:
    """`expr` as a column that DuckDB hands out under the Arrow type of agents.

    HUGEINT leaves as DECIMAL(38,0), where a value of 39 digits is an error instead of an invalid decimal; UUID and JSON
    leave as strings.
    """
    carried = {"HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)", "UUID": "VARCHAR", "JSON": "VARCHAR"}.get(expr.type.id)
    if carried is None:
        return render(expr, columns)
    return f"CAST({columns[expr.index] if isinstance(expr, Ref) else render(expr, columns)} AS {carried})"


def is_not_carried(t: SqlType) -> bool:
    """Whether a column of type `t` must be cast when DuckDB reads it from Arrow."""
    return t.id in NOT_CARRIED or any(map(is_not_carried, t.children))


def _type(t: SqlType) -> str:
    return "INTEGER" if t.id in ("NULL", "SQLNULL") else str(t)


def render_constant(const: Const) -> str:
    """A constant as SQL of exactly its type and value.

    Example:
        >>> render_constant(Const(150, SqlType("DECIMAL", 15, 2)))
        "CAST('1.50' AS DECIMAL(15,2))"
    """
    t, value = const.type, const.value
    if const.sql is not None:
        return f"CAST({const.sql} AS {_type(t)})"
    if value is None:
        return f"CAST(NULL AS {_type(t)})"
    if isinstance(value, str):
        text = _string(value)
        return text if t.id == "VARCHAR" and value else f"CAST({text} AS {t})"
    if t.id == "BOOLEAN":
        return "TRUE" if value else "FALSE"
    if t.id in ("FLOAT", "DOUBLE"):
        return f"CAST('{float(value)!r}' AS {t})"
    if isinstance(value, float):
        raise InternalError(f"a constant of type {t} holds the float {value!r}")
    if t.is_integer:
        return f"CAST({value} AS {t})" if 0 <= value < 1 << 62 else f"CAST('{value}' AS {t})"
    if t.id == "DECIMAL":
        return f"CAST('{_decimal(value, t.scale)}' AS {t})"
    if make := TEMPORAL.get(t.id):
        return make(value)
    raise NotSupported(f"constants of type {t} cannot run distributed yet")


def _string(value: str) -> str:
    quoted = ("'" + part.replace("'", "''") + "'" for part in value.split("\0"))
    parts = list(quoted)
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def _decimal(unscaled: int, scale: int) -> str:
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    sign = "-" if unscaled < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else sign + digits


def _infinite(value: int, limit: int, t: str) -> str | None:
    return f"CAST('{'-' if value < 0 else ''}infinity' AS {t})" if abs(value) == limit else None


def _date(days: int) -> str:
    if -EPOCH_DAY < days <= LAST_DAY:
        return f"DATE '{dt.date.fromordinal(days + 1 + EPOCH_DAY)}'"
    return _infinite(days, DATE_INFINITY, "DATE") or f"make_date(CAST({days} AS INTEGER))"


def _timestamp(t: str, function: str, factor: int = 1) -> Callable[[int], str]:
    def make(value: int) -> str:
        if t == "TIMESTAMP" and -EPOCH_DAY < value // DAY_US <= LAST_DAY:
            return f"TIMESTAMP '{EPOCH + dt.timedelta(microseconds=value)}'"
        built = f"{function}(CAST('{value * factor}' AS BIGINT))"
        return _infinite(value, TIMESTAMP_INFINITY, t) or f"CAST({built} AS {t})"

    return make


def _time(t: str, per_second: int) -> Callable[[int], str]:
    def make(value: int) -> str:
        seconds, fraction = divmod(value, per_second)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"CAST('{clock}.{fraction:0{len(str(per_second)) - 1}}' AS {t})"

    return make


TEMPORAL: dict[str, Callable[[int], str]] = {
    "DATE": _date,
    "TIME": _time("TIME", 1_000_000),
    "TIME_NS": _time("TIME_NS", 1_000_000_000),
    "TIMESTAMP": _timestamp("TIMESTAMP", "make_timestamp"),
    "TIMESTAMP_S": _timestamp("TIMESTAMP_S", "make_timestamp", 1_000_000),
    "TIMESTAMP_MS": _timestamp("TIMESTAMP_MS", "make_timestamp", 1_000),
    "TIMESTAMP_NS": _timestamp("TIMESTAMP_NS", "make_timestamp_ns"),
    "TIMESTAMP WITH TIME ZONE": _timestamp("TIMESTAMP WITH TIME ZONE", "make_timestamptz"),
}


def _call(call: Call, columns: Sequence[str]) -> str:
    name, t = call.name, call.type
    if name in CLOCK:
        raise NotSupported(f"{name}() cannot run distributed unless the planner has made it a constant")
    operands = _without_widening(call) if t.id == "DECIMAL" else call.args
    if any(isinstance(a, Lambda) for a in operands):
        return f"CAST({_higher_order(name, operands, columns)} AS {_type(t)})"
    args = [render(a, columns) for a in operands]
    if name == "array_slice":  # an open bound is an empty list of no type
        args[1:] = ["[]" if a.type.id == "LIST" else text for a, text in zip(operands[1:], args[1:])]
    if name in INFIX and len(args) == 2:
        text = f"({args[0]} {name} {args[1]})"
    elif name in PREFIX and len(args) == 1:
        text = f"({name} {args[0]})"
    elif name == "struct_pack" and t.id == "STRUCT":
        text = "struct_pack(" + ", ".join(f"{quote_identifier(n)} := {a}" for n, a in zip(t.names, args)) + ")"
    else:
        text = f"{name if name in SYNTAX else quote_identifier(name)}({', '.join(args)})"
    return text if _binds_to(call, operands) else f"CAST({text} AS {_type(t)})"


def _higher_order(name: str, operands: tuple[Expr, ...], columns: Sequence[str]) -> str:
    """A call with a lambda, whose last operands are what the lambda reads of the row."""
    function = next(a for a in operands if isinstance(a, Lambda))
    given = len(operands) - function.reads
    captured = [render(a, columns) for a in operands[given:]]
    # an inner lambda is always less high than the one around it, so no name hides another
    names = [f"p{_height(function)}_{i}" for i in range(function.parameters)]
    text = f"lambda {', '.join(names)}: {render(function.body, [*reversed(names), *captured])}"
    args = [text if a is function else render(a, columns) for a in operands[:given]]
    return f"{quote_identifier(name)}({', '.join(args)})"


def _height(expr: Expr) -> int:
    inner = [e for e in walk(expr.body if isinstance(expr, Lambda) else expr) if isinstance(e, Lambda)]
    return 1 + max(map(_height, inner), default=0)


def _binds_to(call: Call, operands: tuple[Expr, ...]) -> bool:
    """Whether binding the call over `operands` again is known to give its type."""
    t = call.type
    if call.name in FIXED_TYPE:
        return t.id in ("BOOLEAN", "VARCHAR", "BIGINT")
    if call.name in ("+", "-", "*") and len(operands) == 2:
        if t.id == "DECIMAL":
            return _decimal_result(call.name, operands) == t
        return (t.is_integer or t.id in ("FLOAT", "DOUBLE")) and all(a.type == t for a in operands)
    return call.name == "row" or (call.name in SYNTAX and all(a.type == t for a in operands))


def _without_widening(call: Call) -> tuple[Expr, ...]:
    """The operands of decimal arithmetic without the casts that binding the text again will put there itself."""
    bare = tuple(
        a.arg
        if isinstance(a, Cast) and not a.is_try and a.arg.type.id == a.type.id == "DECIMAL" and a.arg.type.scale <= a.type.scale
        else a
        for a in call.args
    )
    return bare if len(bare) == 2 and _decimal_result(call.name, bare) == call.type else call.args


def _decimal_result(name: str, operands: tuple[Expr, ...]) -> SqlType | None:
    """The type DuckDB binds `+`, `-` and `*` of two decimals to, where that is within 38 digits.

    A product of two one-word decimals stays one word (and is checked for overflow) as long as its scale allows it.
    """
    left, right = (o.type for o in operands)
    if name not in ("+", "-", "*") or not left.id == right.id == "DECIMAL":
        return None
    if name == "*":
        width, scale = left.width + right.width, left.scale + right.scale
        if max(left.width, right.width, scale) <= 18:
            width = min(width, 18)
    else:
        scale = max(left.scale, right.scale)
        width = max(left.width - left.scale, right.width - right.scale) + scale + 1
    return SqlType("DECIMAL", width, scale) if width <= 38 else None


def _case(case: Case, columns: Sequence[str]) -> str:
    whens = " ".join(f"WHEN {render(c, columns)} THEN {render(v, columns)}" for c, v in case.whens)
    text = f"CASE {whens} ELSE {render(case.otherwise, columns)} END"
    same = case.otherwise.type == case.type and all(v.type == case.type for _, v in case.whens)
    return f"({text})" if same else f"CAST({text} AS {_type(case.type)})"
