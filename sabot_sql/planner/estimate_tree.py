"""One walk over sqlglot's tree of a query: the rows of each SELECT, what is read for it, and the largest thing made."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from sabot_sql.planner.conditions import Conditions
from sabot_sql.planner.constants import Params, constant
from sabot_sql.planner.distribution import OTHER
from sabot_sql.planner.from_items import from_items, function_rows
from sabot_sql.planner.groups import group_rows, having_share
from sabot_sql.planner.join_size import MOST_ROWS, Item, Joins
from sabot_sql.planner.pruning import Scan, TableFacts
from sabot_sql.planner.query_relations import SelectRelation, UnionRelation
from sabot_sql.planner.relations import Relation, Scope
from sabot_sql.planner.subqueries import query_predicate
from sabot_sql.planner.tree_parts import conjuncts, limit_of, sampled, select_of, survey

RECURSION = 10
"""Rounds that a recursive CTE is taken to run."""

MOST_LINES = 24
"""Joins that are told of, one line each."""

BLOCKERS = ("group", "order", "distinct", "qualify", "having", "windows", "sample")
"""What must see every row before it gives the first."""

SIDE_PARTS = ("having", "qualify", "order")
"""Where subqueries may stand besides SELECT and WHERE."""

Facts = dict[tuple[str, ...], TableFacts]
Ctes = dict[str, Callable[[], Relation]]


class TreeEstimate:
    """The walk.

    Attributes:
        scans: the readings of tables; what is left of them is known at the end only.
        peak: rows of the largest join or other intermediate result.
        guesses: why the figures are no plain counts, one line each.
        unknown: what could not be read.
    """

    def __init__(self, tables: Facts, params: Params) -> None:
        self.tables = tables
        self.params = params
        self.scans: list[Scan] = []
        self.peak = 0.0
        self.guesses: list[str] = []
        self.unknown: list[str] = []
        self._tree: Any = None

    def rows(self, tree: Any) -> float:
        """Rows that the whole query gives."""
        self._tree = tree
        return self.query(tree, {}, None, None).rows

    @functools.cached_property
    def named(self) -> Counter[str]:
        """How often each table name stands in the query."""
        return Counter(t.name.lower() for t in self._tree.find_all(exp.Table))

    def query(self, node: Any, ctes: Ctes, parent: Scope | None, wanted: float | None) -> Relation:
        """The rows of a query; `wanted` is how many of them are asked for, where it is known."""
        if (found := node.args.get("with_")) is not None:
            ctes = self._with(found, ctes, parent)
        kind = type(node)
        if kind is exp.Select:
            return self._select(node, ctes, parent, wanted)
        if kind is exp.Subquery:
            return self._limited(node, self.query(node.args["this"], ctes, parent, self._fewer(node, wanted)))
        if isinstance(node, exp.SetOperation):
            return self._limited(node, self._set_operation(node, ctes, parent, self._fewer(node, wanted)))
        if kind is exp.Table:
            return self._select(select_of(node), ctes, parent, wanted)
        if kind is exp.Values:
            return Relation(float(len(node.expressions)))
        self.unknown.append(f"{node.key} is not read for an estimate")
        return Relation(1.0)

    def _set_operation(self, node: Any, ctes: Ctes, parent: Scope | None, wanted: float | None) -> Relation:
        union = isinstance(node, exp.Union)
        streams = union and not node.args.get("distinct") and not node.args.get("order")
        left = self.query(node.args["this"], ctes, parent, wanted if streams else None)
        right = self.query(node.args["expression"], ctes, parent, wanted if streams else None)
        rows = left.rows + right.rows if union else left.rows
        if isinstance(node, exp.Intersect):
            rows = min(left.rows, right.rows)
        self._made(rows)
        found = UnionRelation(rows, left, right if union else None)
        if node.args.get("distinct") is not False:
            found.rows = found.total = found.different(rows)
        return found

    def _with(self, node: Any, ctes: Ctes, parent: Scope | None) -> Ctes:
        ctes = dict(ctes)
        for cte in node.expressions:
            name = cte.alias.lower()
            if node.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                ctes[name] = functools.cache(functools.partial(self._recursive, cte, name, dict(ctes), parent))
            else:
                ctes[name] = functools.cache(functools.partial(self.query, cte.this, dict(ctes), parent, None))
        return ctes

    def _recursive(self, cte: Any, name: str, ctes: Ctes, parent: Scope | None) -> Relation:
        start = self.query(cte.this.this, ctes, parent, None)
        step = self.query(cte.this.expression, {**ctes, name: lambda: start}, parent, None)
        self.unknown.append(f"{name} is recursive: its rounds are not known")
        return Relation(start.rows + RECURSION * step.rows)

    def _select(self, node: Any, ctes: Ctes, parent: Scope | None, wanted: float | None) -> Relation:
        args = node.args
        limit = self._fewer(node, wanted)
        queries, aggregates = survey([*node.expressions, *(args[k] for k in SIDE_PARTS if args.get(k) is not None)])
        streams = limit is not None and not aggregates and not any(args.get(k) for k in BLOCKERS)
        early = limit if streams and args.get("where") is None and not args.get("joins") else None
        items, scope = from_items(self, node, ctes, parent, early)
        found = SelectRelation(node, scope, self.params)
        found.rows_in = found.correlated.rows = rows = self._joined(node, items, scope, ctes, found)
        if streams and limit is not None and items:
            self._stop_early(items, rows, limit)
        for query in queries:
            self.query(query, ctes, scope, None)
        found.rows = found.total = self._grouped(node, rows, scope, aggregates)
        found.correlated.is_minmax = aggregates and found.is_minmax
        return self._limited(node, found) if args.get("limit") is not None or args.get("offset") is not None else found

    def _joined(self, node: Any, items: list[Item], scope: Scope, ctes: Ctes, found: Relation) -> float:
        """Rows of FROM with WHERE; notes in `found` what binds it to the query around."""
        where = node.args.get("where")
        conditions = conjuncts(where.args["this"] if where is not None else None)
        if not items:
            for condition in conditions:
                for query in survey([condition])[0]:
                    self.query(query, ctes, scope, None)
            return 1.0

        def of_queries(condition: Any, queries: list[Any]) -> tuple[int, float]:
            return query_predicate(self, condition, queries, scope, ctes)

        sorted_out = Conditions(items, scope, self.params, found, of_queries)
        for place in range(len(items)):
            sorted_out.add_on(place)
        sorted_out.add_where(conditions)
        sorted_out.apply()
        scope.edges = sorted_out.edges
        rows = Joins(items, sorted_out.edges, sorted_out.residuals, self._join_made).rows()
        return rows * sorted_out.late_share()

    def _join_made(self, left: float, right: float, rows: float) -> None:
        if len(self.guesses) < MOST_LINES:
            self.guesses.append(f"join of {left:,.0f} and {right:,.0f} rows gives about {rows:,.0f}")
        self._made(rows)

    def _made(self, rows: float) -> None:
        self.peak = max(self.peak, min(rows, float(MOST_ROWS)))

    def _grouped(self, node: Any, rows: float, scope: Scope, aggregates: bool) -> float:
        """Rows after GROUP BY, aggregates, HAVING, QUALIFY, UNNEST and DISTINCT."""
        args = node.args
        group, having = args.get("group"), args.get("having")
        if group is not None:
            rows = group_rows(node, group, rows, scope, self.params)
        elif aggregates or having is not None:
            rows = 1.0
        if having is not None:
            rows *= having_share(having.this)
        for item in node.expressions:
            if type(inner := item.args.get("this") if type(item) is exp.Alias else item) in (exp.Explode, exp.Unnest):
                rows *= function_rows(self, inner)
        if args.get("qualify") is not None:
            rows *= OTHER
        if (distinct := args.get("distinct")) is not None:
            keys = distinct.args["on"].expressions if distinct.args.get("on") is not None else node.expressions
            rows = group_rows(node, None, rows, scope, self.params, keys)
        if args.get("sample") is not None:
            rows = sampled(rows, args["sample"], self.params)
        if group is not None or having is not None:
            self._made(rows)
        return rows

    def _stop_early(self, items: list[Item], rows: float, limit: float) -> None:
        """LIMIT over a scan with predicates, or over the longer side of a join, stops it when enough is found."""
        if rows <= limit or any(i.kind not in ("INNER", "LEFT") for i in items):
            return
        longest = max((i.relation for i in items), key=lambda r: r.total)
        scan = longest.scan
        if scan is not None and scan.most_rows is None:
            self.guesses.append(f"LIMIT stops when {limit:,.0f} of about {rows:,.0f} rows are found")
            scan.most_rows = max(limit, scan.rows * limit / rows)

    def _fewer(self, node: Any, wanted: float | None) -> float | None:
        limit = limit_of(node, self.params)
        if limit is None:
            return wanted
        rows = limit[0] + limit[1]
        return rows if wanted is None else min(rows, wanted + limit[1])

    def _limited(self, node: Any, found: Relation) -> Relation:
        limit = node.args.get("limit")
        if limit is not None and (options := limit.args.get("limit_options")) is not None and options.args.get("percent"):
            share = constant(limit.args.get("expression"), self.params)
            found.rows *= min(1.0, float(share) / 100) if isinstance(share, (int, float)) else 1.0
        elif (known := limit_of(node, self.params)) is not None:
            found.rows = min(max(0.0, found.rows - known[1]), known[0])
            found.total = found.rows
        return found
