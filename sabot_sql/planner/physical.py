"""The physical plan: what runs inside one stage. Nodes are immutable, inputs first, columns by position.

Keys, arguments and sort columns are always plain column positions: whatever must be computed first stands in a `Project`
(or in a `Scan`) below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sabot_sql.catalog.table import ScanSpec, Split
from sabot_sql.planner.expressions import Expr, has_kernel
from sabot_sql.types import BIGINT, DOUBLE, HUGEINT, Schema, SqlType

Home = Literal["numba", "duckdb"]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One column of an ORDER BY."""

    index: int
    descending: bool = False
    nulls_first: bool = False


AggregateName = Literal[
    "count_star",
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "var_samp",
    "var_pop",
    "stddev_samp",
    "stddev_pop",
    "quantile_cont",
]


@dataclass(frozen=True, slots=True)
class AggregateCall:
    """One aggregate over input columns.

    Attributes:
        arg: position of the argument; None for count_star. In mode `final` unused: states follow the groups in order.
        arg_type: SQL type of the argument (also in mode `final`, where the argument itself is gone).
        type: SQL type of the result.
        distinct: aggregate distinct values only (mode `single` only).
        filter: position of a BOOLEAN column; rows where it is not true are left out.
        fraction: which quantile, in [0, 1].

    Variances and quantiles are of mode `single` only, over a DOUBLE; quantiles want groups.
    """

    function: AggregateName
    arg: int | None
    arg_type: SqlType | None
    type: SqlType
    distinct: bool = False
    filter: int | None = None
    fraction: float | None = None


def state_types(call: AggregateCall) -> tuple[SqlType, ...]:
    """The SQL types of the columns that carry a partial state of `call` from mode `partial` to mode `final`.

    count: BIGINT. sum: the sum in its result type (HUGEINT for integers, DECIMAL(38,s) for DECIMAL, DOUBLE), NULL where no
    value was seen. avg: such a sum, then BIGINT count. min, max: the value, NULL where none.
    """
    match call.function:
        case "count" | "count_star":
            return (BIGINT,)
        case "sum":
            return (call.type,)
        case "avg":
            assert call.arg_type is not None
            return (sum_type(call.arg_type), BIGINT)
        case _:
            return (call.type,)


def sum_type(arg: SqlType) -> SqlType:
    """DuckDB's type for sum over `arg`."""
    if arg.id == "DECIMAL":
        return SqlType("DECIMAL", 38, arg.scale)
    return HUGEINT if arg.is_integer or arg.id == "BOOLEAN" else DOUBLE


@dataclass(frozen=True, slots=True)
class Scan:
    """Read splits of a table through DuckDB: `exprs` over the columns `columns`, where all of `filters` hold.

    `scan_id` is unique in the stage; a task's splits are listed under it. With no `exprs` only rows are counted out.
    """

    scan_id: int
    table: str
    spec: ScanSpec
    columns: tuple[str, ...]
    filters: tuple[Expr, ...]
    exprs: tuple[Expr, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    @property
    def home(self) -> Home:
        return "duckdb"


@dataclass(frozen=True, slots=True)
class ExchangeRead:
    """Read what stage `stage` wrote: the partitions that the task lists for it.

    Batches come ordered by (producer task, sequence)."""

    stage: int
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class Values:
    """`num_rows` (0 or 1) rows of `schema`; the one row is all NULL. `source` says what it stands for."""

    num_rows: int
    schema: Schema
    source: str = ""

    @property
    def inputs(self) -> tuple[Node, ...]:
        return ()

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class Filter:
    """Keep the rows where `predicate` is true."""

    input: Node
    predicate: Expr

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    @property
    def home(self) -> Home:
        return "numba" if has_kernel(self.predicate) else "duckdb"


@dataclass(frozen=True, slots=True)
class Project:
    """Compute `exprs` for every row."""

    input: Node
    exprs: tuple[Expr, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def home(self) -> Home:
        return "numba" if all(map(has_kernel, self.exprs)) else "duckdb"


@dataclass(frozen=True, slots=True)
class HashAggregate:
    """Group by the columns `groups` (none: one group over all rows) and aggregate.

    mode `partial`: rows in, groups and states out. `final`: groups (at positions 0..len(groups)-1) and states in, groups
    and results out. `single`: rows in, groups and results out. Without groups `final` and `single` give exactly one row;
    `partial` too. No calls: DISTINCT over the groups. Schema: groups, then states or results.
    """

    input: Node
    mode: Literal["partial", "final", "single"]
    groups: tuple[int, ...]
    calls: tuple[AggregateCall, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class StateAggregate:
    """Group by the columns `groups` (none: one group over all rows) and give DuckDB's state of each aggregate: the first of two
    steps. A group may come out several times, in the order of its rows; without rows there may be no group.

    Attributes:
        partial: SQL of each state over rows, with the columns c0, c1, ... of the input.
        merge: SQL of each state over states, with the columns c0, c1, ... of `schema`: groups, then states.
    """

    input: Node
    groups: tuple[int, ...]
    partial: tuple[str, ...]
    merge: tuple[str, ...]
    schema: Schema

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def home(self) -> Home:
        return "duckdb"


JoinKind = Literal["inner", "left", "semi", "anti"]


@dataclass(frozen=True, slots=True)
class HashJoin:
    """Hash join: a table over `build`, probed by `probe` whose row order is kept.

    Attributes:
        kind: inner; left (all probe rows kept); semi and anti (probe rows with and without a match).
        probe_keys, build_keys: column positions, pairwise of one SQL type.
        null_equal: per key, whether NULL equals NULL (IS NOT DISTINCT FROM).
        residual: further condition over probe columns then build columns; part of the match for all kinds.
        output: positions over probe columns then build columns that come out (semi, anti: probe columns only).
        share: of the probe rows that are expected to have a match.
    """

    probe: Node
    build: Node
    kind: JoinKind
    probe_keys: tuple[int, ...]
    build_keys: tuple[int, ...]
    null_equal: tuple[bool, ...]
    residual: Expr | None
    output: tuple[int, ...]
    schema: Schema
    share: float = 1.0

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.probe, self.build)

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class Sort:
    """Sort all rows, stable; with `limit` keep rows [offset, offset + limit) only (top-n)."""

    input: Node
    keys: tuple[SortKey, ...]
    limit: int | None = None
    offset: int = 0

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class Limit:
    """Keep rows [offset, offset + limit) in the input's order; limit None is no limit."""

    input: Node
    limit: int | None
    offset: int = 0

    @property
    def inputs(self) -> tuple[Node, ...]:
        return (self.input,)

    @property
    def schema(self) -> Schema:
        return self.input.schema

    @property
    def home(self) -> Home:
        return "numba"


@dataclass(frozen=True, slots=True)
class Union:
    """UNION ALL: the rows of each input, in the inputs' order."""

    inputs: tuple[Node, ...]
    schema: Schema

    @property
    def home(self) -> Home:
        return "numba"


TOP = "Window top"
"""Name of the `Relational` that keeps the first rows of each partition; it may run over any part of the rows by itself."""


@dataclass(frozen=True, slots=True)
class Relational:
    """One relational operator that DuckDB runs over all rows that the task has of each input.

    Attributes:
        name: what it is, for EXPLAIN.
        sql: reads the tables in0, in1, ... with the columns c0, c1, ... in the inputs' order.
    """

    inputs: tuple[Node, ...]
    name: str
    sql: str
    schema: Schema

    @property
    def home(self) -> Home:
        return "duckdb"


Node = (
    Scan
    | ExchangeRead
    | Values
    | Filter
    | Project
    | HashAggregate
    | StateAggregate
    | HashJoin
    | Sort
    | Limit
    | Union
    | Relational
)


def operators(root: Node) -> Iterator[Node]:
    """`root` and all operators below it, in pre-order."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.inputs))


@dataclass(frozen=True, slots=True)
class Exchange:
    """How a stage hands its rows on.

    hash: rows go to `partitions` partitions by the stable hash of the columns `keys` (no keys: all to partition 0).
    broadcast: every consumer task reads all rows. gather: one consumer task reads all rows, ordered by (task, sequence).
    forward: rows stay together as the stage's `tasks` tasks gave them, in partitions that each hold a run of tasks.
    range: rows go to partitions that follow one another under `order`, one partition for each value of its column.

    Attributes:
        order: how a range exchange orders rows.
        bounds: where it cuts, ascending and in physical form (as in `Const`); what equals a bound is above it.
    """

    kind: Literal["hash", "broadcast", "gather", "forward", "range"]
    keys: tuple[int, ...] = ()
    partitions: int = 1
    tasks: int = 1
    order: SortKey | None = None
    bounds: tuple[int | float | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of a stage: the splits of each scan (by scan_id) and, by input stage, the partitions it reads (broadcast
    and gather have partition 0 only). A scan or an input stage that is not listed gives this task no rows.

    Attributes:
        producers: of these input stages only what the tasks [first, end) wrote is read.
    """

    index: int
    splits: dict[int, tuple[Split, ...]] = field(default_factory=dict)
    partitions: dict[int, tuple[int, ...]] = field(default_factory=dict)
    producers: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A tree of operators between exchanges, run as tasks that differ only in splits and partitions.

    Attributes:
        inputs: the stages it reads; they are complete before it starts.
        rows: estimated output rows, None where a change left nothing to estimate from.
        notes: how finished stages changed it, and why (`planner/adapt.py`).
    """

    stage_id: int
    root: Node
    output: Exchange
    inputs: tuple[int, ...]
    tasks: tuple[Task, ...]
    rows: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a query's meaning depends on beside its text; set alike on planner, local engine and agents."""

    timezone: str = "UTC"
    now_us: int = 0


@dataclass(frozen=True, slots=True)
class DistributedPlan:
    """Stages in an order in which they can run; the last one gathers the result.

    Attributes:
        names: the output's names.
        broadcast_bytes: build sides up to this size may be sent to every agent.
    """

    stages: tuple[Stage, ...]
    names: tuple[str, ...]
    schema: Schema
    session: Session
    broadcast_bytes: int = 32 << 20
