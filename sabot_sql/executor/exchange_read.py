"""Reading an exchange: the partitions that a task was given of the blocks of an input stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor.exchange import BlockFile, BlockReader
from sabot_sql.executor.operator import OperatorStats, TaskContext

_stats_lock = threading.Lock()


class ExchangeReadSource:
    """Blocks ordered by producer task; a unit is one block.

    Args:
        partitions: which partitions of each block to read.
        schema: what the batches must have.
    """

    def __init__(
        self,
        blocks: Sequence[BlockFile],
        partitions: Sequence[int],
        reader: BlockReader,
        schema: pa.Schema,
        stats: OperatorStats,
    ) -> None:
        self.blocks = sorted(blocks, key=lambda b: b.task_index)
        self.partitions = tuple(partitions)
        self.reader = reader
        self.schema = schema
        self.stats = stats

    def units(self, context: TaskContext) -> Sequence[BlockUnit]:
        wanted = frozenset(self.partitions)
        return [BlockUnit(self, b) for b in self.blocks if any(p.rows and p.partition in wanted for p in b.partitions)]


@dataclass(frozen=True, slots=True)
class BlockUnit:
    """The wanted partitions of one block, in order."""

    source: ExchangeReadSource
    block: BlockFile

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        source = self.source
        present = {p.partition for p in self.block.partitions if p.rows}
        rows, elapsed_ns = 0, 0
        began = time.perf_counter_ns()
        try:
            for partition in source.partitions:
                if partition not in present:
                    continue
                for batch in source.reader.read(self.block, partition):
                    self._check(batch)
                    rows += batch.num_rows
                    elapsed_ns += time.perf_counter_ns() - began
                    yield batch
                    began = time.perf_counter_ns()
        finally:
            with _stats_lock:
                source.stats.rows_in += rows
                source.stats.rows_out += rows
                source.stats.elapsed_ns += elapsed_ns

    def _check(self, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(self.source.schema):
            raise InternalError(
                f"a block of stage {self.block.stage_id} has the columns {batch.schema.to_string()}, "
                f"its reader expects {self.source.schema.to_string()}"
            )
