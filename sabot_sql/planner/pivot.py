"""PIVOT without IN, or with a query in it: DuckDB has no parse tree for it, but one for the same text with IN lists put in."""

from __future__ import annotations

from typing import NamedTuple

from sabot_sql.planner.sql_position import tokens

ENDS = frozenset(("USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";"))
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
    queries = [f"pivoted_{i} AS {sql[item.query : item.end]}" for i, item in enumerate(items) if item.query < item.end]
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
