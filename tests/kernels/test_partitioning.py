"""Partitioning kernels against plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels import partitioning


@pytest.mark.parametrize("many", [1, 2, 3, 7, 256])
def test_partitions_come_from_the_upper_bits(many: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64 - 1, 500, np.uint64, endpoint=True)
    numbers, starts = np.empty(500, np.int64), np.zeros(many + 1, np.int64)
    partitioning.partition_numbers(hashes, many, numbers, starts)
    expected = [((int(h) >> 32) * many) >> 32 for h in hashes]
    assert numbers.tolist() == expected
    assert starts.tolist() == [sum(n < p for n in expected) for p in range(many + 1)]
    positions = np.empty(500, np.int64)
    partitioning.scatter_positions(numbers, starts[:-1].copy(), positions)
    assert positions.tolist() == sorted(range(500), key=lambda i: expected[i])


def test_warm_compiles_every_kernel() -> None:
    partitioning.warm()
    assert partitioning.scatter_positions.dispatcher is not None
