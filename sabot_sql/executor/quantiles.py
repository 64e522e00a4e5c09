"""What quantiles and variances keep for each group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sabot_sql.executor.accumulators import grown, loaded, saved
from sabot_sql.executor.columns import NO_FLAGS, Array, Column
from sabot_sql.executor.kernels import aggregates
from sabot_sql.executor.kernels import quantiles as kernels
from sabot_sql.executor.ordering import ordered_words
from sabot_sql.types import Lane


class Moments:
    """Number, mean and sum of squared deviations of the doubles of each group."""

    def __init__(self) -> None:
        self.counts = np.zeros(0, np.int64)
        self.means = np.zeros(0, np.float64)
        self.squares = np.zeros(0, np.float64)

    @property
    def size_bytes(self) -> int:
        return int(self.counts.nbytes + self.means.nbytes + self.squares.nbytes)

    def resize(self, num_groups: int) -> None:
        self.counts = grown(self.counts, num_groups, 0)
        self.means = grown(self.means, num_groups, 0.0)
        self.squares = grown(self.squares, num_groups, 0.0)

    def update(self, groups: Array | None, column: Column, live: Array) -> None:
        groups = np.zeros(column.length, np.int64) if groups is None else groups
        kernels.add_moments(groups, column.values, live, self.counts, self.means, self.squares)

    def absorb(self, groups: Array, other: Moments) -> None:
        theirs = (array[: len(groups)] for array in (other.counts, other.means, other.squares))
        kernels.merge_moments(groups, *theirs, self.counts, self.means, self.squares)

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.INT, Lane.FLOAT, Lane.FLOAT)

    def save(self, num_groups: int) -> list[Column]:
        return [saved(array, num_groups) for array in (self.counts, self.means, self.squares)]

    def load(self, columns: Sequence[Column]) -> None:
        self.counts, self.means, self.squares = map(loaded, columns)

    def variance(self, last: int, first: int, function: str) -> Column:
        """`var_samp`, `var_pop`, `stddev_samp` or `stddev_pop` of the groups [first, last)."""
        counts, squares = self.counts[first:last], self.squares[first:last]
        fewest = 2 if function.endswith("_samp") else 1
        some: Array = (counts >= fewest).view(np.uint8)
        # the deviation of one value is 0, also that of an infinite one
        values = np.where(counts > 1, squares / np.maximum(counts - (fewest - 1), 1), 0.0)
        if function.startswith("stddev"):
            with np.errstate(invalid="ignore"):  # what overflowed is NaN
                values = np.sqrt(values)
        return Column(Lane.FLOAT, values, None, None, None, None if some.all() else some, last - first)


class ListedValues:
    """All doubles of each group, equal ones too."""

    def __init__(self) -> None:
        self._pieces: list[tuple[Array, Array]] = []  # groups and words, in the order in which they came
        self._rows = 0

    @property
    def size_bytes(self) -> int:
        return 16 * self._rows

    def add(self, groups: Array | None, column: Column, live: Array) -> None:
        groups = np.zeros(column.length, np.int64) if groups is None else groups
        self._keep(groups, ordered_words(column), live)

    def pieces(self) -> Iterator[tuple[Array | None, Column]]:
        """The group (int64[m]) and the value of each, some at a time."""
        for groups, words in self._pieces:
            yield groups, _doubles(words)

    def absorb(self, mapping: Array, other: ListedValues) -> None:
        for groups, words in other._pieces:
            self._keep(mapping[groups], words, NO_FLAGS)
        other._pieces, other._rows = [], 0

    def by_group(self, num_groups: int) -> tuple[Array, Array]:
        """The words of all groups, one after the other, and where those of each end (int64[num_groups]); they are kept no
        more."""
        counts = np.zeros(num_groups, np.int64)
        for groups, _ in self._pieces:
            aggregates.count_rows(groups, counts)
        at = np.cumsum(counts) - counts
        words = np.empty(self._rows, np.int64)
        for groups, piece in self._pieces:
            kernels.place_by_group(groups, piece, at, words)
        self._pieces, self._rows = [], 0
        return words, at

    def _keep(self, groups: Array, words: Array, live: Array) -> None:
        if len(live):
            kept = live.view(np.bool_)
            groups, words = groups[kept], words[kept]
        if len(words):
            self._pieces.append((groups, words))
            self._rows += len(words)


class Quantiles:
    """The quantiles of each group, as soon as its values are known."""

    def __init__(self, fractions: Sequence[float]) -> None:
        self.known = np.zeros(0, np.int64)
        self.found = {fraction: np.zeros(0, np.float64) for fraction in sorted(fractions)}

    @property
    def size_bytes(self) -> int:
        return int(self.known.nbytes + sum(a.nbytes for a in self.found.values()))

    def resize(self, num_groups: int) -> None:
        self.known = grown(self.known, num_groups, 0)
        self.found = {fraction: grown(array, num_groups, 0.0) for fraction, array in self.found.items()}

    def work_out(self, listed: ListedValues) -> None:
        """Take the quantiles of `listed`, which gives its values up. A group must be there as a whole."""
        num_groups = len(self.known)
        words, ends = listed.by_group(num_groups)
        here = np.diff(ends, prepend=0) > 0
        self.known |= here
        lower, upper = np.zeros(num_groups, np.int64), np.zeros(num_groups, np.int64)
        weights = np.zeros(num_groups, np.float64)
        for fraction, found in self.found.items():
            kernels.find_places(words, ends, fraction, lower, upper, weights)
            low, high = (_doubles(w).values for w in (lower, upper))
            assert low is not None
            assert high is not None
            with np.errstate(all="ignore"):
                between = low * (1.0 - weights) + high * weights
            np.copyto(found, np.where(weights > 0, between, low), where=here)

    def absorb(self, groups: Array, other: Quantiles) -> None:
        known = other.known[: len(groups)] != 0
        self.known[groups[known]] = 1
        for fraction, found in self.found.items():
            found[groups[known]] = other.found[fraction][: len(groups)][known]

    def lanes(self) -> tuple[Lane, ...]:
        return (Lane.INT, *(Lane.FLOAT for _ in self.found))

    def save(self, num_groups: int) -> list[Column]:
        return [saved(array, num_groups) for array in (self.known, *self.found.values())]

    def load(self, columns: Sequence[Column]) -> None:
        self.known, *found = map(loaded, columns)
        self.found = dict(zip(self.found, found))

    def column(self, last: int, first: int, fraction: float) -> Column:
        """Of the groups [first, last)."""
        some: Array = (self.known[first:last] != 0).view(np.uint8)
        return Column(
            Lane.FLOAT, self.found[fraction][first:last], None, None, None, None if some.all() else some, last - first
        )


def _doubles(ordered: Array) -> Column:
    """The doubles that ordered words (int64[n]) stand for."""
    bits = np.empty(len(ordered), np.int64)
    kernels.float_bits(ordered, bits)
    return Column(Lane.FLOAT, bits.view(np.float64), None, None, None, None, len(ordered))
