"""Joins that no kernel runs, as one operator of DuckDB over partitions that hold all rows of their keys."""

from __future__ import annotations

from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.render import render
from sabot_sql.types import BOOLEAN, Field, Schema, SqlType


def duckdb_join(join: lg.Join) -> lg.Relational:
    """A `full` join run by DuckDB."""
    left, right, on, keys = _sides(join)
    width = len(join.left.schema)
    columns = [f"in0.c{i}" for i in range(width)] + [f"in1.c{i}" for i in range(len(join.schema) - width)]
    named = ", ".join(f"{c} AS r{i}" for i, c in enumerate(columns))
    condition = f" ON {' AND '.join(on) or 'TRUE'}" if "POSITIONAL" not in join.words else ""
    if join.words in ("ASOF RIGHT JOIN", "ASOF FULL JOIN"):
        return lg.Relational((left, right), _asof_outer(join.words, width, columns, condition), join.schema, keys, "Join")
    return lg.Relational((left, right), f"SELECT {named} FROM in0 {join.words} in1{condition}", join.schema, keys, "Join")


def _asof_outer(words: str, width: int, columns: list[str], condition: str) -> str:
    """An ASOF join that keeps every row of the right side, in two parts: DuckDB (2.0) with one thread never ends such a join
    where the left side is empty."""
    kept = "ASOF LEFT JOIN" if "FULL" in words else "ASOF JOIN"
    named = ", ".join(f"{c} AS r{i}" for i, c in enumerate(columns))
    given = ", ".join(f"r{i}" for i in range(len(columns)))
    alone = ", ".join(["NULL"] * width + columns[width:])
    return (
        f"WITH numbered AS MATERIALIZED (SELECT *, row_number() OVER () AS n FROM in1), "
        f"matched AS MATERIALIZED (SELECT {named}, in1.n FROM in0 {kept} numbered AS in1{condition}) "
        f"SELECT {given} FROM matched "
        f"UNION ALL SELECT {alone} FROM numbered AS in1 ANTI JOIN matched USING (n)"
    )


def duckdb_mark(join: lg.Join) -> lg.Relational:
    """A mark join of any condition: TRUE where a row matches, else NULL where one may, else FALSE."""
    left, right, on, keys = _sides(join)
    for i, c in enumerate(join.conditions):
        if c.op == "<>" and c.left.type.id == "TUPLE":  # rows that differ nowhere, but may where a NULL is
            ours, theirs = on[i][1:-1].split(" <> ")
            on[i] = _rows_differ(ours, theirs, c.left.type)
    condition = " AND ".join(on) or "TRUE"
    columns = ", ".join(f"in0.c{i}" for i in range(len(join.left.schema)))
    mark = (
        f"CASE WHEN EXISTS (SELECT 1 FROM in1 WHERE {condition}) THEN TRUE "
        f"WHEN EXISTS (SELECT 1 FROM in1 WHERE ({condition}) IS NULL) THEN NULL ELSE FALSE END"
    )
    schema: Schema = (*join.left.schema, Field("mark", BOOLEAN))
    # rows whose key is NULL know of all others: only what NULL equals NULL in may bring rows together
    sure = all(c.op == "IS NOT DISTINCT FROM" for c in join.conditions) and join.residual is None
    return lg.Relational((left, right), f"SELECT {columns}, {mark} FROM in0", schema, keys if sure else None, "MarkJoin")


def _rows_differ(ours: str, theirs: str, row: SqlType) -> str:
    """SQL of `<>` between rows as DuckDB's mark join means it: TRUE where a field differs, else NULL where one is NULL."""
    fields = []
    for i, t in enumerate(row.children, 1):
        one, other = f"struct_extract({ours}, {i})", f"struct_extract({theirs}, {i})"
        fields.append(_rows_differ(one, other, t) if t.id == "TUPLE" else f"({one} <> {other})")
    return f"({' OR '.join(fields) or 'FALSE'})"


def _sides(join: lg.Join) -> tuple[lg.Plan, lg.Plan, list[str], tuple[tuple[int, ...], ...] | None]:
    """Both inputs with what the conditions read as columns, the conditions as SQL, and the columns that must be equal."""
    left, ours = _with_columns(join.left, [c.left for c in join.conditions])
    right, theirs = _with_columns(join.right, [c.right for c in join.conditions])
    on = [f"(in0.c{a} {c.op} in1.c{b})" for a, b, c in zip(ours, theirs, join.conditions)]
    if join.residual is not None:
        sides = [f"in0.c{i}" for i in range(len(join.left.schema))] + [f"in1.c{i}" for i in range(len(join.right.schema))]
        on.append(render(join.residual, sides))
    equal = [i for i, c in enumerate(join.conditions) if c.op in ("=", "IS NOT DISTINCT FROM")]
    keys = (tuple(ours[i] for i in equal), tuple(theirs[i] for i in equal)) if equal else None
    return left, right, on, keys


def _with_columns(plan: lg.Plan, exprs: list[Expr]) -> tuple[lg.Plan, list[int]]:
    """`plan` with each expression as a column, and where they stand."""
    columns: list[Expr] = [ex.Ref(i, f.type) for i, f in enumerate(plan.schema)]
    width = len(columns)
    for e in exprs:
        if e not in columns:
            columns.append(e)
    places = [columns.index(e) for e in exprs]
    if len(columns) == width:
        return plan, places
    names = (*(f.name for f in plan.schema), *(f"key{i}" for i in range(len(columns) - width)))
    return lg.Compute(plan, tuple(columns), names), places
