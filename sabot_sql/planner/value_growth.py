"""How large the values of a statement can get beside those it reads, where one function is put upon another.

`s || s` doubles, `replace(s, 'x', 'yyyy')` makes four times as much, and a chain of subqueries that do so makes a value of
any size out of a short text. A value is measured as so many bytes that stand in the statement, plus so many times a column's
value; what a subquery gives out is measured before what reads it. Where that is more than a little, or not known, the first
function to blame is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sabot_sql.planner.memory_functions import (
    COPYING,
    SIZES,
    SMALL_BYTES,
    VALUE_BYTES,
    Params,
    arguments,
    constant,
    size_of_call,
)
from sabot_sql.planner.parse_nodes import Node

MOST_TIMES = 256
"""How many times the size of a column's value is nothing to speak of."""

MOST_CONSTANT_BYTES = 1 << 20
"""How large a constant may be: there is one of it for all rows."""

MOST_BYTES = 1 << 62


@dataclass(frozen=True, slots=True)
class Size:
    """A value of at most `fixed` bytes and `columns` times a column's value and `elements` times that of the list element
    which a lambda is called with."""

    fixed: int = 0
    columns: int = 0
    elements: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(
            min(MOST_BYTES, self.fixed + other.fixed),
            min(MOST_BYTES, self.columns + other.columns),
            min(MOST_BYTES, self.elements + other.elements),
        )

    def __mul__(self, times: int) -> Size:
        return Size(
            min(MOST_BYTES, self.fixed * times), min(MOST_BYTES, self.columns * times), min(MOST_BYTES, self.elements * times)
        )

    def __or__(self, other: Size) -> Size:
        """The larger of the two."""
        return Size(max(self.fixed, other.fixed), max(self.columns, other.columns), max(self.elements, other.elements))

    @property
    def varies(self) -> bool:
        """Whether it is another one in each row."""
        return self.columns > 0 or self.elements > 0

    @property
    def small(self) -> bool:
        """Whether it is nothing to speak of."""
        return self.columns + self.elements <= MOST_TIMES and self.fixed <= (
            SMALL_BYTES if self.varies else MOST_CONSTANT_BYTES
        )


PLAIN = Size(VALUE_BYTES)
COLUMN = Size(0, 1)
ELEMENT = Size(0, 0, 1)
GATHERED = Size(0, 64)
"""What an aggregate gathered of many rows: it may be much larger than a column's values."""

GATHERING = frozenset(
    """list array_agg string_agg group_concat listagg histogram histogram_exact json_group_array json_group_object
    json_group_structure map_agg variant_group_array variant_group_object""".split()
)

ARITHMETIC = frozenset("+ - * / // % ** ^ & << >> ~ ! @ ~~ !~~ ~~* !~~* = <> < > <= >=".split())

JOINING = frozenset(
    """|| concat concat_ws list_concat list_cat array_concat array_cat list_append array_append array_push_back list_prepend
    array_prepend array_push_front overlay list_zip array_zip map_concat struct_concat path_join json_merge_patch
    json_deep_merge json_insert json_set json_replace""".split()
)
"""The result has the arguments one after the other, made anew for each row."""

HOLDING = frozenset(
    """list_value list_pack array_value struct_pack row struct_insert struct_update map map_from_entries unpivot_list
    json_object json_array""".split()
)
"""As `JOINING`, but such values are mostly written out in the statement."""

FACTORS = {
    "hex": 2, "to_hex": 2, "bin": 8, "to_binary": 8, "base64": 2, "to_base64": 2, "url_encode": 3, "regexp_escape": 2,
    "to_json": 2, "json_quote": 2, "row_to_json": 2, "array_to_json": 2, "translate": 4,
    "string_split": VALUE_BYTES, "str_split": VALUE_BYTES, "split": VALUE_BYTES, "string_to_array": VALUE_BYTES,
    "string_split_regex": VALUE_BYTES, "str_split_regex": VALUE_BYTES, "regexp_split_to_array": VALUE_BYTES,
    "regexp_extract_all": VALUE_BYTES,
}  # fmt: skip
"""The result is at most so many times the largest argument."""

MAPPING = frozenset("list_transform list_apply array_transform array_apply apply".split())
REDUCING = frozenset("list_reduce array_reduce reduce".split())
SEPARATING = frozenset("array_to_string list_string_agg array_to_string_comma_default".split())
SELECTING = frozenset("list_select array_select".split())

WORDS = {"||", "[", "{", "struct", "row", "map", "json", "over", *(n for n in JOINING if n.isidentifier())}
NAMES = re.compile("|".join(map(re.escape, sorted({*SIZES, *COPYING, *FACTORS, *REDUCING, *SELECTING, *WORDS}))))
"""What a text has in it that needs a closer look."""

MERELY_TRUE = frozenset("""COMPARE_IN COMPARE_NOT_IN OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL""".split())


class Growing(Exception):
    """Names what makes values that are not known to be small."""


def multiplies_memory(sql: str, root: Node, params: Params | None = None) -> str | None:
    """What makes values that are not known to be small: "function repeat", "WITH RECURSIVE"; None where nothing does.

    Args:
        sql: the statement's text, for a quick look.
        root: DuckDB's parse tree of it.
        params: the values of parameters.
    """
    params = params or {}
    if len(sql) <= SMALL_BYTES and NAMES.search(sql.lower()) is None and bytes_of(params) <= SMALL_BYTES:
        return None
    try:
        _Measure(params).size(root, Size())
    except Growing as found:
        return str(found)
    except RecursionError:
        return "deep nesting"
    return None


class _Measure:
    """One walk over a statement: `size` of a node, inside out.

    `tables` are the sizes of what each WITH gives out, `elements` the names that the innermost lambda gives to elements.
    `grown` counts the calls met that make larger values of their arguments.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.tables: dict[str, Size] = {}
        self.elements: frozenset[str] = frozenset()
        self.outer_elements: frozenset[str] = frozenset()
        self.grown = 0

    def size(self, node: Any, scope: Size) -> Size:
        """The largest value of `node`, where columns are of the size `scope`."""
        found = Size()
        if isinstance(node, list):
            for item in node:
                if isinstance(item, (dict, list)):
                    found |= self.size(item, scope)
            return found
        kind = node.get("class") or node.get("type")
        read = READERS.get(kind) if isinstance(kind, str) else None  # the size of a SAMPLE has a type with parts
        if read is not None:
            return read(self, node, scope)
        for value in node.values():
            if isinstance(value, (dict, list)):
                found |= self.size(value, scope)
        return found

    # queries

    def select(self, node: Node, scope: Size) -> Size:
        outer = self.tables
        self._with(node, scope)
        rows = scope | self.size(node.get("from_table") or {}, scope)
        for key, value in node.items():
            if key not in ("cte_map", "from_table", "select_list") and isinstance(value, (dict, list)):
                self.size(value, rows)
        found = self.size(node.get("select_list") or [], rows)
        self.tables = outer
        if found.fixed > SMALL_BYTES and (node.get("from_table") or {}).get("type") != "EMPTY":
            raise Growing(f"a value of {found.fixed:,} bytes in each row")
        return found

    def combined(self, node: Node, scope: Size) -> Size:
        """UNION and its like."""
        outer = self.tables
        self._with(node, scope)
        found = Size()
        for key, value in node.items():
            if key != "cte_map" and isinstance(value, (dict, list)):
                found |= self.size(value, scope)
        self.tables = outer
        return found

    def _with(self, node: Node, scope: Size) -> None:
        for cte in (node.get("cte_map") or {}).get("map") or ():
            found = self.size(cte["value"], scope)
            self.tables = {**self.tables, cte["key"].lower(): found}

    def recursive(self, node: Node, scope: Size) -> Size:
        """What grows in each round may grow to any size."""
        outer = self.tables
        self._with(node, scope)
        first = self.size(node["left"], scope)
        self.tables = {**self.tables, node["cte_name"].lower(): first | COLUMN}
        before = self.grown
        again = self.size(node["right"], scope)
        self.tables = outer
        if self.grown > before:
            raise Growing("WITH RECURSIVE")
        return first | again

    def table(self, node: Node, scope: Size) -> Size:
        return self.tables.get(node["qualified_name"]["path"][-1].lower(), COLUMN) | COLUMN

    def join(self, node: Node, scope: Size) -> Size:
        left = self.size(node["left"], scope)
        right = self.size(node["right"], scope | left)
        for key, value in node.items():
            if key not in ("left", "right") and isinstance(value, (dict, list)):
                self.size(value, scope | left | right)
        return left | right

    def table_function(self, node: Node, scope: Size) -> Size:
        return PLAIN | self.size(arguments(node["function"]), scope)

    def subquery(self, node: Node, scope: Size) -> Size:
        """As a table, or in an expression."""
        found = self.size((node.get("subquery") or {}).get("node") or {}, scope)
        if isinstance(node.get("child"), dict):
            self.size(node["child"], scope)
        return found if node.get("subquery_type") in (None, "SCALAR") else PLAIN

    # expressions

    def literal(self, node: Node, scope: Size) -> Size:
        found = node.get("literal") or {}
        return Size(len(found.get("text") or "")) if found.get("kind") in ("STRING", "HEX") else PLAIN

    def parameter(self, node: Node, scope: Size) -> Size:
        value = self.params.get(node.get("identifier", ""))
        return Size(bytes_of(value))

    def column(self, node: Node, scope: Size) -> Size:
        name = node["column_names"][0].lower() if node.get("column_names") else ""
        if name in self.elements:
            return ELEMENT
        return COLUMN if name in self.outer_elements else scope

    def star(self, node: Node, scope: Size) -> Size:
        found = scope
        for value in node.values():
            if isinstance(value, (dict, list)):  # REPLACE
                found |= self.size(value, scope)
        return found

    def truth(self, node: Node, scope: Size) -> Size:
        for value in node.values():
            if isinstance(value, (dict, list)):
                self.size(value, scope)
        return PLAIN

    def operation(self, node: Node, scope: Size) -> Size:
        if node.get("type") in MERELY_TRUE:
            return self.truth(node, scope)
        return self.size(node.get("children") or [], scope)

    def cast(self, node: Node, scope: Size) -> Size:
        return self.size(node["child"], scope)

    def window(self, node: Node, scope: Size) -> Size:
        found = Size()
        for value in node.values():
            if isinstance(value, (dict, list)):
                found |= self.size(value, scope)
        name = str(node.get("function_name", "")).lower()
        if name in GATHERING:  # a list in each row of all rows of its frame
            raise Growing(f"window function {name}")
        return found

    def lambda_(self, node: Node, scope: Size) -> Size:
        """The body of a lambda, measured by the elements it is called with; those of a lambda around it are columns."""
        names = lambda_names(node)
        before, outer = self.elements, self.outer_elements
        self.elements, self.outer_elements = names, (outer | before) - names
        found = self.size(node["expr"], scope)
        self.elements, self.outer_elements = before, outer
        # json -> path looks the same
        return found if node.get("syntax_type") == "LAMBDA_KEYWORD" else found | self.size(node.get("lhs") or {}, scope)

    def call(self, node: Node, scope: Size) -> Size:
        name = node["function_name"].lower()
        before = self.grown
        sizes = []
        for argument in arguments(node):
            sizes.append(self.size(argument, scope))
        path = (node.get("qualified_name") or {}).get("path") or ()
        if len(path) > 1:  # `a.replace('x', 'y')` is replace(a, 'x', 'y')
            sizes.insert(0, scope)
        for key in ("filter", "order_bys"):
            if isinstance(node.get(key), dict):
                self.size(node[key], scope)
        found = self._call(name, node, sizes, len(path) > 1, before)
        if found is not None:
            self.grown += 1
            return _small(name, found)
        if name in HOLDING:
            return _small(name, Size(0, *_times(_sum(sizes)))) | _sum(sizes)
        if name in GATHERING:
            return GATHERED
        return PLAIN if name in ARITHMETIC else _largest(sizes)

    def _call(self, name: str, node: Node, sizes: list[Size], method: bool, before: int) -> Size | None:
        """What a call gives that makes larger values of its arguments; None for all other calls."""
        if name in SIZES:
            return self._sized(name, node, sizes)
        if name in JOINING:
            return _sum(sizes)
        if name in FACTORS:
            return _largest(sizes) * FACTORS[name]
        if name in SEPARATING:
            return _times_each(name, sizes, 1)
        if name in SELECTING:
            return _times_each(name, sizes, 8)
        if name in ("replace", "regexp_replace"):
            if method or len(sizes) < 3:
                raise too_large(name)
            return self._replaced(name, arguments(node), sizes)
        if name in MAPPING and len(sizes) > 1:
            return _mapped(name, sizes)
        if name in REDUCING and self.grown > before:
            raise too_large(name)
        return None

    def _sized(self, name: str, node: Node, sizes: list[Size]) -> Size:
        if name == "repeat" and len(sizes) == 2 and len(arguments(node)) == 2:
            times = constant(arguments(node)[1], self.params)
            if isinstance(times, (int, float)) and times < MOST_BYTES:
                return sizes[0] * max(0, int(times))
        size = size_of_call(name, node, self.params)
        if size is None:
            raise too_large(name)
        if name in ("printf", "format"):
            text = str(constant(arguments(node)[0], self.params))
            return Size(size) + _sum(sizes) * max(1, text.count("{") + text.count("%"))
        return Size(size) | _largest(sizes)

    def _replaced(self, name: str, args: list[Node], sizes: list[Size]) -> Size:
        text, put = sizes[0], sizes[2]
        pattern, new = constant(args[1], self.params), constant(args[2], self.params)
        if put.varies:  # in each place of one value another value
            raise too_large(name)
        if name == "replace":
            each = len(pattern) if isinstance(pattern, str) and pattern else 1
            return text * max(1, -(-put.fixed // each)) if isinstance(new, str) else text * max(1, put.fixed)
        parts = 1 + len(re.findall(r"\\\d", new)) if isinstance(new, str) else MOST_TIMES
        options = constant(args[3], self.params) if len(args) > 3 else ""
        everywhere = not isinstance(options, str) or "g" in options
        return text * (put.fixed + parts) if everywhere else text * parts + put


def lambda_names(node: Node) -> frozenset[str]:
    """The names that a lambda gives to what it is called with."""
    left = node.get("lhs") or {}
    return frozenset(n["column_names"][0].lower() for n in [left, *arguments(left)] if n.get("class") == "COLUMN_REF")


def too_large(function: str) -> Growing:
    """What a call says that is not known to be small."""
    return Growing(f"function {function}")


def bytes_of(value: Any) -> int:
    """About how large a parameter's value is."""
    if isinstance(value, (str, bytes)):
        return max(VALUE_BYTES, len(value))
    if isinstance(value, Mapping):
        return sum(map(bytes_of, value.values())) + VALUE_BYTES
    return sum(map(bytes_of, value)) + VALUE_BYTES if isinstance(value, (list, tuple)) else VALUE_BYTES


def _sum(sizes: list[Size]) -> Size:
    found = Size()
    for size in sizes:
        found += size
    return found


def _largest(sizes: list[Size]) -> Size:
    found = Size()
    for size in sizes:
        found |= size
    return found


def _times(size: Size) -> tuple[int, int]:
    return size.columns, size.elements


def _times_each(name: str, sizes: list[Size], each: int) -> Size:
    """The first argument with the second put in `fixed / each` places."""
    if len(sizes) < 2:
        return _largest(sizes) * 2
    first, second = sizes[0], sizes[1]
    if second.varies:
        raise too_large(name)
    return first * (1 + second.fixed // each)


def _mapped(name: str, sizes: list[Size]) -> Size:
    """A lambda called with each element of a list."""
    elements, body = sizes[0], sizes[1]
    if body.columns and elements.varies:  # in each element of one value another value
        raise too_large(name)
    if body.columns:
        return Size(elements.fixed // 8 * body.fixed, elements.fixed // 8 * body.columns)
    return elements * max(1, body.fixed // VALUE_BYTES + body.elements)


def _small(name: str, size: Size) -> Size:
    if not size.small:
        raise too_large(name)
    return size


READERS: dict[Any, Callable[[_Measure, Node, Size], Size]] = {
    "SELECT_NODE": _Measure.select,
    "SET_OPERATION_NODE": _Measure.combined,
    "CTE_NODE": _Measure.combined,
    "RECURSIVE_CTE_NODE": _Measure.recursive,
    "BASE_TABLE": _Measure.table,
    "JOIN": _Measure.join,
    "TABLE_FUNCTION": _Measure.table_function,
    "SUBQUERY": _Measure.subquery,
    "CONSTANT": _Measure.literal,
    "PARAMETER": _Measure.parameter,
    "COLUMN_REF": _Measure.column,
    "POSITIONAL_REFERENCE": _Measure.column,
    "STAR": _Measure.star,
    "COMPARISON": _Measure.truth,
    "CONJUNCTION": _Measure.truth,
    "BETWEEN": _Measure.truth,
    "OPERATOR": _Measure.operation,
    "CAST": _Measure.cast,
    "WINDOW": _Measure.window,
    "LAMBDA": _Measure.lambda_,
    "FUNCTION": _Measure.call,
}
