"""The constructs that DataFusion answers as DuckDB does: an allow-list over sqlglot's typed tree.

What is left out is left out for a reason: integers wrap around in DataFusion, `/` of integers truncates, `-0.0` and `0.0`
are two groups, averages and products of DECIMAL have other types, `\\` escapes in LIKE, a DATE compared with text is
compared as text, LIMIT without ORDER BY takes other rows, an empty field of a CSV file is no NULL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from sabot_sql.catalog.table import Table
from sabot_sql.executor.local_datafusion_expressions import FLOATING, Columns, Kind, Rows, Scope, Unproven, name_of
from sabot_sql.types import SqlType

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "int"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "int"),
    "DOUBLE": "float",
    "FLOAT": "real",
    "DECIMAL": "decimal",
    "VARCHAR": "text",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "instant",
    "TIME": "time",
    "BOOLEAN": "bool",
}

SELECT_ARGS = frozenset(
    ("kind", "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "with_")
)
JOINS = frozenset(("INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI", "CROSS"))


def unproven(tree: exp.Expression | None, tables: Sequence[Table] = ()) -> str | None:
    """The first construct that is not proven to give DuckDB's answer; None where all are.

    Args:
        tree: a statement; None for one that sqlglot cannot read.
        tables: the tables it names, for the types of their columns.
    """
    if tree is None:
        return "a statement that sqlglot does not read"
    for table in tables:
        if (why := unproven_table(table)) is not None:
            return why
    try:
        _Check({t.name.lower(): _kinds(t) for t in tables}).query(tree, {})
    except Unproven as found:
        return str(found)
    except RecursionError:
        return "deep nesting"
    return None


def integer_sums(tree: exp.Expression, tables: Sequence[Table]) -> list[exp.Expression]:
    """The calls of sum over integers in a proven tree: 64 bits are not enough for them."""
    walk = _Check({t.name.lower(): _kinds(t) for t in tables})
    walk.query(tree, {})
    return walk.sums


def unproven_table(table: Table) -> str | None:
    """Why a table is not read through DataFusion."""
    if table.scan.kind not in ("parquet", "ipc"):
        return f"{table.scan.kind} files"
    if table.scan.hive or "variant_of" in table.scan.options:
        return "Hive folders" if table.scan.hive else "files of several schemas"
    if any(f.name != f.name.lower() for f in table.schema):
        return "column names with capitals"
    return "table names with dots or capitals" if not table.name.isidentifier() or table.name != table.name.lower() else None


def _kinds(table: Table) -> Columns:
    return {f.name: _kind_of(f.type) for f in table.schema}


def _kind_of(sql_type: SqlType) -> Kind | None:
    return KINDS.get(sql_type.id)


class _Check:
    """One walk; `sums` are the sums of integers that it meets."""

    def __init__(self, tables: Scope) -> None:
        self.tables = tables
        self.sums: list[exp.Expression] = []

    def _rows(self, scope: Scope) -> Rows:
        return Rows(scope, self.sums)

    def query(self, node: exp.Expression, ctes: Scope) -> Columns:
        """The columns of a query, all of it proven."""
        match node:
            case exp.Select():
                return self._select(node, ctes)
            case exp.SetOperation() if not node.args.get("by_name"):
                return self._set_operation(node, ctes)
        raise Unproven(name_of(node))

    def _set_operation(self, node: exp.SetOperation, ctes: Scope) -> Columns:
        every = not node.args.get("distinct")
        name = f"{node.key.upper()}{' ALL' if every else ''}"
        for key in ("order", "limit", "offset", "with_"):
            if node.args.get(key):
                raise Unproven(f"{key.upper().rstrip('_')} over {name}")
        if every and not isinstance(node, exp.Union):
            raise Unproven(name)
        left, right = self.query(node.this, ctes), self.query(node.expression, ctes)
        if list(left.values()) != list(right.values()):
            raise Unproven(f"{name} of different types")
        if not every and (FLOATING & set(left.values()) or None in left.values()):
            raise Unproven(f"{name} of DOUBLE")
        return left

    def _select(self, node: exp.Expression, ctes: Scope) -> Columns:
        for key, value in node.args.items():
            if value and key not in SELECT_ARGS:
                raise Unproven(key.upper().rstrip("_"))
        if (found := node.args.get("with_")) is not None:
            if found.args.get("recursive"):
                raise Unproven("WITH RECURSIVE")
            ctes = dict(ctes)
            for cte in found.expressions:
                if cte.args["alias"].args.get("columns") or cte.args.get("materialized") is not None:
                    raise Unproven("WITH with column names or MATERIALIZED")
                ctes[cte.alias.lower()] = self.query(cte.this, ctes)
        scope = self._from(node, ctes)
        rows = self._rows(scope)
        if where := node.args.get("where"):
            for condition in _conjuncts(where.this):
                self._condition(condition, rows, ctes)
        self._group(node, rows)
        columns = self._columns(node, rows)
        self._order(node, rows, columns)
        return columns

    def _from(self, node: exp.Expression, ctes: Scope) -> Scope:
        start = node.args.get("from_")
        if start is None:
            raise Unproven("SELECT without FROM")
        scope: Scope = {}
        self._source(start.this, ctes, scope)
        for join in [*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())]:
            kind = (join.side or join.kind or "INNER").upper()
            on = join.args.get("on")
            bare = kind not in ("INNER", "CROSS") and not on
            if join.args.get("using") or join.method or kind not in JOINS or bare:
                raise Unproven("JOIN USING" if join.args.get("using") else f"{(join.method or kind).upper()} JOIN")
            before = dict(scope)
            self._source(join.this, ctes, scope)
            if on is not None:
                self._rows(scope).predicate(on)
            if kind in ("SEMI", "ANTI"):
                scope = before
        return scope

    def _source(self, node: exp.Expression, ctes: Scope, scope: Scope) -> None:
        alias = node.alias_or_name.lower()
        extra = [k for k, v in node.args.items() if v and k not in ("this", "alias", "joins")]
        if extra or alias in scope or not alias:
            raise Unproven(f"{(extra or ['FROM'])[0].upper()} of {alias or 'a subquery'}")
        if isinstance(node.args.get("alias"), exp.TableAlias) and node.args["alias"].args.get("columns"):
            raise Unproven("column names in FROM")
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            name = node.name.lower()
            columns = ctes.get(name) or self.tables.get(name)
            if columns is None:
                raise Unproven(f"table {name}")
            scope[alias] = columns
        elif isinstance(node, exp.Subquery):
            scope[alias] = self.query(node.this, ctes)
        else:
            raise Unproven(name_of(node))

    def _condition(self, node: exp.Expression, rows: Rows, ctes: Scope) -> None:
        """A part of WHERE that must hold: there, and only there, `x IN (SELECT ...)` is a semi-join."""
        if not isinstance(node, exp.In) or (held := node.args.get("query")) is None:
            rows.predicate(node)
            return
        columns = list(self.query(held.this if isinstance(held, exp.Subquery) else held, ctes).values())
        if len(columns) != 1 or columns[0] is None or columns[0] in FLOATING or columns[0] != rows.value(node.this):
            raise Unproven("IN (SELECT ...) of different types, or of DOUBLE")

    def _group(self, node: exp.Expression, rows: Rows) -> None:
        group = node.args.get("group")
        if group is not None:
            extra = [k for k, v in group.args.items() if v and k not in ("expressions", "all")]
            if extra:
                raise Unproven(f"GROUP BY {extra[0].upper()}")
            for key in self._every_key(node) if group.args.get("all") else group.expressions:
                if rows.value(_meant(key, node, rows)) in FLOATING:
                    raise Unproven("GROUP BY of DOUBLE")
        if having := node.args.get("having"):
            rows.predicate(having.this)

    @staticmethod
    def _every_key(node: exp.Expression) -> Iterator[exp.Expression]:
        """What GROUP BY ALL groups by."""
        for item in node.expressions:
            inner = item.unalias()
            called = inner.this if isinstance(inner, exp.Filter) else inner
            if not isinstance(called, exp.AggFunc):
                if inner.find(exp.AggFunc) is not None:
                    raise Unproven("GROUP BY ALL with an expression over aggregates")
                yield inner

    @staticmethod
    def _columns(node: exp.Expression, rows: Rows) -> Columns:
        found: Columns = {}
        for item in node.expressions:
            if isinstance(item, exp.Star) and not any(item.args.get(k) for k in ("except_", "replace", "rename")):
                if rows.joined or len(node.expressions) > 1:
                    raise Unproven("* beside other columns")
                return dict(next(iter(rows.scope.values())))
            name = item.alias_or_name.lower() or f"column{len(found)}"
            inner = item.this if isinstance(item, exp.Alias) else item
            if name in found or (rows.has(name) and not (isinstance(inner, exp.Column) and inner.name.lower() == name)):
                raise Unproven("an alias that is a column's name")
            found[name] = rows.value(inner)
        distinct = node.args.get("distinct")
        if distinct and (distinct.args.get("on") or FLOATING & set(found.values())):
            raise Unproven("DISTINCT ON, or DISTINCT of DOUBLE")
        return found

    @staticmethod
    def _order(node: exp.Expression, rows: Rows, columns: Columns) -> None:
        order, limit = node.args.get("order"), node.args.get("limit")
        if (limit or node.args.get("offset")) and not order:
            raise Unproven("LIMIT without ORDER BY")
        for bound in (limit, node.args.get("offset")):
            if bound is not None and not (bound.expression is not None and bound.expression.is_int):
                raise Unproven("LIMIT of an expression")
        if limit is not None and not isinstance(limit, exp.Limit):
            raise Unproven("FETCH")
        for item in order.expressions if order else ():
            key = item.this
            if isinstance(key, exp.Column) and not key.table and key.name.lower() in columns:
                kind = columns[key.name.lower()]
            elif key.is_int:
                kind = (list(columns.values()) + [None] * int(key.name))[int(key.name) - 1]
            elif isinstance(key, exp.Column):
                kind = rows.value(key)
            else:
                raise Unproven("ORDER BY of an expression")
            if kind in FLOATING or kind is None:
                raise Unproven("ORDER BY of DOUBLE")


def _conjuncts(node: exp.Expression) -> Iterator[exp.Expression]:
    """The parts of a condition that must all hold."""
    if isinstance(node, exp.And):
        yield from _conjuncts(node.this)
        yield from _conjuncts(node.expression)
    elif isinstance(node, exp.Paren) and isinstance(node.this, exp.And):
        yield from _conjuncts(node.this)
    else:
        yield node


def _meant(key: exp.Expression, node: exp.Expression, rows: Rows) -> exp.Expression:
    """The expression behind a key of GROUP BY, which may be a position or an alias."""
    if key.is_int and 0 < int(key.name) <= len(node.expressions):
        return node.expressions[int(key.name) - 1].unalias()
    if isinstance(key, exp.Column) and not key.table and not rows.has(key.name.lower()):
        for item in node.expressions:
            if item.alias.lower() == key.name.lower():
                return item.unalias()
    if isinstance(key, exp.Literal | exp.Neg):
        raise Unproven("GROUP BY of a literal")
    return key
