"""The conditions of WHERE and ON: which relation each is about, and what it leaves of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params
from sabot_sql.planner.distribution import same_line
from sabot_sql.planner.join_size import Edge, Item, Residual
from sabot_sql.planner.relations import Column, Limits, Relation, Scope
from sabot_sql.planner.selectivity import all_of
from sabot_sql.planner.tree_parts import common_equalities

OfQueries = Callable[[Any, list[Any]], tuple[int, float]]
"""A condition with the subqueries in it -> the relations (as bits) that it hangs on, and the share that it keeps."""


NONE: list[Any] = []


class Conditions:
    """What the conditions over one FROM say, sorted by where it counts.

    Attributes:
        edges: equalities of two relations.
        residuals: other conditions over several relations, and those with subqueries.
    """

    def __init__(self, items: Sequence[Item], scope: Scope, params: Params, found: Relation, of_queries: OfQueries) -> None:
        self.edges: list[Edge] = []
        self.residuals: list[Residual] = []
        self._items = items
        self._scope = scope
        self._params = params
        self._found = found
        self._of_queries = of_queries
        self._own: dict[int, list[Any]] = {}
        self._late: list[Any] = []
        self._nullable = 0
        for place, item in enumerate(items):
            if item.kind in ("LEFT", "FULL"):
                self._nullable |= 1 << place
            if item.kind in ("RIGHT", "FULL"):
                self._nullable |= (1 << place) - 1

    def add_on(self, place: int) -> None:
        """What ON and USING of the item at `place` say. ON of an outer join leaves out no row of the other side."""
        item = self._items[place]
        for condition in item.on:
            self._add(condition, None if item.kind == "INNER" else place)
        for name in item.using:
            ours = self._scope.relations[place].column(name)
            for other in range(place):
                theirs = self._scope.relations[other].column(name)
                if theirs is not None or other == place - 1:
                    self.edges.append(Edge(other, theirs, place, ours))
                    break

    def add_where(self, conditions: Sequence[Any]) -> None:
        """What WHERE says."""
        for condition in conditions:
            self._add(condition, None, self._nullable)

    def _add(self, node: Any, outer_join: int | None, nullable: int = 0) -> None:
        while type(node) is exp.Paren:
            node = node.args["this"]
        scope = self._scope
        if type(node) is exp.EQ and self._add_edge(node):
            return
        if (found := self._of_one_column(node)) is not None:
            mask, outer, queries = 1 << found, 0, NONE
        else:
            mask, outer, queries = scope.owners(node)
        if queries:
            owners, kept = self._of_queries(node, queries)
            self.residuals.append(Residual(owners or mask or 1, kept))
        elif outer:
            self._add_correlated(node, outer)
        elif mask == 0:
            self.residuals.append(Residual(1, all_of([node], scope, self._params)[0]))
        elif mask & (mask - 1):
            if type(node) is exp.Or:
                for part in common_equalities(node):
                    if self._add_edge(part):
                        scope.given.append(part)
            self.residuals.append(Residual(mask, 1.0, node))
        elif mask & nullable:
            self._late.append(node)
        elif outer_join is None or mask == 1 << outer_join:
            self._own.setdefault(mask.bit_length() - 1, []).append(node)

    def _of_one_column(self, node: Any) -> int | None:
        """The relation of a column that is compared with a literal: the most frequent condition, without a walk over it."""
        args = node.args
        left, right = args.get("this"), args.get("expression")
        if type(left) is not exp.Column or right is None:
            return None
        if type(right) is not exp.Literal and not (type(right) is exp.Cast and type(right.args["this"]) is exp.Literal):
            return None
        found = self._scope.find(left)
        return None if found is None else found[0]

    def _add_edge(self, node: Any) -> bool:
        """Whether `node` is an equality of two relations; then it is among the edges."""
        if type(node.args["expression"]) is exp.Literal:
            return False
        sides: list[tuple[int, Column | None]] = []
        for side in (node.args["this"], node.args["expression"]):
            if type(side) is exp.Column:
                if (place := self._scope.find(side)) is None:
                    return False
                sides.append(place)
                continue
            if type(side) is exp.Literal:
                return False
            mask, outer, queries = self._scope.owners(side)
            if outer or queries or mask == 0 or mask & (mask - 1):
                return False
            sides.append((mask.bit_length() - 1, None))
        (left, left_column), (right, right_column) = sides
        if left == right:
            return False
        self.edges.append(Edge(left, left_column, right, right_column))
        return True

    def _add_correlated(self, node: Any, outer: int) -> None:
        """A condition that names columns of the query around: an equality there is what a semi-join joins on."""
        correlated, parent = self._found.correlated, self._scope.parent
        correlated.owners |= outer
        if type(node) is exp.EQ and parent is not None:
            left, right = node.args["this"], node.args["expression"]
            for one, other in ((left, right), (right, left)):
                if type(one) is exp.Column and type(other) is exp.Column and self._scope.find(other) is None:
                    inside, outside = self._scope.find(one), parent.find(other)
                    if inside is not None and outside is not None:
                        correlated.equal.append((inside[1], outside[0], outside[1]))
                        return
        correlated.other *= all_of([node], self._scope, self._params)[0]

    def apply(self) -> None:
        """Leave out of each relation what the conditions over it alone leave out; then look at those over several."""
        for place, nodes in self._own.items():
            kept, limits = all_of(nodes, self._scope, self._params)
            for column, limit in (limits or {}).items():
                column.narrow(*limit)
                self._spread(column, limit)
            self._scope.relations[place].rows *= kept
        for residual in self.residuals:
            if residual.node is not None:
                residual.kept, limits = all_of([residual.node], self._scope, self._params)
                narrow(limits, prunes=False)

    def _spread(self, column: Column, limit: tuple[Any, float | None, bool]) -> None:
        """What is asked of one side of an inner equality holds for the other, so that its scan is pruned too."""
        ranges, _, prunes = limit
        if not prunes or not ranges or column.distribution is None:
            return
        for edge in self.edges:
            place, other = edge.right, edge.right_column
            if column is not edge.left_column:
                if column is not other:
                    continue
                place, other = edge.left, edge.left_column
            if other is not None and self._items[place].kind == "INNER" and same_line(column.distribution, other.distribution):
                other.narrow(ranges, None, True)

    def late_share(self) -> float:
        """What the conditions over the side of an outer join keep that may be NULL; they count after the joins."""
        kept = 1.0
        for node in self._late:
            share, limits = all_of([node], self._scope, self._params)
            if type(node) is exp.Is and type(node.args["expression"]) is exp.Null and type(node.args["this"]) is exp.Column:
                # IS NULL there asks for rows without a match
                found = self._scope.find(node.args["this"])
                item = self._items[found[0]] if found is not None else None
                if item is not None and item.kind == "LEFT" and item.rows_after > 0:
                    kept *= min(1.0, max(1.0, item.unmatched) / item.rows_after)
                    continue
            narrow(limits, prunes=True)
            kept *= share
        return kept


def narrow(limits: Limits | None, prunes: bool) -> None:
    """Keep of the columns what `limits` leave."""
    for column, (ranges, distinct, may_prune) in (limits or {}).items():
        column.narrow(ranges, distinct, prunes and may_prune)
