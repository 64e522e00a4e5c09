"""What stands in FROM while a statement is estimated: relations, their columns, and the scope in which names are found."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

from sqlglot import exp

from sabot_sql.planner.distribution import Distribution
from sabot_sql.planner.pruning import Range, Scan
from sabot_sql.planner.tree_parts import LEAVES, QUERIES

KEY_SHARE = 0.95
"""A column with so many distinct values to its rows is taken for a key: counts by sketch are a few per cent off."""

Limits = dict["Column", tuple[Sequence[Range], float | None, bool]]
"""Per column the ranges that a predicate leaves of it, the distinct values in them, and whether a scan skips the rest."""


class Column:
    """A column of a relation. Compared by identity: each reading of a table has its own.

    Attributes:
        total: rows of the table or query it is from.
        distinct: distinct values after the predicates over it; None where unknown.
        distribution: of all its values.
        scan, name: the reading of a table that gives it unchanged, so that a predicate over it leaves out row groups.
        low, high: places between which its values lie.
    """

    __slots__ = ("base_distinct", "distinct", "distribution", "high", "low", "name", "scan", "total")

    def __init__(
        self,
        total: float,
        distinct: float | None,
        distribution: Distribution | None = None,
        scan: Scan | None = None,
        name: str = "",
    ) -> None:
        self.total = total
        self.distinct = self.base_distinct = distinct
        self.distribution = distribution
        self.scan = scan
        self.name = name
        self.low = distribution.low if distribution is not None else None
        self.high = distribution.high if distribution is not None else None

    def narrow(self, ranges: Sequence[Range], distinct: float | None, prunes: bool) -> None:
        """Keep the values in `ranges`."""
        if distinct is not None:
            self.distinct = distinct if self.distinct is None else min(self.distinct, distinct)
        if not ranges:
            return
        if prunes and self.scan is not None:
            self.scan.keep(self.name, ranges)
        low, high = ranges[0] if len(ranges) == 1 else (min(r[0] for r in ranges), max(r[1] for r in ranges))
        self.low = low if self.low is None else max(self.low, low)
        self.high = high if self.high is None else min(self.high, high)

    @property
    def is_key(self) -> bool:
        """Whether no two rows have the same value, as far as counts tell."""
        return self.base_distinct is not None and self.base_distinct >= KEY_SHARE * self.total

    def derived(self, rows: float, rows_in: float, with_scan: bool) -> Column:
        """The column as a query over it gives it, in `rows` rows made of `rows_in`."""
        found = Column(rows, None, self.distribution, self.scan if with_scan else None, self.name)
        distinct = self.distinct_of(rows_in)
        found.distinct = found.base_distinct = None if distinct is None else min(distinct, rows)
        found.low, found.high = self.low, self.high
        return found

    def distinct_of(self, rows: float) -> float | None:
        """Distinct values in `rows` of its rows, drawn without putting back (Yao's formula for one row a block)."""
        if self.distinct is None:
            return None
        if rows >= self.total or self.total <= 0 or self.distinct <= 0:
            return self.distinct
        # of the values that predicates over other columns leave rows of
        share = rows / self.total * (self.base_distinct or self.distinct) / self.distinct
        each = self.total / max(1.0, self.base_distinct or self.distinct)
        return min(rows, self.distinct) if share >= 1 else max(min(rows, 1.0), self.distinct * (1 - (1 - share) ** each))


class Relation:
    """One item of FROM, or what a query gives.

    Attributes:
        rows: rows after the predicates over it alone.
        total: rows before any predicate.
        scan: the reading of it, where it is a table.
        known: its column names, where looking for others is in vain.
        correlated: how it hangs on the query around, where it is a subquery.
    """

    __slots__ = ("_columns", "_renamed", "alias", "correlated", "known", "rows", "scan", "total")

    def __init__(self, rows: float, alias: str = "", scan: Scan | None = None) -> None:
        self.rows = self.total = rows
        self.alias = alias
        self.scan = scan
        self.known: Container[str] | None = scan.facts.columns if scan is not None else None
        self.correlated = NOT_CORRELATED
        self._renamed: dict[str, str] = {}
        self._columns: dict[str, Column | None] = {}

    @property
    def names(self) -> Sequence[str]:
        """Folded names of its columns in order; empty where they are not known."""
        return tuple(self.scan.facts.columns) if self.scan is not None else ()

    @property
    def is_open(self) -> bool:
        """Whether it may have columns that it does not tell of."""
        return self.scan is None

    def column(self, name: str) -> Column | None:
        """The column of that folded name; None where it has none, or nothing is known of it."""
        if name in self._columns:
            return self._columns[name]
        found = self._columns[name] = self._find(self._renamed.get(name, name))
        return found

    def first(self) -> Column | None:
        """Its first column."""
        return self.column(self.names[0]) if self.names else None

    def _find(self, name: str) -> Column | None:
        if self.scan is None:
            return None
        facts = self.scan.facts
        if name not in facts.columns:
            return None
        known = facts.distribution(name)
        return Column(self.total, None if known is None else known.distinct, known, self.scan, name)

    def rename(self, names: Sequence[str]) -> None:
        """Give the first columns other names: `t(a, b)`."""
        self._renamed, self.known = dict(zip(names, self.names)), None


class Correlation:
    """How a subquery hangs on the query around it.

    Attributes:
        equal: (column inside, outer relation, outer column) for each `inside = outside`.
        other: the share that the other conditions with an outer column keep.
        rows: rows that the subquery has without any such condition.
        is_minmax: whether it gives MIN or MAX, a value that a row has.
        owners: the outer relations, as bits.
    """

    __slots__ = ("equal", "is_minmax", "other", "owners", "rows")

    def __init__(self) -> None:
        self.equal: list[tuple[Column, int, Column]] = []
        self.other = 1.0
        self.owners = 0
        self.rows = 0.0
        self.is_minmax = False


NOT_CORRELATED = Correlation()


class Scope:
    """The relations of one FROM, and which of them a column belongs to.

    Attributes:
        parent: the scope of the query around.
        edges: the equalities between its relations.
        expressions: how many values a predicate leaves of an expression.
        given: conditions inside of others that count elsewhere.
        reached: rows of relations after the predicates over those that they refer to.
    """

    __slots__ = ("_by_alias", "_found", "_nodes", "edges", "expressions", "given", "parent", "reached", "relations")

    def __init__(self, parent: Scope | None = None) -> None:
        self.relations: list[Relation] = []
        self.parent = parent
        self.edges: list[Any] = []
        self.expressions: list[tuple[Any, float]] = []
        self.given: list[Any] = []
        self.reached: dict[int, float] = {}
        self._by_alias: dict[str, int] = {}
        self._found: dict[Any, tuple[int, Column]] = {}  # by name
        self._nodes: dict[int, tuple[int, Column]] = {}  # by node, which is asked for again and again

    def add(self, relation: Relation) -> None:
        """One more relation."""
        self._by_alias.setdefault(relation.alias, len(self.relations))
        self.relations.append(relation)

    def find(self, node: Any) -> tuple[int, Column] | None:
        """The position of the relation and the column that `node` names in this scope alone."""
        if (found := self._nodes.get(id(node))) is not None:
            return found
        args = node.args
        name, of = args["this"].args.get("this"), args.get("table")
        key = name if of is None else (of.args["this"], name)
        if (found := self._found.get(key)) is None:
            if not isinstance(name, str):
                return None
            found = self._of_any(name.lower()) if of is None else self._of_one(name.lower(), of.args["this"].lower())
            if found is None:
                return None
            self._found[key] = found
        self._nodes[id(node)] = found
        return found

    def _of_one(self, name: str, alias: str) -> tuple[int, Column] | None:
        place = self._by_alias.get(alias)
        if place is None:
            return None
        column = self.relations[place].column(name)
        return place, column if column is not None else Column(self.relations[place].total, None)

    def _of_any(self, name: str) -> tuple[int, Column] | None:
        loose = []
        for place, relation in enumerate(self.relations):
            if relation.known is not None and name not in relation.known:
                continue
            if (column := relation.column(name)) is not None:
                return place, column
            if relation.is_open:
                loose.append(place)
        # where one alone does not tell its columns, an unknown name is its
        return (loose[0], Column(self.relations[loose[0]].total, None)) if len(loose) == 1 else None

    def column(self, node: Any) -> Column | None:
        """What is known of the column that `node` names, here or in the query around."""
        found = self.find(node)
        if found is not None:
            return found[1]
        return self.parent.column(node) if self.parent is not None else None

    def owners(self, node: Any) -> tuple[int, int, list[Any]]:
        """The relations that an expression reads, as bits; those of the query around it; and its subqueries."""
        mask = outer = 0
        queries: list[Any] = []
        stack = [node]
        while stack:
            part = stack.pop()
            kind = type(part)
            if kind is exp.Column:
                if (found := self.find(part)) is not None:
                    mask |= 1 << found[0]
                elif self.parent is not None and (found := self.parent.find(part)) is not None:
                    outer |= 1 << found[0]
            elif kind in QUERIES:
                queries.append(part)
            elif kind not in LEAVES:
                stack.extend(part.iter_expressions())
        return mask, outer, queries


def drawn(rows: float, values: float) -> float:
    """Distinct values when `rows` are drawn from `values` evenly, with putting back."""
    if values <= 0 or rows <= 0:
        return 0.0
    return values * -math.expm1(-rows / values)
