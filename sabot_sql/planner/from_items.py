"""The items of FROM as relations: tables, subqueries, CTEs, table functions, VALUES."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sabot_sql.planner.constants import constant
from sabot_sql.planner.join_size import Item
from sabot_sql.planner.pruning import Scan, TableFacts
from sabot_sql.planner.query_relations import CteRelation
from sabot_sql.planner.relations import Relation, Scope
from sabot_sql.planner.tree_parts import conjuncts, sampled, select_of

if TYPE_CHECKING:
    from sabot_sql.planner.estimate_tree import Ctes, TreeEstimate

LIST_ITEMS = 10.0
"""Items that UNNEST is taken to find in a list that it must look up."""

SYSTEM_ROWS = 100.0
"""Rows of information_schema's tables."""

SPECIAL_JOINS = frozenset(("SEMI", "ANTI", "ASOF", "POSITIONAL"))


def from_items(
    walk: TreeEstimate, node: Any, ctes: Ctes, parent: Scope | None, early: float | None
) -> tuple[list[Item], Scope]:
    """What stands in FROM of a SELECT, before any predicate.

    Args:
        early: rows after which the reading of the only table stops.
    """
    scope = Scope(parent)
    items: list[Item] = []
    if (start := node.args.get("from_")) is None:
        return items, scope
    first = start.args["this"]
    items.append(Item(relation_of(walk, first, ctes, parent, early)))
    scope.add(items[0].relation)
    for join in (*(first.args.get("joins") or ()), *(node.args.get("joins") or ())):
        # what a lateral join or UNNEST reads may be of the relations before it
        relation = relation_of(walk, join.args["this"], ctes, scope, None)
        items.append(Item(relation) if len(join.args) == 1 else item_of(join, relation, scope.relations))
        scope.add(relation)
    for lateral in node.args.get("laterals") or ():
        items.append(Item(relation_of(walk, lateral, ctes, scope, None)))
        scope.add(items[-1].relation)
    return items, scope


def item_of(join: Any, relation: Relation, before: Sequence[Relation]) -> Item:
    """How a JOIN joins `relation` to the relations before it."""
    side, kind, method = (str(join.args.get(k) or "").upper() for k in ("side", "kind", "method"))
    using = [c.name.lower() for c in join.args.get("using") or ()]
    if method == "NATURAL":
        using = [n for n in relation.names if any(r.column(n) is not None for r in before)]
    special = next((k for k in (kind, method) if k in SPECIAL_JOINS), None)
    return Item(relation, special or side or "INNER", conjuncts(join.args.get("on")), using)


def relation_of(walk: TreeEstimate, node: Any, ctes: Ctes, parent: Scope | None, early: float | None) -> Relation:
    """One item of FROM, under its alias."""
    found = source(walk, node, ctes, parent, early)
    alias = node.args.get("alias")
    if alias is not None:
        name = alias.args.get("this")
        found.alias = name.name.lower() if name is not None else ""
        if columns := alias.args.get("columns"):
            found.rename([c.name.lower() for c in columns])
    if (sample := node.args.get("sample")) is not None:
        found.rows = sampled(found.rows, sample, walk.params)
    if node.args.get("pivots"):
        walk.guesses.append("PIVOT is taken to give a tenth of its rows")
        found = Relation(found.rows / 10, found.alias)
    return found


def source(walk: TreeEstimate, node: Any, ctes: Ctes, parent: Scope | None, early: float | None) -> Relation:
    """What `relation_of` gives an alias to."""
    kind = type(node)
    if kind is exp.Table:
        this = node.args["this"]
        if not isinstance(this, (exp.Identifier, exp.Dot)):
            return Relation(function_rows(walk, this))
        if type(this) is exp.Dot or node.args.get("db") is not None:
            parts = tuple(p.name.lower() for p in node.parts)
        else:
            parts = (this.args["this"].lower(),)
        if len(parts) == 1 and parts[0] in ctes:
            return of_cte(walk, parts[0], ctes[parts[0]])
        facts = walk.tables.get(parts)
        return Relation(SYSTEM_ROWS, parts[-1]) if facts is None else of_table(walk, facts, parts[-1], early)
    if kind is exp.Lateral and not isinstance(node.args["this"], exp.Query):
        return Relation(function_rows(walk, node.args["this"]))
    if kind is exp.Lateral:
        return walk.query(node.args["this"], ctes, parent, None)
    if kind is exp.Unnest:
        return Relation(function_rows(walk, node))
    if kind is exp.Values:
        return Relation(float(len(node.expressions)))
    if kind is exp.Subquery and type(node.args["this"]) is exp.Table:  # (a JOIN b)
        return walk.query(select_of(node.args["this"]), ctes, parent, None)
    return walk.query(node, ctes, parent, early)


def of_table(walk: TreeEstimate, facts: TableFacts, alias: str, early: float | None) -> Relation:
    """One reading of a table."""
    if facts.rows is None:
        walk.unknown.append(f"the rows of {facts.table.name} are not known")
    scan = Scan(facts)
    scan.most_rows = early
    walk.scans.append(scan)
    return Relation(float(facts.rows or 0), alias, scan)


def of_cte(walk: TreeEstimate, name: str, evaluate: Callable[[], Relation]) -> Relation:
    """A CTE: made once, by the first who reads it."""
    return CteRelation(evaluate(), name, walk.named[name] == 1)


def function_rows(walk: TreeEstimate, call: Any) -> float:
    """Rows of range(n), unnest([...]) and the like."""
    if isinstance(call, exp.GenerateSeries):
        return series_rows(walk, call)
    if isinstance(call, (exp.Unnest, exp.Explode)):
        listed = next(iter(call.expressions), None) or call.args.get("this")
        if isinstance(listed, (exp.Array, exp.List)):
            return float(len(listed.expressions))
        if isinstance(listed, exp.GenerateSeries):
            return series_rows(walk, listed)
        walk.guesses.append(f"a list is taken to have {LIST_ITEMS:.0f} items")
        return LIST_ITEMS
    walk.unknown.append(f"the rows of {call.name or call.key} are not known")
    return 0.0


def series_rows(walk: TreeEstimate, call: Any) -> float:
    """Rows of generate_series(start, end, step) and of range, which leaves its end out."""
    numbers = {k: constant(n, walk.params) for k in ("start", "end", "step") if (n := call.args.get(k)) is not None}
    first, last, step = (numbers.get(k, default) for k, default in (("start", 0), ("end", None), ("step", 1)))
    known = all(isinstance(n, (int, float)) for n in (first, last, step))
    if not known or not step:
        walk.unknown.append("the ends of a range are not known")
        return 0.0
    assert first is not None
    assert last is not None
    whole = 0 if call.args.get("is_end_exclusive") else 1
    return max(0.0, float((last - first) // step + whole))
