"""One line on the terminal that says how far a query is."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from sabot_sql.engine.request import Progress

QUIET_S = 1.0  # shorter queries show nothing
BAR_CELLS = 24


class ProgressLine:
    """A progress callback that draws on `out` when that is a terminal; a context manager that wipes its line at the end."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._shown = self._out.isatty()
        self._begun = time.monotonic()
        self._drawn = False

    def __call__(self, now: Progress) -> None:
        elapsed_s = time.monotonic() - self._begun
        if self._shown and elapsed_s >= QUIET_S and now.tasks:
            self._out.write(f"\r\x1b[2K{progress_text(now, elapsed_s)}")
            self._out.flush()
            self._drawn = True

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._drawn:
            self._out.write("\r\x1b[2K")
            self._out.flush()


def progress_text(now: Progress, elapsed_s: float) -> str:
    """The line.

    Example:
        >>> progress_text(Progress(stages=3, stages_done=1, tasks=8, tasks_done=4, rows_read=2_000_000), 3.2)
        '████████████············  50 %  stage 2/3  tasks 4/8  2.0 M rows  3 s'
    """
    full = round(now.fraction * BAR_CELLS)
    bar = "█" * full + "·" * (BAR_CELLS - full)
    stage = min(now.stages_done + 1, now.stages)
    parts = [
        f"{bar} {now.fraction:4.0%}".replace("%", " %"),
        f"stage {stage}/{now.stages}",
        f"tasks {now.tasks_done}/{now.tasks}",
    ]
    if now.rows_read:
        parts.append(f"{count_text(now.rows_read)} rows")
    return "  ".join([*parts, f"{elapsed_s:.0f} s"])


def count_text(count: float) -> str:
    """A count in three digits: "950", "2.0 M"."""
    for unit in ("", " k", " M", " G"):
        if count < 1000 or unit == " G":
            return f"{count:.1f}{unit}" if unit else f"{count:.0f}"
        count /= 1000
    return str(count)
