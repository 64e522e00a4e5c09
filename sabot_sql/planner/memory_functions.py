"""Functions whose result is as large as an argument says: DuckDB's memory limit does not hold for them.

`repeat('x', 1500000000)` takes 2.9 GiB under a limit of 256 MB and does not hear an interrupt. How large a call gets is
worked out where its arguments are constants; elsewhere the call is only named. What values become in the end, where one
function is put upon another, `value_growth` works out.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sabot_sql.planner.parse_nodes import Node, walk

Number = int | float
Params = Mapping[str, Any]

SMALL_BYTES = 16 << 10
"""Up to here a value is nothing to speak of: DuckDB works on 2,048 at once, 32 MiB."""

VALUE_BYTES = 16
"""What a list element or a value of unknown size is taken for."""

TEXT_BYTES = 4
"""The longest a character can be."""

TOP_K_BYTES = 1024
"""What approx_top_k keeps for each value asked for."""

SECONDS = {"to_seconds": 1, "to_minutes": 60, "to_hours": 3600, "to_days": 86400, "to_weeks": 604800, "to_months": 28 * 86400,
           "to_years": 365 * 86400}  # fmt: skip
"""Intervals, as seconds; a month is its shortest, so that a series is rather thought too long than too short."""

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "^": operator.pow,
    "<<": operator.lshift,
}

COMPUTED = frozenset((*ARITHMETIC, *SECONDS, "pow", "power", "length", "len", "strlen", "trunc"))

WIDTH = re.compile(r"\d{5,}")
OPEN_WIDTH = re.compile(r"%[^%a-zA-Z]*\*|\{[^{}]*:[^{}]*\{")
"""A width that an argument gives: `%*d`, `{:{}}`."""

COPYING = frozenset(
    """replace regexp_replace array_to_string list_string_agg list_transform list_apply array_transform array_apply
    apply""".split()
)
"""Functions that put a constant into many places of a value."""


def calls(root: Node, params: Params | None = None) -> Iterator[tuple[str, int | None]]:
    """Name and bytes of each multiplying call in `root`; bytes None where they are not known before it runs."""
    in_from: set[int] = set()
    for node in walk(root):
        if node.get("type") == "TABLE_FUNCTION":  # these give rows one vector at a time
            in_from.add(id(node["function"]))
        elif node.get("class") == "FUNCTION" and id(node) not in in_from and isinstance(node.get("function_name"), str):
            name = node["function_name"].lower()
            if name in SIZES:
                yield name, size_of_call(name, node, params or {})


def sized_by_constants(root: Node) -> bool:
    """Whether how large the values of a statement get hangs on its constants."""
    return any(
        str(node.get("function_name", "")).lower() in SIZES.keys() | COPYING
        for node in walk(root)
        if node.get("class") == "FUNCTION"
    )


def oversized(root: Node, limit_bytes: int, params: Params | None = None) -> tuple[str, int] | None:
    """Name and bytes of the first call that is known to make a value of more than `limit_bytes`.

    Args:
        root: DuckDB's parse tree.
        params: the values of parameters.
    """
    return next(((name, size) for name, size in calls(root, params) if size is not None and size > limit_bytes), None)


def size_of_call(name: str, node: Node, params: Params) -> int | None:
    """The bytes of what a call of one of `SIZES` gives; None where they are not known."""
    if len((node.get("qualified_name") or {}).get("path") or ()) > 1:
        return None  # `a.repeat(3)` is repeat(a, 3), but so may main.repeat(3) be
    return _saturated(SIZES[name], arguments(node), params)


def _saturated(size: Callable[[list[Node], Params], int | None], args: list[Node], params: Params) -> int | None:
    try:
        return size(args, params)
    except (OverflowError, ZeroDivisionError, ValueError, TypeError, IndexError):
        return None


def arguments(node: Node) -> list[Node]:
    """The arguments of a call, as they are written."""
    return [a["expression"] for a in node.get("arguments", ())]


def constant(node: Node, params: Params) -> Any:
    """The value of a constant expression; None where it is not one that is worked out here."""
    kind = node.get("class")
    if kind == "CONSTANT":
        return _literal(node.get("literal") or {})
    if kind == "PARAMETER":
        return params.get(node.get("identifier", ""))
    if kind == "CAST":
        return _cast(constant(node["child"], params), str((node.get("type_expr") or {}).get("type_name", "")).upper())
    if kind == "SUBQUERY":
        return _selected(node, params)
    if kind == "FUNCTION":
        return _computed(node, params)
    return None


def _literal(literal: Node) -> Any:
    text = literal.get("text")
    match literal.get("kind"):
        case "INTEGER" | "DECIMAL" | "FLOAT" | "DOUBLE" | "NUMBER" | "NUMERIC":
            return _number(str(text))
        case "STRING":
            return text
    return None


def _number(text: str) -> Number | None:
    try:
        return int(text.replace("_", ""), 0) if re.fullmatch(r"[-\d_xXoObBa-fA-F]+", text) else float(text)
    except ValueError:
        return None


def _cast(value: Any, to: str) -> Any:
    if isinstance(value, str) and to.startswith(("DATE", "TIMESTAMP")):
        return _seconds(value)
    if isinstance(value, str) and to == "INTERVAL":
        return _interval(value)
    number = _number(value) if isinstance(value, str) else None
    return value if number is None else number


def _seconds(text: str) -> Number | None:
    """A date or time as seconds; None where DuckDB may read it in another way."""
    try:
        return (dt.datetime.fromisoformat(text).replace(tzinfo=None) - dt.datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None


def _interval(text: str) -> Number | None:
    """An interval of one unit as seconds."""
    found = re.fullmatch(r"\s*(\d+)\s*(second|minute|hour|day|week|month|year)s?\s*", text, re.IGNORECASE)
    return int(found[1]) * SECONDS[f"to_{found[2].lower()}s"] if found else None


def _selected(node: Node, params: Params) -> Any:
    """The value of (SELECT constant)."""
    query = (node.get("subquery") or {}).get("node") or {}
    chosen = query.get("select_list") or []
    return constant(chosen[0], params) if len(chosen) == 1 and query.get("type") == "SELECT_NODE" else None


def _computed(node: Node, params: Params) -> Any:
    name, args = node["function_name"].lower(), arguments(node)
    if name not in COMPUTED or len(args) > 2:
        return None
    values = [constant(a, params) for a in args]
    if name in ("-", "+") and len(values) == 1 and isinstance(values[0], (int, float)):
        return -values[0] if name == "-" else values[0]
    if len(values) == 2 and all(isinstance(v, (int, float)) for v in values) and name in ARITHMETIC:
        if name in ("**", "^", "<<") and abs(values[1]) > 128:
            return 1 << 62
        return _or_none(ARITHMETIC[name], values)
    if name in ("pow", "power") and len(values) == 2 and all(isinstance(v, (int, float)) for v in values):
        return 1 << 62 if abs(values[1]) > 128 else _or_none(operator.pow, values)
    if name in ("length", "len", "strlen") and len(values) == 1 and isinstance(values[0], str):
        return len(values[0])
    if name in SECONDS and len(values) == 1 and isinstance(values[0], (int, float)):
        return values[0] * SECONDS[name]
    if name == "trunc" and len(values) == 1 and isinstance(values[0], (int, float)):
        return values[0]
    return None


def _or_none(function: Callable[..., Any], values: list[Any]) -> Any:
    try:
        return function(*values)
    except (ArithmeticError, ValueError, TypeError):
        return None


def width(node: Node, params: Params) -> int | None:
    """The bytes of one value of a constant expression, or of a multiplying call over constants."""
    value = constant(node, params)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (int, float)):
        return VALUE_BYTES
    if node.get("class") == "FUNCTION" and (size := SIZES.get(node["function_name"].lower())):
        return _saturated(size, arguments(node), params)
    if node.get("class") == "FUNCTION" and node["function_name"].lower() == "list_value":
        return VALUE_BYTES * len(arguments(node))
    return None


def _repeat(args: list[Node], params: Params) -> int | None:
    times = constant(args[1], params)
    if not isinstance(times, (int, float)):
        return None
    each = width(args[0], params)
    if each is None:  # a column: small only when few
        return None if times > 100 else int(max(0, times)) * VALUE_BYTES
    return int(max(0, times)) * each


def _pad(args: list[Node], params: Params) -> int | None:
    size, filler = constant(args[1], params), constant(args[2], params)
    each = 1 if isinstance(filler, str) and filler.isascii() else TEXT_BYTES
    return int(max(0, size)) * each if isinstance(size, (int, float)) else None


def _series(args: list[Node], params: Params) -> int | None:
    """Elements of range(stop), range(start, stop), range(start, stop, step)."""
    values = [constant(a, params) for a in args]
    if not all(isinstance(v, (int, float)) for v in values):
        return None
    start, stop, step = (0, values[0], 1) if len(values) == 1 else (*values, 1)[:3]
    return int(max(0, (stop - start) / step + 1)) * 8


def _bits(args: list[Node], params: Params) -> int | None:
    size = constant(args[1], params) if len(args) > 1 else 0
    return int(max(0, size)) // 8 if isinstance(size, (int, float)) else None


def _formatted(args: list[Node], params: Params) -> int | None:
    text = constant(args[0], params)
    if not isinstance(text, str) or OPEN_WIDTH.search(text.replace("{{", "")):
        return None
    return sum(map(int, WIDTH.findall(text)))


def _counted(position: int, each: int) -> Callable[[list[Node], Params], int | None]:
    """The size of a call whose argument at `position` is a count of things of `each` bytes; small without it."""

    def size(args: list[Node], params: Params) -> int | None:
        if len(args) <= position:
            return 0
        count = constant(args[position], params)
        return int(max(0, count)) * each if isinstance(count, (int, float)) else None

    return size


SIZES: dict[str, Callable[[list[Node], Params], int | None]] = {
    "repeat": _repeat,
    "lpad": _pad,
    "rpad": _pad,
    "range": _series,
    "generate_series": _series,
    "list_resize": _counted(1, VALUE_BYTES),
    "array_resize": _counted(1, VALUE_BYTES),
    "bitstring": _bits,
    "bar": _counted(3, 3),
    "equi_width_bins": _counted(2, VALUE_BYTES),
    "approx_top_k": _counted(1, TOP_K_BYTES),
    "reservoir_quantile": _counted(2, VALUE_BYTES),
    "printf": _formatted,
    "format": _formatted,
}
