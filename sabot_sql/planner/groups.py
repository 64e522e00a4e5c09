"""How many groups GROUP BY and DISTINCT make."""

from __future__ import annotations

import math
from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params
from sabot_sql.planner.distribution import EQUALITY, RANGE
from sabot_sql.planner.expression_values import expression_distinct
from sabot_sql.planner.relations import Column, Scope, drawn

GROUP_SHARE = 0.1
"""Groups to rows, where the distinct values are not known."""


def group_rows(node: Any, group: Any, rows: float, scope: Scope, params: Params, keys: list[Any] | None = None) -> float:
    """Groups that `rows` rows make.

    Args:
        group: GROUP BY, or None where `keys` are given (DISTINCT).
    """
    if rows <= 0:
        return 0.0
    if keys is not None:
        return distinct_rows(keys, rows, scope, params, node)
    plain = list(group.expressions)
    if group.args.get("all"):
        plain = [e for e in node.expressions if e.find(exp.AggFunc) is None]
    sets: list[list[Any]] = [[]]
    for item in list(plain):
        if isinstance(item, (exp.Rollup, exp.Cube, exp.GroupingSets)):
            plain.remove(item)
            sets = [a + b for a in sets for b in grouping_sets(item)]
    for key in ("rollup", "cube", "grouping_sets"):
        for item in group.args.get(key) or ():
            sets = [a + b for a in sets for b in grouping_sets(item)]
    return sum(distinct_rows(plain + more, rows, scope, params, node) for more in sets[:256])


def grouping_sets(item: Any) -> list[list[Any]]:
    """The sets of keys that ROLLUP, CUBE or GROUPING SETS stands for."""
    found = [list(e.expressions) if isinstance(e, exp.Tuple) else [e.unnest()] for e in item.expressions]
    if isinstance(item, exp.GroupingSets):
        return found
    if isinstance(item, exp.Rollup):
        return [[k for part in found[:n] for k in part] for n in range(len(found) + 1)]
    return [[k for i, part in enumerate(found) if bits >> i & 1 for k in part] for bits in range(1 << min(len(found), 8))]


def distinct_rows(keys: list[Any], rows: float, scope: Scope, params: Params, node: Any) -> float:
    """Distinct combinations of `keys` in `rows` rows: the product of their values, no more than rows.

    Where a key of a table is among them, its other columns add nothing.
    """
    known: dict[int, list[tuple[float, bool]]] = {}
    product, count, unread = 1.0, 0, False
    for key in keys:
        key = resolved(key, node, scope)
        if key is None or isinstance(key, (exp.Literal, exp.Null)):
            continue
        if type(key) is exp.Star or (type(key) is exp.Column and type(key.args["this"]) is exp.Star):
            return rows
        place = scope.find(key) if type(key) is exp.Column else None
        if place is None:
            found = expression_distinct(key, scope, params, rows)
            is_key = False
        else:
            relation, column = place
            found = equated(scope, column, column.distinct_of(min(rows, reachable(scope, relation))))
            is_key = column.is_key
        if found is None:
            unread = True
            continue
        known.setdefault(-1 if place is None else place[0], []).append((found, is_key))
    for values in known.values():
        whole = [v for v, is_key in values if is_key]
        if whole:
            product, count = product * min(whole), count + 1
        else:
            product, count = product * math.prod(v for v, _ in values), count + len(values)
    if unread:
        return max(1.0, min(rows, max(product, rows * GROUP_SHARE)))
    if count > 1:
        product = drawn(rows, product)
    return max(1.0, min(rows, product))


def equated(scope: Scope, column: Column, found: float | None) -> float | None:
    """Distinct values of `column`, no more than a column has that it is equal to."""
    for edge in scope.edges:
        if edge.left_column is column:
            other, place = edge.right_column, edge.right
        elif edge.right_column is column:
            other, place = edge.left_column, edge.left
        else:
            continue
        values = other.distinct_of(reachable(scope, place)) if other is not None else None
        if values is not None and (found is None or values < found):
            found = values
    return found


def reachable(scope: Scope, place: int) -> float:
    """Rows of a relation that are left by the predicates over it and over those whose keys it refers to."""
    if (known := scope.reached.get(place)) is not None:
        return known
    seen = {place}
    todo, share = [place], 1.0
    while todo:
        here = todo.pop()
        for edge in scope.edges:
            if edge.left == here:
                other, key = edge.right, edge.right_column
            elif edge.right == here:
                other, key = edge.left, edge.left_column
            else:
                continue
            if other not in seen and key is not None and key.is_key:
                seen.add(other)
                todo.append(other)
                relation = scope.relations[other]
                share *= min(1.0, relation.rows / relation.total) if relation.total else 1.0
    found = scope.reached[place] = scope.relations[place].rows * share
    return found


def resolved(key: Any, node: Any, scope: Scope) -> Any:
    """What a key of GROUP BY stands for: a position or an alias of SELECT is its expression."""
    while type(key) is exp.Paren:
        key = key.args["this"]
    items = node.expressions
    if type(key) is exp.Literal:
        if key.is_int and 0 < int(key.name) <= len(items):
            return resolved_item(items[int(key.name) - 1])
        return None
    if type(key) is exp.Column and key.args.get("table") is None and scope.find(key) is None:
        name = key.name.lower()
        for item in items:
            if type(item) is exp.Alias and item.alias.lower() == name:
                return item.args["this"]
    return resolved_item(key)


def resolved_item(item: Any) -> Any:
    """The expression of an item of SELECT."""
    return item.args["this"] if type(item) is exp.Alias else item


def having_share(node: Any) -> float:
    """What HAVING keeps of the groups: nothing is known of what aggregates give."""
    kept = 1.0
    for part in node.flatten() if isinstance(node, exp.And) else (node,):
        kept *= EQUALITY if isinstance(part, exp.EQ) else RANGE
    return kept
