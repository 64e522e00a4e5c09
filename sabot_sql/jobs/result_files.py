"""The files of kept answers in one state folder, counted, so that they stay within their room.

All managers of a folder share them. When there is no room for another file the oldest go: those first that somebody has
fetched already, after them those that nobody has fetched yet.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sabot_sql.catalog.disk_room import free_bytes
from sabot_sql.errors import ExecutionError, QueryError

SUFFIX = ".arrow"
ABANDONED_S = 24 * 3600.0
"""Age at which half a file is taken for one of a server that has ended."""


@functools.cache
def pid_space() -> str:
    """A name for where process ids mean the same as here: this boot of this machine, this namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot} {os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:12]
    except OSError:  # no Linux: nothing is known of other processes
        return secrets.token_hex(6)


def is_abandoned(part: Path) -> bool:
    """Whether half a file, of some server, is nobody's: the process that wrote it has ended, or must have."""
    _, *where, _ = part.name.split(".")
    if where[:1] == [pid_space()] and not Path("/proc", *where[1:]).exists():
        return True
    try:
        return part.stat().st_mtime < time.time() - ABANDONED_S
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class _File:
    """`written_s` in seconds since 1970, as the age of a file is known after a restart too."""

    size_bytes: int
    written_s: float


class ResultFiles:
    """The Arrow files in `folder`, by query id. Thread-safe.

    Args:
        shared: other servers write, and remove, files there too.
    """

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self.folder = folder
        self._shared = shared
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, _File] = OrderedDict()
        self._fetched: OrderedDict[str, _File] = OrderedDict()
        self._writing: dict[str, int] = {}
        self._total_bytes = 0
        self._count_what_is_there()

    def _count_what_is_there(self) -> None:
        found: list[tuple[str, _File]] = []
        for path in self.folder.iterdir():
            if path.suffix == SUFFIX:
                stat = path.stat()
                found.append((path.stem, _File(stat.st_size, stat.st_mtime)))
            elif not self._shared or is_abandoned(path):
                path.unlink(missing_ok=True)  # half a file of a process that was killed
        self._waiting.update(sorted(found, key=lambda item: item[1].written_s))
        self._total_bytes = sum(file.size_bytes for _, file in found)

    @property
    def total_bytes(self) -> int:
        """What the files have, those that are just being written too."""
        return self._total_bytes

    def path(self, query_id: str) -> Path:
        """Where the answer of a query lies, if it does."""
        return self.folder / f"{query_id}{SUFFIX}"

    def write(self, query_id: str, table: pa.Table, limit_bytes: int) -> tuple[Path, list[str]]:
        """Write an answer; returns its file, and the queries whose files went to make room.

        Args:
            limit_bytes: what all files may have together.

        Raises:
            QueryError: RESULT_TOO_LARGE, for the limit.
            ExecutionError: the disk is full or cannot be written.
        """
        size = table.nbytes
        gone = self._make_room(query_id, size, limit_bytes)
        path = self.path(query_id)
        part = path.with_suffix(f".{pid_space()}.{os.getpid()}.part")
        try:
            with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            part.rename(path)
            written = path.stat().st_size
        except BaseException as exc:
            part.unlink(missing_ok=True)
            with self._lock:
                self._total_bytes -= self._writing.pop(query_id)
            if not isinstance(exc, OSError):
                raise
            raise ExecutionError(f"the result cannot be written to {self.folder}: {exc}", hint="make room there") from exc
        with self._lock:
            self._total_bytes += written - self._writing.pop(query_id)
            while self._total_bytes > limit_bytes and (self._fetched or self._waiting):  # files have more than their rows
                gone.append(oldest := next(iter(self._fetched or self._waiting)))
                self._remove(oldest)
            self._waiting[query_id] = _File(written, time.time())
        return path, gone

    def _make_room(self, query_id: str, size: int, limit_bytes: int) -> list[str]:
        """Take note of a file that is to be written, and remove others where it does not fit in beside them."""
        if size > limit_bytes:
            raise QueryError(
                f"the answer has {size:,} bytes, and at most {limit_bytes:,} are kept",
                code="RESULT_TOO_LARGE",
                hint="read less (LIMIT, fewer columns, an aggregate), or raise the setting results.disk_bytes",
                query_id=query_id,
            )
        gone: list[str] = []
        with self._lock:
            self._remove(query_id)
            missing = max(self._total_bytes + size - limit_bytes, size - self._free_bytes())
            if missing > self._total_bytes - sum(self._writing.values()):
                raise ExecutionError(
                    f"there is no room in {self.folder} for a result of {size:,} bytes", hint="make room on that disk"
                )
            while missing > 0:
                gone.append(oldest := next(iter(self._fetched or self._waiting)))
                missing -= self._remove(oldest)
            self._writing[query_id] = size
            self._total_bytes += size
        return gone

    def _free_bytes(self) -> int:
        """What results may still take of the disk."""
        return free_bytes(self.folder) - sum(self._writing.values())

    def read(self, query_id: str) -> pa.Table | None:
        """The answer, mapped; None when there is none. A mapped file stays readable after it went."""
        self._find(query_id)
        with self._lock:
            file = self._fetched.pop(query_id, None) or self._waiting.pop(query_id, None)
            if file is None:
                return None
            self._fetched[query_id] = file
        with contextlib.suppress(FileNotFoundError):
            return pa.ipc.open_file(pa.memory_map(str(self.path(query_id)))).read_all()
        return None

    def has(self, query_id: str) -> bool:
        """Whether there is a file of the query."""
        self._find(query_id)
        return query_id in self._waiting or query_id in self._fetched

    def _find(self, query_id: str) -> None:
        """Take note of what other servers have done to the file of a query."""
        if not self._shared:
            return
        try:
            stat = self.path(query_id).stat()
            found = _File(stat.st_size, stat.st_mtime)
        except OSError:
            found = None
        with self._lock:
            known = self._fetched.get(query_id) or self._waiting.get(query_id)
            if query_id in self._writing:
                return
            if known is None and found is not None:
                self._waiting[query_id] = found
                self._total_bytes += found.size_bytes
            elif known is not None and found is None:
                (self._fetched if query_id in self._fetched else self._waiting).pop(query_id)
                self._total_bytes -= known.size_bytes

    def remove(self, query_id: str) -> None:
        """Remove a query's file, if there is one."""
        with self._lock:
            self._remove(query_id)

    def sweep(self, before_s: float) -> None:
        """Remove the files written before a time in seconds since 1970."""
        for path in self.folder.glob(f"*{SUFFIX}") if self._shared else ():
            self._find(path.stem)
        for path in self.folder.glob("*.part") if self._shared else ():
            if is_abandoned(path):
                path.unlink(missing_ok=True)
        with self._lock:
            both = [*self._waiting.items(), *self._fetched.items()]
            old = [query_id for query_id, file in both if file.written_s < before_s]
        for query_id in old:
            self.remove(query_id)

    def _remove(self, query_id: str) -> int:
        """Remove a file; returns its bytes. To be called under the lock."""
        file = self._fetched.pop(query_id, None) or self._waiting.pop(query_id, None)
        size = file.size_bytes if file is not None else 0
        self._total_bytes -= size
        self.path(query_id).unlink(missing_ok=True)
        return size
