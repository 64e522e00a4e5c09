"""Rows of a batch by partition, for exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor.columns import Array, Column, unwrap
from sabot_sql.executor.gather import take
from sabot_sql.executor.kernels import partitioning
from sabot_sql.executor.keys import partition_hash
from sabot_sql.executor.ordering import ordered_words
from sabot_sql.planner.physical import SortKey
from sabot_sql.types import Lane, SqlType

DTYPES: dict[Lane, Any] = {Lane.INT: np.int64, Lane.UINT: np.uint64, Lane.FLOAT: np.float64}


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
        return parts(batch, numbers, starts)


class RangePartitioner:
    """Splits batches by the order of one column, so that each partition's rows come before those of the next one.

    Rows with equal values are in one partition, as are NULLs; a partition may hold any number of rows.

    Args:
        order: how the column is ordered.
        type: of the column.
        bounds: values of the column, ascending, in physical form; what equals a bound is above it.
    """

    def __init__(self, order: SortKey, type: SqlType, bounds: Sequence[int | float | str], num_partitions: int) -> None:
        if len(bounds) >= num_partitions:
            raise InternalError(f"{len(bounds)} bounds do not cut into {num_partitions} partitions")
        self.order = order
        self.type = type
        self.num_partitions = num_partitions
        self.words = ordered_words(column_of(bounds, type))

    def split(self, batch: pa.RecordBatch) -> list[tuple[int, pa.RecordBatch]]:
        """As `Partitioner.split`."""
        if batch.num_rows == 0:
            return []
        column = unwrap(batch.column(self.order.index), self.type)
        numbers = np.searchsorted(self.words, ordered_words(column), side="right").astype(np.int64, copy=False)
        if self.order.descending:
            numbers = len(self.words) - numbers
        if column.valid is not None:
            numbers[column.valid == 0] = 0 if self.order.nulls_first else len(self.words)
        starts = np.zeros(self.num_partitions + 1, np.int64)
        np.cumsum(np.bincount(numbers, minlength=self.num_partitions), out=starts[1:])
        return parts(batch, numbers, starts)


def column_of(values: Sequence[int | float | str], type: SqlType) -> Column:
    """Values in physical form as a column of `type`."""
    if type.lane is Lane.BYTES:
        texts = [str(v).encode("utf-8", "surrogatepass") for v in values]
        offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
        return Column(Lane.BYTES, None, None, offsets, np.frombuffer(b"".join(texts), np.uint8), None, len(values))
    if type.lane is None or type.lane not in DTYPES:
        raise InternalError(f"no range exchange cuts a column of type {type}")
    dtype = DTYPES[type.lane]
    return Column(type.lane, np.asarray(values, dtype), None, None, None, None, len(values))


def parts(batch: pa.RecordBatch, numbers: Array, starts: Array) -> list[tuple[int, pa.RecordBatch]]:
    """Slices of the batch in the order of partitions; `numbers` (int64[n]) are of rows, `starts` of partitions."""
    filled = np.flatnonzero(np.diff(starts))
    if len(filled) == 1:
        return [(int(filled[0]), batch)]
    positions = np.empty(batch.num_rows, np.int64)
    partitioning.scatter_positions(numbers, starts[:-1].copy(), positions)
    ordered = take(batch, positions, batch.schema)
    return [(int(p), ordered.slice(int(starts[p]), int(starts[p + 1] - starts[p]))) for p in filled]
