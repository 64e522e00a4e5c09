"""Kernels that sort rows into partitions: numbers from hashes, then a counting sort of positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, U64, i64, kernel, void

_U = np.uint64


@kernel(void(U64, i64, OUT_I64, OUT_I64))
def partition_numbers(hashes: Any, num_partitions: Any, out: Any, starts: Any) -> None:
    """Number rows by the upper 32 bits of their hash (multiply-shift, Lemire 2016).

    Args:
        hashes (uint64[n]), num_partitions: below 2^31.
        out (int64[n]): the partition of each row.
        starts (int64[num_partitions + 1], zeroed): where each partition will begin in the sorted order, and its end.
    """
    many = _U(num_partitions)
    for i in range(len(hashes)):
        partition = np.int64(((hashes[i] >> _U(32)) * many) >> _U(32))
        out[i] = partition
        starts[_U(partition + 1)] += 1
    for p in range(num_partitions):
        starts[p + 1] += starts[p]


@kernel(void(I64, OUT_I64, OUT_I64))
def scatter_positions(numbers: Any, cursors: Any, out: Any) -> None:
    """Stable counting sort: out (int64[n]) = row positions by numbers (int64[n]); cursors = where each number goes next."""
    for i in range(len(numbers)):
        number = _U(numbers[i])
        at = cursors[number]
        cursors[number] = at + 1
        out[_U(at)] = i


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (partition_numbers, scatter_positions):
        each.load()
