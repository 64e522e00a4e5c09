"""How the values of one column lie: the share of rows at a point, below a value, in a range, or like a pattern.

The most common values are counted one by one; between them a histogram of equal buckets tells, without one the bounds and
the assumption that values lie evenly. Sources: Selinger et al., SIGMOD 1979; Piatetsky-Shapiro and Connell, SIGMOD 1984.
"""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

from sabot_sql.catalog.table import ColumnStatistics
from sabot_sql.planner.constants import TEXT_BYTES, ordinal

# what a predicate keeps where nothing is known of the column
EQUALITY = 0.1
RANGE = 1 / 3
LIKE = 0.1
IS_NULL = 0.05
OTHER = 0.5

LIKE_CHARACTER = 0.35
"""A guess of LIKE for each further character that a text must contain."""


class Distribution:
    """The values of one column, read once from its statistics.

    Attributes:
        distinct: distinct values, None where nothing tells.
        null_share: rows that are NULL, 0 to 1.
        samples: what functions give over the histogram's texts, kept for the next who asks.
        step: distance between neighbouring values, 0.0 for text and what is not known to have one.
    """

    __slots__ = (
        "_bounds", "_common", "_others", "_patterns", "_prefix", "distinct", "high", "is_text", "low", "null_share", "samples",
        "stats", "step",
    )  # fmt: skip

    def __init__(self, stats: ColumnStatistics, num_rows: int | None) -> None:
        self.stats = stats
        self.is_text = isinstance(stats.min, str)
        both = self.is_text and isinstance(stats.max, str)
        self._prefix = common_prefix(stats.min, stats.max) if both else ""
        self.low, self.high = self.place(stats.min), self.place(stats.max)
        nulls = stats.null_count
        self.null_share = min(1.0, nulls / num_rows) if nulls and num_rows else 0.0
        self.step = 0.0
        self.distinct = self._distinct(num_rows)
        self._common: dict[Any, float] = dict(stats.most_common)
        self._others = max(0.0, 1.0 - self.null_share - sum(self._common.values()))
        self._bounds = self._places()
        self._patterns: dict[str, float] = {}
        self.samples: dict[Any, Counter[str]] = {}

    @property
    def heaviest(self) -> float:
        """The share of rows that NULL or the most frequent value has, as far as is known."""
        return max(self.null_share, *self._common.values(), 0.0)

    def _distinct(self, num_rows: int | None) -> float | None:
        whole = type(self.stats.min).__name__ in ("int", "date", "bool")
        found = self.stats.distinct_count
        span = None
        if self.low is not None and self.high is not None and not self.is_text:
            span = self.high - self.low
            if not math.isfinite(span):
                span = None
        if span is not None:
            if found is not None and found > 1:
                self.step = span / (found - 1)
            if whole:
                self.step = max(1.0, self.step)
        if found is not None:
            distinct = float(found)
        elif whole and span is not None and num_rows is not None and span + 1 < num_rows:
            distinct = span + 1
        else:
            return None
        return max(1.0, min(distinct, num_rows * (1 - self.null_share)) if num_rows else distinct)

    def _places(self) -> list[float]:
        """Bounds of buckets of equal shares; the last one ends after the greatest value."""
        if self.stats.histogram is not None and len(self.stats.histogram) > 1:
            found = [self.place(v) for v in self.stats.histogram]
        else:
            found = [self.low, self.high]
        if any(v is None or math.isinf(v) for v in found):
            return []
        bounds = sorted(v for v in found if v is not None)
        bounds[-1] += self.step or (1.0 if self.is_text else 0.0)
        return bounds

    def place(self, value: Any) -> float | None:
        """`value` on the line of this column's values; None where it has no place there. What all texts of the column begin
        with tells nothing of their order, so places are taken behind it."""
        if not self.is_text:
            return ordinal(value, self.stats.min)
        if not isinstance(value, str):
            return None
        if not self._prefix:
            return ordinal(value)
        if value.startswith(self._prefix):
            return ordinal(value[len(self._prefix) :])
        return -math.inf if value < self._prefix else math.inf

    def prefixed(self, prefix: str) -> tuple[float | None, float | None]:
        """The place where texts that begin with `prefix` begin, and the one behind the last of them."""
        if self._prefix.startswith(prefix):
            return (0, 256**TEXT_BYTES) if self.is_text else (None, None)
        start = self.place(prefix)
        if start is None or math.isinf(start):
            return start, start
        known = len(prefix[len(self._prefix) :].encode("utf-8", "surrogatepass"))
        return start, start + 256 ** max(0, TEXT_BYTES - known)

    def outside(self, value: Any) -> bool:
        """Whether the column is known to have no such value."""
        at = self.place(value)
        return at is not None and self.low is not None and self.high is not None and not self.low <= at <= self.high

    def point(self, value: Any) -> float:
        """The share of rows that equal `value`; None is a value that is not known yet."""
        if value is not None:
            try:
                if (found := self._common.get(value)) is not None:
                    return found
            except TypeError:
                pass
            if self._common and type(value) is not type(self.stats.min) and (at := self.place(value)) is not None:
                for other, found in self._common.items():
                    if self.place(other) == at:
                        return found
            if self.outside(value):
                return 0.0
        if self.distinct is None:
            return EQUALITY * (1 - self.null_share)
        if value is None:
            return (1 - self.null_share) / self.distinct
        rest = self.distinct - len(self._common)
        if rest >= 1 and self._others > 0:
            return self._others / rest
        return min(self._common.values(), default=0.0) / 10  # all values are known, and it is none of them

    def below(self, at: float) -> float:
        """The share of values that are smaller than place `at`, 0 to 1; NULLs do not count."""
        bounds = self._bounds
        last = len(bounds) - 1
        i = bisect_left(bounds, at)
        if i == 0:
            return 0.0
        if i > last:
            return 1.0
        width = bounds[i] - bounds[i - 1]
        return (i - 1 + ((at - bounds[i - 1]) / width if width > 0 else 1.0)) / last

    def up_to(self, at: float) -> float:
        """The share of values that are smaller than or equal to place `at`."""
        bounds = self._bounds
        last = len(bounds) - 1
        j = bisect_right(bounds, at)
        if j == 0:
            return 0.0
        if j > last:
            return 1.0
        width = bounds[j] - bounds[j - 1]
        inside = min(1.0, (at + self.step - bounds[j - 1]) / width) if width > 0 else 1.0
        return (j - 1 + inside) / last

    def between(self, start: float | None, end: float | None, start_open: bool = False, end_open: bool = False) -> float | None:
        """The share of rows between two places, None for no end; None where the column's places are not known."""
        if len(self._bounds) < 2:
            return None
        kept = 1.0 if end is None else self.below(end) if end_open else self.up_to(end)
        if start is not None:
            kept -= self.up_to(start) if start_open else self.below(start)
        return max(0.0, kept) * (1 - self.null_share)

    def before(self, other: Distribution) -> float:
        """The share of pairs in which this column's value is smaller than the other's, taken as independent."""
        if len(self._bounds) < 2 or len(other._bounds) < 2 or self.is_text != other.is_text:
            return RANGE
        last = len(self._bounds) - 1
        places = [self._bounds[round(last * k / 8)] for k in range(9)] if last >= 8 else [
            self._bounds[0] + (self._bounds[-1] - self._bounds[0]) * k / 8 for k in range(9)
        ]  # fmt: skip
        weights = (0.5, 1, 1, 1, 1, 1, 1, 1, 0.5)
        return sum(w * (1 - other.up_to(p)) for w, p in zip(weights, places)) / 8

    def like(self, pattern: str, matcher: Callable[[Any], Any]) -> float:
        """The share of rows whose text is LIKE `pattern`: counted over the common values, and over the histogram where it
        has enough texts; else a guess by what the pattern asks for."""
        if (found := self._patterns.get(pattern)) is not None:
            return found
        common = sum(share for value, share in self._common.items() if isinstance(value, str) and matcher(value))
        rest = self._others if self._common else 1 - self.null_share
        found = common + (rest * self._like_of_others(pattern, matcher) if rest > 0.02 else 0.0)
        if len(self._patterns) < 256:
            self._patterns[pattern] = found
        return found

    def _like_of_others(self, pattern: str, matcher: Callable[[Any], Any]) -> float:
        guess = guessed_like(pattern)
        prefix = re.split(r"[%_]", pattern, maxsplit=1)[0]
        start, end = self.prefixed(prefix)
        if prefix and (in_range := self.between(start, end, end_open=True)) is not None:
            buckets = len(self._bounds) - 1
            if buckets == 1:
                return min(guess, in_range)
            # between two bounds texts do not lie evenly: a part of the bucket, the smaller the longer the prefix
            found = max(in_range, min(guessed_like(prefix), 0.5 / buckets))
            return found * (guessed_like(pattern[len(prefix) :]) if len(pattern) > len(prefix) + 1 else 1.0)
        sample = [v for v in self.stats.histogram or () if isinstance(v, str)]
        if len(sample) >= 20:
            hits = sum(1 for v in sample if matcher(v))
            return hits / len(sample) if hits else min(guess, 0.5 / len(sample))
        return guess


def guessed_like(pattern: str) -> float:
    """What LIKE keeps where nothing but the pattern is known: the more it asks for, the less.

    Example:
        >>> guessed_like("%"), round(guessed_like("%ab%"), 3), guessed_like("%a long text%")
        (1.0, 0.1, 0.01)
    """
    asked = len(pattern.replace("%", "").replace("_", ""))
    return max(0.01, LIKE * LIKE_CHARACTER ** ((asked - 2) / 4)) if asked else 1.0


def same_line(one: Distribution | None, other: Distribution | None) -> bool:
    """Whether places of one column are places of the other too."""
    if one is None or other is None or one.is_text or other.is_text:
        return False
    return type(one.stats.min) is type(other.stats.min)


def common_prefix(one: str, other: str) -> str:
    """What both texts begin with."""
    length = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return one[:length]


@functools.lru_cache(maxsize=1024)
def like_matcher(pattern: str, ignore_case: bool) -> Callable[[Any], Any]:
    """What tells whether a text is LIKE `pattern`."""
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0)).fullmatch
