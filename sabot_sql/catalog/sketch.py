"""Distinct counts: from a sketch of all rows, or extrapolated from a sample.

Sources: Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan, "Counting distinct elements in a data stream" (RANDOM 2002), the
sketch of the k smallest hashes; A. Chao, "Estimating the population size for capture-recapture data with unequal
catchability" (Biometrics 1987), the estimator Chao2.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

SMALLEST = 4096
"""Hashes that a sketch keeps at least: a standard error of 1 / sqrt(4096) = 1.6 %."""

SPACE = 2.0**64


class Sketch:
    """The distinct values of a column by their smallest hashes; exact up to 4096 values.

    Example:
        >>> sketch = Sketch()
        >>> sketch.add(pa.array([7, 7, None, 9], pa.uint64()))
        >>> sketch.distinct, sketch.exact
        (2, True)
    """

    def __init__(self, smallest: int = SMALLEST) -> None:
        self._smallest = smallest
        self._below: int | None = None  # hashes from here on are passed over; None while all are kept
        self._kept = pa.array([], pa.uint64())

    def add(self, hashes: pa.Array) -> None:
        """Take in the hashes (uint64[num_rows]) of some rows; NULLs are none."""
        if self._below is None:
            hashes = hashes.drop_null()
        else:
            hashes = hashes.filter(pc.less(hashes, pa.scalar(self._below, pa.uint64())))
        if not len(hashes):
            return
        self._kept = pa.concat_arrays([self._kept, hashes.unique()]).unique()
        if len(self._kept) > 2 * self._smallest:
            order = pc.array_sort_indices(self._kept)[: self._smallest + 1]
            lowest = self._kept.take(order)
            self._below = lowest[-1].as_py()
            self._kept = lowest[:-1]

    @property
    def exact(self) -> bool:
        """Whether `distinct` is counted and not estimated."""
        return self._below is None

    @property
    def distinct(self) -> int:
        """The number of distinct hashes that were added."""
        if self._below is None:
            return len(self._kept)
        return round(len(self._kept) * SPACE / self._below)


@dataclass(frozen=True, slots=True)
class Seen:
    """The values of a column in a sample of several blocks of rows.

    Attributes:
        distinct: distinct values.
        in_one, in_two: those that exactly one, exactly two of the blocks have.
        blocks: blocks with values; rows: values, repeats counted.
    """

    distinct: int
    in_one: int
    in_two: int
    blocks: int
    rows: int


def extrapolate(seen: Seen, total_rows: int) -> int:
    """The distinct values among `total_rows` rows, by Chao2 with the blocks as the samples.

    Rows that lie together are alike (sorted and clustered columns), so a value's number of blocks is counted and not that of
    its rows. What no two blocks share is taken to go on in the same way: the sample's values scaled up are the upper bound.

    Example:
        >>> extrapolate(Seen(distinct=50, in_one=0, in_two=0, blocks=32, rows=1000), 10**6)
        50
        >>> extrapolate(Seen(distinct=1000, in_one=1000, in_two=0, blocks=32, rows=1000), 100_000)
        100000
    """
    if not seen.rows or seen.rows >= total_rows or not seen.in_one:
        return seen.distinct
    unseen = (seen.blocks - 1) / seen.blocks * seen.in_one * (seen.in_one - 1) / (2 * (seen.in_two + 1))
    return round(min(seen.distinct + unseen, seen.distinct * total_rows / seen.rows))
