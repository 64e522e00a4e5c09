"""Rows of a batch by hash partition, for exchanges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.gather import take
from sabot_sql.executor.kernels import partitioning
from sabot_sql.executor.keys import partition_hash
from sabot_sql.types import SqlType


class Partitioner:
    """Splits batches by the stable hash of key columns, so that equal keys meet wherever they were read.

    The partition is cut from the upper bits of the hash; tables in memory use a hash of their own.

    Args:
        keys: positions of the key columns.
        types: SQL types of all columns of the batches.
    """

    def __init__(self, keys: tuple[int, ...], types: Sequence[SqlType], num_partitions: int) -> None:
        self.keys = keys
        self.types = tuple(types)
        self.num_partitions = num_partitions

    def split(self, batch: pa.RecordBatch) -> list[tuple[int, pa.RecordBatch]]:
        """The partitions that have rows, in order, each with its rows in the order of the batch.

        The parts are slices of one reordered batch.
        """
        if batch.num_rows == 0:
            return []
        if self.num_partitions == 1:
            return [(0, batch)]
        hashes = partition_hash([unwrap(batch.column(k), self.types[k]) for k in self.keys])
        numbers = np.empty(batch.num_rows, np.int64)
        starts = np.zeros(self.num_partitions + 1, np.int64)
        partitioning.partition_numbers(hashes, self.num_partitions, numbers, starts)
        filled = np.flatnonzero(np.diff(starts))
        if len(filled) == 1:
            return [(int(filled[0]), batch)]
        positions = np.empty(batch.num_rows, np.int64)
        partitioning.scatter_positions(numbers, starts[:-1].copy(), positions)
        ordered = take(batch, positions, batch.schema)
        return [(int(p), ordered.slice(int(starts[p]), int(starts[p + 1] - starts[p]))) for p in filled]
