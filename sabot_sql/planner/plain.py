"""Plain statements: nothing stands in them but tables, joins, filters, groups and functions that are known by name.

DuckDB's tree alone says that they may run, and how many rows they work on at most (`planner.most_rows`). A statement with
anything in it that does not stand here is judged by both parsers and estimated by statistics.
"""

from __future__ import annotations

import functools
from typing import Any

from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import Node

MOST_CHARACTERS = 4_000
"""Longer statements are not plain."""

LEAVES = frozenset("COLUMN_REF CONSTANT PARAMETER POSITIONAL_REFERENCE".split())

EXPRESSIONS = frozenset("BETWEEN CASE CAST COMPARISON CONJUNCTION TYPE".split())

OPERATORS = frozenset("OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN".split())

MODIFIERS = frozenset(
    """ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ORDER_ASCENDING ORDER_DESCENDING
    ASCENDING DESCENDING""".split()
)

FUNCTIONS = frozenset(
    """+ - * / // % ~~ !~~ ~~* !~~* mod abs sign round floor ceil ceiling trunc sqrt ln log log2 log10 exp greatest least
    nullif lower upper length strlen substring substr left right trim ltrim rtrim starts_with ends_with prefix suffix contains
    year month day quarter week dayofweek hour minute second epoch date_part datepart date_trunc datetrunc date_diff datediff
    last_day isnan isfinite count count_star count_if sum avg mean min max bool_and bool_or stddev stddev_samp stddev_pop
    variance var_samp var_pop corr to_years to_months to_weeks to_days to_hours to_minutes to_seconds""".split()
)
"""None reads more than its arguments, and none makes anything larger than them."""

WINDOWS = FUNCTIONS | frozenset(
    "row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value first last".split()
)

ALWAYS = frozenset("type alias query_location query_location_length".split())

SELECT_KEYS = ALWAYS | frozenset(
    """modifiers cte_map select_list from_table where_clause group_expressions group_sets aggregate_handling having
    qualify""".split()
)
SELECT_EXPRESSIONS = ("modifiers", "select_list", "where_clause", "group_expressions", "having", "qualify")
SET_KEYS = ALWAYS | frozenset("modifiers cte_map setop_type setop_all children".split())
TABLE_KEYS = ALWAYS | frozenset("table_name schema_name catalog_name qualified_name column_name_alias".split())
SUBQUERY_KEYS = ALWAYS | frozenset("subquery column_name_alias".split())
VALUES_KEYS = ALWAYS | frozenset("values column_name_alias expected_names".split())
JOIN_KEYS = ALWAYS | frozenset(
    """left right condition join_type ref_type using_columns delim_flipped is_implicit nearest_count nearest_order_type
    nearest_approx""".split()
)

JOINS = frozenset("INNER LEFT RIGHT FULL SEMI ANTI".split())
REFERENCES = frozenset("REGULAR CROSS NATURAL".split())


class _Other(Exception):
    """The statement is not plain."""


def is_plain(statement: Statement) -> bool:
    """Whether `statement` is a query of plain parts only."""
    return _is_plain(statement.like or statement)


@functools.lru_cache(maxsize=4096)
def _is_plain(statement: Statement) -> bool:
    root = statement.nodes
    if root is None or statement.kind != "SELECT" or statement.pivots or len(statement.sql) > MOST_CHARACTERS:
        return False
    try:
        _query(root)
    except (_Other, RecursionError):
        return False
    return True


def _query(node: Node) -> None:
    for cte in node["cte_map"].get("map", ()):
        _query(cte["value"]["query_node"])
    match node["type"]:
        case "SELECT_NODE":
            _only(node, SELECT_KEYS)
            if len(node.get("group_sets", ())) > 1:
                raise _Other
            _source(node["from_table"])
            _expressions([node[key] for key in SELECT_EXPRESSIONS if key in node])
        case "SET_OPERATION_NODE":
            _only(node, SET_KEYS)
            for child in node["children"]:
                _query(child)
            _expressions([node.get("modifiers", [])])
        case _:
            raise _Other


def _source(node: Node) -> None:
    match node["type"]:
        case "BASE_TABLE":
            _only(node, TABLE_KEYS)
            if len(node["qualified_name"]["path"]) > 3:
                raise _Other
        case "JOIN":
            _only(node, JOIN_KEYS)
            if node["join_type"] not in JOINS or node["ref_type"] not in REFERENCES:
                raise _Other
            _source(node["left"])
            _source(node["right"])
            _expressions([node.get("condition", [])])
        case "SUBQUERY":
            _only(node, SUBQUERY_KEYS)
            _query(node["subquery"]["node"])
        case "EXPRESSION_LIST":
            _only(node, VALUES_KEYS)
            _expressions(node["values"])
        case "EMPTY":
            _only(node, ALWAYS)
        case _:
            raise _Other


def _only(node: Node, keys: frozenset[str]) -> None:
    if not node.keys() <= keys:
        raise _Other


def _expressions(todo: list[Any]) -> None:
    """Raise for an expression under `todo` that is not plain; `todo` is used up."""
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += [part for part in node if isinstance(part, (dict, list))]
            continue
        kind = node.get("class")
        if kind in LEAVES:
            continue
        match kind:
            case None:
                if (name := node.get("type")) is not None and name not in MODIFIERS:
                    raise _Other
            case "FUNCTION" | "WINDOW":
                path = node["qualified_name"]["path"]
                if len(path) != 1 or path[0].lower() not in (FUNCTIONS if kind == "FUNCTION" else WINDOWS):
                    raise _Other
            case "OPERATOR":
                if node["type"] not in OPERATORS:
                    raise _Other
            case "STAR":
                if node.get("columns") and "expr" in node:
                    raise _Other
            case _:
                if kind not in EXPRESSIONS:
                    raise _Other
        todo += [part for part in node.values() if isinstance(part, (dict, list))]
