"""Recursive CTEs: one operator of DuckDB, whose inputs are all parts of the plan that do not depend on the recursion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sabot_sql.errors import NotSupported
from sabot_sql.planner import logical as lg
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.render import render
from sabot_sql.planner.rules.prune_columns import prune_columns
from sabot_sql.planner.rules.rewrite_joins import rewrite_joins
from sabot_sql.planner.whole_joins import duckdb_join, duckdb_mark
from sabot_sql.planner.windows import Reads, aggregate_text, order_text
from sabot_sql.types import Schema

WORKING = "Working"
"""The name of the leaf that stands for the rows of the last round."""

RECURSIVE = "RecursiveCTE"

ROUND = re.compile(r"\bround(\d+)\b")
DEFINED = re.compile(r"WITH RECURSIVE round(\d+)\b")

JOINS: dict[str, str] = {
    "inner": "JOIN",
    "left": "LEFT JOIN",
    "right": "RIGHT JOIN",
    "semi": "SEMI JOIN",
    "anti": "ANTI JOIN",
}


def working_table(index: int, schema: Schema) -> lg.Relational:
    """The leaf that reads what the last round gave."""
    return lg.Relational((), f"SELECT * FROM round{index}", schema, None, WORKING)


def recursive_cte(index: int, anchor: lg.Plan, term: lg.Plan, union_all: bool) -> lg.Plan:
    """All rows of a recursive CTE.

    RecursiveCTE                       Relational WITH RECURSIVE ... in0 ... in1
      anchor                     ->      anchor
      Join                               Get edges
        Working
        Get edges
    """
    text = _Text([anchor])
    columns = _columns(len(anchor.schema))
    sql = (
        f"WITH RECURSIVE round{index}({columns}) AS (SELECT {columns} FROM in0 UNION{' ALL' if union_all else ''} "
        f"{text.of(prune_columns(term))}) SELECT {columns} FROM round{index}"
    )
    return lg.Relational(tuple(text.inputs), sql, anchor.schema, None, RECURSIVE)


def limited(plan: lg.Slice) -> lg.Plan:
    """`plan` as one operator where a recursive CTE lies right under it: one without an end goes no further than it is read."""
    steps, source = [], plan.input
    while isinstance(source, lg.Compute | lg.Select):
        steps.append(source)
        source = source.input
    if plan.limit is None or not isinstance(source, lg.Relational) or source.name != RECURSIVE:
        return plan
    sql, width = source.sql, len(source.schema)
    for number, step in enumerate(reversed(steps)):
        names = [f"c{i}" for i in range(width)]
        below = f"({sql}) AS below{number}({', '.join(names)})"
        if isinstance(step, lg.Compute):
            given = ", ".join(f"{render(e, names)} AS c{i}" for i, e in enumerate(step.exprs)) or "1 AS c0"
            sql, width = f"SELECT {given} FROM {below}", len(step.exprs)
        else:
            sql = f"SELECT {', '.join(names)} FROM {below} WHERE {render(step.predicate, names)}"
    return replace(source, sql=f"SELECT * FROM ({sql}) LIMIT {plan.limit} OFFSET {plan.offset}", schema=plan.schema)


def _columns(count: int, table: str = "") -> str:
    return ", ".join(f"{table}c{i}" for i in range(count))


def _depends(plan: lg.Plan) -> bool:
    if isinstance(plan, lg.Relational) and set(ROUND.findall(plan.sql)) - set(DEFINED.findall(plan.sql)):
        return True
    return any(map(_depends, (plan.input,) if isinstance(plan, lg.Shared) else plan.inputs))


class _Text:
    """Writes a plan as SQL whose columns are c0, c1, ...; `inputs` collects what stands in it as a table."""

    def __init__(self, inputs: list[lg.Plan]) -> None:
        self.inputs = inputs
        self.tables = 0

    def of(self, plan: lg.Plan) -> str:
        """`plan` as a SELECT."""
        width = len(plan.schema)
        if not _depends(plan):
            self.inputs.append(plan)
            return f"SELECT {_columns(width)} FROM in{len(self.inputs) - 1}"
        match plan:
            case lg.Relational(inputs=()):
                return f"SELECT {_columns(width)} FROM ({plan.sql}) AS {self._table()}({_columns(width)})"
            case lg.Select():
                return f"SELECT {_columns(width)} FROM {self._from(plan.input)} WHERE {self._expr(plan.predicate, plan.input)}"
            case lg.Compute():
                given = ", ".join(f"{self._expr(e, plan.input)} AS c{i}" for i, e in enumerate(plan.exprs))
                return f"SELECT {given} FROM {self._from(plan.input)}"
            case lg.Aggregate():
                return self._aggregate(plan)
            case lg.Join():
                return self._join(plan)
            case lg.Order():
                reads = Reads()
                keys = order_text(plan.keys, reads).format(*self._exprs(reads, plan.input))
                limit = "" if plan.limit is None else f" LIMIT {plan.limit}"
                text = f"SELECT {_columns(width)} FROM {self._from(plan.input)} ORDER BY {keys}{limit} OFFSET {plan.offset}"
                return f"SELECT {_columns(width)} FROM ({text}) AS {self._table()}"
            case lg.Slice():
                limit = "" if plan.limit is None else f" LIMIT {plan.limit}"
                text = f"SELECT {_columns(width)} FROM {self._from(plan.input)}{limit} OFFSET {plan.offset}"
                return f"SELECT {_columns(width)} FROM ({text}) AS {self._table()}"
            case lg.Shared():
                return self.of(plan.input)
            case lg.Sample():
                return f"SELECT {_columns(width)} FROM {self._from(plan.input)} {plan.clause}"
            case lg.UnionAll():
                parts = " UNION ALL ".join(f"({self.of(i)})" for i in plan.inputs)
                return f"SELECT {_columns(width)} FROM ({parts}) AS {self._table()}({_columns(width)})"
            case lg.Extend():
                exprs = [self._expr(e, plan.input) for e in plan.exprs]
                added = ", ".join(f"{t.format(*exprs)} AS c{len(plan.input.schema) + i}" for i, t in enumerate(plan.texts))
                source = re.sub(r"\bin0\b", lambda _: self._from(plan.input), plan.source.format(*exprs))
                return f"SELECT {_columns(len(plan.input.schema))}, {added} FROM {source}"
            case lg.Relational():
                return self._relational(plan)
        raise NotSupported("this recursive CTE cannot run distributed yet")

    def _table(self) -> str:
        self.tables += 1
        return f"t{self.tables}"

    def _from(self, plan: lg.Plan) -> str:
        return f"({self.of(plan)}) AS {self._table()}({_columns(len(plan.schema))})"

    def _expr(self, expr: Expr, over: lg.Plan) -> str:
        return render(expr, [f"c{i}" for i in range(len(over.schema))])

    def _exprs(self, reads: Reads, over: lg.Plan) -> list[str]:
        return [self._expr(e, over) for e in reads.exprs]

    def _aggregate(self, plan: lg.Aggregate) -> str:
        reads = Reads()
        texts = [aggregate_text(c, reads) for c in plan.calls]
        exprs = self._exprs(reads, plan.input)
        groups = [self._expr(g, plan.input) for g in plan.groups]
        schema = plan.schema[len(groups) :]
        calls = [f"CAST({t.format(*exprs)} AS {f.type})" for t, f in zip(texts, schema)]
        given = ", ".join(f"{text} AS c{i}" for i, text in enumerate((*groups, *calls)))
        by = f" GROUP BY {', '.join(groups)}" if groups else ""
        return f"SELECT {given or '1 AS c0'} FROM {self._from(plan.input)}{by}"

    def _join(self, plan: lg.Join) -> str:
        match plan.kind:
            case "full":
                return self._relational(duckdb_join(plan))
            case "mark":
                return self._relational(duckdb_mark(plan))
            case "single":
                return self.of(rewrite_joins(plan))
        kind = JOINS[plan.kind]
        left, right = self._table(), self._table()
        width = len(plan.left.schema)
        ours = [f"{left}.c{i}" for i in range(width)]
        theirs = [f"{right}.c{i}" for i in range(len(plan.right.schema))]
        on = [f"({render(c.left, ours)} {c.op} {render(c.right, theirs)})" for c in plan.conditions]
        if plan.residual is not None:
            on.append(render(plan.residual, [*ours, *theirs]))
        columns: Sequence[str] = ours if plan.kind in ("semi", "anti") else [*ours, *theirs]
        given = ", ".join(f"{c} AS c{i}" for i, c in enumerate(columns))
        sides = [f"({self.of(p)}) AS {t}({_columns(len(p.schema))})" for p, t in ((plan.left, left), (plan.right, right))]
        return f"SELECT {given} FROM {sides[0]} {kind} {sides[1]} ON {' AND '.join(on) or 'TRUE'}"

    def _relational(self, plan: lg.Relational) -> str:
        names = [self._table() for _ in plan.inputs]
        tables = ", ".join(f"{n}({_columns(len(p.schema))}) AS ({self.of(p)})" for n, p in zip(names, plan.inputs))
        sql = re.sub(r"\bin(\d+)\b", lambda found: names[int(found[1])], plan.sql)
        width = len(plan.schema)
        if sql.startswith("WITH "):
            sql = f"SELECT * FROM ({sql}) AS {self._table()}"
        return f"SELECT {_columns(width)} FROM (WITH {tables} {sql}) AS {self._table()}({_columns(width)})"
