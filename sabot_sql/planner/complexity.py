"""How deep and how wide a statement may be: what lies beyond is refused before a parser or a planner comes to grief on it.

DuckDB's parser, binder and optimizer go down a tree on the stack of the thread that calls them, and some of what they do
takes time that grows with the square of a statement's parts, or faster, and hears no interrupt. The limits were found by
trial: each is below what overflows a stack of 512 KiB (a fourth of it for brackets) or takes a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sabot_sql.errors import PlanError
from sabot_sql.planner.parse_nodes import Node

SHORT_CHARACTERS = 400
"""Shorter statements have no room for what is counted here."""

NESTED = {
    "bracket": 200,
    "expression": 900,
    "subquery": 30,
    "set operation": 60,
    "lambda": 10,
    "type": 50,
    "query of WITH": 60,
    "WITH": 100,
}
"""How deep each may be nested; in WITH, how many queries may each read the one before."""

PLURALS = {
    "expression": "expressions",
    "subquery": "subqueries",
    "set operation": "UNION and its like",
    "lambda": "lambdas",
    "type": "types",
    "query of WITH": "queries of WITH",
}

COUNTED = {
    "parts of a name": 100,
    "inner joins in one FROM": 60,
    "joins in one FROM": 150,
    "operands of AND and OR": 5000,
    "alternatives that are each made with AND": 400,
    "operands of UNION, INTERSECT and EXCEPT": 1500,
    "subqueries": 100,
}
"""How many of each there may be."""

DISTRIBUTED = {
    "inner joins in one FROM": 30,
    "joins in one FROM": 80,
    "operands of AND and OR": 300,
    "operands of UNION, INTERSECT and EXCEPT": 300,
    "subqueries": 50,
}
"""How many of each the distributed planner takes on."""

DISTRIBUTED_SUBQUERIES_DEEP = 8

DISTRIBUTED_COPIES = 200
"""Reads of queries in WITH, each counted with those it makes itself: every one becomes a copy of the query."""

HINTS = {
    "operands of AND and OR": "write long OR chains as IN, or join with a table of the values",
    "alternatives that are each made with AND": "join with VALUES, or with a table of the values",
}

CHAIN = re.compile(r"\]\s*\[|\)\s*\.")
MOST_CHAINED = 100

# texts, names and comments, in which brackets say nothing; then what opens and what closes
TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|(?P<open>[(\[{]|\bcase\b)|(?P<close>[)\]}]|\bend\b)""",
    re.IGNORECASE | re.DOTALL,
)


def too_complex(what: str = "the statement is nested too deeply", hint: str | None = None) -> PlanError:
    """The refusal of a statement that is too deep or too wide."""
    return PlanError(what, code="STATEMENT_TOO_COMPLEX", hint=hint or "split it with WITH, or write long OR chains as IN")


def refuse_deep_text(sql: str) -> None:
    """Raise for a text whose brackets, or CASE and END, are nested deeper than any parser should go.

    Raises:
        PlanError: STATEMENT_TOO_COMPLEX.
    """
    limit = NESTED["bracket"]
    if sum(map(sql.count, "([{")) + sql.lower().count("case") <= limit:
        return
    depth = 0
    for token in TOKENS.finditer(sql):
        if token["open"]:
            depth += 1
            if depth > limit:
                raise too_complex(f"the statement has brackets nested more than {limit} deep")
        elif token["close"]:
            depth = max(0, depth - 1)


def refuse_complex(sql: str, root: Node) -> None:
    """Raise for a statement that is deeper or wider than DuckDB can plan in reasonable time.

    Args:
        root: DuckDB's parse tree of `sql`.

    Raises:
        PlanError: STATEMENT_TOO_COMPLEX, naming what there is too much of.
    """
    if len(sql) <= SHORT_CHARACTERS:
        return
    counts = _counted(root)
    _count_chain(root)
    for what, number in counts.items():
        if number > COUNTED[what]:
            raise too_complex(f"the statement has {number:,} {what}, more than {COUNTED[what]:,}", HINTS.get(what))


def undistributable(sql: str, root: Node) -> str | None:
    """What a statement has too much of to be planned for agents in reasonable time; None where it may be."""
    if len(sql) > SHORT_CHARACTERS:
        for what, number in _counted(root).items():
            if number > DISTRIBUTED.get(what, number):
                return f"the statement has {number:,} {what}, of which the distributed planner takes {DISTRIBUTED[what]:,}"
    if (copies := _copies(root)) > DISTRIBUTED_COPIES:
        return f"the queries in WITH would be copied {copies:,} times"
    todo: list[tuple[Any, int]] = [(root, 0)]
    while todo:
        item, deep = todo.pop()
        if isinstance(item, dict):
            deep += item.get("class") == "SUBQUERY"
            if deep > DISTRIBUTED_SUBQUERIES_DEEP:
                return f"the statement has subqueries nested more than {DISTRIBUTED_SUBQUERIES_DEEP} deep"
            if item.get("class") == "CONSTANT":
                continue
        parts = item.values() if isinstance(item, dict) else item
        todo.extend([(part, deep) for part in parts if isinstance(part, (dict, list))])
    return None


def _copies(root: Node) -> int:
    """How many copies of queries in WITH there are when each is put where it is read."""
    most = 0
    for node in _walk(root):
        made: dict[str, int] = {}
        for cte in (node.get("cte_map") or {}).get("map") or ():
            made[cte["key"].lower()] = 1 + sum(made.get(name, 0) for name in _read(cte["value"]))
        if made:
            most = max(most, sum(made.get(name, 0) for name in _read({k: v for k, v in node.items() if k != "cte_map"})))
    return most


def _read(root: Node) -> Iterator[str]:
    """The last part of each table's name, as often as it is read."""
    for node in _walk(root):
        if node.get("type") == "BASE_TABLE":
            yield str(node["qualified_name"]["path"][-1]).lower()


def slow_in_sqlglot(sql: str) -> bool:
    """Whether sqlglot would take long for a text: the time for `a[1][1]...` and `a.f().f()...` grows with its square."""
    return sum(1 for _ in CHAIN.finditer(sql)) > MOST_CHAINED


def _counted(root: Node) -> dict[str, int]:
    found = dict.fromkeys(COUNTED, 0)
    for node in _walk(root):
        _count(node, found)
    return found


Nested = dict[str, int]


def _walk(root: Node) -> Iterator[Node]:
    """All nodes; constants, of which there may be many thousands, are not looked into. Needs no stack.

    Raises:
        PlanError: STATEMENT_TOO_COMPLEX, at a node that is nested too deeply.
    """
    todo: list[tuple[Any, Nested]] = [(root, {})]
    while todo:
        item, nested = todo.pop()
        if isinstance(item, list):
            todo.extend([(part, nested) for part in item if isinstance(part, (dict, list))])
            continue
        kind = _kind(item)
        if kind is not None:
            depth = nested.get(kind, 0) + 1
            if depth > NESTED[kind]:
                raise too_complex(f"the statement has {PLURALS[kind]} nested more than {NESTED[kind]} deep")
            nested = {**nested, kind: depth}
        yield item
        if item.get("class") != "CONSTANT":
            todo.extend([(value, nested) for value in item.values() if isinstance(value, (dict, list))])


def _kind(node: Node) -> str | None:
    match node.get("class"):
        case None if "query_node" in node:
            return "query of WITH"
        case None:
            return "set operation" if node.get("type") == "SET_OPERATION_NODE" else None
        case "SUBQUERY":
            return "subquery"
        case "LAMBDA":
            return "lambda"
        case "TYPE":
            return "type"
    return "expression"


def _count(node: Node, found: dict[str, int]) -> None:
    match node.get("class") or node.get("type"):
        case "COLUMN_REF":
            found["parts of a name"] = max(found["parts of a name"], len(node.get("column_names", ())))
        case "CONJUNCTION":
            children = node.get("children", ())
            found["operands of AND and OR"] += len(children)
            if node.get("type") == "CONJUNCTION_OR":
                made = sum(child.get("class") == "CONJUNCTION" for child in children)
                found["alternatives that are each made with AND"] += made
        case "SET_OPERATION_NODE":
            found["operands of UNION, INTERSECT and EXCEPT"] += len(node.get("children", ()))
        case "SUBQUERY" if "class" in node:
            found["subqueries"] += 1
        case "SELECT_NODE":
            inner, every = _joins(node.get("from_table") or {})
            found["inner joins in one FROM"] = max(found["inner joins in one FROM"], inner)
            found["joins in one FROM"] = max(found["joins in one FROM"], every)


def _joins(source: Node) -> tuple[int, int]:
    """The inner joins of one FROM, and all its joins."""
    inner = every = 0
    todo = [source]
    while todo:
        node = todo.pop()
        if node.get("type") == "JOIN":
            every += 1
            inner += node.get("join_type") == "INNER"
            todo += [node["left"], node["right"]]
    return inner, every


def _count_chain(root: Node) -> None:
    """Raise where the queries of WITH read one another in too long a chain."""
    limit = NESTED["WITH"]
    for node in _walk(root):
        ctes = (node.get("cte_map") or {}).get("map") or ()
        if len(ctes) <= limit:
            continue
        depths: dict[str, int] = {}
        for cte in ctes:
            depths[cte["key"].lower()] = 1 + max((depths.get(name, 0) for name in _read(cte["value"])), default=0)
        if max(depths.values()) > limit:
            raise too_complex(f"the statement has more than {limit} queries in WITH that each read the one before")


def joined_subqueries(root: Node) -> int:
    """The most subqueries that one FROM joins: each may read columns of those before it, and planning that takes twice as
    long with every one."""
    most = 0
    for node in _walk(root):
        if node.get("type") == "SELECT_NODE":
            found, todo = 0, [node.get("from_table") or {}]
            while todo:
                source = todo.pop()
                if source.get("type") == "JOIN":
                    found += source["right"].get("type") == "SUBQUERY"
                    todo += [source["left"], source["right"]]
            most = max(most, found)
    return most
