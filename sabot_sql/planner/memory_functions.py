"""Functions whose result is as large as an argument says: DuckDB's memory limit does not hold for them.

`repeat('x', 1500000000)` takes 2.9 GiB under a limit of 256 MB and does not hear an interrupt. How large a call gets is
worked out where its arguments are constants; elsewhere the call is only named.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sabot_sql.planner.parse_nodes import Node, walk

Number = int | float
Params = Mapping[str, Any]

SMALL_BYTES = 1 << 20
"""Up to here a call is nothing to speak of."""

LARGEST_BYTES = 64 << 20
"""Larger calls are refused in the server's own process."""

VALUE_BYTES = 16
"""What a list element or a value of unknown size is taken for."""

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

WIDTH = re.compile(r"%[-+ 0#,_]*(\d{5,})|\{[^}]*?(\d{5,})[^}]*\}")


def calls(root: Node, params: Params | None = None) -> Iterator[tuple[str, int | None]]:
    """Name and bytes of each multiplying call in `root`; bytes None where they are not known before it runs."""
    in_from: set[int] = set()
    for node in walk(root):
        if node.get("type") == "TABLE_FUNCTION":  # these give rows one vector at a time
            in_from.add(id(node["function"]))
        elif node.get("class") == "FUNCTION" and id(node) not in in_from and isinstance(node.get("function_name"), str):
            name = node["function_name"].lower()
            if name in SIZES:
                yield name, _saturated(SIZES[name], _arguments(node), params or {})


def multiplies_memory(root: Node, params: Params | None = None) -> str | None:
    """The first function whose result is not known to be small; None where all are.

    Args:
        root: DuckDB's parse tree.
        params: the values of parameters.
    """
    return next((name for name, size in calls(root, params) if size is None or size > SMALL_BYTES), None)


def oversized(root: Node, params: Params | None = None) -> tuple[str, int] | None:
    """Name and bytes of the first call that is known to be too large for the server's process."""
    return next(((name, size) for name, size in calls(root, params) if size is not None and size > LARGEST_BYTES), None)


def _saturated(size: Callable[[list[Node], Params], int | None], args: list[Node], params: Params) -> int | None:
    try:
        return size(args, params)
    except (OverflowError, ZeroDivisionError, ValueError, TypeError, IndexError):
        return None


def _arguments(node: Node) -> list[Node]:
    return [a["expression"] for a in node.get("arguments", ())]


def constant(node: Node, params: Params) -> Any:
    """The value of a constant expression; None where it is not one that is worked out here."""
    kind = node.get("class")
    if kind == "CONSTANT":
        return _literal(node.get("literal") or {})
    if kind == "PARAMETER":
        return params.get(node.get("identifier", ""))
    if kind == "CAST":
        return _cast(constant(node["child"], params))
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


def _cast(value: Any) -> Any:
    return (_number(value) if isinstance(value, str) else None) or value


def _selected(node: Node, params: Params) -> Any:
    """The value of (SELECT constant)."""
    query = (node.get("subquery") or {}).get("node") or {}
    chosen = query.get("select_list") or []
    return constant(chosen[0], params) if len(chosen) == 1 and query.get("type") == "SELECT_NODE" else None


def _computed(node: Node, params: Params) -> Any:
    name, args = node["function_name"].lower(), _arguments(node)
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
        return _saturated(size, _arguments(node), params)
    if node.get("class") == "FUNCTION" and node["function_name"].lower() == "list_value":
        return VALUE_BYTES * len(_arguments(node))
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
    size = constant(args[1], params)
    return int(max(0, size)) if isinstance(size, (int, float)) else None


def _series(args: list[Node], params: Params) -> int | None:
    """Elements of range(stop), range(start, stop), range(start, stop, step)."""
    values = [constant(a, params) for a in args]
    if not all(isinstance(v, (int, float)) for v in values):
        return None
    start, stop, step = (0, values[0], 1) if len(values) == 1 else (*values, 1)[:3]
    return int(max(0, (stop - start) / step + 1)) * 8


def _sized(args: list[Node], params: Params) -> int | None:
    size = constant(args[1], params)
    return int(max(0, size)) * VALUE_BYTES if isinstance(size, (int, float)) else None


def _bits(args: list[Node], params: Params) -> int | None:
    size = constant(args[1], params) if len(args) > 1 else 0
    return int(max(0, size)) // 8 if isinstance(size, (int, float)) else None


def _bar(args: list[Node], params: Params) -> int | None:
    size = constant(args[3], params) if len(args) > 3 else 80
    return int(max(0, size)) * 3 if isinstance(size, (int, float)) else None


def _formatted(args: list[Node], params: Params) -> int | None:
    text = constant(args[0], params)
    if not isinstance(text, str):
        return None if "*" in str(text) else 0
    widths = [int(next(filter(None, groups))) for groups in WIDTH.findall(text)]
    return sum(widths)


SIZES: dict[str, Callable[[list[Node], Params], int | None]] = {
    "repeat": _repeat,
    "lpad": _pad,
    "rpad": _pad,
    "range": _series,
    "generate_series": _series,
    "list_resize": _sized,
    "array_resize": _sized,
    "bitstring": _bits,
    "bar": _bar,
    "printf": _formatted,
    "format": _formatted,
}
