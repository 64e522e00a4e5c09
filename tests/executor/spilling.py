"""Tasks with little memory that may spill into a folder."""

from __future__ import annotations

from pathlib import Path

from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.spill import UNLIMITED, SpillArea
from sabot_sql.planner.physical import Session


def short_task(folder: Path, limit_bytes: int, morsel_bytes: int = 16 << 10, spill_bytes: int = UNLIMITED) -> TaskContext:
    """A task of `limit_bytes`, half of which is for batches on their way."""
    scope = SpillArea(folder, spill_bytes).scope("job")
    return TaskContext("job", 0, 0, 0, Session(), MemoryTracker(limit_bytes), morsel_bytes=morsel_bytes, spill=scope)


def files_in(folder: Path) -> list[Path]:
    """Everything below a folder."""
    return list(folder.rglob("*"))
