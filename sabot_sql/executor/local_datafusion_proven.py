"""The constructs that DataFusion answers as DuckDB does: an allow-list over sqlglot's typed tree.

What is left out is left out for a reason: integers wrap around in DataFusion, `/` of integers truncates, `-0.0` and `0.0`
are two groups, averages and products of DECIMAL have other types, `\\` escapes in LIKE, a DATE compared with text is
compared as text, LIMIT without ORDER BY takes other rows, an empty field of a CSV file is no NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlglot import exp

from sabot_sql.catalog.table import Table
from sabot_sql.types import SqlType

Kind = Literal["int", "float", "decimal", "text", "date", "timestamp", "bool", "real", "null"]
Columns = dict[str, Kind | None]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), "int"),
    "DOUBLE": "float",
    "FLOAT": "real",
    "DECIMAL": "decimal",
    "VARCHAR": "text",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "BOOLEAN": "bool",
}

SELECT_ARGS = frozenset(
    ("kind", "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "with_")
)
FLOATING = frozenset(("float", "real"))


class Unproven(Exception):
    """Names the construct that is not on the list."""


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


Scope = dict[str, Columns]


class _Check:
    """One walk; `sums` are the sums of integers that it meets."""

    def __init__(self, tables: Scope) -> None:
        self.tables = tables
        self.sums: list[exp.Expression] = []

    def _rows(self, scope: Scope) -> _Rows:
        return _Rows(scope, self.sums)

    def query(self, node: exp.Expression, ctes: Scope) -> Columns:
        """The columns of a query, all of it proven."""
        match node:
            case exp.Select():
                return self._select(node, ctes)
            case exp.Union() if not node.args.get("distinct") and not node.args.get("by_name"):
                self._no_order(node)
                left, right = self.query(node.this, ctes), self.query(node.expression, ctes)
                if list(left.values()) != list(right.values()):
                    raise Unproven("UNION ALL of different types")
                return left
        raise Unproven(_name(node))

    @staticmethod
    def _no_order(node: exp.Expression) -> None:
        for key in ("order", "limit", "offset", "with_"):
            if node.args.get(key):
                raise Unproven(f"{key.upper().rstrip('_')} over UNION ALL")

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
            rows.predicate(where.this)
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
            if join.args.get("using") or join.method or kind not in ("INNER", "LEFT", "CROSS") or (kind == "LEFT" and not on):
                raise Unproven("JOIN USING" if join.args.get("using") else f"{(join.method or kind).upper()} JOIN")
            self._source(join.this, ctes, scope)
            if on is not None:
                self._rows(scope).predicate(on)
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
            raise Unproven(_name(node))

    @staticmethod
    def _group(node: exp.Expression, rows: _Rows) -> None:
        group = node.args.get("group")
        if group is not None:
            extra = [k for k, v in group.args.items() if v and k != "expressions"]
            if extra:
                raise Unproven(f"GROUP BY {extra[0].upper()}")
            for key in group.expressions:
                if not isinstance(key, exp.Column) or rows.value(key) in FLOATING:
                    raise Unproven("GROUP BY of DOUBLE" if isinstance(key, exp.Column) else "GROUP BY of an expression")
        if having := node.args.get("having"):
            rows.predicate(having.this)

    @staticmethod
    def _columns(node: exp.Expression, rows: _Rows) -> Columns:
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
    def _order(node: exp.Expression, rows: _Rows, columns: Columns) -> None:
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


class _Rows:
    """Expressions over the columns of one FROM."""

    def __init__(self, scope: Scope, sums: list[exp.Expression]) -> None:
        self.scope = scope
        self.sums = sums
        self.joined = len(scope) > 1

    def has(self, name: str) -> bool:
        return any(name in columns for columns in self.scope.values())

    def value(self, node: exp.Expression) -> Kind:
        """The kind of a proven expression."""
        match node:
            case exp.Column():
                return self._column(node)
            case exp.Paren():
                return self.value(node.this)
            case exp.Literal():
                return _literal(node)
            case exp.Null():
                return "null"
            case exp.Boolean():
                return "bool"
            case exp.Neg():
                kind = self.value(node.this)
                if kind not in ("float", "decimal") and not isinstance(node.this, exp.Literal):
                    raise Unproven("negation of an integer column")
                return kind
            case exp.Cast():
                return self._cast(node)
            case exp.Add() | exp.Sub() | exp.Mul():
                return self._arithmetic(node)
            case exp.DPipe():
                if self.value(node.this) == self.value(node.expression) == "text":
                    return "text"
                raise Unproven("|| of other types than VARCHAR")
            case exp.Count() | exp.Sum() | exp.Avg() | exp.Min() | exp.Max():
                return self._aggregate(node)
            case exp.Case():
                return self._case(node)
            case exp.Coalesce():
                return self._same([node.this, *node.expressions], "COALESCE")
        if isinstance(node, PREDICATES):
            self.predicate(node)
            return "bool"
        raise Unproven(_name(node))

    def _column(self, node: exp.Expression) -> Kind:
        name, of = node.name.lower(), node.table.lower()
        held = [c[name] for alias, c in self.scope.items() if name in c and of in ("", alias)]
        if len(held) != 1 or node.args.get("db"):
            raise Unproven(f"column {name}")
        if held[0] is None:
            raise Unproven(f"the type of column {name}")
        return held[0]

    def _cast(self, node: exp.Expression) -> Kind:
        if isinstance(node, exp.TryCast):
            raise Unproven("TRY_CAST")
        inner = node.this
        if isinstance(inner, exp.Literal) and inner.is_string and node.is_type(exp.DataType.Type.DATE):
            return "date"
        if self.value(inner) == "int" and node.is_type(exp.DataType.Type.DOUBLE):
            return "float"
        raise Unproven(f"CAST to {node.args['to'].sql()}")

    def _arithmetic(self, node: exp.Expression) -> Kind:
        left, right = self.value(node.this), self.value(node.expression)
        if "float" in (left, right) and {left, right} <= {"float", "int", "decimal"}:
            sides = (node.this, node.expression)
            if all(k == "float" or isinstance(s, exp.Literal) or k == "int" for k, s in zip((left, right), sides)):
                return "float"
        raise Unproven(f"{node.key.upper()} of other types than DOUBLE")

    def _aggregate(self, node: exp.Expression) -> Kind:
        inner = node.this
        if isinstance(node, exp.Count):
            if isinstance(inner, exp.Star):
                return "int"
            items = inner.expressions if isinstance(inner, exp.Distinct) else [inner]
            if len(items) != 1 or node.expressions or (isinstance(inner, exp.Distinct) and self.value(items[0]) in FLOATING):
                raise Unproven("COUNT of several columns, or DISTINCT of DOUBLE")
            self.value(items[0])
            return "int"
        kind = self.value(inner) if isinstance(inner, exp.Expression) and not isinstance(inner, exp.Distinct) else None
        allowed = {"sum": ("int", "float", "decimal"), "avg": ("int", "float")}.get(
            node.key, ("int", "decimal", "text", "date", "timestamp")
        )
        if kind is None or kind not in allowed or node.expressions:
            raise Unproven(f"{node.key.upper()} of {kind or 'DISTINCT'}")
        if node.key == "sum" and kind == "int":
            self.sums.append(node)
            return "decimal"
        return "float" if node.key == "avg" else kind

    def _case(self, node: exp.Expression) -> Kind:
        if node.this is not None:
            raise Unproven("CASE with an operand")
        for branch in node.args["ifs"]:
            self.predicate(branch.this)
        values = [branch.args["true"] for branch in node.args["ifs"]]
        otherwise = node.args.get("default")
        return self._same([*values, *([otherwise] if otherwise is not None else [])], "CASE")

    def _same(self, nodes: list[exp.Expression], what: str) -> Kind:
        kinds = {self.value(n) for n in nodes} - {"null"}
        if len(kinds) != 1:
            raise Unproven(f"{what} of different types")
        return kinds.pop()

    def predicate(self, node: exp.Expression) -> None:
        """Check a condition."""
        match node:
            case exp.And() | exp.Or():
                self.predicate(node.this)
                self.predicate(node.expression)
            case exp.Not() | exp.Paren():
                self.predicate(node.this)
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                self._comparable(node.this, node.expression)
            case exp.Between() if not node.args.get("symmetric"):
                self._comparable(node.this, node.args["low"])
                self._comparable(node.this, node.args["high"])
            case exp.In() if node.expressions and all(isinstance(e, (exp.Literal, exp.Cast)) for e in node.expressions):
                for item in node.expressions:
                    self._comparable(node.this, item)
            case exp.Is() if isinstance(node.expression, exp.Null):
                self.value(node.this)
            case exp.Like() if isinstance(node.expression, exp.Literal) and "\\" not in node.expression.name:
                if self.value(node.this) != "text":
                    raise Unproven("LIKE of other types than VARCHAR")
            case exp.Boolean():
                pass
            case exp.Column() if self.value(node) == "bool":
                pass
            case _:
                raise Unproven(_name(node))

    def _comparable(self, left: exp.Expression, right: exp.Expression) -> None:
        kinds = {self.value(left), self.value(right)}
        exact = kinds <= {"int", "decimal"} and (len(kinds) == 1 or any(isinstance(n, exp.Literal) for n in (left, right)))
        if not exact and kinds not in ({"text"}, {"date"}, {"timestamp"}, {"bool"}):
            raise Unproven(f"comparison of {' and '.join(sorted(kinds))}")


PREDICATES = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.Between,
    exp.In,
    exp.Is,
    exp.Like,
)


def _literal(node: exp.Expression) -> Kind:
    if node.is_string:
        return "text"
    if node.is_int:
        if len(node.name) > 18:
            raise Unproven("integers above 18 digits")
        return "int"
    return "float" if "e" in node.name.lower() else "decimal"


def _name(node: exp.Expression) -> str:
    if isinstance(node, exp.Anonymous):
        return f"function {node.name.lower()}"
    return f"function {node.sql_name().lower()}" if isinstance(node, exp.Func) else node.key.upper()
