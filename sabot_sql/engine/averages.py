"""Averages that forget: of figures that differ by factors rather than by sums, and of times."""

from __future__ import annotations

import math
from dataclasses import dataclass

WEIGHT = 0.3
"""What the newest figure counts in a mean."""

TRUSTED_RUNS = 3
TRUSTED_SPREAD = 0.5
"""A mean whose figures typically lie within a factor of e^0.5 = 1.6 is taken as the next one."""

DRIFT = 1.05
"""A best time that is not reached again grows by this each run."""


@dataclass(slots=True)
class Mean:
    """Exponentially weighted mean and variance of the logarithm of a figure.

    Example:
        >>> mean = Mean()
        >>> for rows in (1000, 1100, 950): mean.add(rows)
        >>> round(mean.trusted() or 0)
        1005
        >>> mean.add(5); mean.trusted() is None
        True
    """

    count: int = 0
    log: float = 0.0
    variance: float = 0.0

    def add(self, figure: float) -> None:
        """One more figure, 0 or above."""
        log = math.log1p(max(0.0, figure))
        if not self.count:
            self.log = log
        else:
            off = log - self.log
            step = WEIGHT * off
            self.log += step
            self.variance = (1 - WEIGHT) * (self.variance + off * step)
        self.count += 1

    @property
    def value(self) -> float:
        """The mean, as a figure."""
        return math.expm1(self.log)

    def trusted(self) -> float | None:
        """The mean where enough figures lie close to it, else None."""
        near = self.count >= TRUSTED_RUNS and self.variance <= TRUSTED_SPREAD * TRUSTED_SPREAD
        return self.value if near else None


def best(known: float | None, elapsed_ms: float) -> float:
    """The best of several times of the same thing, so that a cold or disturbed run does not count; older ones fade.

    Example:
        >>> best(10.0, 300.0), best(10.0, 8.0)
        (10.5, 8.0)
    """
    return elapsed_ms if known is None else min(known * DRIFT, elapsed_ms)
