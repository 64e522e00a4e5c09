"""How much of a disk may be taken for what is kept: some of it is left to everybody else, the job database above all."""

from __future__ import annotations

import shutil
from pathlib import Path

from sabot_sql.errors import SabotError, ServiceError

RESERVE_BYTES = 256 << 20
RESERVE_SHARE = 20  # at most a twentieth of a small disk
FULL = ("No space left", "Disk quota", "file too large", "File too large")


def free_bytes(folder: Path) -> int:
    """What may still be taken; less than 0 where the reserve is touched already."""
    disk = shutil.disk_usage(folder)
    return disk.free - min(RESERVE_BYTES, disk.total // RESERVE_SHARE)


def has_room(folder: Path, more_bytes: int = 0) -> bool:
    """Whether the disk has room for more, beside what is left to others."""
    return free_bytes(folder) >= more_bytes


def no_room(what: str = "the table", cause: str = "") -> SabotError:
    """The error of a disk that is full."""
    told = f": {cause}" if cause else ""
    return ServiceError(f"{what} does not fit on the server's disk{told}", hint="make room where its state folder lies")


def is_full(error: BaseException) -> bool:
    """Whether an error of the system, or of an engine, says that the disk is full."""
    return any(text in str(error) for text in FULL)
