"""The logical plan: typed relational operators over positions, as bound and decorrelated by DuckDB and rewritten by our rules.

Nodes are immutable, inputs first. `schema` of a node lists its output columns; expressions refer to the columns of the
node's input, join conditions to those of each side, a join's residual to left columns then right columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from sabot_sql.catalog.table import Table
from sabot_sql.planner.expressions import CompareOp, Expr
from sabot_sql.types import BIGINT, BOOLEAN, Field, Schema, SqlType

# The position of DuckDB's rowid, which its scans list where no column is read (`count(*)`) and files do not have.
ROWID = -1
"""Of a statement that may ask for it."""

ROW = -2
"""Of one that does not: the column only stands for the row."""

ROWID_FIELD = Field("rowid", BIGINT)


@dataclass(frozen=True, slots=True)
class Get:
    """Scan the columns at `columns` (positions in the table's schema) of a table; `filters` are over the output columns."""

    table: Table
    columns: tuple[int, ...]
    filters: tuple[Expr, ...] = ()

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return ()

    @property
    def schema(self) -> Schema:
        return tuple(ROWID_FIELD if i < 0 else self.table.schema[i] for i in self.columns)

    def describe(self) -> str:
        return f"Get {self.table.name} [{', '.join(f.name for f in self.schema)}]" + (
            f" where {len(self.filters)} condition(s)" if self.filters else ""
        )


@dataclass(frozen=True, slots=True)
class OneRow:
    """One row whose values nothing reads, or no row at all (an input that is known to be empty).

    Attributes:
        source: what it stands for, if not for a FROM that is not there.
    """

    num_rows: int
    schema: Schema
    source: str = ""

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return ()

    def describe(self) -> str:
        return ("OneRow" if self.num_rows else "Empty") + (f", {self.source}" if self.source else "")


@dataclass(frozen=True, slots=True)
class Select:
    """Rows for which `predicate` is true."""

    input: Plan
    predicate: Expr

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    def describe(self) -> str:
        return "Select"


@dataclass(frozen=True, slots=True)
class Compute:
    """A projection: `exprs`, named by `names`."""

    input: Plan
    exprs: tuple[Expr, ...]
    names: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return tuple(Field(n, e.type) for n, e in zip(self.names, self.exprs))

    def describe(self) -> str:
        return f"Compute [{', '.join(self.names)}]"


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One ORDER BY term over the input."""

    expr: Expr
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Call:
    """An aggregate call by DuckDB's name over expressions of the input."""

    function: str
    args: tuple[Expr, ...]
    type: SqlType
    distinct: bool = False
    filter: Expr | None = None
    order: tuple[OrderKey, ...] = ()

    @property
    def exprs(self) -> tuple[Expr, ...]:
        """All that the call reads: arguments, filter, order."""
        return (*self.args, *(() if self.filter is None else (self.filter,)), *(k.expr for k in self.order))

    def over(self, function: Callable[[Expr], Expr]) -> Call:
        """The call with `function` applied to all that it reads."""
        return replace(
            self,
            args=tuple(map(function, self.args)),
            filter=None if self.filter is None else function(self.filter),
            order=tuple(replace(k, expr=function(k.expr)) for k in self.order),
        )


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Group by `groups` and aggregate; the output is groups, then calls. No calls: DISTINCT."""

    input: Plan
    groups: tuple[Expr, ...]
    calls: tuple[Call, ...]
    names: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        types = (*(g.type for g in self.groups), *(c.type for c in self.calls))
        return tuple(Field(n, t) for n, t in zip(self.names, types))

    def describe(self) -> str:
        return f"Aggregate groups={len(self.groups)} [{', '.join(c.function for c in self.calls)}]"


@dataclass(frozen=True, slots=True)
class Condition:
    """`left op right`, left over the left input's columns, right over the right's."""

    left: Expr
    op: CompareOp
    right: Expr


JoinKind = Literal["inner", "left", "right", "full", "semi", "anti", "mark", "single"]


@dataclass(frozen=True, slots=True)
class Join:
    """A join on `conditions` and `residual`. Output: left then right columns; semi and anti: left only; mark: left columns,
    then a BOOLEAN that says whether a match exists (NULL where SQL's IN does not know).

    Attributes:
        words: how SQL calls a `full` join, which DuckDB runs; ASOF and positional joins, which may pad either side, are such.
    """

    left: Plan
    right: Plan
    kind: JoinKind
    conditions: tuple[Condition, ...]
    residual: Expr | None = None
    words: str = "FULL JOIN"

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.left, self.right)

    @property
    def schema(self) -> Schema:
        match self.kind:
            case "semi" | "anti":
                return self.left.schema
            case "mark":
                return (*self.left.schema, Field("mark", BOOLEAN))
        return (*self.left.schema, *self.right.schema)

    def describe(self) -> str:
        return f"Join {self.kind} on {', '.join(c.op for c in self.conditions) or 'nothing'}" + (
            " and residual" if self.residual is not None else ""
        )


@dataclass(frozen=True, slots=True)
class Order:
    """ORDER BY, with `limit` a top-n."""

    input: Plan
    keys: tuple[OrderKey, ...]
    limit: int | None = None
    offset: int = 0

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    def describe(self) -> str:
        return f"Order by {len(self.keys)} key(s)" + ("" if self.limit is None else f" limit {self.limit}")


@dataclass(frozen=True, slots=True)
class Slice:
    """LIMIT and OFFSET in the input's order."""

    input: Plan
    limit: int | None
    offset: int

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    def describe(self) -> str:
        return f"Slice limit={self.limit} offset={self.offset}"


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the input's rows, which DuckDB picks of all of them: `clause` is a TABLESAMPLE or a LIMIT."""

    input: Plan
    clause: str

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    def describe(self) -> str:
        return f"Sample {self.clause}"


@dataclass(frozen=True, slots=True)
class UnionAll:
    """The rows of every input, one after the other."""

    inputs: tuple[Plan, ...]

    @property
    def schema(self) -> Schema:
        return self.inputs[0].schema

    def describe(self) -> str:
        return "UnionAll"


@dataclass(frozen=True, slots=True)
class Extend:
    """The input's columns, then one for each of `texts`: DuckDB SQL over whole partitions, such as a window.

    Attributes:
        exprs: what the texts read, over the input; `{0}` in a text stands for the first.
        together: positions in `exprs` by which rows must lie together; none: all rows do; None: rows are on their own.
        source: what the texts read, made of the input, which is in0, with `{0}` as in them.
    """

    input: Plan
    exprs: tuple[Expr, ...]
    texts: tuple[str, ...]
    types: tuple[SqlType, ...]
    together: tuple[int, ...] | None
    name: str
    source: str = "in0"

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return (*self.input.schema, *(Field(f"{self.name.lower()}{i}", t) for i, t in enumerate(self.types)))

    def describe(self) -> str:
        return f"{self.name} [{', '.join(self.texts)}]"


@dataclass(frozen=True, slots=True)
class Relational:
    """An operator that DuckDB runs over whole inputs: `sql` reads the tables in0, in1, ... with the columns c0, c1, ....

    Attributes:
        keys: columns of each input by which rows must lie together; None: all rows in one task.
    """

    inputs: tuple[Plan, ...]
    sql: str
    schema: Schema
    keys: tuple[tuple[int, ...], ...] | None
    name: str

    def describe(self) -> str:
        return f"{self.name} {self.sql}"


@dataclass(frozen=True, slots=True)
class Shared:
    """A plan that several places read, such as a CTE's. It is no input of theirs: rules rewrite it once, on its own.

    Attributes:
        number: tells shared plans apart; one reads only those with smaller numbers.
    """

    number: int
    input: Plan

    @property
    def inputs(self) -> tuple[Plan, ...]:
        return ()

    @property
    def schema(self) -> Schema:
        return self.input.schema

    def describe(self) -> str:
        return f"Shared {self.number}"


Plan = Get | OneRow | Select | Compute | Aggregate | Join | Order | Slice | Sample | UnionAll | Extend | Relational | Shared


def with_inputs(plan: Plan, inputs: tuple[Plan, ...]) -> Plan:
    """`plan` over other inputs; the same object when nothing changed."""
    if all(a is b for a, b in zip(plan.inputs, inputs)):
        return plan
    match plan:
        case Join():
            return replace(plan, left=inputs[0], right=inputs[1])
        case UnionAll() | Relational():
            return replace(plan, inputs=inputs)
        case Get() | OneRow() | Shared():
            return plan
    return replace(plan, input=inputs[0])


def draw(plan: Plan) -> str:
    """The plan as indented text, one operator a line; then the plans that it shares."""
    shared: dict[int, Plan] = {}
    lines = _lines(plan, 0, shared)
    drawn: set[int] = set()
    while left := shared.keys() - drawn:
        number = max(left)
        drawn.add(number)
        lines += [f"Shared {number}:", *_lines(shared[number], 1, shared)]
    return "\n".join(lines)


def _lines(plan: Plan, depth: int, shared: dict[int, Plan]) -> list[str]:
    if isinstance(plan, Shared):
        shared[plan.number] = plan.input
    return ["  " * depth + plan.describe(), *(line for i in plan.inputs for line in _lines(i, depth + 1, shared))]
