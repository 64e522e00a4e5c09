"""DuckDB's serialised logical plan, read into ours. The one module that knows that JSON format (duckdb 2.0).

An operator, expression class or filter that is not listed here is a `NotSupported` naming it; a key that does not have the
expected shape is an `InternalError`: nothing is guessed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from sabot_sql.catalog.table import Table
from sabot_sql.errors import InternalError, NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.column_bindings import by_position
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.grouping_sets import expand_grouping_sets
from sabot_sql.planner.physical import Session
from sabot_sql.planner.recursion import recursive_cte, working_table
from sabot_sql.planner.render import render, render_constant
from sabot_sql.planner.table_functions import NAMES, called_for_rows
from sabot_sql.planner.windows import Reads, order_text, windows
from sabot_sql.types import BIGINT, BOOLEAN, DOUBLE, INTEGER, VARCHAR, Field, Schema, SqlType, parse_type, quote_identifier

Json = dict[str, Any]

NO_COLUMN = 2**64 - 1

# DuckDB reads Arrow types of at most 64.
MOST_LEVELS = 60

COMPARISONS: dict[str, ex.CompareOp] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}

JOINS: dict[str, lg.JoinKind] = {
    "INNER": "inner",
    "LEFT": "left",
    "RIGHT": "right",
    "FULL": "full",
    "SEMI": "semi",
    "ANTI": "anti",
    "MARK": "mark",
    "SINGLE": "single",
}

CONSTRUCTS = {
    "LOGICAL_DELIM_JOIN": "this correlated subquery",
    "LOGICAL_DELIM_GET": "this correlated subquery",
    "LOGICAL_DEPENDENT_JOIN": "this correlated subquery",
    "LOGICAL_PIVOT": "PIVOT",
}

# Table functions that need nothing but their arguments.
SERIES = frozenset(
    ("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "pg_timezone_names")
)

EPOCH = dt.date(1970, 1, 1).toordinal()

# Functions of one value a query.
CLOCK = frozenset(
    """now get_current_timestamp current_timestamp transaction_timestamp current_date today current_time get_current_time
    current_localtime current_localtimestamp localtime localtimestamp""".split()
)

# DuckDB's scan of one row has one column, which nothing reads.
ONE_ROW = lg.OneRow(1, (Field("row", INTEGER),))

# Functions that read how their arguments are called, which a bound plan no longer says.
NAMED = frozenset(("alias", "struct_insert", "struct_update", "remap_struct"))

UNTYPED = frozenset(("NULL", "SQLNULL", '"NULL"'))
TYPES_SHOWN = frozenset(("typeof", "pg_typeof"))


def decode_plan(plan: Json, lookup: Callable[[str], Table], session: Session, reads_rowid: bool = True) -> lg.Plan:
    """The logical plan of one serialised statement.

    Args:
        plan: one element of `plans` in the answer of json_serialize_plan.
        lookup: the catalog's table for a name as it stands in the planning catalog.
        session: gives now() its one value for the query.
        reads_rowid: whether the statement may ask for the rowid, which DuckDB's plans also list where no column is read.

    Raises:
        NotSupported: the plan holds a construct that is not distributed yet; the message names it.
    """
    return _Decoder(lookup, session, lg.ROWID if reads_rowid else lg.ROW).operator(plan)


def _has_collation(found: Any) -> bool:
    """Whether some type in a part of the plan has a collation."""
    if isinstance(found, list):
        return any(map(_has_collation, found))
    return isinstance(found, dict) and (bool(found.get("collation")) or any(map(_has_collation, found.values())))


def _is_untyped(t: Json, inside: bool = False) -> bool:
    """Whether a type is that of a value which is only NULL; with `inside`, or has one in it."""
    if inside and isinstance(t.get("type_info"), dict):
        info = t["type_info"]
        parts = [info["child_type"]] if "child_type" in info else [c["second"] for c in info.get("child_types") or ()]
        if any(_is_untyped(part, True) for part in parts):
            return True
    return t["id"] in UNTYPED


def _reads_untyped(name: str, args: list[Json]) -> bool:
    """Whether a function takes a column that is only NULL, for which another one would stand here: it might be another function
    then, or show the other type."""
    if name in TYPES_SHOWN:
        types = (arg["value"]["type"] if arg["expression_class"] == "BOUND_CONSTANT" else arg["return_type"] for arg in args)
        return any(_is_untyped(t, True) for t in types)
    return any(arg["expression_class"] == "BOUND_REF" and _is_untyped(arg["return_type"]) for arg in args)


def decode_type(t: Json, depth: int = 0) -> SqlType:
    """The type behind DuckDB's `{"id": ..., "type_info": ...}`, which stands `depth` levels deep in another one."""
    if depth > MOST_LEVELS:
        raise NotSupported(f"types of more than {MOST_LEVELS} levels have no Arrow form")
    depth += 1
    info = t.get("type_info") or {}
    if info.get("alias"):
        return SqlType(str(info["alias"]).upper())
    match t["id"]:
        case "DECIMAL":
            return SqlType("DECIMAL", int(info["width"]), int(info["scale"]))
        case "LIST":
            return SqlType("LIST", children=(decode_type(info["child_type"], depth),))
        case "ARRAY":
            return SqlType("ARRAY", children=(decode_type(info["child_type"], depth),), size=int(info["size"]))
        case "MAP":
            pair = info["child_type"]["type_info"]["child_types"]
            return SqlType("MAP", children=tuple(decode_type(c["second"], depth) for c in pair))
        case "STRUCT":
            fields = info["child_types"]
            names = tuple(str(c["first"]) for c in fields)
            return SqlType("STRUCT", children=tuple(decode_type(c["second"], depth) for c in fields), names=names)
        case "TUPLE" if not info["child_types"]:
            raise NotSupported("rows without values cannot run distributed yet")
        case "TUPLE":
            return SqlType("TUPLE", children=tuple(decode_type(c["second"], depth) for c in info["child_types"]))
        case "ENUM":
            return SqlType("ENUM", names=tuple(info["values"]))
        case untyped if untyped in UNTYPED:
            return SqlType("INTEGER")
    try:
        return parse_type(t["id"])
    except ValueError as error:
        raise NotSupported(f"values of type {t['id']} cannot run distributed yet") from error


class _Decoder:
    """Walks one plan; `ctes` are the materialised CTEs in scope, by table index."""

    def __init__(self, lookup: Callable[[str], Table], session: Session, rowid: int) -> None:
        self.lookup = lookup
        self.session = session
        self.rowid = rowid
        self.ctes: dict[int, lg.Plan] = {}
        self.shared = 0

    def operator(self, op: Json) -> lg.Plan:
        kind = op["type"]
        if reader := _OPERATORS.get(kind):
            return reader(self, op)
        what = CONSTRUCTS.get(kind, kind.removeprefix("LOGICAL_").replace("_", " ").lower())
        raise NotSupported(f"{what} cannot run distributed yet")

    def child(self, op: Json, position: int = 0) -> lg.Plan:
        return self.operator(op["children"][position])

    def get(self, op: Json) -> lg.Plan:
        if not op.get("function_data") or "table" not in op["function_data"]:
            name = str(op["qname"]["path"][-1])
            if name in SERIES and not op["children"]:
                return self._series(name, op)
            if name in NAMES and len(op["children"]) == 1 and not op["parameters"] and not op["named_parameters"]:
                return self._called_for_rows(name, op)
            raise NotSupported(f"table function {name} cannot run distributed yet")
        data = op["function_data"]
        name = data["table"] if data["schema"] == "main" else f"{data['schema']}.{data['table']}"
        table = self.lookup(name)
        columns = []
        for column in op["column_indexes"]:
            if column["index_type"] != "FULL_READ" or column["child_indexes"]:
                raise NotSupported("reading single fields of a nested column cannot run distributed yet")
            columns.append(self.rowid if int(column["index"]) == NO_COLUMN else int(column["index"]))
        filters = self._table_filters(op, columns)
        plan: lg.Plan = lg.Get(table, tuple(columns), tuple(filters))
        return _pick(plan, op["projection_ids"])

    def _series(self, name: str, op: Json) -> lg.Plan:
        """A table function of constants: one task makes its rows."""
        columns = [int(c["index"]) for c in op["column_indexes"]]
        if op["table_filters"]["filters"] or any(c >= len(op["names"]) for c in columns):
            raise NotSupported(f"table function {name} with a filter or rowid cannot run distributed yet")
        values = [render_constant(decode_value(v)) for v in op["parameters"]]
        named = [f"{quote_identifier(p['key'])} := {render_constant(decode_value(p['value']))}" for p in op["named_parameters"]]
        args = ", ".join((*values, *named))
        given = ", ".join(f"c{i}" for i in range(len(op["names"])))
        picked = ", ".join(f"c{i}" for i in columns) or "1 AS c0"
        schema = tuple(Field(op["names"][i], decode_type(op["returned_types"][i])) for i in columns)
        ordinality = " WITH ORDINALITY" if op["source_ordinality"] == "WITH_ORDINALITY" else ""
        sql = f"SELECT {picked} FROM {quote_identifier(name)}({args}){ordinality} AS made({given})"
        return _pick(lg.Relational((), sql, schema, None, "Series"), op["projection_ids"])

    def _called_for_rows(self, name: str, op: Json) -> lg.Plan:
        """A table function of values that its input holds."""
        filters = op["table_filters"]
        if filters["filters"] or filters["multi_column_filters"] or op["projection_ids"]:
            raise NotSupported(f"this call of {name} cannot run distributed yet")
        child = self.operator(by_position(op["children"][0]))
        asked = [None if a["id"] == "ANY" else decode_type(a) for a in op["arguments"]]
        given = [ex.Ref(i, f.type) for i, f in enumerate(child.schema[: len(op["input_table_types"])])]
        args = tuple(a if t is None or t == a.type else ex.Cast(a, t) for a, t in zip(given, asked, strict=True))
        columns, types = [int(c["index"]) for c in op["column_indexes"]], [decode_type(t) for t in op["returned_types"]]
        ordinal = op["source_ordinality"] == "WITH_ORDINALITY"
        plan, found = called_for_rows(name, child, args, types, columns, ordinal)
        kept = [ex.Ref(int(i), child.schema[int(i)].type) for i in op["projected_input"]]
        names = (*(op["names"][c] for c in columns), *(child.schema[e.index].name for e in kept))
        return lg.Compute(plan, (*found, *kept), names)

    def _table_filters(self, op: Json, columns: list[int]) -> list[Expr]:
        filters: list[Expr] = []
        for entry in op["table_filters"]["filters"]:
            position = int(entry["key"])
            read = columns[position]
            column = ex.Ref(position, lg.ROWID_FIELD.type if read < 0 else decode_type(op["returned_types"][read]))
            if (found := self._filter(entry["value"], column)) is not None:
                filters.extend(ex.conjuncts(found))
        for entry in op["table_filters"]["multi_column_filters"]:
            positions = dict(enumerate(int(i) for i in entry["column_indexes"]))
            filters.append(ex.remap(self.expression(entry["expr"]), positions))
        return filters

    def _filter(self, f: Json, column: Expr) -> Expr | None:
        """The condition of one table filter on `column` or a field of it; None for those that are hints only."""
        match f["filter_type"]:
            case "LEGACY_CONSTANT_COMPARISON":
                return ex.Compare(COMPARISONS[f["comparison_type"]], column, decode_value(f["constant"]))
            case "LEGACY_CONJUNCTION_AND" | "LEGACY_CONJUNCTION_OR" as kind:
                parts = [self._filter(c, column) for c in f["child_filters"]]
                if kind.endswith("OR") and any(p is None for p in parts):
                    return None
                known = tuple(p for p in parts if p is not None)
                if len(known) < 2:
                    return known[0] if known else None
                return ex.Logic("AND" if kind.endswith("AND") else "OR", known)
            case "LEGACY_IS_NULL":
                return ex.IsNull(column)
            case "LEGACY_IS_NOT_NULL":
                return ex.IsNull(column, negated=True)
            case "LEGACY_IN_FILTER":
                return ex.InList(column, tuple(decode_value(v) for v in f["values"]))
            case "EXPRESSION_FILTER":
                return ex.transform(self.expression(f["expr"]), lambda e: column if isinstance(e, ex.Ref) else e)
            case "LEGACY_STRUCT_EXTRACT":
                place, t = int(f["child_idx"]), column.type
                key = ex.Const(t.names[place], VARCHAR) if t.names else ex.Const(place + 1, BIGINT)
                return self._filter(f["child_filter"], ex.Call("struct_extract", (column, key), t.children[place]))
            case "LEGACY_OPTIONAL_FILTER" | "LEGACY_DYNAMIC_FILTER":
                return None
        raise NotSupported(f"scan filter {f['filter_type']} cannot run distributed yet")

    def filter(self, op: Json) -> lg.Plan:
        predicate = ex.conjunction(tuple(c for e in op["expressions"] for c in ex.conjuncts(self.expression(e))))
        return _pick(lg.Select(self.child(op), predicate), op["projection_map"])

    def projection(self, op: Json) -> lg.Plan:
        exprs = tuple(self.expression(e) for e in op["expressions"])
        return lg.Compute(self.child(op), exprs, tuple(e["alias"] or f"c{i}" for i, e in enumerate(op["expressions"])))

    def aggregate(self, op: Json) -> lg.Plan:
        groups = tuple(self.expression(e) for e in op["groups"])
        sets = op["grouping_sets"]
        several = op["grouping_functions"] or len(sets) > 1 or (sets and sorted(sets[0]) != list(range(len(groups))))
        if not groups and not op["expressions"]:  # HAVING alone: one row, of which nothing is read
            return ONE_ROW
        calls = tuple(self._call(e) for e in op["expressions"])
        names = tuple(e["alias"] or f"c{i}" for i, e in enumerate([*op["groups"], *op["expressions"]]))
        plan = lg.Aggregate(self.child(op), groups, calls, names)
        if not several:
            return plan
        if _is_volatile(op["children"]):
            raise NotSupported("GROUPING SETS over a volatile function cannot run distributed yet")
        return expand_grouping_sets(plan, sets or [list(range(len(groups)))], op["grouping_functions"])

    def _call(self, e: Json) -> lg.Call:
        name = e["qname"]["path"][-1]
        if e.get("state_export", "NONE") != "NONE":
            raise NotSupported("EXPORT_STATE cannot run distributed yet")
        order = self._keys(e["order_bys"]["orders"]) if e.get("order_bys") else ()
        where = self.expression(e["filter"]) if e.get("filter") else None
        distinct = e["aggregate_type"] == "DISTINCT"
        return lg.Call(name, tuple(map(self.expression, e["children"])), decode_type(e["return_type"]), distinct, where, order)

    def unnest(self, op: Json) -> lg.Plan:
        reads = Reads()
        if any(e["expression_class"] != "BOUND_UNNEST" for e in op["expressions"]):
            raise NotSupported("this UNNEST cannot run distributed yet")
        args = [self.expression(e["child"]) for e in op["expressions"]]
        if not all(arg.type.children for arg in args):
            raise NotSupported("UNNEST of a value that is only NULL, of no type, cannot run distributed yet")
        # a list that stands as a column: unnest of a constant would be worked out while binding
        texts = tuple("unnest({" + str(reads.position(a)) + "})" for a in args)
        types = tuple(decode_type(e["return_type"]) for e in op["expressions"])
        return lg.Extend(self.child(op), tuple(reads.exprs), texts, types, None, "Unnest")

    def window(self, op: Json) -> lg.Plan:
        return windows(op["expressions"], self.child(op), self.expression, self._keys, decode_type)

    def comparison_join(self, op: Json) -> lg.Plan:
        kind = JOINS.get(op["join_type"])
        if kind is None:
            raise NotSupported(f"{op['join_type']} join cannot run distributed yet")
        if op.get("duplicate_eliminated_columns"):
            raise NotSupported("this correlated subquery cannot run distributed yet")
        left, right = self.child(op, 0), self.child(op, 1)
        conditions: list[lg.Condition] = []
        residual: list[Expr] = []
        for c in op["conditions"]:
            if c.get("right") is None:
                residual.append(self.expression(c["left"]))
                continue
            sides = (self.expression(c["left"]), self.expression(c["right"]))
            conditions.append(lg.Condition(sides[0], COMPARISONS[c["comparison"]], sides[1]))
        join = lg.Join(left, right, kind, tuple(conditions), ex.conjunction(tuple(residual)) if residual else None)
        return _kept(join, op)

    def asof_join(self, op: Json) -> lg.Plan:
        words = {"INNER": "ASOF JOIN", "LEFT": "ASOF LEFT JOIN", "RIGHT": "ASOF RIGHT JOIN", "FULL": "ASOF FULL JOIN"}
        if op["join_type"] not in words or any(c.get("right") is None for c in op["conditions"]):
            raise NotSupported(f"ASOF {op['join_type']} JOIN with these conditions cannot run distributed yet")
        left, right = self.child(op, 0), self.child(op, 1)
        conditions = tuple(
            lg.Condition(self.expression(c["left"]), COMPARISONS[c["comparison"]], self.expression(c["right"]))
            for c in op["conditions"]
        )
        return _kept(lg.Join(left, right, "full", conditions, words=words[op["join_type"]]), op)

    def positional_join(self, op: Json) -> lg.Plan:
        return lg.Join(self.child(op, 0), self.child(op, 1), "full", (), words="POSITIONAL JOIN")

    def any_join(self, op: Json) -> lg.Plan:
        kind = JOINS.get(op["join_type"])
        if kind is None:
            raise NotSupported(f"{op['join_type']} join cannot run distributed yet")
        left, right = self.child(op, 0), self.child(op, 1)
        # DuckDB counts the columns of the condition as those that the join hands on: fewer, where it has maps
        width = len(left.schema)
        theirs = (
            range(len(right.schema)) if kind in ("semi", "anti") else op["right_projection_map"] or range(len(right.schema))
        )
        at = dict(enumerate([*(op["left_projection_map"] or range(width)), *(width + i for i in theirs)]))
        return _kept(lg.Join(left, right, kind, (), ex.remap(self.expression(op["condition"]), at)), op)

    def cross_product(self, op: Json) -> lg.Plan:
        return lg.Join(self.child(op, 0), self.child(op, 1), "inner", ())

    def order(self, op: Json) -> lg.Plan:
        return _pick(lg.Order(self.child(op), self._keys(op["orders"])), op["projections"])

    def top_n(self, op: Json) -> lg.Plan:
        return lg.Order(self.child(op), self._keys(op["orders"]), int(op["limit"]), int(op["offset"]))

    def _keys(self, orders: list[Json]) -> tuple[lg.OrderKey, ...]:
        return tuple(
            lg.OrderKey(self.expression(o["expression"]), o["type"] == "DESCENDING", o["null_order"] == "NULLS FIRST")
            for o in orders
        )

    def limit(self, op: Json) -> lg.Plan:
        child, kinds = self.child(op), [op[k]["type"] for k in ("limit_val", "offset_val")]
        if set(kinds) <= {"UNSET", "CONSTANT_VALUE"}:
            limit, offset = (
                None if v["type"] == "UNSET" else int(v["constant_integer"]) for v in (op["limit_val"], op["offset_val"])
            )
            return lg.Slice(child, limit, offset or 0)
        texts = [self._limit_text(op[k], child) for k in ("limit_val", "offset_val")]
        clause = " ".join(f"{word} {text}" for word, text in zip(("LIMIT", "OFFSET"), texts) if text)
        if kinds[0] == "CONSTANT_PERCENTAGE" and kinds[1] != "EXPRESSION_VALUE":
            return lg.Sample(child, clause)
        columns = ", ".join(f"c{i}" for i in range(len(child.schema)))
        return lg.Relational((child,), f"SELECT {columns} FROM in0 {clause}", child.schema, None, "Limit")

    def _limit_text(self, value: Json, child: lg.Plan) -> str:
        """SQL of a limit. An expression has one value for all rows, which stands in each of them."""
        match value["type"]:
            case "UNSET":
                return ""
            case "CONSTANT_VALUE":
                return str(int(value["constant_integer"]))
            case "CONSTANT_PERCENTAGE":
                return f"{float(value['constant_percentage'])!r}%"
        text = render(self.expression(value["expression"]), [f"c{i}" for i in range(len(child.schema))])
        return f"(SELECT {text} FROM in0 LIMIT 1){'%' if value['type'] == 'EXPRESSION_PERCENTAGE' else ''}"

    def sample(self, op: Json) -> lg.Plan:
        child, options = self.child(op), op["sample_options"]
        share = float(options["sample_size"]["value"]) / 100 if options["is_percentage"] else None
        if share is not None and options["method"] != "Reservoir" and not options["repeatable"]:
            return lg.Select(child, ex.Compare("<", ex.Call("random", (), DOUBLE), ex.Const(share, DOUBLE)))
        size = f"{options['sample_size']['value']}{' ROWS' if share is None else '%'}"
        seed = f" REPEATABLE ({int(options['seed'])})" if options["repeatable"] else ""
        return lg.Sample(child, f"TABLESAMPLE {options['method']}({size}){seed}")

    def union(self, op: Json) -> lg.Plan:
        plan: lg.Plan = lg.UnionAll(tuple(self.operator(c) for c in op["children"]))
        return plan if op["setop_all"] else _distinct(plan)

    def intersect(self, op: Json) -> lg.Plan:
        return self._matched(op, "semi")

    def difference(self, op: Json) -> lg.Plan:
        return self._matched(op, "anti")

    def _matched(self, op: Json, kind: lg.JoinKind) -> lg.Plan:
        """INTERSECT and EXCEPT: the distinct rows of the left input with, or without, an equal one in the right."""
        if _has_collation(op):  # elsewhere DuckDB has written out what a collation compares; here it does so later
            raise NotSupported("INTERSECT or EXCEPT with a collation cannot run distributed yet")
        left, *others = (self.operator(c) for c in op["children"])
        width = len(left.schema)
        if op["setop_all"]:  # the n-th of equal rows matches the n-th
            plan = _numbered(left, _refs(left))
            others = [_numbered(o, _refs(o)) for o in others]
        else:
            plan = _distinct(left)
        for other in others:
            sides = zip(plan.schema, other.schema)
            pairs = ((ex.Ref(i, ours.type), ex.Ref(i, theirs.type)) for i, (ours, theirs) in enumerate(sides))
            plan = lg.Join(plan, other, kind, tuple(lg.Condition(a, "IS NOT DISTINCT FROM", b) for a, b in pairs))
        return _pick(plan, list(range(width)))

    def distinct(self, op: Json) -> lg.Plan:
        child = self.child(op)
        targets = [self.expression(t) for t in op["distinct_targets"]]
        plain = [t.index for t in targets if isinstance(t, ex.Ref)]
        if op["distinct_type"] == "DISTINCT" and sorted(plain) == list(range(len(child.schema))):
            return _distinct(child)
        # DISTINCT ON: the first row of each group of targets
        keys = self._keys(op["order_by"]["orders"]) if op.get("order_by") else ()
        numbered = _numbered(child, targets, keys)
        width = len(child.schema)
        first = lg.Select(numbered, ex.Compare("=", ex.Ref(width, BIGINT), ex.Const(1, BIGINT)))
        return _pick(first, list(range(width)))

    def dummy_scan(self, op: Json) -> lg.Plan:
        return ONE_ROW

    def empty_result(self, op: Json) -> lg.Plan:
        return lg.OneRow(0, tuple(Field(f"c{i}", decode_type(t)) for i, t in enumerate(op["return_types"])))

    def expression_get(self, op: Json) -> lg.Plan:
        names = tuple(f"col{i}" for i in range(len(op["expr_types"])))
        rows = [tuple(map(self.expression, row)) for row in op["expressions"]]
        if any(c["type"] != "LOGICAL_DUMMY_SCAN" for c in op["children"]):  # what rows have of subqueries or of other tables
            if _is_volatile(op["children"]):
                raise NotSupported("VALUES over a volatile function cannot run distributed yet")
            child = self.child(op)
            computed = tuple(lg.Compute(child, row, names) for row in rows)
            return computed[0] if len(computed) == 1 else lg.UnionAll(computed)
        if len(rows) == 1:
            return lg.Compute(self.child(op), rows[0], names)
        if op["children"][0]["type"] != "LOGICAL_DUMMY_SCAN":  # all rows for each of another table
            each = self._share(self.child(op))
            return lg.UnionAll(tuple(lg.Compute(each, row, names) for row in rows))
        schema = tuple(Field(n, decode_type(t)) for n, t in zip(names, op["expr_types"]))
        return _values([[render(e, ()) for e in row] for row in rows], schema)

    def chunk_get(self, op: Json) -> lg.Plan:
        types = [decode_type(t) for t in op["chunk_types"]]
        columns = [[render_constant(decode_value(v)) for v in column] for column in op["collection"]["values"]]
        schema = tuple(Field(f"col{i}", t) for i, t in enumerate(types))
        rows = [list(row) for row in zip(*columns)]
        return _values(rows, schema) if rows else lg.OneRow(0, schema)

    def materialized_cte(self, op: Json) -> lg.Plan:
        self.ctes[int(op["table_index"])] = self._share(self.child(op, 0))
        return self.child(op, 1)

    def _share(self, plan: lg.Plan) -> lg.Plan:
        self.shared += 1
        return lg.Shared(self.shared, plan)

    def recursive_cte(self, op: Json) -> lg.Plan:
        index = int(op["table_index"])
        if op.get("key_targets") or op.get("payload_aggregates"):
            raise NotSupported("WITH RECURSIVE ... USING KEY cannot run distributed yet")
        if any(_is_volatile(c) for c in op["children"]):
            raise NotSupported("a recursive CTE with a volatile function cannot run distributed yet")
        anchor = self.child(op, 0)
        self.ctes[index] = working_table(index, anchor.schema)
        term = self.child(op, 1)
        del self.ctes[index]
        return recursive_cte(index, anchor, term, bool(op["union_all"]))

    def cte_ref(self, op: Json) -> lg.Plan:
        if op["is_recurring"] or int(op["cte_index"]) not in self.ctes:
            raise NotSupported("this recursive CTE cannot run distributed yet")
        return self.ctes[int(op["cte_index"])]

    def expression(self, e: Json) -> Expr:
        kind, type_name = e["expression_class"], e["type"]
        match kind:
            case "BOUND_REF":
                return ex.Ref(int(e["index"]), decode_type(e["return_type"]))
            case "BOUND_CONSTANT":
                return decode_value(e["value"])
            case "BOUND_FUNCTION":
                return self._function(e)
            case "BOUND_CONJUNCTION":
                args = tuple(self.expression(c) for c in e["children"])
                return ex.Logic("AND" if type_name == "CONJUNCTION_AND" else "OR", args)
            case "BOUND_CASE":
                whens = tuple((self.expression(c["when_expr"]), self.expression(c["then_expr"])) for c in e["case_checks"])
                return ex.Case(whens, self.expression(e["else_expr"]), decode_type(e["return_type"]))
            case "BOUND_CAST":
                return ex.Cast(self.expression(e["child"]), decode_type(e["return_type"]), bool(e["try_cast"]))
            case "BOUND_COMPARISON":
                return ex.Compare(COMPARISONS[type_name], self.expression(e["left"]), self.expression(e["right"]))
            case "BOUND_BETWEEN":
                return self._between([e[k] for k in ("input", "lower", "upper")], e)
            case "BOUND_OPERATOR":
                return self._special(e)
        raise NotSupported(f"expression {type_name.lower().replace('_', ' ')} cannot run distributed yet")

    def _function(self, e: Json) -> Expr:
        reads = len(e["children"]) - len(e["arguments"])
        args = tuple(
            self._lambda(c, reads) if c["expression_class"] == "BOUND_LAMBDA" else self.expression(c) for c in e["children"]
        )
        result = decode_type(e["return_type"])
        if e["type"] in COMPARISONS:
            return ex.Compare(COMPARISONS[e["type"]], args[0], args[1])
        if e["type"] == "OPERATOR_CAST":
            return ex.Cast(args[0], result, bool(e["function_data"]["try_cast"]))
        if e["type"] == "COMPARE_BETWEEN":
            return self._between(e["children"], e["function_data"])
        if e["type"] == "BOUND_FUNCTION":
            name = str(e["qname"]["path"][-1])
            if _reads_untyped(name, e["children"]):
                raise NotSupported(f"{name}() of a value that is only NULL, of no type, cannot run distributed yet")
            if name in NAMED:
                raise NotSupported(f"{name}(), which depends on the names of its arguments, cannot run distributed yet")
            return self._clock(name, result) if name in CLOCK else ex.Call(name, args, result)
        raise NotSupported(f"expression {e['type'].lower().replace('_', ' ')} cannot run distributed yet")

    def _lambda(self, e: Json, reads: int) -> ex.Lambda:
        if _is_volatile(e):
            raise NotSupported("a lambda with a volatile function cannot run distributed yet")
        return ex.Lambda(self.expression(e["lambda_expr"]), int(e["parameter_count"]), reads)

    def _between(self, operands: list[Json], inclusive: Json) -> Expr:
        if _is_volatile(operands[0]):
            raise NotSupported("BETWEEN over a volatile function cannot run distributed yet")
        arg, low, high = map(self.expression, operands)
        above = ex.Compare(">=" if inclusive["lower_inclusive"] else ">", arg, low)
        return ex.Logic("AND", (above, ex.Compare("<=" if inclusive["upper_inclusive"] else "<", arg, high)))

    def _clock(self, name: str, result: SqlType) -> Expr:
        """The one value that a function of the query's start has for the whole query."""
        if result.id == "TIMESTAMP WITH TIME ZONE":
            return ex.Const(self.session.now_us, result)
        if result.id == "DATE":
            local = dt.datetime.fromtimestamp(self.session.now_us / 1e6, ZoneInfo(self.session.timezone))
            return ex.Const(local.toordinal() - EPOCH, result)
        raise NotSupported(f"{name}() cannot run distributed yet")

    def _special(self, e: Json) -> Expr:
        args = tuple(self.expression(c) for c in e["children"])
        match e["type"]:
            case "OPERATOR_NOT":
                return ex.Not(args[0])
            case "OPERATOR_IS_NULL":
                return ex.IsNull(args[0])
            case "OPERATOR_IS_NOT_NULL":
                return ex.IsNull(args[0], negated=True)
            case "COMPARE_IN" | "COMPARE_NOT_IN" as kind:
                return ex.InList(args[0], args[1:], kind == "COMPARE_NOT_IN")
            case "OPERATOR_COALESCE":
                return ex.Call("coalesce", args, decode_type(e["return_type"]))
        raise NotSupported(f"expression {e['type'].lower().replace('_', ' ')} cannot run distributed yet")


_OPERATORS: dict[str, Callable[[_Decoder, Json], lg.Plan]] = {
    "LOGICAL_GET": _Decoder.get,
    "LOGICAL_FILTER": _Decoder.filter,
    "LOGICAL_PROJECTION": _Decoder.projection,
    "LOGICAL_AGGREGATE_AND_GROUP_BY": _Decoder.aggregate,
    "LOGICAL_COMPARISON_JOIN": _Decoder.comparison_join,
    "LOGICAL_ANY_JOIN": _Decoder.any_join,
    "LOGICAL_CROSS_PRODUCT": _Decoder.cross_product,
    "LOGICAL_ORDER_BY": _Decoder.order,
    "LOGICAL_TOP_N": _Decoder.top_n,
    "LOGICAL_LIMIT": _Decoder.limit,
    "LOGICAL_SAMPLE": _Decoder.sample,
    "LOGICAL_WINDOW": _Decoder.window,
    "LOGICAL_UNNEST": _Decoder.unnest,
    "LOGICAL_CHUNK_GET": _Decoder.chunk_get,
    "LOGICAL_ASOF_JOIN": _Decoder.asof_join,
    "LOGICAL_POSITIONAL_JOIN": _Decoder.positional_join,
    "LOGICAL_UNION": _Decoder.union,
    "LOGICAL_INTERSECT": _Decoder.intersect,
    "LOGICAL_EXCEPT": _Decoder.difference,
    "LOGICAL_DISTINCT": _Decoder.distinct,
    "LOGICAL_DUMMY_SCAN": _Decoder.dummy_scan,
    "LOGICAL_EMPTY_RESULT": _Decoder.empty_result,
    "LOGICAL_EXPRESSION_GET": _Decoder.expression_get,
    "LOGICAL_MATERIALIZED_CTE": _Decoder.materialized_cte,
    "LOGICAL_CTE_REF": _Decoder.cte_ref,
    "LOGICAL_RECURSIVE_CTE": _Decoder.recursive_cte,
}


def decode_value(v: Json) -> ex.Const:
    """A constant in its physical form (see `Const`)."""
    return _constant(decode_type(v["type"]), v)


def _constant(t: SqlType, v: Json) -> ex.Const:
    if v["is_null"]:
        return ex.Const(None, t)
    value = v["value"]
    match t.id:
        case "BOOLEAN":
            return ex.Const(bool(value), BOOLEAN)
        case "FLOAT" | "DOUBLE":
            return ex.Const(float(value), t)
        case "VARCHAR" | "JSON":
            return ex.Const(str(value), t)
        case "UUID":
            bits = (int(value["upper"]) << 64) + int(value["lower"])
            return ex.Const(str(uuid.UUID(int=(bits ^ (1 << 127)) & ((1 << 128) - 1))), t)
        case "INTERVAL":
            months, days, micros = (int(value[k]) for k in ("months", "days", "micros"))
            return ex.Const(None, t, f"(to_months({months}) + to_days({days}) + to_microseconds({micros}))")
        case "BLOB":
            return ex.Const(None, t, render_constant(ex.Const(str(value), VARCHAR)))
        case "LIST" | "ARRAY" | "STRUCT" | "MAP" | "TUPLE":
            return ex.Const(None, t, _nested(t, value["children"]))
    if t.id == "DECIMAL" or t.is_integer or t.lane is not None:
        return ex.Const(_integer(value, t), t)
    raise NotSupported(f"constants of type {t} cannot run distributed yet")


def _nested(t: SqlType, children: list[Json]) -> str:
    """SQL of a nested constant of type `t`."""
    if t.id == "MAP":
        pairs = [child["value"]["children"] for child in children]
        keys, values = ([render_constant(_constant(t.children[i], pair[i])) for pair in pairs] for i in (0, 1))
        return f"map([{', '.join(keys)}], [{', '.join(values)}])"
    types = t.children if t.id in ("STRUCT", "TUPLE") else t.children * len(children)
    texts = [render_constant(_constant(one, child)) for one, child in zip(types, children)]
    if t.id == "TUPLE":
        return f"row({', '.join(texts)})"
    if t.id != "STRUCT":
        return f"[{', '.join(texts)}]"
    if not all(t.names):
        raise NotSupported("constants of type STRUCT without names cannot run distributed yet")
    return "struct_pack(" + ", ".join(f"{quote_identifier(n)} := {text}" for n, text in zip(t.names, texts)) + ")"


def _integer(value: Any, t: SqlType) -> int:
    if isinstance(value, dict):
        return (int(value["upper"]) << 64) + int(value["lower"])
    if isinstance(value, int):
        return value
    raise InternalError(f"the planner read a constant {value!r} of type {t}")


def _values(rows: list[list[str]], schema: Schema) -> lg.Plan:
    listed = ", ".join(f"({', '.join(row)})" for row in rows)
    return lg.Relational((), f"SELECT * FROM (VALUES {listed}) AS rows", schema, None, "Values")


def _pick(plan: lg.Plan, positions: list[int]) -> lg.Plan:
    """`plan` with only the columns at `positions`; an empty list means all of them."""
    schema = plan.schema
    if not positions or positions == list(range(len(schema))):
        return plan
    refs = tuple(ex.Ref(i, schema[i].type) for i in positions)
    return lg.Compute(plan, refs, tuple(schema[i].name for i in positions))


def _kept(join: lg.Join, op: Json) -> lg.Plan:
    """`join` with only those columns of its sides that `op` hands on; an empty map means all of them."""
    width = len(join.left.schema)
    right = [0] if join.kind == "mark" else op["right_projection_map"] or range(len(join.schema) - width)
    if join.kind in ("semi", "anti"):
        right = ()
    return _pick(join, [*(op["left_projection_map"] or range(width)), *(width + i for i in right)])


def _refs(plan: lg.Plan) -> list[Expr]:
    return [ex.Ref(i, f.type) for i, f in enumerate(plan.schema)]


def _numbered(plan: lg.Plan, keys: list[Expr], order: tuple[lg.OrderKey, ...] = ()) -> lg.Plan:
    """`plan` with the number of each row among those that agree in `keys`, from 1."""
    reads = Reads()
    together = tuple(dict.fromkeys(reads.position(k) for k in keys))
    by = f" ORDER BY {order_text(order, reads)}" if order else ""
    partition = "PARTITION BY " + ", ".join("{" + str(i) + "}" for i in together) if together else ""
    text = f"row_number() OVER ({partition}{by})"
    return lg.Extend(plan, tuple(reads.exprs), (text,), (BIGINT,), together, "Window")


def _distinct(plan: lg.Plan) -> lg.Plan:
    refs = tuple(ex.Ref(i, f.type) for i, f in enumerate(plan.schema))
    return lg.Aggregate(plan, refs, (), tuple(f.name for f in plan.schema))


def _is_volatile(node: Any) -> bool:
    if isinstance(node, dict):
        if node.get("expression_class") == "BOUND_FUNCTION" and node["qname"]["path"][-1] in ex.VOLATILE:
            return True
        return any(_is_volatile(v) for v in node.values())
    return isinstance(node, list) and any(_is_volatile(v) for v in node)
