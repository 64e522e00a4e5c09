"""The state folder: where jobs, results and blocks of a process lie.

A folder belongs to one process, which holds a lock on it that even a kill -9 frees; inside the process all who name the same
folder share it. Without a name the process has one temporary folder, removed with its last user.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
import uuid
from pathlib import Path

from sabot_sql.catalog.put_tables import open_store
from sabot_sql.config import DurableSettings
from sabot_sql.errors import ConfigError
from sabot_sql.executor.owned_folders import prefix, sweep
from sabot_sql.jobs.database import JobDatabase
from sabot_sql.jobs.result_files import ResultFiles

LOCK = "lock"
DATABASE = "jobs.db"
IN_THE_FOLDER = DurableSettings()
SECRET = "secret"
TEMPORARY = "jobs-"


class StateFolder:
    """A locked folder. Made by `open_folder`, given back by `close_folder`.

    Attributes:
        temporary: whether it goes with the process.
        database: where its jobs are recorded.
        results: the files of kept results.
        secret: namespace of the query ids that are made from idempotency keys.
        tables: those that were put over HTTP.
    """

    def __init__(self, path: Path, temporary: bool, durable: DurableSettings) -> None:
        self.path = path
        self.temporary = temporary
        self.lease_s = durable.lease_s
        self.database = JobDatabase(path / DATABASE, durable.url, durable.migrate)
        self.users = 0
        self._scratch: set[Path] = set()
        self.lock_fd = _lock(path)
        try:
            self.secret = self.database.open() or _read_secret(path)
            results = durable.results_dir or path / "results"
            results.mkdir(exist_ok=True, parents=True)
            self.results = ResultFiles(results, self.database.shared)
            self.tables = open_store(path)
        except ConfigError:
            os.close(self.lock_fd)
            raise
        except OSError as exc:
            os.close(self.lock_fd)
            raise ConfigError(f"the state folder {path} cannot be written: {exc.strerror}") from exc

    def make_scratch(self) -> Path:
        """A new folder for what an engine puts down while it lives."""
        path = self.path / "scratch" / uuid.uuid4().hex[:12]
        path.mkdir(parents=True)
        self._scratch.add(path)
        return path

    def sweep_scratch(self) -> None:
        """Remove the scratch of engines of earlier processes; none of their jobs may be unfinished."""
        for path in (self.path / "scratch").iterdir():
            if path not in self._scratch:
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder if it is temporary, and give up the lock."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
            _temporary.discard(self.path)
        fcntl.flock(self.lock_fd, fcntl.LOCK_UN)  # a child being forked may hold a copy for a moment
        os.close(self.lock_fd)


_registry = threading.Lock()
_open: dict[Path | None, StateFolder] = {}
_temporary: set[Path] = set()


def open_folder(state_dir: Path | None, durable: DurableSettings = IN_THE_FOLDER) -> StateFolder:
    """The folder `state_dir`, or the process's temporary one for None, counted once more.

    Raises:
        ConfigError: another process has it, it cannot be written, or its database cannot be used.
    """
    if state_dir is None and durable.url:
        raise ConfigError("durable.url is set, and no state_dir", hint="name a folder of this server's own with state_dir")
    key = None if state_dir is None else state_dir.expanduser().resolve()
    with _registry:
        folder = _open.get(key)
        if folder is None:
            folder = _open[key] = StateFolder(_make(key), key is None, durable)
        elif folder.database.url != durable.url:
            raise ConfigError(
                f"this process uses the state folder {folder.path} with another job database: {folder.database.name}"
            )
        folder.users += 1
        return folder


def close_folder(folder: StateFolder) -> None:
    """Give the folder back; the last user closes it."""
    with _registry:
        folder.users -= 1
        if folder.users == 0:
            for key in [k for k, f in _open.items() if f is folder]:
                del _open[key]
            folder.close()


def _make(key: Path | None) -> Path:
    if key is None:
        sweep(parent := Path(tempfile.gettempdir()), TEMPORARY, LOCK)
        path = parent / f"{prefix(TEMPORARY)}{secrets.token_hex(6)}"
        _temporary.add(path)  # before it is there: a signal's handler may raise anywhere
        try:
            path.mkdir(mode=0o700)
        except OSError:
            _temporary.discard(path)  # perhaps somebody else's
            raise
        return path
    try:
        key.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as exc:
        raise ConfigError(f"the state folder {key} is a file; give a folder") from exc
    except OSError as exc:
        raise ConfigError(f"the state folder {key} cannot be made: {exc.strerror}") from exc
    return key


def _lock(path: Path) -> int:
    try:
        fd = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(f"the state folder {path} cannot be written: {exc.strerror}") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise ConfigError(
            f"the state folder {path} is in use by process {owner}", hint="stop that process or choose another state_dir"
        ) from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _read_secret(path: Path) -> uuid.UUID:
    file = path / SECRET
    with contextlib.suppress(FileNotFoundError, ValueError):
        return uuid.UUID(bytes=file.read_bytes())
    part = file.with_suffix(".part")
    secret = uuid.uuid4()
    part.touch(mode=0o600)
    part.write_bytes(secret.bytes)
    part.rename(file)
    return secret


def _forget() -> None:
    """A forked child owns nothing of its parent's; its copy of a lock must not outlive the parent."""
    global _registry
    _registry = threading.Lock()
    for folder in _open.values():
        os.close(folder.lock_fd)
    _open.clear()
    _temporary.clear()


def _remove_temporary() -> None:
    """Remove what nobody came to close: an engine whose making was broken off."""
    for path in tuple(_temporary):
        shutil.rmtree(path, ignore_errors=True)


atexit.register(_remove_temporary)
os.register_at_fork(after_in_child=_forget)
