"""How many rows a statement will work on, from its text and the catalog's statistics alone.

The figure that matters is `work`: rows read, or rows of the largest thing made of them, whichever is more. What cannot be
read is said (`unknown`), never replaced by a number that nobody counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlglot import exp

from sabot_sql.catalog.table import Table
from sabot_sql.errors import SabotError
from sabot_sql.planner.join_size import MOST_ROWS, Predicate, Relation, Scope, conjuncts, join_all
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.policy import is_system_table
from sabot_sql.planner.selectivity import OTHER, RANGE, Params, share

Confidence = Literal["exact", "statistics", "history", "unknown"]
Lookup = Callable[[tuple[str, ...]], Table]

GROUP_SHARE = 0.1
"""Groups to rows, where the distinct values are not known."""

RECURSION = 10
"""Rounds that a recursive CTE is taken to run."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a statement will read, make and give, in rows.

    Attributes:
        rows_scanned: rows read from tables, after files and row groups that a predicate rules out.
        rows_intermediate: rows of the largest join or other intermediate result.
        confidence: `exact` where `work` rests on counted rows alone.
        inputs: what it rests on, one line each.
    """

    rows_scanned: int
    rows_intermediate: int
    rows_out: int
    bytes_scanned: int
    confidence: Confidence
    inputs: tuple[str, ...] = ()

    @property
    def work(self) -> int:
        """Rows that decide the route."""
        return max(self.rows_scanned, self.rows_intermediate)


def estimate(statement: Statement, lookup: Lookup, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Estimate:
    """The estimate for `statement`; never raises for what it cannot read.

    Args:
        lookup: the catalog's table for name parts.
        params: values of parameters, by name or position.
    """
    if statement.inner is not None:
        return estimate(statement.inner, lookup, params)
    tables: dict[tuple[str, ...], Table] = {}
    for reference in statement.references:
        if reference.parts not in tables:
            try:
                tables[reference.parts] = lookup(reference.parts)
            except SabotError:
                if not is_system_table(reference.parts):
                    return _unknown(statement, tables, f"table {'.'.join(reference.parts)} is not in the catalog")
    values = _values(params) if statement.parameters else {}
    if values:
        return _estimate(statement, tables, values)
    key = (statement, tuple((t.name, t.version) for t in tables.values()))
    with _LOCK:
        if (found := _CACHE.get(key)) is not None:
            _CACHE.move_to_end(key)
            return found
    found = _estimate(statement, tables, {})
    with _LOCK:
        _CACHE[key] = found
        if len(_CACHE) > 2048:
            _CACHE.popitem(last=False)
    return found


_CACHE: OrderedDict[Any, Estimate] = OrderedDict()
_LOCK = threading.Lock()


def _values(params: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    if isinstance(params, Mapping):
        return {str(k).lstrip("$:"): v for k, v in params.items()}
    return {str(i): v for i, v in enumerate(params or (), 1)}


def _estimate(statement: Statement, tables: dict[tuple[str, ...], Table], params: Params) -> Estimate:
    if statement.kind in ("DESCRIBE", "SHOW"):
        return Estimate(0, 0, 0, 0, "exact", ("reads the catalog only",))
    if statement.kind == "SUMMARIZE" and len(statement.references) == 1 and all(t.statistics.rows for t in tables.values()):
        (table,) = tables.values()
        rows = table.statistics.rows or 0
        return Estimate(rows, rows, len(table.schema), table.statistics.size_bytes, _of(table), (_table_line(table),))
    if statement.tree is None:
        return _unknown(statement, tables, "the statement is written in a way that is not read for an estimate")
    work = _Work({tuple(p.lower() for p in parts): t for parts, t in tables.items()}, params)
    try:
        out = work.query(statement.tree, {})
    except (RecursionError, AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        return _unknown(
            statement, tables, f"the statement has a form that is not read for an estimate ({type(error).__name__})"
        )
    return Estimate(
        _whole(work.scanned),
        _whole(work.intermediate),
        _whole(out.rows),
        _whole(work.size_bytes),
        work.confidence,
        tuple(work.inputs),
    )


def _whole(rows: float) -> int:
    return int(min(MOST_ROWS, rows + 0.5))


def _of(table: Table) -> Confidence:
    return table.statistics.confidence


def _table_line(table: Table) -> str:
    rows = table.statistics.rows
    return f"{table.name}: {'unknown' if rows is None else f'{rows:,}'} rows ({table.statistics.confidence})"


def _unknown(statement: Statement, tables: dict[tuple[str, ...], Table], why: str) -> Estimate:
    """What is known of the tables stays in the figures; the confidence says that it is not the answer."""
    named = [tables[r.parts] for r in statement.references if r.parts in tables]
    rows = sum(t.statistics.rows or 0 for t in named)
    lines = tuple(dict.fromkeys(_table_line(t) for t in named))
    return Estimate(rows, 0, 0, sum(t.statistics.size_bytes for t in named), "unknown", (*lines, why))


Ctes = dict[str, Relation]


class _Work:
    """One walk over a tree; counts what is read and made."""

    def __init__(self, tables: dict[tuple[str, ...], Table], params: Params) -> None:
        self.tables = tables
        self.params = params
        self.scanned = 0.0
        self.intermediate = 0.0
        self.size_bytes = 0.0
        self.confidence: Confidence = "exact"
        self.inputs: list[str] = []

    def query(self, node: exp.Expression, ctes: Ctes) -> Relation:
        """The rows that a query gives."""
        ctes = self._with(node, ctes)
        match node:
            case exp.Subquery():
                return self._limited(node, self.query(node.this, ctes))
            case exp.SetOperation():
                left, right = self.query(node.this, ctes), self.query(node.expression, ctes)
                rows = left.rows + right.rows if isinstance(node, exp.Union) else left.rows
                self._made(rows)
                return self._limited(node, Relation(rows))
            case exp.Select():
                return self._select(node, ctes)
            case exp.Values():
                return Relation(len(node.expressions))
            case exp.Table():
                return self._source(node, ctes)
        self._doubt("unknown", f"{node.key} is not read for an estimate")
        return Relation(1)

    def _with(self, node: exp.Expression, ctes: Ctes) -> Ctes:
        found = node.args.get("with_")
        if found is None:
            return ctes
        ctes = dict(ctes)
        for cte in found.expressions:
            name = cte.alias.lower()
            if found.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                start = self.query(cte.this.this, ctes)
                step = self.query(cte.this.expression, {**ctes, name: start})
                self._doubt("unknown", f"{name} is recursive: its rounds are not known")
                ctes[name] = Relation(start.rows + RECURSION * step.rows)
            else:
                ctes[name] = self.query(cte.this, ctes)
        return ctes

    def _select(self, node: exp.Expression, ctes: Ctes) -> Relation:
        sources, kinds, conditions = self._sources(node, ctes)
        where = node.args.get("where")
        scope = Scope(sources)
        predicates = [scope.predicate(c) for c in (*conditions, *conjuncts(where.this if where else None))]
        self._subqueries(node, ctes)
        early = self._early_limit(node, sources, predicates)
        for place, source in enumerate(sources):
            self._scan(source, [p for p in predicates if p.owners == frozenset((place,))], scope, early)
        rows = join_all(sources, kinds, predicates, self._joined) if sources else 1.0
        return self._limited(node, self._grouped(node, rows, scope))

    def _joined(self, left: float, right: float, rows: float) -> None:
        self._doubt("statistics", f"join of {left:,.0f} and {right:,.0f} rows gives about {rows:,.0f}")
        self._made(rows)

    def _sources(self, node: exp.Expression, ctes: Ctes) -> tuple[list[Relation], list[str], list[exp.Expression]]:
        """The relations of FROM, how each is joined, and the conditions of the joins."""
        start = node.args.get("from_")
        if start is None:
            return [], [], []
        sources, kinds = [self._source(start.this, ctes)], ["INNER"]
        conditions: list[exp.Expression] = []
        joins = [*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())]
        joins += [exp.Join(this=lateral) for lateral in node.args.get("laterals") or ()]
        for join in joins:
            sources.append(self._source(join.this, ctes))
            kind = (join.side or join.kind or join.method or "INNER").upper()
            kinds.append("INNER" if kind == "CROSS" else kind)
            conditions += conjuncts(join.args.get("on"))
            for column in join.args.get("using") or ():
                conditions.append(self._using(column.name, sources))
        return sources, kinds, conditions

    @staticmethod
    def _using(name: str, sources: list[Relation]) -> exp.Expression:
        """USING as an equality between the new relation and the first older one that has the column."""
        older = next((r for r in sources[:-1] if name.lower() in r.columns), sources[0])
        return exp.EQ(this=exp.column(name, older.alias), expression=exp.column(name, sources[-1].alias))

    def _source(self, node: exp.Expression, ctes: Ctes) -> Relation:
        """One item of FROM, before any predicate."""
        alias = node.alias_or_name.lower()
        match node:
            case exp.Table() if isinstance(node.this, (exp.Identifier, exp.Dot)):
                parts = tuple(p.name.lower() for p in node.parts)
                if len(parts) == 1 and parts[0] in ctes:
                    return _named(ctes[parts[0]], alias)
                if parts in self.tables:
                    return self._table(self.tables[parts], alias)
                return Relation(100, alias)  # information_schema
            case exp.Table() | exp.Unnest() | exp.Lateral():
                return Relation(self._function_rows(node), alias)
            case exp.Subquery():
                inner = node.this
                if isinstance(inner, exp.Table):  # (a JOIN b)
                    return self._select(exp.Select(from_=exp.From(this=inner.copy())), ctes)
                return _named(self.query(node, ctes), alias)
            case exp.Values():
                return Relation(len(node.expressions), alias)
        return _named(self.query(node, ctes), alias)

    def _table(self, table: Table, alias: str) -> Relation:
        rows = table.statistics.rows
        line = _table_line(table)
        if line not in self.inputs:
            self.inputs.append(line)
        if rows is None:
            self._doubt("unknown")
        elif table.statistics.confidence != "exact":
            self._doubt(table.statistics.confidence)
        known = table.statistics.columns
        columns = {f.name.lower(): known.get(f.name) for f in table.schema}
        return Relation(float(rows or 0), alias, columns, table, float(rows or 0))

    def _function_rows(self, node: exp.Expression) -> float:
        """Rows of range(n), unnest([...]) and the like."""
        call = node.this if isinstance(node, (exp.Table, exp.Lateral)) else node
        if isinstance(call, exp.GenerateSeries):
            start, end, step = (call.args.get(k) for k in ("start", "end", "step"))
            numbers = [float(n.name) if n is not None and n.is_number else None for n in (start, end, step)]
            if step is None:
                numbers[2] = 1.0
            if None not in numbers:
                return max(0.0, (numbers[1] - numbers[0]) / (numbers[2] or 1.0))  # type: ignore[operator]
        if isinstance(call, exp.Unnest) and isinstance(first := next(iter(call.expressions), None), exp.Array):
            return float(len(first.expressions))
        self._doubt("statistics", f"{call.key} is taken to give 100 rows")
        return 100.0

    def _subqueries(self, node: exp.Expression, ctes: Ctes) -> None:
        """Subqueries in expressions are run too."""
        for key in ("expressions", "where", "having", "qualify", "order"):
            part = node.args.get(key)
            for item in part if isinstance(part, list) else [part] if part is not None else []:
                if isinstance(item, exp.Column):
                    continue
                for found in item.find_all(exp.Query):
                    if found.parent_select is node and not isinstance(found, exp.Subquery):
                        self.query(found, ctes)

    @staticmethod
    def _early_limit(node: exp.Expression, sources: list[Relation], predicates: list[Predicate]) -> float | None:
        """LIMIT over one bare table stops the scan; None where it does not."""
        limit = _limit_of(node)
        if len(sources) != 1 or predicates or limit is None:
            return None
        if any(node.args.get(k) for k in ("group", "order", "distinct", "qualify", "having", "windows", "sample")):
            return None
        plain = (exp.Column, exp.Star, exp.Literal)
        if any(item.find(exp.AggFunc, exp.Window) for item in node.expressions if not isinstance(item, plain)):
            return None
        return limit

    def _scan(self, source: Relation, own: list[Predicate], scope: Scope, early: float | None) -> None:
        """Count what reading `source` takes, and keep of it what the predicates over it alone keep."""
        kept = overlap = 1.0
        for node in _intervals([p.node for p in own if not p.has_query]):
            found = share(node, scope.statistics, self.params)
            kept, overlap = kept * found.kept, overlap * found.overlap
        kept *= OTHER ** sum(p.has_query for p in own)
        if (table := source.table) is not None:
            read = source.total * overlap
            if early is not None:
                read = min(read, early)
            elif overlap < 1.0 and source.total:
                # a scan skips whole row groups, never less than one where anything is left
                groups = sum(len(f.row_groups) for f in table.scan.files)
                read = min(source.total, max(read, source.total / groups)) if groups and overlap > 0 else read
                self._doubt("statistics", f"{table.name}: predicates leave {read:,.0f} rows to read")
            self.scanned += read
            self.size_bytes += table.statistics.size_bytes * (read / source.total if source.total else 1.0)
        source.rows *= kept

    def _grouped(self, node: exp.Expression, rows: float, scope: Scope) -> Relation:
        """GROUP BY, aggregates, DISTINCT, HAVING and QUALIFY."""
        group = node.args.get("group")
        if group is not None:
            rows = _groups(rows, group.expressions, scope)
            rows *= RANGE if node.args.get("having") else 1.0
        elif any(_aggregates(item) for item in node.expressions):
            rows = 1.0
        if node.args.get("distinct"):
            rows = _groups(rows, node.expressions, scope)
        if node.args.get("qualify"):
            rows *= OTHER
        return Relation(rows)

    @staticmethod
    def _limited(node: exp.Expression, found: Relation) -> Relation:
        limit = _limit_of(node)
        return found if limit is None else Relation(min(found.rows, limit))

    def _made(self, rows: float) -> None:
        self.intermediate = max(self.intermediate, min(rows, MOST_ROWS))

    def _doubt(self, confidence: Confidence, why: str = "") -> None:
        order = ("exact", "statistics", "history", "unknown")
        self.confidence = max(self.confidence, confidence, key=order.index)
        if why and len(self.inputs) < 32:
            self.inputs.append(why)


def _named(found: Relation, alias: str) -> Relation:
    """A subquery or CTE under its alias; of its columns nothing is known."""
    return Relation(found.rows, alias)


def _groups(rows: float, keys: list[exp.Expression], scope: Scope) -> float:
    """Groups by `keys`: the product of their distinct values, where all are known."""
    product = 1.0
    for key in keys:
        stats = scope.statistics(key) if isinstance(key, exp.Column) else None
        if stats is None or not stats.distinct_count:
            return max(1.0, rows * GROUP_SHARE) if rows else 0.0
        product *= stats.distinct_count
    return min(rows, product)


def _intervals(predicates: list[exp.Expression]) -> list[exp.Expression]:
    """`a >= 1` and `a < 5` as one predicate, so that they count as one interval."""
    found: list[exp.Expression] = []
    ends: dict[tuple[str, str], int] = {}
    for predicate in predicates:
        if isinstance(predicate, (exp.LT, exp.LTE, exp.GT, exp.GTE)) and isinstance(predicate.this, exp.Column):
            key = (predicate.this.table.lower(), predicate.this.name.lower())
            if key in ends:
                place = ends.pop(key)
                found[place] = exp.And(this=found[place].copy(), expression=predicate.copy())
                continue
            ends[key] = len(found)
        found.append(predicate)
    return found


def _aggregates(item: exp.Expression) -> bool:
    if isinstance(item, (exp.Column, exp.Star)):
        return False
    return any(
        call.find_ancestor(exp.Window, exp.Query) is item.find_ancestor(exp.Query) for call in item.find_all(exp.AggFunc)
    )


def _limit_of(node: exp.Expression) -> float | None:
    """LIMIT + OFFSET where they are numbers."""
    limit = node.args.get("limit")
    if not isinstance(limit, exp.Limit) or limit.expression is None or not limit.expression.is_int:
        return None
    offset = node.args.get("offset")
    skipped = (
        int(offset.expression.name) if offset is not None and offset.expression is not None and offset.expression.is_int else 0
    )
    return float(int(limit.expression.name) + skipped)
