"""Choose the order of inner joins by what they are estimated to give, and where among them semi and anti joins stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Literal

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import EQUALITIES, Estimator
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.join_graph import JoinGraph, Order, mask_of, merge_classes
from sabot_sql.planner.rules.push_filters import is_volatile


def order_joins(plan: lg.Plan) -> lg.Plan:
    """Reorder each cluster of inner joins to the cheapest order.

        Join l.k = o.k                      Join l.k = o.k
          Join nothing                        Get lineitem
            Get lineitem               ->     Join o.c = c.c
            Get customer                        Get orders
          Get orders                            Get customer

    DuckDB ordered them against an empty catalog, so its order says nothing. A semi or anti join in the cluster moves to where
    it has to look at the fewest rows. Left joins stay in place.
    """
    return _order(plan, Estimator())


def _order(plan: lg.Plan, estimator: Estimator) -> lg.Plan:
    if isinstance(plan, lg.Join) and plan.kind in ("inner", "semi", "anti"):
        cluster = _Cluster([], [], [])
        width = cluster.add(plan, 0)
        leaves = [replace(leaf, plan=_order(leaf.plan, estimator)) for leaf in cluster.leaves]
        halves = [replace(half, right=_order(half.right, estimator)) for half in cluster.halves]
        if len(leaves) > 2 or (len(leaves) == 2 and halves):
            return _restore(_Ordering(leaves, cluster.conditions, halves, estimator).whole(), plan, width)
    return lg.with_inputs(plan, tuple(_order(i, estimator) for i in plan.inputs))


@dataclass(frozen=True, slots=True)
class _Part:
    """A partial join: its plan, and for each of its output columns the position in the whole cluster's columns."""

    plan: lg.Plan
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Half:
    """A semi or anti join: conditions between the cluster's columns and those of `right`, which in `residual` follow at
    `offset`."""

    kind: Literal["semi", "anti"]
    right: lg.Plan
    conditions: tuple[lg.Condition, ...]
    residual: Expr | None
    offset: int

    @property
    def reads(self) -> frozenset[int]:
        """The cluster's columns in its conditions."""
        found = frozenset(r for c in self.conditions for r in ex.references(c.left))
        if self.residual is not None:
            found |= frozenset(r for r in ex.references(self.residual) if r < self.offset)
        return found

    def over(self, part: _Part) -> lg.Join:
        """The join with `part` as its left side."""
        at = {column: i for i, column in enumerate(part.columns)}
        theirs = {self.offset + i: len(part.columns) + i for i in range(len(self.right.schema))}
        conditions = tuple(replace(c, left=ex.remap(c.left, at)) for c in self.conditions)
        residual = ex.remap(self.residual, at | theirs) if self.residual is not None else None
        return lg.Join(part.plan, self.right, self.kind, conditions, residual)


OFFSET = 1 << 20
"""Where columns of the right sides of semi joins are numbered from."""


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The inputs of a tree of inner joins, and its conditions over all their columns, left to right."""

    leaves: list[_Part]
    conditions: list[Expr]
    halves: list[_Half]

    def add(self, plan: lg.Plan, offset: int) -> int:
        """Take in `plan`, whose columns begin at `offset`; the number of its columns."""
        width = len(plan.schema)
        if not (isinstance(plan, lg.Join) and plan.kind in ("inner", "semi", "anti")):
            self.leaves.append(_Part(plan, tuple(range(offset, offset + width))))
            return width
        left = self.add(plan.left, offset)
        ours = {i: offset + i for i in range(left)}
        if plan.kind != "inner":
            theirs = {left + i: OFFSET + i for i in range(len(plan.right.schema))}
            conditions = tuple(replace(c, left=ex.remap(c.left, ours)) for c in plan.conditions)
            residual = ex.remap(plan.residual, ours | theirs) if plan.residual is not None else None
            kind: Literal["semi", "anti"] = "semi" if plan.kind == "semi" else "anti"
            self.halves.append(_Half(kind, plan.right, conditions, residual, OFFSET))
            return left
        right = self.add(plan.right, offset + left)
        theirs = {i: offset + left + i for i in range(right)}
        for c in plan.conditions:
            self.conditions.append(ex.Compare(c.op, ex.remap(c.left, ours), ex.remap(c.right, theirs)))
        if plan.residual is not None:
            both = ours | {left + i: to for i, to in theirs.items()}
            self.conditions.extend(ex.conjuncts(ex.remap(plan.residual, both)))
        return width


@dataclass(frozen=True, slots=True)
class _Class:
    """Expressions that equalities make equal, by the inputs that they read; `op` compares any two of them."""

    members: dict[int, tuple[Expr, ...]]
    op: ex.CompareOp


class _Ordering:
    """Builds the joins of one cluster in the cheapest order."""

    def __init__(self, leaves: list[_Part], conditions: list[Expr], halves: list[_Half], estimator: Estimator) -> None:
        self.leaves = leaves
        self.halves = halves
        self.estimator = estimator
        self.leaf_of = {column: number for number, leaf in enumerate(leaves) for column in leaf.columns}
        equal, self.conditions, self.last = self._sorted(conditions)
        self.classes = _classes(equal)
        self.masks = [self._mask(c) for c in self.conditions]
        self.graph = self._graph()
        self.where: dict[int, list[_Half]] = {}

    def whole(self) -> _Part:
        """All inputs joined."""
        order = self.graph.best_order()
        for half in self.halves:
            self.where.setdefault(self._place(half, order), []).append(half)
        part = self._built(order)
        return _kept(part, self.last)

    def _sorted(self, conditions: list[Expr]) -> tuple[list[_Equality], list[Expr], list[Expr]]:
        """Equalities of two inputs, other conditions, and those that are asked of whole rows only."""
        equal: list[_Equality] = []
        others: list[Expr] = []
        last: list[Expr] = []
        for condition in dict.fromkeys(conditions):
            if not ex.references(condition) or is_volatile(condition):
                last.append(condition)
            elif (sides := self._sides(condition)) is not None:
                equal.append(sides)
            else:
                others.append(condition)
        return equal, others, last

    def _mask(self, expr: Expr) -> int:
        return sum(1 << leaf for leaf in {self.leaf_of[r] for r in ex.references(expr)})

    def _sides(self, condition: Expr) -> _Equality | None:
        """The two inputs that an equality joins, each with its own side of it."""
        if not isinstance(condition, ex.Compare) or condition.op not in EQUALITIES:
            return None
        masks = self._mask(condition.left), self._mask(condition.right)
        if any(m.bit_count() != 1 for m in masks) or masks[0] == masks[1]:
            return None
        left, right = (m.bit_length() - 1 for m in masks)
        return (left, condition.left), (right, condition.right), condition.op

    def _graph(self) -> JoinGraph:
        distinct: list[dict[int, float]] = []
        together: Counter[int] = Counter()
        for each in self.classes:
            found = {}
            for leaf, exprs in each.members.items():
                plan = self.leaves[leaf].plan
                found[leaf] = min(self.estimator.distinct_values(plan, self._local(leaf, e)) for e in exprs)
            distinct.append(found)
            together.update(1 << a | 1 << b for a, b in combinations(sorted(found), 2))
        corrections = {pair: self._correction(pair) for pair, count in together.items() if count > 1}
        return JoinGraph([self.estimator.rows(leaf.plan) for leaf in self.leaves], distinct, self.masks, corrections)

    def _correction(self, pair: int) -> float:
        a, b = (pair & -pair).bit_length() - 1, pair.bit_length() - 1
        shared = [c.members for c in self.classes if a in c.members and b in c.members]
        pairs = [(self._local(a, m[a][0]), self._local(b, m[b][0])) for m in shared]
        return self.estimator.correlation(self.leaves[a].plan, self.leaves[b].plan, pairs)

    def _local(self, leaf: int, expr: Expr) -> Expr:
        return ex.remap(expr, {column: i for i, column in enumerate(self.leaves[leaf].columns)})

    def _place(self, half: _Half, order: Order) -> int:
        """The set of inputs over which a semi or anti join looks at the fewest rows, counting those it spares the joins
        above it."""
        reads = sum(1 << leaf for leaf in {self.leaf_of[r] for r in half.reads})
        path: list[int] = []
        node = order
        while True:
            path.append(mask_of(node))
            if isinstance(node, int):
                break
            below = next((side for side in node if reads & ~mask_of(side) == 0), None)
            if below is None or not reads:
                break
            node = below
        path.reverse()
        if len(path) == 1:
            return path[0]
        rows = [self.graph.rows_of(inputs) for inputs in path]
        part = self._joined_rows(path[0])
        kept = min(1.0, self.estimator.rows(half.over(part)) / self.estimator.rows(part.plan))
        costs = [sum(rows[:k]) + rows[k] + kept * sum(rows[k:]) for k in range(len(path))]
        return path[costs.index(min(costs))]

    def _joined_rows(self, inputs: int) -> _Part:
        """A plan of `inputs`, of which only the number of rows is asked."""
        return self._built(_some_order(inputs), plain=True)

    def _built(self, order: Order, plain: bool = False) -> _Part:
        """The joins in that order; `plain`: without the semi and anti joins."""
        inputs = mask_of(order)
        if isinstance(order, int):
            part = _kept(self.leaves[order], [c for c, mask in zip(self.conditions, self.masks) if mask == inputs])
            same = [(c.op, c.members[order]) for c in self.classes if len(c.members.get(order, ())) > 1]
            part = _kept(part, [ex.Compare(op, one, other) for op, exprs in same for one, other in pairwise(exprs)])
        else:
            # of sides that seem equal the right one is built from: the one of fewer inputs, of which more is known
            order = (order[1], order[0]) if mask_of(order[1]).bit_count() > mask_of(order[0]).bit_count() else order
            sides = mask_of(order[0]), mask_of(order[1])
            both = [c for c, m in zip(self.conditions, self.masks) if m & ~inputs == 0 and all(m & ~side for side in sides)]
            one, other = (self._built(side, plain) for side in order)
            part = _Part(_join(one, other, [*self._equal(*sides), *both]), (*one.columns, *other.columns))
        for half in () if plain else self.where.get(inputs, ()):
            part = _Part(half.over(part), part.columns)
        return part

    def _equal(self, one: int, other: int) -> list[Expr]:
        """An equality for each class that has members in both sets; within a set they are equal already."""
        found: list[Expr] = []
        for each in self.classes:
            sides = [next((e[0] for leaf, e in each.members.items() if side >> leaf & 1), None) for side in (one, other)]
            if sides[0] is not None and sides[1] is not None:
                found.append(ex.Compare(each.op, sides[0], sides[1]))
        return found


_Equality = tuple[tuple[int, Expr], tuple[int, Expr], ex.CompareOp]
"""The two inputs that an equality joins, each with its own side of it."""


def _classes(equal: list[_Equality]) -> list[_Class]:
    found: list[_Class] = []
    for whole in merge_classes([(one, other) for one, other, _ in equal]):
        members: dict[int, tuple[Expr, ...]] = {}
        for leaf, expr in whole:
            members[leaf] = (*members.get(leaf, ()), expr)
        # where one of them may not be NULL, none of them is; two of them may be compared in both ways
        only = all(op == "IS NOT DISTINCT FROM" for one, _, op in equal if one in whole)
        found.append(_Class(dict(sorted(members.items())), "IS NOT DISTINCT FROM" if only else "="))
    return found


def _kept(part: _Part, conditions: list[Expr]) -> _Part:
    """The rows of `part` where all conditions hold."""
    if not conditions:
        return part
    where = {column: at for at, column in enumerate(part.columns)}
    return _Part(lg.Select(part.plan, ex.conjunction(tuple(ex.remap(c, where) for c in conditions))), part.columns)


def _some_order(inputs: int) -> Order:
    rest = inputs & (inputs - 1)
    first = (inputs & -inputs).bit_length() - 1
    return (first, _some_order(rest)) if rest else first


def _join(a: _Part, b: _Part, conditions: Iterable[Expr]) -> lg.Join:
    """`a` and `b` joined on `conditions`, which speak of both and of nothing else."""
    at_a = {column: i for i, column in enumerate(a.columns)}
    at_b = {column: i for i, column in enumerate(b.columns)}
    both = at_a | {column: len(a.columns) + i for column, i in at_b.items()}
    pairs: list[lg.Condition] = []
    residual: list[Expr] = []
    for c in conditions:
        if isinstance(c, ex.Compare) and c.op in EQUALITIES:
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
