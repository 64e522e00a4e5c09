"""PIVOT without IN, or with a query in it: DuckDB has no parse tree for it, but one for the same text with IN lists put in."""

from __future__ import annotations

from typing import Any, NamedTuple

from sabot_sql.errors import NotSupported
from sabot_sql.planner.parse_nodes import Node, walk
from sabot_sql.planner.sql_position import tokens

ENDS = frozenset(("USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";"))
APART = "pivoted_"
"""How the queries are called that are taken out of IN."""

OPEN, CLOSE = frozenset("([{"), frozenset(")]}")
QUERY = frozenset(("SELECT", "VALUES", "WITH", "FROM", "TABLE", "DESCRIBE", "SHOW", "SUMMARIZE", "PIVOT", "UNPIVOT"))


class Item(NamedTuple):
    """Places in a text: where a pivoted expression begins and ends, and where the query of its IN does; both are the end of the
    expression where there is none."""

    start: int
    stop: int
    query: int
    end: int


def with_pivot_lists(sql: str) -> str | None:
    """`sql` with `(…) IN ('x')` for each pivoted expression that has no IN list; None where there is none.

    Nothing is taken away, so a tree of the result holds all that the statement holds: a query that stood in IN becomes one of
    WITH.

    Example:
        >>> with_pivot_lists("PIVOT t ON a, b || 'c' USING sum(d)")
        "PIVOT t ON (a) IN ('x'), (b || 'c') IN ('x') USING sum(d)"
        >>> with_pivot_lists("PIVOT t ON a IN (SELECT b FROM u) USING sum(d)")
        "WITH pivoted_0 AS (SELECT b FROM u) PIVOT t ON (a) IN ('x') USING sum(d)"
    """
    found = list(tokens(sql))
    items: list[Item] = []
    for i, (_, text) in enumerate(found):
        if text.upper() in ("PIVOT", "PIVOT_WIDER"):
            items.extend(_items(found, i))
    if not items:
        return None
    queries = [f"{APART}{i} AS {sql[item.query : item.end]}" for i, item in enumerate(items) if item.query < item.end]
    for item in sorted(items, reverse=True):
        sql = f"{sql[: item.start]}({sql[item.start : item.stop].rstrip()}) IN ('x'){sql[item.end :]}"
    return _with(sql, queries) if queries else sql


def _with(sql: str, queries: list[str]) -> str:
    """`sql` with more queries of WITH, after those that it has."""
    found = list(tokens(sql))
    if found[0][1].upper() != "WITH":
        return f"WITH {', '.join(queries)} {sql}"
    depth, in_query, end = 0, False, -1
    for offset, text in found[1:]:
        if depth == 0 and end >= 0 and text != ",":
            break
        depth += (text in OPEN) - (text in CLOSE)
        in_query = in_query or (depth == 0 and text.upper() == "AS")
        end = -1
        if depth == 0 and in_query and text == ")":
            in_query, end = False, offset + 1
    return f"{sql[:end]}, {', '.join(queries)}{sql[end:]}"


def _items(found: list[tuple[int, str]], start: int) -> list[Item]:
    """The items of the ON list that have no IN list, for the PIVOT at token `start`."""
    depth, in_list, has_in = 0, False, False
    items: list[Item] = []
    first = last = stop = query = -1
    for i, (offset, text) in enumerate([*found[start + 1 :], (0, ";")], start + 1):
        upper = text.upper()
        ends = text in CLOSE or text == ";" or (in_list and upper in ENDS)
        if depth == 0 and (ends or (in_list and text == ",")):
            if in_list and not has_in and first >= 0:
                items.append(Item(first, last, last, last) if query < 0 else Item(first, stop, query, last))
            if ends:
                return items
            first, query, has_in = -1, -1, False
        elif depth == 0 and not in_list and upper == "ON":
            in_list = True
        elif in_list:
            first = offset if first < 0 else first
            if depth == 0 and upper == "IN" and _opens_query(found[i + 1 :]):
                stop, query = offset, found[i + 1][0]
            elif depth == 0 and upper == "IN":
                has_in = True
        depth += (text in OPEN) - (text in CLOSE)
        last = offset + len(text)
    return items


def _opens_query(found: list[tuple[int, str]]) -> bool:
    """Whether tokens begin with brackets around a query."""
    inside = next((text.upper() for _, text in found if text != "("), "")
    return bool(found) and found[0][1] == "(" and inside in QUERY


def refuse_hidden_queries(root: Node) -> None:
    """Raise for a statement with a PIVOT that reads a query of WITH where DuckDB would not see it, but a table of that name.

    DuckDB asks for the values of a PIVOT in a statement of their own, which has the WITH of the query that the PIVOT stands in
    and no other; that of a query in IN has none.

    Args:
        root: the tree of what `with_pivot_lists` made of the statement.

    Raises:
        NotSupported: naming the query.
    """
    todo: list[tuple[Any, frozenset[str], frozenset[str]]] = [(root, frozenset(), frozenset())]
    while todo:
        item, scope, visible = todo.pop()
        if isinstance(item, list):
            todo += [(part, scope, visible) for part in item if isinstance(part, (dict, list))]
            continue
        if item.get("type") == "BASE_TABLE":
            path = [part.lower() for part in item["qualified_name"]["path"]]
            if len(path) == 1 and path[0] in scope - visible:
                raise NotSupported(
                    f'a PIVOT would not see the query "{path[0]}" of WITH here, but a table of that name',
                    hint="write the query in its place, or give the PIVOT an IN list of values",
                )
        if item.get("type") == "RECURSIVE_CTE_NODE":
            scope |= {item["cte_name"].lower()}
        ctes = (item.get("cte_map") or {}).get("map") or ()
        names = frozenset(cte["key"].lower() for cte in ctes)
        visible = names if names and _has_pivot(item) else visible | names
        for cte in ctes:
            apart = cte["key"].lower().startswith(APART) or _has_pivot(cte["value"])
            todo.append((cte["value"], scope, frozenset() if apart else visible))
            scope |= {cte["key"].lower()}
        todo += [(v, scope, visible) for k, v in item.items() if k != "cte_map" and isinstance(v, (dict, list))]


def _has_pivot(root: Node) -> bool:
    return any(node.get("type") == "PIVOT" for node in walk(root))
