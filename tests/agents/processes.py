"""Looking at processes from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path


def exists(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between the opening and the reading
        return False
    return state != "Z"


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> float:
    """Wait for `condition`; returns the seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout_s, "the condition did not come true in time"
        time.sleep(0.005)
    return time.monotonic() - begin


def until_gone(pids: Iterable[int], timeout_s: float = 3.0) -> float:
    """Wait until none of the processes is there."""
    return until(lambda: not any(map(exists, pids)), timeout_s)
