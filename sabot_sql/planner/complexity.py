"""How deep and how wide a statement may be: what lies beyond is refused before a parser or a planner comes to grief on it.

DuckDB's parser, binder and optimizer go down a tree on the stack of the thread that calls them, and some of what they do
takes time that grows with the square of a statement's parts, or faster, and hears no interrupt. The limits were found by
trial: each is below what overflows a stack of 512 KiB (a fourth of it for brackets) or takes a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    "WITH": 100,
}
"""How deep each may be nested; in WITH, how many queries may each read the one before."""

PLURALS = {
    "expression": "expressions",
    "subquery": "subqueries",
    "set operation": "UNION and its like",
    "lambda": "lambdas",
    "type": "types",
}

COUNTED = {
    "parts of a name": 100,
    "inner joins in one FROM": 60,
    "joins in one FROM": 150,
    "operands of AND and OR": 5000,
    "alternatives that are each made with AND": 400,
    "operands of UNION, INTERSECT and EXCEPT": 1500,
    "subqueries": 200,
}
"""How many of each there may be."""

HINTS = {
    "operands of AND and OR": "write long OR chains as IN, or join with a table of the values",
    "alternatives that are each made with AND": "join with VALUES, or with a table of the values",
}

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


@dataclass(slots=True)
class _Counts:
    """What was counted."""

    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def add(self, what: str, number: int = 1) -> None:
        self.found[what] += number

    def most(self, what: str, number: int) -> None:
        self.found[what] = max(self.found[what], number)


def refuse_complex(sql: str, root: Node) -> None:
    """Raise for a statement that is deeper or wider than DuckDB can plan in reasonable time.

    Args:
        root: DuckDB's parse tree of `sql`.

    Raises:
        PlanError: STATEMENT_TOO_COMPLEX, naming what there is too much of.
    """
    if len(sql) <= SHORT_CHARACTERS:
        return
    counts = _Counts()
    for node in _walk(root):
        _count(node, counts)
    _count_chain(root)
    for what, number in counts.found.items():
        if number > COUNTED[what]:
            raise too_complex(f"the statement has {number:,} {what}, more than {COUNTED[what]:,}", HINTS.get(what))


Nested = dict[str, int]


def _walk(root: Node) -> Iterator[Node]:
    """All nodes. Needs no stack.

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
        todo.extend([(value, nested) for value in item.values() if isinstance(value, (dict, list))])


def _kind(node: Node) -> str | None:
    match node.get("class"):
        case None:
            return "set operation" if node.get("type") == "SET_OPERATION_NODE" else None
        case "SUBQUERY":
            return "subquery"
        case "LAMBDA":
            return "lambda"
        case "TYPE":
            return "type"
    return "expression"


def _count(node: Node, counts: _Counts) -> None:
    match node.get("class") or node.get("type"):
        case "COLUMN_REF":
            counts.most("parts of a name", len(node.get("column_names", ())))
        case "CONJUNCTION":
            children = node.get("children", ())
            counts.add("operands of AND and OR", len(children))
            if node.get("type") == "CONJUNCTION_OR":
                counts.add("alternatives that are each made with AND", sum(c.get("class") == "CONJUNCTION" for c in children))
        case "SET_OPERATION_NODE":
            counts.add("operands of UNION, INTERSECT and EXCEPT", len(node.get("children", ())))
        case "SUBQUERY" if "class" in node:
            counts.add("subqueries")
        case "SELECT_NODE":
            inner, every = _joins(node.get("from_table") or {})
            counts.most("inner joins in one FROM", inner)
            counts.most("joins in one FROM", every)


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
            read = {
                str(inner["qualified_name"]["path"][-1]).lower()
                for inner in _walk(cte["value"])
                if inner.get("type") == "BASE_TABLE"
            }
            depths[cte["key"].lower()] = 1 + max((depths.get(name, 0) for name in read), default=0)
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
