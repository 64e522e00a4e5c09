"""What a progress callback gets to see: the same in this process and over HTTP."""

from __future__ import annotations

import dataclasses

from sabot_sql.engine.request import Progress, ProgressCallback


class Reporter:
    """Tells `callback` of a distributed query's progress: a copy of its own at every change, from the first task on.

    Attributes:
        warnings: what the callback raised, if it did; it is not called again then, and the query goes on.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback: ProgressCallback | None = callback
        self._last = Progress()
        self.warnings: list[str] = []

    def __call__(self, now: Progress) -> None:
        if self._callback is None or now.tasks == 0 or now == self._last:
            return
        self._last = dataclasses.replace(now)
        try:
            self._callback(dataclasses.replace(now))
        except Exception as exc:  # the edge to the caller's code: what it shows must not end the query
            self._callback = None
            self.warnings.append(f"the progress callback raised {type(exc).__name__}: {exc}; it was not called again")
