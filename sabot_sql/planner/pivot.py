"""PIVOT without IN: DuckDB has no parse tree for it, but it has one of the same text with IN lists put in."""

from __future__ import annotations

from sabot_sql.planner.sql_position import tokens

ENDS = frozenset(("USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", ";"))
OPEN, CLOSE = frozenset("([{"), frozenset(")]}")


def with_pivot_lists(sql: str) -> str | None:
    """`sql` with `(…) IN ('x')` for each pivoted expression that has no IN; None where there is none.

    Nothing is taken away, so a tree of the result holds all that the statement holds.

    Example:
        >>> with_pivot_lists("PIVOT t ON a, b || 'c' USING sum(d)")
        "PIVOT t ON (a) IN ('x'), (b || 'c') IN ('x') USING sum(d)"
    """
    found = list(tokens(sql))
    items: list[tuple[int, int]] = []
    for i, (_, text) in enumerate(found):
        if text.upper() in ("PIVOT", "PIVOT_WIDER"):
            items.extend(_items(found, i))
    if not items:
        return None
    for start, end in sorted(items, reverse=True):
        sql = f"{sql[:start]}({sql[start:end]}) IN ('x'){sql[end:]}"
    return sql


def _items(found: list[tuple[int, str]], start: int) -> list[tuple[int, int]]:
    """Where the items of the ON list begin and end that have no IN, for the PIVOT at token `start`."""
    depth, in_list, has_in = 0, False, False
    items: list[tuple[int, int]] = []
    first = last = -1
    for offset, text in [*found[start + 1 :], (0, ";")]:
        upper = text.upper()
        ends = text in CLOSE or text == ";" or (in_list and upper in ENDS)
        if depth == 0 and (ends or (in_list and text == ",")):
            if in_list and not has_in and first >= 0:
                items.append((first, last))
            if ends:
                return items
            first, has_in = -1, False
        elif depth == 0 and not in_list and upper == "ON":
            in_list = True
        elif in_list:
            first = offset if first < 0 else first
            has_in = has_in or (depth == 0 and upper == "IN")
        depth += (text in OPEN) - (text in CLOSE)
        last = offset + len(text)
    return items
