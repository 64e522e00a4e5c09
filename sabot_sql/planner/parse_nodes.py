"""What a DuckDB parse tree says of tables and parameters: names that no WITH in scope defines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]

NOWHERE = 2**64 - 1
"""DuckDB's location of what does not stand in the text."""


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table named in FROM; `offset` (bytes of UTF-8) is -1 where DuckDB does not tell."""

    parts: tuple[str, ...]
    offset: int = -1


@dataclass(slots=True)
class Names:
    """Tables and parameters of a statement, in the order of the text where it is known; `ctes` are all WITH names."""

    tables: list[TableRef] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    ctes: set[str] = field(default_factory=set)


def collect_names(root: Node) -> Names:
    """The names in `root`.

    Example:
        >>> collect_names({"type": "BASE_TABLE", "qualified_name": {"path": ["s", "t"]}, "query_location": 5}).tables
        [TableRef(parts=('s', 't'), offset=5)]
    """
    names = Names()
    parameters: list[tuple[int, str]] = []
    _visit(root, frozenset(), names, parameters)
    names.parameters = list(dict.fromkeys(name for _, name in sorted(parameters)))
    return names


def _visit(node: Any, scope: frozenset[str], names: Names, parameters: list[tuple[int, str]]) -> None:
    if isinstance(node, list):
        for item in node:
            if isinstance(item, (dict, list)):
                _visit(item, scope, names, parameters)
        return
    if ctes := node.get("cte_map", {}).get("map"):
        for cte in ctes:
            name = cte["key"].lower()
            names.ctes.add(name)
            # a CTE's own name is in scope in its body only when it is recursive: RECURSIVE_CTE_NODE adds it below
            _visit(cte["value"], scope, names, parameters)
            scope |= {name}
    kind = node.get("type")
    if kind == "VALUE_CONSTANT":
        return
    if kind == "VALUE_PARAMETER":
        parameters.append((node.get("query_location", 0), node["identifier"]))
    elif kind == "RECURSIVE_CTE_NODE":
        names.ctes.add(node["cte_name"].lower())
        scope |= {node["cte_name"].lower()}
    elif kind == "BASE_TABLE" or (kind == "SHOW_REF" and node.get("show_type") == "SHOW" and not node.get("query")):
        parts = tuple(node["qualified_name"]["path"])
        if kind == "SHOW_REF":
            parts = tuple(p[1:-1].replace('""', '"') if p[:1] == p[-1:] == '"' else p for p in parts)
        parts = without_recurring(parts)
        # a SHOW does not see the queries of WITH
        if len(parts) != 1 or parts[0].lower() not in scope or kind == "SHOW_REF":
            offset = node.get("query_location", NOWHERE)
            names.tables.append(TableRef(parts, -1 if offset == NOWHERE else offset))
    for key, value in node.items():
        if key != "cte_map" and isinstance(value, (dict, list)):
            _visit(value, scope, names, parameters)


def without_recurring(parts: tuple[str, ...]) -> tuple[str, ...]:
    """RECURRING is the view that USING KEY gives of a recursive CTE: `recurring.a` names the CTE."""
    return parts[1:] if len(parts) == 2 and parts[0].lower() == "recurring" else parts


def walk(root: Node) -> Iterator[Node]:
    """`root` and all nodes under it but for what is in constants, in no promised order; needs no stack."""
    todo: list[Any] = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            if node.get("class") != "CONSTANT":
                todo.extend(v for v in node.values() if isinstance(v, (dict, list)))
        else:
            todo.extend(v for v in node if isinstance(v, (dict, list)))
