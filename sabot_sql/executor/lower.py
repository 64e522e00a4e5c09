"""From a stage's tree to pipelines: operators that must see all rows end a pipeline and begin the next.

Exchange hash                        1. Scan s                     -> JoinBuild
  HashAggregate single         =>    2. Scan l -> HashJoinProbe    -> HashAggregate
    HashJoin                         3. groups                     -> ExchangeWrite
      Scan l
      Scan s
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.executor.dynamic_filters import dynamic_filters
from sabot_sql.executor.evaluate import Predicate
from sabot_sql.executor.exchange import BlockFile, BlockReader
from sabot_sql.executor.exchange_read import ExchangeReadSource
from sabot_sql.executor.filter_project import FilterOperator, ProjectOperator
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.hash_aggregate import HashAggregateSink
from sabot_sql.executor.hash_join import HashJoinProbe, JoinBuildSink, Residual
from sabot_sql.executor.limit import LimitOperator
from sabot_sql.executor.operator import OperatorStats, Sink, StreamOperator, TaskContext, Unit
from sabot_sql.executor.partial_aggregate import PartialAggregateOperator, is_streamed
from sabot_sql.executor.pipeline import Branch, run_pipeline
from sabot_sql.executor.relational import RelationalSink, RelationalSource, ScanTop
from sabot_sql.executor.scan import ScanSource
from sabot_sql.executor.shared_builds import SHARED, SharedBuild
from sabot_sql.executor.sort import SortSink
from sabot_sql.executor.sorted_runs import sort_bytes
from sabot_sql.executor.state_aggregate import ScanStates, StateSink
from sabot_sql.planner.expressions import references
from sabot_sql.planner.physical import (
    TOP,
    ExchangeRead,
    Filter,
    HashAggregate,
    HashJoin,
    Limit,
    Node,
    Project,
    Relational,
    Scan,
    Sort,
    Stage,
    StateAggregate,
    Task,
    Union,
    Values,
)
from sabot_sql.types import Schema, inner_schema

VALUE_BYTES = 16
"""What a computed value takes, about."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Branches into a sink; `need_bytes` is what the sink will hold at most, where that is known before."""

    branches: tuple[Branch, ...]
    sink: Sink
    need_bytes: int | None = None

    def run(self, context: TaskContext) -> None:
        run_pipeline(self.branches, self.sink, context)


@dataclass(frozen=True, slots=True)
class SharedPipelines:
    """Pipelines that end in a build side which other tasks may share; the first task runs them."""

    build: SharedBuild
    pipelines: tuple[Pipeline | SharedPipelines, ...]

    def run(self, context: TaskContext) -> None:
        self.build.build(lambda inner: run_pipelines(self.pipelines, inner), context)

    @property
    def need_bytes(self) -> int | None:
        """As of the last pipeline, which makes the table."""
        return self.pipelines[-1].need_bytes


def run_pipelines(pipelines: Sequence[Pipeline | SharedPipelines], context: TaskContext) -> None:
    """Run pipelines one after the other."""
    for number, pipeline in enumerate(pipelines):
        context.memory.begin([later.need_bytes for later in pipelines[number + 1 :]])
        pipeline.run(context)


class Lowering:
    """Makes the pipelines of one task.

    Attributes:
        pipelines: in the order in which they must run; the caller adds the last one.
    """

    def __init__(
        self, stage: Stage, task: Task, inputs: Mapping[int, Sequence[BlockFile]], reader: BlockReader, context: TaskContext
    ) -> None:
        self.task = task
        self.inputs = inputs
        self.reader = reader
        self.context = context
        self.timezone = context.session.timezone
        self.numbers = {id(node): number for number, node in enumerate(preorder(stage.root))}
        self.pipelines: list[Pipeline | SharedPipelines] = []
        self._builds: list[JoinBuildSink] = []
        self._sorts: list[SortSink] = []
        self._shared: list[SharedBuild] = []
        self._scans: dict[int, list[ScanSource]] = {}  # a node may stand in several places

    def schema(self, types: Schema) -> pa.Schema:
        """The Arrow schema of batches of `types` in this task."""
        return inner_schema(types, self.timezone)

    def stats(self, node: Node, name: str = "") -> OperatorStats:
        """New counters for an operator of `node`."""
        found = OperatorStats(self.numbers[id(node)], name or type(node).__name__, node.home)
        self.context.stats.append(found)
        return found

    def lower(self, node: Node) -> tuple[Branch, ...]:
        """The branches that give the rows of `node`; the pipelines that must run before are added to `pipelines`."""
        match node:
            case Scan():
                splits = self.task.splits.get(node.scan_id, ())
                source = ScanSource(node, splits, self.schema(node.schema), self.stats(node))
                self._scans.setdefault(id(node), []).append(source)
                return (Branch(source),)
            case ExchangeRead():
                return (Branch(self._exchange(node)),)
            case Values():
                return (Branch(ValuesSource(node, self.schema(node.schema), self.stats(node))),)
            case Filter():
                return self._filter(node)
            case Project(input=Filter() as kept):
                operator = ProjectOperator(node, self.schema(node.schema), self.stats(node))
                read = frozenset(i for e in node.exprs for i in references(e))
                return tuple(branch.then(operator) for branch in self._filter(kept, read))
            case Project():
                return self._over(node.input, ProjectOperator(node, self.schema(node.schema), self.stats(node)))
            case Limit():
                return self._over(node.input, LimitOperator(node, self.schema(node.schema), self.stats(node)))
            case HashAggregate() if is_streamed(node):
                groups_of = PartialAggregateOperator(node, node.input.schema, self.schema(node.schema), self.stats(node))
                return self._over(node.input, groups_of)
            case HashAggregate():
                groups = HashAggregateSink(node, node.input.schema, self.schema(node.schema), self.stats(node))
                below = self.lower(node.input)
                size = groups.input_size = self._size(node.input)
                self.pipelines.append(Pipeline(below, groups, None if size is None else groups.needed_bytes(*size)))
                return (Branch(SinkSource(groups)),)
            case StateAggregate(input=Scan() as scan):
                splits, schema = self.task.splits.get(scan.scan_id, ()), self.schema(node.schema)
                return (Branch(ScanStates(node, scan, splits, schema, self.stats(node), self.stats(scan))),)
            case StateAggregate():
                states = StateSink(node, self.schema(node.schema), self.stats(node))
                below = self.lower(node.input)
                self.pipelines.append(Pipeline(below, states))
                return (Branch(SinkSource(states)),)
            case Sort():
                rows = SortSink(node, self.schema(node.schema), self.stats(node))
                self._sorts.append(rows)
                below = self.lower(node.input)
                size = self._size(node.input)
                self.pipelines.append(Pipeline(below, rows, None if size is None else sort_bytes(*size)))
                return (Branch(SinkSource(rows)),)
            case HashJoin():
                return self._join(node)
            case Relational(name=name, inputs=(Scan() as scan,)) if name == TOP:
                splits, schema = self.task.splits.get(scan.scan_id, ()), self.schema(node.schema)
                return (Branch(ScanTop(node, scan, splits, schema, self.stats(node), self.stats(scan))),)
            case Relational():
                sinks = []
                for each in node.inputs:
                    sink = RelationalSink(each.schema, self.schema(each.schema), self.stats(node))
                    below = self.lower(each)
                    self.pipelines.append(Pipeline(below, sink))
                    sinks.append(sink)
                return (Branch(RelationalSource(node, sinks, self.schema(node.schema), self.stats(node))),)
            case Union():
                return tuple(branch for each in node.inputs for branch in self.lower(each))

    def _filter(self, node: Filter, wanted: frozenset[int] | None = None) -> tuple[Branch, ...]:
        return self._over(node.input, FilterOperator(node, self.schema(node.schema), self.stats(node), wanted))

    def _over(self, below: Node, operator: StreamOperator) -> tuple[Branch, ...]:
        return tuple(branch.then(operator) for branch in self.lower(below))

    def _exchange_blocks(self, node: ExchangeRead) -> Sequence[BlockFile]:
        blocks = self.inputs.get(node.stage, ())
        if (producers := self.task.producers.get(node.stage)) is not None:
            first, end = producers
            blocks = tuple(b for b in blocks if first <= b.task_index < end)
        return blocks

    def _exchange(self, node: ExchangeRead) -> ExchangeReadSource:
        blocks = self._exchange_blocks(node)
        partitions = self.task.partitions.get(node.stage, ())
        return ExchangeReadSource(blocks, partitions, self.reader, self.schema(node.schema), self.stats(node))

    def close(self) -> None:
        """Free what the operators hold."""
        for build in self._builds:
            build.close(self.context)
        for sort in self._sorts:
            sort.close(self.context)
        while self._shared:
            SHARED.release(self._shared.pop(), self.context)

    def _join(self, node: HashJoin) -> tuple[Branch, ...]:
        build_types, probe_types = node.build.schema, node.probe.schema

        def make() -> JoinBuildSink:
            return JoinBuildSink(node, build_types, self.schema(build_types), self.stats(node, "HashJoinBuild"))

        shared, before = None, self.pipelines
        if (key := self._share_key(node)) is not None:
            shared = SHARED.acquire(key, make, self.context)
            self._shared.append(shared)
            self.pipelines = []
        build = make() if shared is None else shared.sink
        branches = self.lower(node.build)
        size = self._size(node.build)
        self.pipelines.append(Pipeline(branches, build, None if size is None else build.needed_bytes(*size)))
        if shared is None:
            self._builds.append(build)
        else:
            self.pipelines = [*before, SharedPipelines(shared, tuple(self.pipelines))]
        schema, residual = self.schema(node.schema), self._residual(node)
        probe = HashJoinProbe(node, build, probe_types, build_types, residual, schema, self.stats(node))
        branches = self._over(node.probe, probe)
        for scan, found in dynamic_filters(node, build):
            if len(sources := self._scans[id(scan)]) == 1:
                sources[0].dynamic.append(found)
        return branches

    def _size(self, node: Node) -> tuple[int, int] | None:
        """Bytes and rows that `node` gives at most, about, where its input is there: it says how much memory an operator over
        it leaves for others, and nothing else."""
        match node:
            case ExchangeRead():
                source = self._exchange_blocks(node)
                wanted = frozenset(self.task.partitions.get(node.stage, ()))
                found = [p for block in source for p in block.partitions if p.partition in wanted]
                return sum(p.size_bytes for p in found), sum(p.rows for p in found)
            case Filter():
                return self._size(node.input)
            case Project() if (size := self._size(node.input)) is not None:
                return max(size[0], VALUE_BYTES * len(node.exprs) * size[1]), size[1]
        return None

    def _share_key(self, node: HashJoin) -> Hashable | None:
        """What the build side is built from, equal in all tasks that read the same blocks; None where it reads a table."""
        reads = []
        for below in preorder(node.build):
            match below:
                case Scan():
                    return None
                case ExchangeRead(stage=stage):
                    blocks = tuple((b.task_index, b.attempt, b.path) for b in self.inputs.get(stage, ()))
                    reads.append((stage, self.task.partitions.get(stage, ()), self.task.producers.get(stage), blocks))
        return (self.context.job_id, self.context.stage_id, self.numbers[id(node)], tuple(reads))

    def _residual(self, node: HashJoin) -> Residual | None:
        if node.residual is None:
            return None
        predicate, context = Predicate(node.residual, (*node.probe.schema, *node.build.schema)), self.context
        return lambda batch: predicate.mask(batch, context)


def preorder(node: Node) -> Iterator[Node]:
    """Every operator of a stage; its place in this walk is its number. One that stands in several places of the tree is
    given out as often, and is numbered by the last."""
    yield node
    for each in node.inputs:
        yield from preorder(each)


class SinkSource:
    """The rows that an aggregate or a sort gives out once it has seen all of its input."""

    def __init__(self, sink: HashAggregateSink | SortSink | StateSink) -> None:
        self.sink = sink
        self.schema: pa.Schema = sink.schema

    def units(self, context: TaskContext) -> Sequence[Unit]:
        return [self.sink]


class ValuesSource:
    """Rows without columns, or no rows."""

    def __init__(self, node: Values, schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.schema = schema
        self.stats = stats

    def units(self, context: TaskContext) -> Sequence[Unit]:
        return [self] if self.node.num_rows else []

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        self.stats.rows_out += self.node.num_rows
        nulls = [pa.nulls(self.node.num_rows, t) for t in self.schema.types]
        yield batch_of(nulls, self.node.num_rows, self.schema)
