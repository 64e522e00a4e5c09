"""What queries give as relations: their columns are looked for when somebody names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params
from sabot_sql.planner.expression_values import expression_distinct
from sabot_sql.planner.relations import Column, Correlation, Relation, Scope
from sabot_sql.planner.tree_parts import names_of

COUNTS = (exp.Count, exp.CountIf)

HIDING = ("limit", "offset", "qualify", "distinct", "sample")
"""What stands between a predicate around a SELECT and the tables in it."""


class SelectRelation(Relation):
    """What a SELECT gives.

    Attributes:
        rows_in: rows before its groups.
    """

    __slots__ = ("_items", "_named", "_node", "_params", "_scope", "rows_in")

    def __init__(self, node: Any, scope: Scope, params: Params) -> None:
        super().__init__(0.0)
        self.rows_in = 0.0
        self.correlated = Correlation()
        self._node = node
        self._items = node.expressions
        self._scope = scope
        self._params = params
        self._named: dict[str, Any] | None = None

    @property
    def names(self) -> Sequence[str]:
        return () if any(item.is_star for item in self._items) else names_of(self._items)

    @property
    def is_open(self) -> bool:
        return False

    def first(self) -> Column | None:
        return None if not self._items or self._items[0].is_star else self._of(self._items[0])

    @property
    def is_minmax(self) -> bool:
        """Whether its first column is a MIN or MAX: a value that a row of it has."""
        if not self._items:
            return False
        first = self._items[0]
        return isinstance(first.args["this"] if type(first) is exp.Alias else first, (exp.Min, exp.Max))

    def _find(self, name: str) -> Column | None:
        if self._named is None:
            self._named = dict(zip(names_of(self._items), self._items))
        if (item := self._named.get(name)) is not None and not item.is_star:
            return self._of(item)
        if any(item.is_star for item in self._items):
            for relation in self._scope.relations:
                if (column := relation.column(name)) is not None:
                    return column.derived(self.total, self.rows_in, self._passes)
        return None

    @property
    def _passes(self) -> bool:
        return not any(self._node.args.get(k) for k in HIDING)

    def _of(self, item: Any) -> Column | None:
        inner = item.args["this"] if type(item) is exp.Alias else item
        if type(inner) is exp.Column and (place := self._scope.find(inner)) is not None:
            return place[1].derived(self.total, self.rows_in, self._passes)
        if isinstance(inner, COUNTS):  # counts of groups lie around their mean
            return Column(self.total, min(self.total, 2 * self.rows_in / max(1.0, self.total) + 10))
        if isinstance(inner, exp.AggFunc):
            return Column(self.total, self.total)
        return Column(self.total, expression_distinct(inner, self._scope, self._params, self.rows_in))


class UnionRelation(Relation):
    """What UNION, INTERSECT or EXCEPT gives: the columns of its first query."""

    __slots__ = ("_left", "_right")

    def __init__(self, rows: float, left: Relation, right: Relation | None) -> None:
        super().__init__(rows)
        self._left = left
        self._right = right

    @property
    def names(self) -> Sequence[str]:
        return self._left.names

    @property
    def is_open(self) -> bool:
        return self._left.is_open

    def _find(self, name: str) -> Column | None:
        one = self._left.column(name)
        if one is None:
            return None
        other = self._right.column(name) if self._right is not None else None
        counts = [c.distinct for c in (one, other) if c is not None and c.distinct is not None]
        return Column(self.total, min(self.total, sum(counts)) if counts else None, one.distribution)

    def different(self, rows: float) -> float:
        """Rows that differ from each other."""
        product = 1.0
        for name in self.names:
            column = self.column(name)
            if column is None or column.distinct is None:
                return rows
            product *= column.distinct
        return min(rows, product) if self.names else rows


class CteRelation(Relation):
    """A CTE under one of its names."""

    __slots__ = ("_made", "_once")

    def __init__(self, made: Relation, alias: str, once: bool) -> None:
        super().__init__(made.rows, alias)
        self._made = made
        self._once = once

    @property
    def names(self) -> Sequence[str]:
        return self._made.names

    @property
    def is_open(self) -> bool:
        return self._made.is_open

    def _find(self, name: str) -> Column | None:
        found = self._made.column(name)
        # it is made once for all who read it: what one of them leaves out another may need
        return None if found is None else found.derived(found.total, found.total, self._once)
