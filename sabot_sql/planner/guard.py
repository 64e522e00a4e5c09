"""Which statements run in a process of their own that may be killed, and the clause that says why.

DuckDB works out a constant call while it binds a statement, so those whose values may become large are not bound in this
process either. Rows without end only cost memory once they are an answer; they may be bound anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sabot_sql.catalog.table import Table
from sabot_sql.planner.complexity import SHORT_CHARACTERS, joined_subqueries
from sabot_sql.planner.memory_functions import SIZES, arguments
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import Node, walk
from sabot_sql.planner.value_growth import lambda_names, multiplies_memory

MANY_SUBQUERIES = 30
"""Joined subqueries in one FROM. Each may read columns of those before it: planning then takes twice as long with every one."""

MANY_ROWS = 100_000_000
"""Rows that a statement may make of nothing, or by joining without a condition, before it is guarded."""

NOT_KNOWN = 1 << 62

ANY_SIZE = "may make values of any size"


def guarded_values(statement: Statement, params: Mapping[str, Any]) -> str | None:
    """Why `statement` must not even be bound here: its values may become large, or planning it take long; None where it
    may be.

    Args:
        params: the values of its parameters by name.
    """
    statement = statement.like or statement  # of one another's constants nothing hangs that is looked at here
    if statement.parameters and statement.nodes is not None:
        what = multiplies_memory(statement.sql, statement.nodes, params)
    else:
        what = _large_values(statement)
    if what is not None:
        return f"{what} {ANY_SIZE}"
    many = _joined_subqueries(statement)
    return f"it joins {many} subqueries, which may take long to plan" if many > MANY_SUBQUERIES else None


@functools.lru_cache(maxsize=4096)
def _large_values(statement: Statement) -> str | None:
    return None if statement.nodes is None else multiplies_memory(statement.sql, statement.nodes)


@functools.lru_cache(maxsize=4096)
def _joined_subqueries(statement: Statement) -> int:
    if statement.nodes is None or len(statement.sql) <= SHORT_CHARACTERS:
        return 0
    return joined_subqueries(statement.nodes)


def guarded_rows(statement: Statement, tables: Sequence[Table]) -> str | None:
    """Why `statement` may make rows without end; None where it does not.

    Args:
        tables: the tables it names.
    """
    sources = _row_makers(statement.like or statement)
    if not sources:
        return None
    rows = {t.name.lower(): t.statistics.rows for t in tables}
    most = max((found for source in sources for found in _rows(source, rows)), default=0)
    if most <= MANY_ROWS:
        return None
    return "it makes any number of rows" if most >= NOT_KNOWN else f"it makes up to {most:,} rows"


@functools.lru_cache(maxsize=4096)
def _row_makers(statement: Statement) -> tuple[Node, ...]:
    """What stands in FROM and makes rows of its own, or joins without a condition."""
    if statement.nodes is None:
        return ()
    found = []
    for node in walk(statement.nodes):
        source = node.get("from_table") if node.get("type") == "SELECT_NODE" else None
        if source is not None and source.get("type") in ("JOIN", "TABLE_FUNCTION"):
            # with WHERE its joins may have conditions: only what is in them counts
            found += [source] if not node.get("where_clause") else list(_leaves(source))
    return tuple(source for source in found if source.get("type") in ("JOIN", "TABLE_FUNCTION"))


def _leaves(source: Node) -> Iterator[Node]:
    todo = [source]
    while todo:
        node = todo.pop()
        if node.get("type") == "JOIN":
            todo += [node["left"], node["right"]]
        else:
            yield node


def _rows(source: Node, tables: Mapping[str, int | None]) -> Iterator[int]:
    """The rows of what is joined without a condition, and of each part; at most `NOT_KNOWN`. Needs no stack."""
    parts: list[int] = []
    todo: list[tuple[Node, bool]] = [(source, False)]
    while todo:
        node, joined = todo.pop()
        if node.get("type") != "JOIN":
            parts.append(_rows_of_one(node, tables))
        elif not joined:
            todo += [(node, True), (node["left"], False), (node["right"], False)]
        else:
            left, right = parts.pop(), parts.pop()
            free = node.get("ref_type") == "CROSS"
            parts.append(min(NOT_KNOWN, left * right) if free else max(left, right))
            yield parts[-1] if free else 0
    if source.get("type") == "TABLE_FUNCTION":
        yield parts[-1]


def _rows_of_one(node: Node, tables: Mapping[str, int | None]) -> int:
    """The rows of a table or a series; 1 where they are counted elsewhere, or not made here."""
    if node.get("type") == "BASE_TABLE":
        path = [part.lower() for part in node["qualified_name"]["path"]]
        rows = tables.get(".".join(path)) or tables.get(path[-1])
        return max(1, rows or 1)
    if node.get("type") != "TABLE_FUNCTION":
        return 1
    call = node["function"]
    name = call["function_name"].lower()
    if name in ("range", "generate_series"):
        try:
            size = SIZES[name](arguments(call), {})
        except (ArithmeticError, ValueError, TypeError, IndexError):
            size = None
        return NOT_KNOWN if size is None else max(1, size // 8)
    return 1


def unbindable(statement: Statement, params: Mapping[str, Any]) -> str | None:
    """Why `statement` must not be bound in this process, though agents could run it; None where it may be.

    Binding works out calls of constants. Calls of columns are only worked out where rows are: in an agent, which may die of it.
    """
    why = guarded_values(statement, params)
    nodes = (statement.like or statement).nodes
    if why is None or nodes is None or not why.endswith(ANY_SIZE):
        return why
    for node in walk(nodes):
        if node.get("class") != "FUNCTION" or _reads_columns(node):
            continue
        if multiplies_memory(statement.sql, node, params) is not None:
            return why
    return None


def _reads_columns(call: Node) -> bool:
    """Whether a call reads more than constants; the elements that its own lambdas are called with are no columns."""
    elements = {name for node in walk(call) if node.get("class") == "LAMBDA" for name in lambda_names(node)}
    return any(
        node.get("class") == "STAR" or (node.get("class") == "COLUMN_REF" and node["column_names"][0].lower() not in elements)
        for node in walk(call)
    )
