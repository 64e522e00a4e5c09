"""Choose the order of inner joins by what they are estimated to give."""

from __future__ import annotations

from collections.abc import Iterable
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
    number = len(leaves)
    parts = dict(enumerate(leaves))
    between = _between(leaves, conditions)
    pairs: dict[tuple[int, int], lg.Join] = {}
    while len(parts) > 1:
        for i, j in combinations(parts, 2):
            if (i, j) not in pairs:
                pairs[i, j] = _join(parts[i], parts[j], between.get(frozenset((i, j)), {}).values())
        costs = [(not pairs[p].conditions, estimator.rows(pairs[p]), p) for p in combinations(parts, 2)]
        i, j = min(costs)[2]
        joined = _Part(pairs[i, j], (*parts.pop(i).columns, *parts.pop(j).columns))
        between = _merged(between, frozenset((i, j)), number)
        parts[number] = joined
        number += 1
    (whole,) = parts.values()
    left = [c for found in between.values() for c in found.items()]
    if left:
        where = {column: at for at, column in enumerate(whole.columns)}
        predicate = ex.conjunction(tuple(ex.remap(c, where) for _, c in sorted(left, key=lambda item: item[0])))
        return _Part(lg.Select(whole.plan, predicate), whole.columns)
    return whole


_Between = dict[frozenset[int], dict[int, Expr]]
"""The conditions, by their places in the cluster's list, for each set of parts that they speak of."""


def _between(leaves: list[_Part], conditions: list[Expr]) -> _Between:
    part_of = {column: number for number, leaf in enumerate(leaves) for column in leaf.columns}
    found: _Between = {}
    for place, condition in enumerate(conditions):
        found.setdefault(frozenset(part_of[r] for r in ex.references(condition)), {})[place] = condition
    return found


def _merged(between: _Between, pair: frozenset[int], number: int) -> _Between:
    """`between` after the two parts of `pair` were joined on what is between them, as part `number`."""
    found: _Between = {}
    for parts, conditions in between.items():
        if parts == pair:
            continue
        if parts & pair:
            parts = parts - pair | {number}
        found[parts] = dict(sorted({**found.get(parts, {}), **conditions}.items()))
    return found


def _join(a: _Part, b: _Part, conditions: Iterable[Expr]) -> lg.Join:
    """`a` and `b` joined on `conditions`, which speak of both and of nothing else."""
    at_a = {column: i for i, column in enumerate(a.columns)}
    at_b = {column: i for i, column in enumerate(b.columns)}
    both = at_a | {column: len(a.columns) + i for column, i in at_b.items()}
    pairs: list[lg.Condition] = []
    residual: list[Expr] = []
    for c in conditions:
        if isinstance(c, ex.Compare) and c.op in ("=", "IS NOT DISTINCT FROM"):
            if ex.references(c.left) <= at_a.keys() and ex.references(c.right) <= at_b.keys():
                pairs.append(lg.Condition(ex.remap(c.left, at_a), c.op, ex.remap(c.right, at_b)))
                continue
            if ex.references(c.right) <= at_a.keys() and ex.references(c.left) <= at_b.keys():
                pairs.append(lg.Condition(ex.remap(c.right, at_a), c.op, ex.remap(c.left, at_b)))
                continue
        residual.append(ex.remap(c, both))
    rest = ex.conjunction(tuple(residual)) if residual else None
    return lg.Join(a.plan, b.plan, "inner", tuple(pairs), rest)


def _restore(part: _Part, plan: lg.Plan, width: int) -> lg.Plan:
    """The columns in the order the original join gave them."""
    at = {column: i for i, column in enumerate(part.columns)}
    refs = tuple(ex.Ref(at[i], plan.schema[i].type) for i in range(width))
    return lg.Compute(part.plan, refs, tuple(f.name for f in plan.schema))
