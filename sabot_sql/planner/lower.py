"""From the logical to the physical plan: operators chosen, exchanges placed, stages cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sabot_sql.errors import NotSupported
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner import window_top
from sabot_sql.planner.aggregate_states import State, states_of
from sabot_sql.planner.cardinality import Estimator, column_bytes, row_bytes
from sabot_sql.planner.expressions import Expr
from sabot_sql.planner.kernel_aggregates import are_over_whole_groups, has_kernel, kernel_call, merge_text, state_texts
from sabot_sql.planner.physical import (
    TOP,
    AggregateCall,
    DistributedPlan,
    Exchange,
    ExchangeRead,
    HashAggregate,
    HashJoin,
    JoinKind,
    Limit,
    Node,
    Relational,
    Scan,
    Session,
    Sort,
    SortKey,
    StateAggregate,
    Union,
    Values,
    operators,
    state_types,
)
from sabot_sql.planner.ranges import range_bounds
from sabot_sql.planner.recursion import limited
from sabot_sql.planner.rules.push_filters import is_volatile
from sabot_sql.planner.small_work import is_small
from sabot_sql.planner.stages import Cluster, Fragment, Part, StageBuilder, keep, project
from sabot_sql.planner.whole_joins import duckdb_join
from sabot_sql.planner.windows import Reads, aggregate_text
from sabot_sql.types import BOOLEAN, INTEGER, UBIGINT, Field, Lane, Schema, inner_schema

# DuckDB aggregates what it scans from so many rows, up to so many groups: handing out a row costs more than aggregating it.
SCANNED_ROWS = 100_000
SCANNED_GROUPS = 10_000
# Strings cost so much to hand out that there may be more.
SCANNED_TEXT_GROUPS = 150_000

# Up to this many estimated groups, one task merges the partial aggregates of all.
GATHERED_GROUPS = 20_000

# Keys of strings do not place groups where another key has so many values a partition, each at most this share of one.
PLACING_VALUES = 1000
PLACING_SHARE = 0.05

# Kernels list the values of quantiles with their groups, in twice the memory of DuckDB's lists: larger groups are DuckDB's.
LISTED_ROWS = 1 << 20

# An aggregate of one task keeps states instead of rows where the rows are estimated at more than this.
HELD_BYTES = 32 << 20

# States of a group that are larger than this are made only where the number of groups is known, and not guessed.
LARGE_STATE_BYTES = 512

# A build side loses the rows without a match before it is partitioned where it has so many times more rows.
MOST = 4

# The build side of a semi join may have each row so many times, or be of so many rows.
MOST_REPEATS = 4
REPEATED_ROWS = 50_000

# A probe side loses the rows without a match where at most this share of its rows is expected to have one.
MATCHING_SHARE = 0.25

# Operators of DuckDB that give no row where they get none.
ROW_BY_ROW = frozenset(("Unnest", window_top.WINDOW, TOP))


def lower(plan: lg.Plan, schema: Schema, cluster: Cluster, session: Session) -> DistributedPlan:
    """The distributed plan of an optimized logical plan.

    Args:
        schema: names and types of the result, as DuckDB bound them.

    Raises:
        NotSupported: the plan holds what no operator runs yet; the message names it.
    """
    lowering = _Lowering(StageBuilder(cluster))
    fragment = lowering.fragment(plan)
    for want, got in zip(schema, fragment.schema):
        if want.type.settled != got.type and want.type.id != "NULL":
            raise NotSupported(f"column {want.name} would be {got.type} instead of {want.type}")
    lowering.builder.close(fragment, Exchange("gather"))
    for stage in lowering.builder.stages:
        _check_types(stage.root)
    names = tuple(f.name for f in schema)
    return DistributedPlan(tuple(lowering.builder.stages), names, schema, session, cluster.broadcast_bytes)


def _check_types(node: Node) -> None:
    """Raise for a column between operators that has no form there: once tasks run it is too late to go elsewhere."""
    inner_schema(node.schema)
    for one in node.inputs:
        _check_types(one)


class _Lowering:
    def __init__(self, builder: StageBuilder) -> None:
        self.builder = builder
        self.estimator = Estimator()
        self._shared: dict[int, Fragment] = {}

    def fragment(self, plan: lg.Plan) -> Fragment:
        match plan:
            case lg.Get():
                if lg.ROWID in plan.columns:
                    raise NotSupported(f"rowid is no column of {plan.table.name}; it cannot be read distributed")
                return self.scan(plan)
            case lg.OneRow():
                return Fragment(Values(plan.num_rows, plan.schema, plan.source), (Part(),), float(plan.num_rows))
            case lg.Compute():
                return project(self.fragment(plan.input), plan.exprs, plan.names)
            case lg.Select(input=lg.Extend(name=window_top.WINDOW) as windows) if not is_volatile(plan.predicate):
                return self.extend(windows, plan)
            case lg.Select() if (below := window_top.below_columns(plan)) is not plan:
                return self.fragment(below)
            case lg.Select():
                return keep(self.fragment(plan.input), plan.predicate, self.estimator.rows(plan))
            case lg.Aggregate():
                return self.aggregate(plan)
            case lg.Join():
                return self.join(plan)
            case lg.Order():
                return self.order(plan)
            case lg.Slice():
                return self.slice(plan)
            case lg.Sample():
                fragment = self.builder.gathered(self.fragment(plan.input))
                sql = f"SELECT {', '.join(f'c{i}' for i in range(len(plan.schema)))} FROM in0 {plan.clause}"
                root = Relational((fragment.root,), "Sample", sql, plan.schema)
                return replace(fragment, root=root, keys=None, rows=self.estimator.rows(plan))
            case lg.UnionAll():
                return self.union(plan)
            case lg.Extend():
                return self.extend(plan)
            case lg.Shared(number=number):
                if number not in self._shared:
                    self._shared[number] = self.builder.shared(self.fragment(plan.input))
                return self._shared[number]
            case lg.Relational():
                return self.relational(plan)

    def scan(self, plan: lg.Get) -> Fragment:
        rows = self.estimator.rows(plan)
        real = [i for i, column in enumerate(plan.columns) if column != lg.ROW]
        if len(real) == len(plan.columns):
            return self.builder.scan(plan.table, plan.columns, plan.filters, rows)
        at = {old: new for new, old in enumerate(real)}
        filters = tuple(ex.remap(f, at) for f in plan.filters)
        fragment = self.builder.scan(plan.table, tuple(plan.columns[i] for i in real), filters, rows)
        exprs = tuple(ex.Ref(at[i], f.type) if i in at else ex.Const(0, f.type) for i, f in enumerate(plan.schema))
        return project(fragment, exprs, tuple(f.name for f in plan.schema))

    def extend(self, plan: lg.Extend, kept: lg.Select | None = None) -> Fragment:
        """Columns that DuckDB makes over whole partitions; of their rows those that `kept` keeps."""
        fragment, places = _keyed(self.fragment(plan.input), plan.exprs)
        if plan.together is not None:
            keys = tuple(places[i] for i in plan.together)
            if kept is not None and not self._lies_together(fragment, keys):
                fragment = self._first_of_each(fragment, plan, places, kept)
            fragment = self._together(fragment, keys)
        columns = [f"c{i}" for i in range(len(plan.input.schema))]
        *texts, source = (text.format(*(f"c{i}" for i in places)) for text in (*plan.texts, plan.source))
        sql = f"SELECT {', '.join((*columns, *texts))} FROM {source}"
        if kept is not None:
            sql = window_top.kept(sql, kept.predicate, len(plan.schema))
        node = Relational((fragment.root,), plan.name, sql, plan.schema)
        by = fragment.keys if fragment.keys and max(fragment.keys) < len(columns) else None
        return replace(fragment, root=node, keys=by, rows=self.estimator.rows(kept or plan))

    def _first_of_each(self, fragment: Fragment, plan: lg.Extend, places: tuple[int, ...], kept: lg.Select) -> Fragment:
        """`fragment` with no rows that cannot be among the first of their partition, where only these are asked for."""
        first, tasks = window_top.first_rows(plan, kept.predicate), self.builder.cluster.slots
        if first is None or not window_top.pays(plan, max(first[0], 0), tasks, self.estimator):
            return fragment
        sql = window_top.first_of_each(plan, places, len(fragment.schema), *first)
        rows = self.estimator.rows(kept) * tasks
        return replace(fragment, root=Relational((fragment.root,), TOP, sql, fragment.schema), rows=rows)

    def relational(self, plan: lg.Relational) -> Fragment:
        rows = self.estimator.rows(plan)
        if not plan.inputs:
            return Fragment(Relational((), plan.name, plan.sql, plan.schema), (Part(),), rows)
        inputs = [self.fragment(i) for i in plan.inputs]
        keys = plan.keys or ((),) * len(inputs)
        if not all(f.is_one_task for f in inputs):
            inputs = [self._together(f, k, always=True) for f, k in zip(inputs, keys)]
        part = inputs[0].parts[0]
        for other in inputs[1:]:
            part = part.merge(other.parts[0])
        node = Relational(tuple(f.root for f in inputs), plan.name, plan.sql, plan.schema)
        return Fragment(node, (part,), rows)

    def _together(self, fragment: Fragment, keys: tuple[int, ...], always: bool = False) -> Fragment:
        """Rows that agree in the columns `keys` in one task; without keys all rows.

        Args:
            always: by just these keys, as another input of the same operator is.
        """
        if not keys:
            return self.builder.gathered(fragment)
        if not always and self._lies_together(fragment, keys):
            return fragment
        if all(fragment.schema[k].type.lane is not None for k in keys):
            return self.builder.hashed(fragment, keys)
        # no kernel hashes such values: DuckDB does, in a column of its own
        values = tuple(ex.Ref(k, fragment.schema[k].type) for k in keys)
        fragment, (place,) = _keyed(fragment, [ex.Call("hash", values, UBIGINT)])
        return self.builder.hashed(fragment, (place,))

    @staticmethod
    def _lies_together(fragment: Fragment, keys: tuple[int, ...]) -> bool:
        return fragment.is_one_task or (fragment.keys is not None and bool(keys) and set(fragment.keys) <= set(keys))

    def duckdb_aggregate(self, plan: lg.Aggregate) -> Fragment:
        """An aggregate without kernels: in two steps where states are smaller than rows, else over whole groups."""
        reads = Reads()
        groups = tuple(reads.position(g) for g in plan.groups)
        texts = tuple(aggregate_text(c, reads) for c in plan.calls)
        fragment = self.fragment(plan.input)
        exprs = tuple(reads.exprs) or (ex.Const(True, BOOLEAN),)
        names = tuple(fragment.schema[e.index].name if isinstance(e, ex.Ref) else f"c{i}" for i, e in enumerate(exprs))
        fragment = project(fragment, exprs, names)
        columns = [f"c{i}" for i in range(len(exprs))]
        states = states_of(plan.calls)
        if states is not None and self._reduces(fragment, groups, states, plan):
            partial = tuple(s.partial(reads).format(*columns) for s in states)
            return self._by_states(fragment, groups, states, partial, plan)
        fragment = self._together(fragment, tuple(dict.fromkeys(groups)))
        return self._aggregated(fragment, groups, [t.format(*columns) for t in texts], "Aggregate", plan)

    def _reduces(self, fragment: Fragment, groups: tuple[int, ...], states: tuple[State, ...], plan: lg.Aggregate) -> bool:
        """Whether the states of all tasks are expected to take at most half of what the rows take, and to be of use."""
        here = fragment.is_one_task or bool(fragment.keys and set(fragment.keys) <= set(groups))
        if here and _bytes(fragment) <= HELD_BYTES:
            return False
        each = sum(s.num_bytes for s in states)
        if each > LARGE_STATE_BYTES and not all(self.estimator.is_known(plan.input, g) for g in plan.groups):
            return False
        each += sum(column_bytes(g.type) for g in plan.groups)
        made = self.estimator.rows(plan) * self.builder.cluster.slots * each
        return 2 * made <= _bytes(fragment)

    def _by_states(
        self,
        fragment: Fragment,
        groups: tuple[int, ...],
        states: tuple[State, ...],
        partial: tuple[str, ...],
        plan: lg.Aggregate,
    ) -> Fragment:
        """States where the rows are, then one task that merges those of all groups, or a task for each partition of them.

        Aggregate g, stddev(x)        Aggregate final g, stddev
          input                 ->      exchange
                                          Aggregate partial g, stddev(x)
                                            input
        """
        rows, width = self.estimator.rows(plan), len(groups)
        first = tuple(range(width))
        schema = (*plan.schema[:width], *(Field(f"s{i}", s.type) for i, s in enumerate(states)))
        merge = tuple(s.merged(f"c{width + i}") for i, s in enumerate(states))
        keys = tuple(groups.index(k) for k in fragment.keys) if fragment.keys and set(fragment.keys) <= set(groups) else None
        node = StateAggregate(fragment.root, groups, partial, merge, schema)
        fragment = replace(fragment, root=node, keys=keys, rows=rows * self.builder.cluster.slots)
        fragment = self._together(fragment, () if rows <= GATHERED_GROUPS and keys is None else first)
        texts = [s.final(f"c{width + i}") for i, s in enumerate(states)]
        return self._aggregated(fragment, first, texts, "Aggregate final", plan)

    def _aggregated(
        self, fragment: Fragment, groups: tuple[int, ...], texts: Sequence[str], name: str, plan: lg.Aggregate
    ) -> Fragment:
        """DuckDB's aggregate over the rows of whole groups."""
        by = [f"c{g}" for g in groups]
        sql = f"SELECT {', '.join((*by, *texts))} FROM in0"
        if by:
            sql += f" GROUP BY {', '.join(by)}"
        node = Relational((fragment.root,), name, sql, plan.schema)
        keys = tuple(groups.index(k) for k in fragment.keys) if fragment.keys and set(fragment.keys) <= set(groups) else None
        return replace(fragment, root=node, rows=self.estimator.rows(plan), keys=keys)

    def aggregate(self, plan: lg.Aggregate) -> Fragment:
        whole = bool(plan.groups) and are_over_whole_groups(plan.calls)
        whole = whole and self.estimator.rows(plan.input) <= LISTED_ROWS * self.estimator.rows(plan)
        if not (whole or all(map(has_kernel, plan.calls))) or any(g.type.lane is None for g in plan.groups):
            return self.duckdb_aggregate(plan)
        fragment = self.fragment(plan.input)
        columns = _Columns()
        groups = tuple(columns.place(g) for g in plan.groups)
        calls = tuple(kernel_call(c, columns.place) for c in plan.calls)
        exprs = tuple(columns.exprs) or (ex.Const(True, BOOLEAN),)
        names = tuple(fragment.schema[e.index].name if isinstance(e, ex.Ref) else f"c{i}" for i, e in enumerate(exprs))
        fragment = project(fragment, exprs, names)
        rows = self.estimator.rows(plan)
        schema = plan.schema
        here = fragment.is_one_task or (fragment.keys is not None and set(fragment.keys) <= set(groups) and groups != ())
        if not whole and isinstance(fragment.root, Scan) and self._reads_groups(plan, calls, fragment):
            return self._final(self._scanned_states(fragment, groups, calls, schema, rows), len(groups), calls, plan)
        if not here and (whole or any(c.distinct for c in calls)):
            fragment = self.builder.hashed(fragment, groups) if groups else self.builder.gathered(fragment)
            here = True
        if here:
            node = HashAggregate(fragment.root, "single", groups, calls, schema)
            keys = tuple(groups.index(k) for k in fragment.keys) if fragment.keys else None
            return replace(fragment, root=node, rows=rows, keys=keys)
        states = tuple(Field(f"s{i}", t) for i, t in enumerate(t for c in calls for t in state_types(c)))
        partial = HashAggregate(fragment.root, "partial", groups, calls, (*schema[: len(groups)], *states))
        fragment = replace(fragment, root=partial, keys=None, rows=rows * self.builder.cluster.slots)
        return self._final(fragment, len(groups), calls, plan)

    def _final(self, fragment: Fragment, width: int, calls: tuple[AggregateCall, ...], plan: lg.Aggregate) -> Fragment:
        """The second step over states of groups, which are the first `width` columns."""
        rows, first = self.estimator.rows(plan), tuple(range(width))
        small = fragment.is_one_task or not width or rows <= GATHERED_GROUPS
        by = None if small else self._placing_keys(plan)
        if not fragment.is_one_task:
            fragment = self.builder.gathered(fragment) if by is None else self.builder.hashed(fragment, by)
        final = HashAggregate(fragment.root, "final", first, calls, plan.schema)
        return replace(fragment, root=final, rows=rows, keys=by)

    def _placing_keys(self, plan: lg.Aggregate) -> tuple[int, ...]:
        """The keys by whose hash the groups of `plan` are placed: without strings, whose hash takes the longest, where one of
        the others is known to have many values and no frequent one."""
        others = tuple(i for i, g in enumerate(plan.groups) if g.type.lane is not Lane.BYTES)
        slots = self.builder.cluster.slots
        for group in (plan.groups[i] for i in others):
            values = self.estimator.column(plan.input, group) if isinstance(group, ex.Ref) else None
            if values is None or values.stats.histogram is None or not self.estimator.is_known(plan.input, group):
                continue
            many = self.estimator.distinct_values(plan.input, group) >= PLACING_VALUES * slots
            if many and values.heaviest * slots <= PLACING_SHARE:
                return others
        return tuple(range(len(plan.groups)))

    def _reads_groups(self, plan: lg.Aggregate, calls: tuple[AggregateCall, ...], fragment: Fragment) -> bool:
        """Whether DuckDB aggregates what it scans: few groups of many rows, in calls that compute as the kernels do."""
        most = SCANNED_TEXT_GROUPS if any(g.type.lane is Lane.BYTES for g in plan.groups) else SCANNED_GROUPS
        if fragment.rows < SCANNED_ROWS or (plan.groups and self.estimator.rows(plan) > most):
            return False
        if any(c.distinct or (c.arg_type is not None and c.arg_type.lane is Lane.WIDE) for c in calls):
            return False
        return bool(calls) and all(self.estimator.is_known(plan.input, g) for g in plan.groups)

    def _scanned_states(
        self, fragment: Fragment, groups: tuple[int, ...], calls: tuple[AggregateCall, ...], schema: Schema, rows: float
    ) -> Fragment:
        """States as the kernels make them, by DuckDB while it scans.

        HashAggregate partial g, avg(x)        Aggregate partial g, sum(x), count(x)
          Scan                           ->      Scan
        """
        width = len(groups)
        states = [(text, t) for c in calls for text, t in zip(state_texts(c), state_types(c))]
        fields = (*schema[:width], *(Field(f"s{i}", t) for i, (_, t) in enumerate(states)))
        merge = tuple(merge_text(text, f"c{width + i}") for i, (text, _) in enumerate(states))
        node = StateAggregate(fragment.root, groups, tuple(text for text, _ in states), merge, fields)
        return replace(fragment, root=node, keys=None, rows=rows * self.builder.cluster.slots)

    def join(self, plan: lg.Join) -> Fragment:
        if plan.kind == "full":
            return replace(self.relational(duckdb_join(plan)), rows=self.estimator.rows(plan))
        if plan.kind not in ("inner", "left", "semi", "anti"):
            raise NotSupported(f"{plan.kind.upper()} JOIN cannot run distributed yet")
        kind: JoinKind = plan.kind
        if kind in ("semi", "anti"):
            plan = replace(plan, right=self._with_repeats(plan.right))
        equal = [c for c in plan.conditions if c.op in ("=", "IS NOT DISTINCT FROM")]
        width = len(plan.left.schema)
        residual: list[Expr] = [
            ex.Compare(c.op, c.left, ex.remap(c.right, {i: i + width for i in ex.references(c.right)}))
            for c in plan.conditions
            if c not in equal
        ]
        for c in equal:
            if c.left.type.lane is None:  # equal hashes bring the candidates
                theirs = ex.remap(c.right, {i: i + width for i in ex.references(c.right)})
                residual.append(ex.Compare(c.op, c.left, theirs))
        if plan.residual is not None:
            residual.extend(ex.conjuncts(plan.residual))
        condition = ex.conjunction(tuple(residual)) if residual else None
        left, right = self.fragment(plan.left), self.fragment(plan.right)
        null_equal = tuple(c.op == "IS NOT DISTINCT FROM" for c in equal)
        left_keys: tuple[int, ...]
        right_keys: tuple[int, ...]
        if equal:
            left, left_keys = _keyed(left, [_joinable(c.left) for c in equal])
            right, right_keys = _keyed(right, [_joinable(c.right) for c in equal])
        else:
            # every pair is a candidate: one constant key on both sides
            left, left_keys = _keyed(left, [ex.Const(0, INTEGER)])
            right, right_keys = _keyed(right, [ex.Const(0, INTEGER)])
            null_equal = (False,)
        _check_keys(left, left_keys, right, right_keys)
        sides = _Sides(plan, kind, left, right, left_keys, right_keys, null_equal, condition)
        return self._joined(sides, self.estimator.rows(plan), bool(equal))

    def _with_repeats(self, plan: lg.Plan) -> lg.Plan:
        """What gives the rows of `plan`, some of them several times: where only matters whether one matches, a few repeats are
        not worth the two steps that remove them."""
        if isinstance(plan, lg.Compute) and not any(map(is_volatile, plan.exprs)):
            return replace(plan, input=self._with_repeats(plan.input))
        if not isinstance(plan, lg.Aggregate) or plan.calls or not plan.groups:
            return plan
        rows = self.estimator.rows(plan.input)
        if rows > max(REPEATED_ROWS, MOST_REPEATS * self.estimator.rows(plan)):
            return plan
        return lg.Compute(plan.input, plan.groups, plan.names)

    def _joined(self, sides: _Sides, rows: float, keyed: bool) -> Fragment:
        swap = sides.kind == "inner" and _bytes(sides.left) < _bytes(sides.right)
        probe, build = (sides.right, sides.left) if swap else (sides.left, sides.right)
        probe_keys, build_keys = (sides.right_keys, sides.left_keys) if swap else (sides.left_keys, sides.right_keys)
        if probe.is_one_task and build.is_one_task:
            part = probe.parts[0].merge(build.parts[0])
            return replace(sides.fragment(probe, build, swap, rows, None), parts=(part,))
        together = probe.keys == probe_keys and build.keys == build_keys and len(probe.parts) == len(build.parts) == 1
        if not together and (not keyed or self._broadcasts(probe, build)):
            beside = tuple(p.beside(build.parts[0]) for p in probe.parts) if is_small(build) else ()
            if beside and not any(p.is_torn for p in beside):
                return replace(sides.fragment(probe, build, swap, rows, probe.keys), parts=beside)
            read, stage = self.builder.broadcast(build, probe.parts)
            small = Fragment(read, (), build.rows)
            parts = tuple(replace(p, whole=(*p.whole, stage)) for p in probe.parts)
            return replace(sides.fragment(probe, small, swap, rows, probe.keys), parts=parts)
        if not together and sides.kind != "inner" and not build.is_one_task:
            probe, build = self._reduced(sides, probe, build)
        build = self.builder.hashed(build, build_keys)  # first: what it really has may spare the probe side its exchange
        if sides.kind in ("inner", "semi") and sides.condition is None:
            probe = self._matching(probe, build, probe_keys, build_keys, sides.null_equal, rows)
        probe = self.builder.hashed(probe, probe_keys)
        if probe.parts[0].merge(build.parts[0]).is_torn:
            build = self.builder.hashed(build, build_keys, anew=True)
        part = probe.parts[0].merge(build.parts[0])
        return replace(sides.fragment(probe, build, swap, rows, probe_keys), parts=(part,))

    def _reduced(self, sides: _Sides, probe: Fragment, build: Fragment) -> tuple[Fragment, Fragment]:
        """Both sides of a join that keeps the left one, the right one without the rows that have no match where these are most:
        a semi join with the keys of the left side, in the tasks that make the rows, costs less than to partition them.

        Source: Bernstein and Chiu, Using semi-joins to solve relational queries, JACM 1981."""
        plan = sides.plan
        if isinstance(build.root, HashJoin) and build.root.kind == "semi":  # as DuckDB has made it out of a subquery
            return probe, build
        equal = tuple(lg.Condition(c.right, c.op, c.left) for c in plan.conditions if c.op in ("=", "IS NOT DISTINCT FROM"))
        kept = min(build.rows, self.estimator.rows(lg.Join(plan.right, plan.left, "semi", equal)))
        if build.rows < MOST * max(kept, probe.rows) or _bytes(probe) > self.builder.cluster.broadcast_bytes:
            return probe, build
        probe = self.builder.hashed(probe, sides.left_keys)
        if not isinstance(probe.root, ExchangeRead):
            return probe, build
        stage = probe.root.stage
        if any(stage in p.hashed for p in build.parts):
            return probe, build
        semi = HashJoin(
            build.root,
            probe.root,
            "semi",
            sides.right_keys,
            sides.left_keys,
            sides.null_equal,
            None,
            tuple(range(len(build.schema))),
            build.schema,
            round(kept / max(1.0, build.rows), 3),
        )
        parts = tuple(replace(p, whole=(*p.whole, stage)) for p in build.parts)
        return probe, replace(build, root=semi, parts=parts, rows=kept)

    def _matching(
        self,
        probe: Fragment,
        build: Fragment,
        probe_keys: tuple[int, ...],
        build_keys: tuple[int, ...],
        null_equal: tuple[bool, ...],
        rows: float,
    ) -> Fragment:
        """The probe side without rows that have no match, where these are most: they need not be partitioned. The keys of the
        build side go to all tasks that make its rows, in a stage of their own, as the whole rows may be wide.

            HashJoin                                   HashJoin
              exchange by key                            exchange by key
                Scan lineitem                   ->         HashJoin semi
              stage by key                                   Scan lineitem
                                                             broadcast of the keys
                                                         stage by key
        """
        if probe.keys == probe_keys or probe.is_one_task or rows > MATCHING_SHARE * probe.rows:
            return probe
        if MOST * self.builder.cluster.slots * build.rows > probe.rows:
            return probe
        names = tuple(f"key{i}" for i in range(len(build_keys)))
        keys = project(build, tuple(ex.Ref(k, build.schema[k].type) for k in build_keys), names)
        if _bytes(keys) > self.builder.cluster.broadcast_bytes:
            return probe
        read, stage = self.builder.broadcast(keys, probe.parts)
        columns, share = tuple(range(len(probe.schema))), round(rows / max(1.0, probe.rows), 3)
        places = tuple(range(len(build_keys)))
        semi = HashJoin(probe.root, read, "semi", probe_keys, places, null_equal, None, columns, probe.schema, share)
        parts = tuple(replace(p, whole=(*p.whole, stage)) for p in probe.parts)
        return replace(probe, root=semi, parts=parts, rows=rows)

    def _broadcasts(self, probe: Fragment, build: Fragment) -> bool:
        """Whether sending the build side to every agent is cheaper than partitioning both sides. Building costs about
        twice what partitioning a row does."""
        if _bytes(build) > self.builder.cluster.broadcast_bytes:
            return False
        copies = self.builder.cluster.slots - 1
        return copies * build.rows * 2 <= probe.rows + build.rows

    def order(self, plan: lg.Order) -> Fragment:
        fragment, positions = _keyed(self.fragment(plan.input), [k.expr for k in plan.keys])
        if any(k.expr.type.lane is None for k in plan.keys):
            return self._duckdb_order(self.builder.gathered(fragment), positions, plan)
        keys = tuple(SortKey(p, k.descending, k.nulls_first) for p, k in zip(positions, plan.keys))
        if not fragment.is_one_task:
            last = None if plan.limit is None else plan.limit + plan.offset
            if last is not None:
                fragment = replace(fragment, root=Sort(fragment.root, keys, last), keys=None)
            # tasks that each sort a range give the order together: whoever reads tasks reads them one after the other
            bounds = range_bounds(plan, self.estimator, self.builder.cluster.slots)
            fragment = self.builder.ranged(fragment, keys[0], bounds) if bounds else self.builder.gathered(fragment)
        root = Sort(fragment.root, keys, plan.limit, plan.offset)
        refs = tuple(ex.Ref(i, f.type) for i, f in enumerate(plan.schema))
        ordered = replace(fragment, root=root, keys=None, rows=self.estimator.rows(plan))
        return project(ordered, refs, tuple(f.name for f in plan.schema))

    def _duckdb_order(self, fragment: Fragment, positions: tuple[int, ...], plan: lg.Order) -> Fragment:
        """A sort by values that no kernel compares."""
        keys = ", ".join(
            f"c{p} {'DESC' if k.descending else 'ASC'} NULLS {'FIRST' if k.nulls_first else 'LAST'}"
            for p, k in zip(positions, plan.keys)
        )
        limit = "" if plan.limit is None else f" LIMIT {plan.limit}"
        columns = ", ".join(f"c{i}" for i in range(len(plan.schema)))
        sql = f"SELECT {columns} FROM in0 ORDER BY {keys}{limit} OFFSET {plan.offset}"
        root = Relational((fragment.root,), "Sort", sql, plan.schema)
        return replace(fragment, root=root, keys=None, rows=self.estimator.rows(plan))

    def slice(self, plan: lg.Slice) -> Fragment:
        if (whole := limited(plan)) is not plan:
            return self.fragment(whole)
        fragment = self.fragment(plan.input)
        if not fragment.is_one_task:
            if plan.limit is not None:
                fragment = replace(fragment, root=Limit(fragment.root, plan.limit + plan.offset))
            fragment = self.builder.gathered(fragment)
        root = Limit(fragment.root, plan.limit, plan.offset)
        return replace(fragment, root=root, keys=None, rows=self.estimator.rows(plan))

    def union(self, plan: lg.UnionAll) -> Fragment:
        """Inputs that only scans feed stay in the union's stage, where each runs in every task, over no row but in its own;
        any other input ends in a gather of its own. Constant rows make one task together."""
        inputs = [self.fragment(i) for i in plan.inputs]
        for one in inputs:
            if tuple(f.type for f in one.schema) != tuple(f.type for f in plan.schema):
                raise NotSupported("UNION ALL of different types cannot run distributed yet")
        rows = sum(f.rows for f in inputs)
        if all(f.parts == (Part(),) for f in inputs):
            return Fragment(Union(tuple(f.root for f in inputs), plan.schema), (Part(),), rows)
        closed = [f if _is_idle(f) else self._cut(f) for f in inputs]
        parts = tuple(p for f in closed for p in f.parts)
        return Fragment(Union(tuple(f.root for f in closed), plan.schema), parts, rows)

    def _cut(self, fragment: Fragment) -> Fragment:
        stage = self.builder.close(fragment, Exchange("gather"))
        return Fragment(ExchangeRead(stage, fragment.schema), (Part(whole=(stage,)),), fragment.rows)


class _Columns:
    """The distinct expressions that an operator needs as columns of its input."""

    def __init__(self) -> None:
        self.exprs: list[Expr] = []

    def place(self, expr: Expr) -> int:
        if expr not in self.exprs:
            self.exprs.append(expr)
        return self.exprs.index(expr)


class _Sides:
    """A join between fragments, before it is known which side is built and how rows get together."""

    def __init__(
        self,
        plan: lg.Join,
        kind: JoinKind,
        left: Fragment,
        right: Fragment,
        left_keys: tuple[int, ...],
        right_keys: tuple[int, ...],
        null_equal: tuple[bool, ...],
        condition: Expr | None,
    ) -> None:
        self.plan, self.kind, self.left, self.right = plan, kind, left, right
        self.left_keys, self.right_keys, self.null_equal, self.condition = left_keys, right_keys, null_equal, condition

    def fragment(self, probe: Fragment, build: Fragment, swap: bool, rows: float, keys: tuple[int, ...] | None) -> Fragment:
        """The join as a fragment with the probe's tasks; `keys` are probe columns by which the rows are partitioned."""
        logical_left, left_width, right_width = len(self.plan.left.schema), len(self.left.schema), len(self.right.schema)
        first = right_width if swap else left_width
        # where a column of the logical join (left, then right) stands among probe columns, then build columns
        at = {i: i if not swap else first + i for i in range(logical_left)}
        at |= {logical_left + i: i if swap else first + i for i in range(len(self.plan.right.schema))}
        schema = self.plan.schema
        output = tuple(at[i] for i in range(len(schema)))
        node = HashJoin(
            probe.root,
            build.root,
            self.kind,
            self.right_keys if swap else self.left_keys,
            self.left_keys if swap else self.right_keys,
            self.null_equal,
            None if self.condition is None else ex.remap(self.condition, at),
            output,
            schema,
            1.0 if self.condition is not None else round(min(1.0, rows / max(1.0, probe.rows)), 3),
        )
        kept = {column: i for i, column in reversed(list(enumerate(output)))}
        out_keys = tuple(kept[k] for k in keys) if keys is not None and all(k in kept for k in keys) else None
        return Fragment(node, probe.parts, rows, out_keys)


def _is_idle(fragment: Fragment) -> bool:
    """Whether the operators of `fragment` give no row in a task that has none of its splits."""
    if not all(p.scans and not p.hashed and not p.whole for p in fragment.parts):
        return False
    for node in operators(fragment.root):
        if isinstance(node, Values) or (isinstance(node, HashAggregate) and not node.groups):
            return False
        if isinstance(node, Relational) and node.name not in ROW_BY_ROW:  # such as an aggregate without groups
            return False
    return True


def _bytes(fragment: Fragment) -> float:
    return fragment.rows * row_bytes(fragment.schema)


def _keyed(fragment: Fragment, exprs: Sequence[Expr]) -> tuple[Fragment, tuple[int, ...]]:
    """`fragment` with every expression as a column, appended where it is not one already, and their positions."""
    columns = _Columns()
    for i, f in enumerate(fragment.schema):
        columns.exprs.append(ex.Ref(i, f.type))
    width = len(columns.exprs)
    positions = tuple(columns.place(e) for e in exprs)
    if len(columns.exprs) == width:
        return fragment, positions
    names = (*(f.name for f in fragment.schema), *(f"key{i}" for i in range(len(columns.exprs) - width)))
    return project(fragment, tuple(columns.exprs), names), positions


def _joinable(key: Expr) -> Expr:
    """`key`, or the hash of one that no kernel compares."""
    return key if key.type.lane is not None else ex.Call("hash", (key,), UBIGINT)


def _check_keys(left: Fragment, left_keys: tuple[int, ...], right: Fragment, right_keys: tuple[int, ...]) -> None:
    for i, j in zip(left_keys, right_keys):
        ours, theirs = left.schema[i].type, right.schema[j].type
        if ours != theirs or ours.lane is None:
            raise NotSupported(f"a join of {ours} with {theirs} cannot run distributed yet")
