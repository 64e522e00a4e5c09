"""Rows on disk by the hash of their keys, so that each part can be worked on by itself and equal keys are in one part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sabot_sql.errors import OutOfMemory
from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.gather import concatenate
from sabot_sql.executor.kernels import partitioning
from sabot_sql.executor.keys import partition_hash
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.partition import parts
from sabot_sql.executor.spill import SpillFile, SpillScope
from sabot_sql.types import SqlType

FAN_OUT = 16
LEVEL_BITS = 4
LEVELS = 6
"""How often a part may be split again: 16^6 parts. What is too large then has few keys, and no hash tells them apart."""

MIN_BUFFER_BYTES, MAX_BUFFER_BYTES = 64 << 10, 4 << 20


def buffer_bytes(share_bytes: int) -> int:
    """What an operator with such a share of the memory collects before it writes."""
    return max(MIN_BUFFER_BYTES, min(MAX_BUFFER_BYTES, share_bytes // 16))


class SpillPartitions:
    """`FAN_OUT` files that batches are split into. One thread at a time.

    The part is cut from the lower half of the stable hash, by other bits at each level; exchanges cut from the upper half, so
    that the rows of a task have all values of the lower one.

    Args:
        keys: positions of the key columns.
        types: SQL types of the key columns.
        level: how often these rows have been split before.

    Raises:
        OutOfMemory: they have been split too often.
    """

    def __init__(
        self,
        scope: SpillScope,
        schema: pa.Schema,
        keys: Sequence[int],
        types: Sequence[SqlType],
        level: int,
        what: str,
        stats: OperatorStats,
        context: TaskContext,
    ) -> None:
        if level == LEVELS:
            raise OutOfMemory(
                f"{what} has too many rows of the same keys for the memory of its task: after {LEVELS} rounds of splitting "
                f"one part needs more than {context.share_bytes:,} bytes",
                hint="raise agents.memory_bytes (SABOT_AGENTS__MEMORY_BYTES)",
            )
        self.schema = schema
        self.level = level
        self.files: tuple[SpillFile, ...] = tuple(scope.create(schema, what, stats) for _ in range(FAN_OUT))
        self._keys = tuple(keys)
        self._types = tuple(types)
        self._pending: list[list[pa.RecordBatch]] = [[] for _ in range(FAN_OUT)]
        self._held_bytes = 0
        self._buffer_bytes = buffer_bytes(context.share_bytes)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows to the parts that they belong to."""
        if not batch.num_rows:
            return
        keys = [unwrap(batch.column(k), t) for k, t in zip(self._keys, self._types)]
        hashes = partition_hash(keys) if keys else np.zeros(batch.num_rows, np.uint64)
        hashes <<= np.uint64(32 + LEVEL_BITS * self.level)
        numbers = np.empty(batch.num_rows, np.int64)
        starts = np.zeros(FAN_OUT + 1, np.int64)
        partitioning.partition_numbers(hashes, FAN_OUT, numbers, starts)
        for number, part in parts(batch, numbers, starts):
            self._pending[number].append(part)
        # parts are slices of one batch, which goes with the last of them: all are written at the same time
        self._held_bytes += batch.nbytes
        if self._held_bytes >= self._buffer_bytes:
            self._flush()

    def finish(self) -> tuple[SpillFile, ...]:
        """Write what is left; the files can be read then."""
        self._flush()
        for file in self.files:
            file.finish()
        return self.files

    def remove(self) -> None:
        """Give up all files."""
        self._pending = [[] for _ in range(FAN_OUT)]
        for file in self.files:
            file.remove()

    def _flush(self) -> None:
        for file, pieces in zip(self.files, self._pending):
            if pieces:
                file.write(concatenate(pieces, self.schema))
                pieces.clear()
        self._held_bytes = 0
