"""From a stage's tree to pipelines: operators that must see all rows end a pipeline and begin the next.

Exchange hash                        1. Scan s                     -> JoinBuild
  HashAggregate partial        =>    2. Scan l -> HashJoinProbe    -> HashAggregate
    HashJoin                         3. groups                     -> ExchangeWrite
      Scan l
      Scan s
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.executor.evaluate import Predicate
from sabot_sql.executor.exchange import BlockFile, BlockReader
from sabot_sql.executor.exchange_read import ExchangeReadSource
from sabot_sql.executor.filter_project import FilterOperator, ProjectOperator
from sabot_sql.executor.gather import batch_of
from sabot_sql.executor.hash_aggregate import HashAggregateSink
from sabot_sql.executor.hash_join import HashJoinProbe, JoinBuildSink, Residual
from sabot_sql.executor.limit import LimitOperator
from sabot_sql.executor.operator import OperatorStats, Sink, StreamOperator, TaskContext, Unit
from sabot_sql.executor.pipeline import Branch
from sabot_sql.executor.scan import ScanSource
from sabot_sql.executor.sort import SortSink
from sabot_sql.planner.physical import (
    ExchangeRead,
    Filter,
    HashAggregate,
    HashJoin,
    Limit,
    Node,
    Project,
    Scan,
    Sort,
    Stage,
    Task,
    Union,
    Values,
)
from sabot_sql.types import Schema, inner_schema


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Branches into a sink; `node` is what the sink stands for, None at the top of the stage."""

    branches: tuple[Branch, ...]
    sink: Sink
    node: Node | None = None


class Lowering:
    """Makes the pipelines of one task.

    Attributes:
        pipelines: in the order in which they must run; the caller adds the last one.
        builds: the build sides of joins, to be closed at the end.
        sorts: sorts, likewise.
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
        self.pipelines: list[Pipeline] = []
        self.builds: list[JoinBuildSink] = []
        self.sorts: list[SortSink] = []

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
                return (Branch(ScanSource(node, splits, self.schema(node.schema), self.stats(node))),)
            case ExchangeRead():
                return (Branch(self._exchange(node)),)
            case Values():
                return (Branch(ValuesSource(node, self.schema(node.schema), self.stats(node))),)
            case Filter():
                return self._over(node.input, FilterOperator(node, self.schema(node.schema), self.stats(node)))
            case Project():
                return self._over(node.input, ProjectOperator(node, self.schema(node.schema), self.stats(node)))
            case Limit():
                return self._over(node.input, LimitOperator(node, self.schema(node.schema), self.stats(node)))
            case HashAggregate():
                groups = HashAggregateSink(node, node.input.schema, self.schema(node.schema), self.stats(node))
                self.pipelines.append(Pipeline(self.lower(node.input), groups, node))
                return (Branch(SinkSource(groups)),)
            case Sort():
                rows = SortSink(node, self.schema(node.schema), self.stats(node))
                self.sorts.append(rows)
                self.pipelines.append(Pipeline(self.lower(node.input), rows, node))
                return (Branch(SinkSource(rows)),)
            case HashJoin():
                return self._join(node)
            case Union():
                return tuple(branch for each in node.inputs for branch in self.lower(each))

    def _over(self, below: Node, operator: StreamOperator) -> tuple[Branch, ...]:
        return tuple(branch.then(operator) for branch in self.lower(below))

    def _exchange(self, node: ExchangeRead) -> ExchangeReadSource:
        blocks = self.inputs.get(node.stage, ())
        partitions = self.task.partitions.get(node.stage, ())
        return ExchangeReadSource(blocks, partitions, self.reader, self.schema(node.schema), self.stats(node))

    def _join(self, node: HashJoin) -> tuple[Branch, ...]:
        build_types, probe_types = node.build.schema, node.probe.schema
        build = JoinBuildSink(node, build_types, self.schema(build_types), self.stats(node, "HashJoinBuild"))
        self.builds.append(build)
        self.pipelines.append(Pipeline(self.lower(node.build), build, node))
        schema, residual = self.schema(node.schema), self._residual(node)
        probe = HashJoinProbe(node, build, probe_types, build_types, residual, schema, self.stats(node))
        return self._over(node.probe, probe)

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

    def __init__(self, sink: HashAggregateSink | SortSink) -> None:
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
