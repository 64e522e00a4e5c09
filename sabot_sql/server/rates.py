"""How many requests a second each user may make: a bucket of tokens a user."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sabot_sql.errors import Overloaded

BURST_S = 2.0
"""A user who asked nothing for so long may make up for it at once."""


class Rates:
    """For one thread.

    Args:
        per_s: requests a second that each user may make on average; 0 for any number.

    Example:
        >>> rates = Rates(1.0, clock=lambda: 0.0)
        >>> rates.take("ada"), rates.take("ada"), rates.take("zoe")
        (None, None, None)
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = max(1.0, per_s * BURST_S)
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}  # those left and when, by user

    def take(self, user: str) -> None:
        """Take note of a request.

        Raises:
            Overloaded: it is one too many; says when there is room for one.
        """
        if not self._per_s:
            return
        now_s = self._clock()
        left, before_s = self._tokens.get(user, (self._burst, now_s))
        left = min(self._burst, left + (now_s - before_s) * self._per_s)
        self._tokens[user] = (left - 1.0 if left >= 1.0 else left, now_s)
        if left < 1.0:
            wait_s = math.ceil((1.0 - left) / self._per_s)
            raise Overloaded(
                f"{user} may make {self._per_s:g} requests a second; the next one can be made in {wait_s} s", retryable=True
            )
