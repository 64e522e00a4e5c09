"""Where a sample is taken: short blocks of rows, spread evenly over a table's files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

MOST_BLOCKS = 32


@dataclass(frozen=True, slots=True)
class Block:
    """`num_rows` rows of file number `file` from `first_row` on."""

    file: int
    first_row: int
    num_rows: int


def spread(rows_of: Sequence[int], sample_rows: int) -> list[Block]:
    """Blocks of about `sample_rows` rows together: one in each of up to 32 equal stretches of the table, at a place in it
    that looks random and is the same every time.

    Args:
        rows_of: rows of each file.

    Example:
        >>> spread([10, 0, 5], 100)
        [Block(file=0, first_row=0, num_rows=10), Block(file=2, first_row=0, num_rows=5)]
    """
    total = sum(rows_of)
    if total <= sample_rows:
        return [Block(number, 0, rows) for number, rows in enumerate(rows_of) if rows]
    starts = [0, *accumulate(rows_of)]
    length, stretch = max(1, sample_rows // MOST_BLOCKS), total // MOST_BLOCKS
    place = random.Random(total)
    found: list[Block] = []
    for number in range(MOST_BLOCKS):
        at = number * stretch + place.randrange(max(1, stretch - length))
        found += pieces(starts, at, at + length)
    return found


def pieces(starts: Sequence[int], begin: int, end: int) -> list[Block]:
    """The rows from `begin` to `end` of the table, by file.

    Args:
        starts: the table's row number that each file begins with, and after them the number of all rows.
    """
    found = []
    for number, (first, after) in enumerate(pairwise(starts)):
        low, high = max(first, begin), min(after, end)
        if low < high:
            found.append(Block(number, low - first, high - low))
    return found
