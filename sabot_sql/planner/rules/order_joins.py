"""Choose the order of inner joins by what they are estimated to give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import Estimator
from sabot_sql.planner.expressions import Expr


def order_joins(plan: lg.Plan) -> lg.Plan:
    """Reorder each cluster of inner joins greedily: always join the two parts whose result is smallest, parts that a
    condition connects before those that none does (greedy operator ordering, Fegaras, DEXA 1998).

    DuckDB ordered them against an empty catalog, so its order says nothing. Left, semi and anti joins stay in place.
    """
    return _order(plan, Estimator())


def _order(plan: lg.Plan, estimator: Estimator) -> lg.Plan:
    if isinstance(plan, lg.Join) and plan.kind == "inner":
        cluster = _Cluster([], [])
        width = cluster.add(plan, 0)
        leaves = [replace(leaf, plan=_order(leaf.plan, estimator)) for leaf in cluster.leaves]
        if len(leaves) > 2:
            return _restore(_greedy(leaves, cluster.conditions, estimator), plan, width)
    return lg.with_inputs(plan, tuple(_order(i, estimator) for i in plan.inputs))


@dataclass(frozen=True, slots=True)
class _Part:
    """A partial join: its plan, and for each of its output columns the position in the whole cluster's columns."""

    plan: lg.Plan
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The inputs of a tree of inner joins, and its conditions over all their columns, left to right."""

    leaves: list[_Part]
    conditions: list[Expr]

    def add(self, plan: lg.Plan, offset: int) -> int:
        """Take in `plan`, whose columns begin at `offset`; the number of its columns."""
        width = len(plan.schema)
        if not (isinstance(plan, lg.Join) and plan.kind == "inner"):
            self.leaves.append(_Part(plan, tuple(range(offset, offset + width))))
            return width
        left = self.add(plan.left, offset)
        right = self.add(plan.right, offset + left)
        ours = {i: offset + i for i in range(left)}
        theirs = {i: offset + left + i for i in range(right)}
        for c in plan.conditions:
            self.conditions.append(ex.Compare(c.op, ex.remap(c.left, ours), ex.remap(c.right, theirs)))
        if plan.residual is not None:
            both = ours | {left + i: to for i, to in theirs.items()}
            self.conditions.extend(ex.conjuncts(ex.remap(plan.residual, both)))
        return width


def _greedy(leaves: list[_Part], conditions: list[Expr], estimator: Estimator) -> _Part:
    left = list(conditions)
    number = len(leaves)
    parts = dict(enumerate(leaves))
    pairs: dict[tuple[int, int], tuple[lg.Join, list[Expr]]] = {}
    while len(parts) > 1:
        for i, j in combinations(parts, 2):
            if (i, j) not in pairs:
                pairs[i, j] = _join(parts[i], parts[j], left)
        costs = [(not pairs[p][0].conditions, estimator.rows(pairs[p][0]), p) for p in combinations(parts, 2)]
        i, j = min(costs)[2]
        join, used = pairs[i, j]
        joined = _Part(join, (*parts.pop(i).columns, *parts.pop(j).columns))
        left = [c for c in left if not any(c is u for u in used)]
        parts[number] = joined
        number += 1
    (whole,) = parts.values()
    if left:
        where = {column: at for at, column in enumerate(whole.columns)}
        predicate = ex.conjunction(tuple(ex.remap(c, where) for c in left))
        return _Part(lg.Select(whole.plan, predicate), whole.columns)
    return whole


def _join(a: _Part, b: _Part, conditions: list[Expr]) -> tuple[lg.Join, list[Expr]]:
    """`a` and `b` joined on every condition that speaks of both and of nothing else."""
    at_a = {column: i for i, column in enumerate(a.columns)}
    at_b = {column: i for i, column in enumerate(b.columns)}
    both = at_a | {column: len(a.columns) + i for column, i in at_b.items()}
    pairs: list[lg.Condition] = []
    residual: list[Expr] = []
    used: list[Expr] = []
    for c in conditions:
        refs = ex.references(c)
        if not refs <= both.keys() or refs <= at_a.keys() or refs <= at_b.keys():
            continue
        used.append(c)
        if isinstance(c, ex.Compare) and c.op in ("=", "IS NOT DISTINCT FROM"):
            if ex.references(c.left) <= at_a.keys() and ex.references(c.right) <= at_b.keys():
                pairs.append(lg.Condition(ex.remap(c.left, at_a), c.op, ex.remap(c.right, at_b)))
                continue
            if ex.references(c.right) <= at_a.keys() and ex.references(c.left) <= at_b.keys():
                pairs.append(lg.Condition(ex.remap(c.right, at_a), c.op, ex.remap(c.left, at_b)))
                continue
        residual.append(ex.remap(c, both))
    rest = ex.conjunction(tuple(residual)) if residual else None
    return lg.Join(a.plan, b.plan, "inner", tuple(pairs), rest), used


def _restore(part: _Part, plan: lg.Plan, width: int) -> lg.Plan:
    """The columns in the order the original join gave them."""
    at = {column: i for i, column in enumerate(part.columns)}
    refs = tuple(ex.Ref(at[i], plan.schema[i].type) for i in range(width))
    return lg.Compute(part.plan, refs, tuple(f.name for f in plan.schema))
