"""The groups of integer keys whose values lie close together, found without hashing: the caller side of `kernels/direct.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sabot_sql.executor.columns import Array, Column
from sabot_sql.executor.kernels import direct
from sabot_sql.executor.kernels.joining import key_bounds
from sabot_sql.types import Lane

MAX_CODES = 1 << 16  # groups that still lie in the nearest caches
MAX_MISSES = 64  # batches with a new key until it is given up: the keys do not repeat


class DirectGroups:
    """Beside a table of groups: knows the groups of the keys seen so far, as long as few codes tell these apart."""

    def __init__(self) -> None:
        self.lows: list[int] = []
        self.spans: list[int] = []
        self.groups = np.empty(0, np.int64)
        self.misses = 0
        self.given_up = False

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return int(self.groups.nbytes)

    def find(self, keys: Sequence[Column]) -> Array | None:
        """The group of each row, int64[n]; None unless all are known."""
        if not len(self.groups) or (codes := self._codes(keys)) is None:
            return None
        groups = np.empty(keys[0].length, np.int64)
        return None if direct.look_up(codes, self.groups, groups) else groups

    def learn(self, keys: Sequence[Column], groups: Array) -> None:
        """Take in the groups (int64[n]) of rows, of which `find` did not know all."""
        if self.given_up:
            return
        self.misses += 1
        if self.misses > MAX_MISSES or any(k.lane is not Lane.INT for k in keys) or not self._cover(keys):
            self.given_up, self.groups = True, np.empty(0, np.int64)
        elif (codes := self._codes(keys)) is not None:
            self.groups[codes] = groups

    def _cover(self, keys: Sequence[Column]) -> bool:
        """Have a code for each value of the columns; False where there would be too many."""
        lows, spans = [], []
        for i, key in enumerate(keys):
            bounds = np.zeros(2, np.int64)
            some = key_bounds(key.values, key.flags, bounds)
            low, high = (int(bounds[0]), int(bounds[1])) if some else (0, 0)
            if self.lows:
                low, high = min(low, self.lows[i]), max(high, self.lows[i] + self.spans[i] - 2)
            lows.append(low)
            spans.append(high - low + 2)
        if (lows, spans) == (self.lows, self.spans):
            return True
        if math.prod(spans) > MAX_CODES:
            return False
        larger = np.full(math.prod(spans), -1, np.int64)
        if len(known := np.flatnonzero(self.groups >= 0)):
            codes = np.zeros(len(known), np.int64)
            for part, before, low, span in zip(np.unravel_index(known, self.spans), self.lows, lows, spans):
                codes = codes * span + np.where(part, part + (before - low), 0)
            larger[codes] = self.groups[known]
        self.lows, self.spans, self.groups = lows, spans, larger
        return True

    def _codes(self, keys: Sequence[Column]) -> Array | None:
        """The codes of rows, int64[n]; None where a value is outside."""
        codes = np.zeros(keys[0].length, np.int64)
        for key, low, span in zip(keys, self.lows, self.spans):
            if direct.append_codes(key.values, key.flags, low, span, codes):
                return None
        return codes
