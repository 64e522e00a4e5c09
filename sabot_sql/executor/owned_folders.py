"""Folders that a process owns for as long as it lives, and that the next one removes when it has died.

Each holds a file that its owner has locked. Whoever makes such a folder may first sweep its parent: folders whose lock is free
are removed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path

from sabot_sql.errors import ServiceError

LOCK = "owner.pid"
YOUNG_S = 60.0  # a folder without a lock file may be one that is just being made


def remove_folder(folder: Path) -> None:
    """Remove `folder`, also while a late task is still writing into it."""
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
    shutil.rmtree(folder)


_own: set[Path] = set()
"""The folders of this process."""


def _remove_own() -> None:
    """Remove what nobody came to remove, such as the folders of a pool whose making was broken off."""
    for path in tuple(_own):
        shutil.rmtree(path, ignore_errors=True)


atexit.register(_remove_own)
os.register_at_fork(after_in_child=_own.clear)


def prefix(kind: str = "") -> str:
    """How the names of this user's folders of a kind begin."""
    return f"sabot-sql-{kind}{os.getuid()}-"


def claim(parent: Path) -> tuple[Path, int]:
    """A new folder in `parent`, and the open file that holds its lock.

    Raises:
        ServiceError: none can be made.
    """
    for _ in range(100):
        path = parent / f"{prefix()}{secrets.token_hex(6)}"
        _own.add(path)  # before it is there: a signal's handler may raise anywhere
        try:
            path.mkdir(mode=0o700)
            lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # swept between the two calls
        except OSError as exc:
            _own.discard(path)  # perhaps somebody else's
            raise ServiceError(f"cannot make a folder in {parent}: {exc.strerror}") from exc
        if _try_lock(lock) and (path / LOCK).exists():
            os.write(lock, f"{os.getpid()}\n".encode())
            return path, lock
        os.close(lock)
    raise ServiceError(f"cannot lock a folder in {parent}")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def release(folder: Path, lock: int) -> None:
    """Remove a folder and give up its lock."""
    remove_folder(folder)
    _own.discard(folder)
    os.close(lock)


def sweep(parent: Path, kind: str = "", lock: str = LOCK) -> list[Path]:
    """Remove the folders of a kind in `parent` whose owner is dead; returns them.

    Args:
        lock: the name of the file that an owner has locked.
    """
    swept = []
    for path in parent.glob(f"{prefix(kind)}*"):
        with contextlib.suppress(OSError):
            if _is_dead(path / lock):
                remove_folder(path)
                swept.append(path)
    return swept


def _is_dead(lock_file: Path) -> bool:
    try:
        lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - lock_file.parent.stat().st_mtime > YOUNG_S
    try:
        return _try_lock(lock)
    finally:
        os.close(lock)
