"""Spill files: rows that an operator puts on disk while its share of the memory is short.

A file is one Arrow IPC stream whose buffers are compressed with LZ4; it is written once and read once or more. Files belong
to a scope (a task, or a build side that tasks share) and go with it, however it ends; the folder of a job goes with its last
file. What a killed process leaves is removed by whoever made the area's root (see docs/memory.md).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sabot_sql.errors import Cancelled, ExecutionError, OutOfMemory, ReadError

if TYPE_CHECKING:
    from sabot_sql.executor.operator import OperatorStats, TaskContext

OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
READ_OPTIONS = pa.ipc.IpcReadOptions(use_threads=False)
UNLIMITED = 1 << 62


class SpillArea:
    """Where one process puts its spill files. Thread-safe.

    Args:
        root: an existing folder of this process alone.
        limit_bytes: what all its files may take together.
    """

    def __init__(self, root: Path, limit_bytes: int = UNLIMITED) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self._used_bytes = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def scope(self, job_id: str) -> SpillScope:
        """A scope for files of a job; to be closed."""
        return SpillScope(self, job_id)

    @property
    def used_bytes(self) -> int:
        """What the files take now."""
        with self._lock:
            return self._used_bytes

    def take(self, num_bytes: int, what: str) -> None:
        """Count bytes that were written.

        Raises:
            OutOfMemory: past the limit.
        """
        with self._lock:
            self._used_bytes += num_bytes
            if self._used_bytes <= self.limit_bytes:
                return
        raise OutOfMemory(
            f"{what} has no room to spill: agents.spill_bytes lets this agent put {self.limit_bytes:,} bytes in {self.root}",
            hint="raise agents.spill_bytes (SABOT_AGENTS__SPILL_BYTES) or agents.memory_bytes",
        )

    def give_back(self, num_bytes: int) -> None:
        """Count bytes that are gone."""
        with self._lock:
            self._used_bytes -= num_bytes

    def next_path(self, job_id: str) -> Path:
        """A path for a new file, in a folder that is there."""
        folder = self.root / job_id
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{next(self._numbers)}.arrows"


class SpillScope:
    """The files of one task, or of one build side that tasks share. Thread-safe."""

    def __init__(self, area: SpillArea, job_id: str) -> None:
        self.area = area
        self.job_id = job_id
        self._files: set[SpillFile] = set()
        self._lock = threading.Lock()

    def create(self, schema: pa.Schema, what: str, stats: OperatorStats) -> SpillFile:
        """A new file; nothing is on disk before its first batch.

        Args:
            what: names the operator in errors.
            stats: its `bytes_spilled` grows by what is written.
        """
        file = SpillFile(self, schema, what, stats)
        with self._lock:
            self._files.add(file)
        return file

    def sibling(self) -> SpillScope:
        """A scope of its own for the same job."""
        return self.area.scope(self.job_id)

    def forget(self, file: SpillFile) -> None:
        """Called for a file that is gone."""
        with self._lock:
            self._files.discard(file)

    def close(self) -> None:
        """Remove what is left of the files, and the job's folder when it is empty; may be called twice."""
        with self._lock:
            files = tuple(self._files)
        for file in files:
            file.remove()
        with contextlib.suppress(OSError):  # other tasks of the job have files in it, or it was never made
            (self.area.root / self.job_id).rmdir()


class SpillFile:
    """A sequence of batches on disk.

    Attributes:
        rows, size_bytes: of the batches as they are in memory.
        disk_bytes: of the file so far.
    """

    def __init__(self, scope: SpillScope, schema: pa.Schema, what: str, stats: OperatorStats) -> None:
        self.schema = schema
        self.what = what
        self.rows = 0
        self.size_bytes = 0
        self.disk_bytes = 0
        self._scope = scope
        self._stats = stats
        self._path: Path | None = None
        self._file: pa.NativeFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; from one thread at a time.

        Raises:
            OutOfMemory: the disk is full, or agents.spill_bytes is used up.
            Cancelled: the folder was removed, because the job was dropped.
        """
        try:
            if self._writer is None:
                self._open()
            assert self._writer is not None
            self._writer.write_batch(batch)
            self._count()
        except OSError as exc:
            raise self._translate(exc) from exc
        self.rows += batch.num_rows
        self.size_bytes += batch.nbytes

    def finish(self) -> None:
        """Write the end; may be called twice."""
        try:
            if self._writer is not None:
                self._writer.close()
                self._count()
            self._close()
        except OSError as exc:
            raise self._translate(exc) from exc

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """All batches from the first on; the file must be finished.

        Raises:
            ReadError: the file is damaged or gone.
        """
        if self._path is None:
            return
        rows = 0
        try:
            with pa.OSFile(str(self._path), "rb") as source, pa.ipc.open_stream(source, options=READ_OPTIONS) as reader:
                for batch in reader:
                    context.check()
                    rows += batch.num_rows
                    yield batch
        except (OSError, pa.ArrowInvalid) as exc:
            context.check()
            raise ReadError(f"what {self.what} spilled cannot be read back: {exc}") from exc
        if rows != self.rows:
            raise ReadError(f"what {self.what} spilled has {rows:,} rows, not {self.rows:,}")

    def given_back(self, context: TaskContext, stats: OperatorStats) -> Iterator[pa.RecordBatch]:
        """All batches, as an operator's output that `stats` counts; then the file is gone."""
        self.finish()
        for batch in self.batches(context):
            stats.rows_out += batch.num_rows
            yield batch
        self.remove()

    def remove(self) -> None:
        """Give up the file; may be called twice."""
        with contextlib.suppress(OSError, pa.ArrowException):  # a full disk: the file goes anyway
            self._close()
        self._writer = self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        self._scope.area.give_back(self.disk_bytes)
        self.disk_bytes = 0
        self._scope.forget(self)

    def _open(self) -> None:
        self._path = self._scope.area.next_path(self._scope.job_id)
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_stream(self._file, self.schema, options=OPTIONS)

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        file, self._file = self._file, None
        if writer is not None:
            writer.close()
        if file is not None:
            file.close()

    def _count(self) -> None:
        assert self._file is not None
        more = self._file.tell() - self.disk_bytes
        self.disk_bytes += more
        self._stats.bytes_spilled += more
        self._scope.area.take(more, self.what)

    def _translate(self, exc: OSError) -> ExecutionError:
        root = self._scope.area.root
        if exc.errno in (errno.ENOSPC, errno.EDQUOT) or "space" in str(exc):
            return OutOfMemory(
                f"no space left in {root}, where {self.what} spills",
                hint="make room there, name another folder with agents.spill_dir (SABOT_AGENTS__SPILL_DIR), "
                "or raise agents.memory_bytes",
            )
        if exc.errno == errno.ENOENT:
            return Cancelled("the job was dropped while a task was spilling")
        return ExecutionError(f"{self.what} cannot spill into {root}: {exc}")


def free_unused() -> None:
    """Hand memory that is free in this process back to the system, after an operator has spilled much of it: allocators keep it
    for later, which the budget of the machine does not know of."""
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)


def _find_trim() -> ctypes._NamedFuncPointer | None:
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).malloc_trim
    return None


_trim = _find_trim() if os.name == "posix" else None
