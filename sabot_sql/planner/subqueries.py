"""What EXISTS, IN (SELECT ...) and comparisons with a scalar subquery keep of the rows around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sabot_sql.planner.distribution import EQUALITY, OTHER, RANGE
from sabot_sql.planner.join_size import UNMATCHED
from sabot_sql.planner.relations import Correlation, Relation, Scope

if TYPE_CHECKING:
    from sabot_sql.planner.estimate_tree import Ctes, TreeEstimate


def query_predicate(walk: TreeEstimate, node: Any, queries: list[Any], scope: Scope, ctes: Ctes) -> tuple[int, float]:
    """The relations (as bits) that a condition with subqueries hangs on, and the share of their rows that it keeps."""
    negated = False
    while type(node) in (exp.Not, exp.Paren):
        negated = negated != (type(node) is exp.Not)
        node = node.args["this"]
    kind = type(node)
    if kind is exp.Exists:
        found = walk.query(node.args["this"], ctes, scope, None)
        owners, kept = found.correlated.owners, exists_share(found)
    elif kind is exp.In and node.args.get("query") is not None:
        found = walk.query(node.args["query"], ctes, scope, None)
        owners, kept = in_share(walk, node.args["this"], found, scope)
    elif kind in COMPARISONS and len(queries) == 1:
        found = walk.query(queries[0], ctes, scope, None)
        mask, _, _ = scope.owners(node)
        owners, kept = mask | found.correlated.owners, scalar_share(node, found, scope)
    else:
        owners, kept = scope.owners(node)[0], OTHER
        for query in queries:
            owners |= walk.query(query, ctes, scope, None).correlated.owners
    if negated:
        kept = max(UNMATCHED, 1.0 - kept)
    return owners, kept


COMPARISONS = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)


def exists_share(found: Relation) -> float:
    """The share of outer rows for which the subquery has a row: the outer keys that are among the inner ones."""
    correlated = found.correlated
    rows = correlated.rows if correlated.equal else found.rows
    if not correlated.equal:
        return min(1.0, rows * correlated.other) if correlated.owners else float(rows >= 0.5)
    share, keys = matching(correlated, rows)
    # of the rows that one key has, one at least must satisfy the other conditions
    if correlated.other < 1.0:
        share *= 1 - (1 - correlated.other) ** max(1.0, rows / max(1.0, keys))
    return share


def matching(correlated: Correlation, rows: float) -> tuple[float, float]:
    """The share of outer keys that the subquery has, and how many keys it has."""
    share, keys = 1.0, 1.0
    for inside, _, outside in correlated.equal:
        mine = inside.distinct_of(rows)
        mine = rows if mine is None else mine
        theirs = outside.base_distinct if outside.base_distinct is not None else outside.total
        share = min(share, mine / max(1.0, theirs))
        keys = max(keys, mine)
    return min(1.0, share), keys


def in_share(walk: TreeEstimate, left: Any, found: Relation, scope: Scope) -> tuple[int, float]:
    """`left IN (SELECT ...)`: the values of `left` that are among those the subquery gives."""
    mask, _, _ = scope.owners(left)
    owners = mask | found.correlated.owners
    column = scope.find(left) if type(left) is exp.Column else None
    given = found.first() if found.first is not None else None
    rows = found.rows * found.correlated.other
    values = given.distinct_of(rows) if given is not None and given.distinct is not None else None
    if values is None:
        values = rows
    theirs = column[1].base_distinct if column is not None else None
    if theirs is None:
        total = column[1].total if column is not None else 0.0
        return owners, min(OTHER, values / total) if total > values else OTHER
    return owners, min(1.0, values / max(1.0, theirs))


def scalar_share(node: Any, found: Relation, scope: Scope) -> float:
    """A comparison with the one value that a subquery gives."""
    if type(node) in (exp.EQ, exp.NullSafeEQ):
        if found.correlated.equal and found.correlated.is_minmax:
            # one row of those that have the key is the least
            share, keys = matching(found.correlated, found.correlated.rows)
            return share / max(1.0, found.correlated.rows / max(1.0, keys))
        for side in (node.args["this"], node.args["expression"]):
            if type(side) is exp.Column and (column := scope.find(side)) is not None and column[1].distinct:
                return 1 / column[1].distinct
        return EQUALITY
    if type(node) in (exp.NEQ, exp.NullSafeNEQ):
        return 1 - EQUALITY
    covered = matching(found.correlated, found.correlated.rows)[0] if found.correlated.equal else 1.0
    return RANGE * covered
