"""Where the block files of one coordinator lie, and how they go away.

Blocks belong to the job, not to the agent that wrote them. The root is a folder of its own in shared memory (or, where that
is small, under the state or temporary folder), locked by the coordinator for as long as it lives. What a dead coordinator
left is removed by the next one that starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path

from sabot_sql.errors import InternalError, ServiceError

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_FREE_BYTES = 1 << 30
LOCK = "owner.pid"
YOUNG_S = 60.0  # a folder without a lock file may be one that is just being made

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class BlockRoot:
    """A locked folder with one sub-folder a job.

    Args:
        state_dir: used when shared memory has less than 1 GiB free; None for the system's temporary folder.
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        parent = choose_parent(state_dir)
        for place in {SHARED_MEMORY, parent}:
            sweep(place)
        self.path, self._lock = _claim(parent)

    def open_job(self, job_id: str) -> None:
        """Make the job's folder. Only the coordinator does: a writer that finds no folder knows that the job was dropped."""
        job_folder(self.path, job_id).mkdir(mode=0o700, exist_ok=True)

    def drop_job(self, job_id: str) -> None:
        """Remove all blocks of the job."""
        drop_job(self.path, job_id)

    def remove(self) -> None:
        """Remove the whole root and give up the lock."""
        if self._lock >= 0:
            remove_folder(self.path)
            os.close(self._lock)
            self._lock = -1


def job_folder(root: Path, job_id: str) -> Path:
    """The folder of a job under `root`.

    Raises:
        InternalError: when the id could leave the root.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise InternalError(f"the job id {job_id!r} cannot name a folder; use letters, digits, '_', '.' and '-'")
    return root / job_id


def drop_job(root: Path, job_id: str) -> None:
    """Remove the blocks of a job; nothing happens when there are none."""
    remove_folder(job_folder(root, job_id))


def remove_folder(folder: Path) -> None:
    """Remove `folder`, also while a late task is still writing into it."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)


def choose_parent(state_dir: Path | None) -> Path:
    """Shared memory when enough of it is free, else a folder on disk."""
    with contextlib.suppress(OSError):
        if os.access(SHARED_MEMORY, os.W_OK) and shutil.disk_usage(SHARED_MEMORY).free >= SHARED_MEMORY_FREE_BYTES:
            return SHARED_MEMORY
    if state_dir is not None:
        blocks = state_dir / "blocks"
        blocks.mkdir(parents=True, exist_ok=True)
        return blocks
    return Path(tempfile.gettempdir())


def _prefix() -> str:
    return f"sabot-sql-{os.getuid()}-"


def _claim(parent: Path) -> tuple[Path, int]:
    for _ in range(100):
        path = parent / f"{_prefix()}{secrets.token_hex(6)}"
        try:
            path.mkdir(mode=0o700)
            lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # swept between the two calls
        except OSError as exc:
            raise ServiceError(f"cannot make a folder for blocks in {parent}: {exc.strerror}") from exc
        if _try_lock(lock) and (path / LOCK).exists():
            os.write(lock, f"{os.getpid()}\n".encode())
            return path, lock
        os.close(lock)
    raise ServiceError(f"cannot lock a folder for blocks in {parent}")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sweep(parent: Path) -> list[Path]:
    """Remove the block roots in `parent` whose coordinator is dead; returns them."""
    swept = []
    for path in parent.glob(f"{_prefix()}*"):
        with contextlib.suppress(OSError):
            if _is_dead(path):
                remove_folder(path)
                swept.append(path)
    return swept


def _is_dead(path: Path) -> bool:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - path.stat().st_mtime > YOUNG_S
    try:
        return _try_lock(lock)
    finally:
        os.close(lock)
