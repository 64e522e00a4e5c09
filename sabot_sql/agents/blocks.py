"""Block files: one Arrow IPC file a task attempt, written by its task, mapped or streamed by its readers."""

from __future__ import annotations

import errno
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from sabot_sql.agents.block_root import job_folder
from sabot_sql.errors import Cancelled, ExecutionError, OutOfMemory, ReadError
from sabot_sql.executor.exchange import BlockFile, BlockReader, PartitionBlock

Lane = Literal["file", "flight"]


def host_name() -> str:
    """Names this machine; blocks of agents with the same name are read as files."""
    return platform.node() or "localhost"


def block_path(root: Path, job_id: str, stage_id: int, task_index: int, attempt: int) -> Path:
    """Where the block of a task attempt lies."""
    return job_folder(root, job_id) / f"{stage_id}-{task_index}-{attempt}.arrow"


def describe(block: BlockFile) -> str:
    """The block's name in messages."""
    return f"block {block.stage_id}-{block.task_index}-{block.attempt} of job {block.job_id}"


@dataclass(slots=True)
class _Written:
    """What a writer has put into one partition."""

    rows: int = 0
    size_bytes: int = 0
    batches: list[int] = field(default_factory=list)


class FileBlockWriter:
    """Writes the batches of one task attempt into one file. No batches make no file."""

    def __init__(
        self, root: Path, job_id: str, stage_id: int, task_index: int, attempt: int, agent_id: str, flight_uri: str
    ) -> None:
        self.path = block_path(root, job_id, stage_id, task_index, attempt)
        self._part = self.path.with_suffix(".part")
        self._name = (job_id, stage_id, task_index, attempt, agent_id, host_name(), flight_uri)
        self._partitions: dict[int, _Written] = {}
        self._num_batches = 0
        self._file: pa.NativeFile | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        """Append a batch to a partition.

        Raises:
            OutOfMemory: the disk or shared memory under the block root is full.
            Cancelled: the job was dropped.
        """
        try:
            if self._writer is None:
                self._file = pa.OSFile(str(self._part), "wb")
                self._writer = pa.ipc.new_file(self._file, batch.schema)
            self._writer.write_batch(batch)
        except OSError as exc:
            raise self._translate(exc) from exc
        written = self._partitions.setdefault(partition, _Written())
        written.rows += batch.num_rows
        written.size_bytes += batch.nbytes
        written.batches.append(self._num_batches)
        self._num_batches += 1

    def finish(self) -> BlockFile:
        """Write the end and give the file its name."""
        try:
            if self._writer is not None:
                self._close()
                self._part.rename(self.path)
        except OSError as exc:
            raise self._translate(exc) from exc
        partitions = tuple(
            PartitionBlock(number, w.rows, w.size_bytes, tuple(w.batches)) for number, w in sorted(self._partitions.items())
        )
        return BlockFile(*self._name, str(self.path) if partitions else "", partitions)

    def abort(self) -> None:
        """Remove what was written, finished or not."""
        try:
            self._close()
        except (OSError, pa.ArrowException):
            self._writer = self._file = None  # a full disk: the file goes anyway
        self._part.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._file is not None:
            self._file.close()
        self._writer = self._file = None

    def _translate(self, exc: OSError) -> ExecutionError:
        if exc.errno == errno.ENOENT or not self.path.parent.exists():
            return Cancelled("the job was dropped while a task was writing")
        root = self.path.parent.parent
        if exc.errno == errno.ENOSPC or "space" in str(exc):
            return OutOfMemory(f"no space left in {root} for what the stages hand to each other", hint="make room there")
        return ExecutionError(f"cannot write {self.path.name} in {root}: {exc}")


class LocalBlockReader:
    """Maps block files of this machine; the batches are views of the mapped pages."""

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition in sequence."""
        announced = find_partition(block, partition)
        if announced is None:
            return
        rows = 0
        for batch in map_batches(block, announced.batches):
            rows += batch.num_rows
            yield batch
        check_rows(block, announced, rows)


def map_batches(block: BlockFile, positions: tuple[int, ...]) -> list[pa.RecordBatch]:
    """The batches at `positions` of a block file of this machine, without copying them.

    Raises:
        ReadError: the file is missing, cut short or not what it should be.
    """
    try:
        file = pa.ipc.open_file(pa.memory_map(block.path))
        if positions and positions[-1] >= file.num_record_batches:
            raise ReadError(f"{describe(block)} has {file.num_record_batches} batches, {positions[-1] + 1} were announced")
        return [file.get_batch(i) for i in positions]
    except FileNotFoundError as exc:
        raise ReadError(f"{describe(block)} is missing: there is no file {block.path}", code="FILE_MISSING") from exc
    except (OSError, pa.ArrowInvalid) as exc:
        raise ReadError(f"{describe(block)} cannot be read: {exc}") from exc


def find_partition(block: BlockFile, partition: int) -> PartitionBlock | None:
    """What `block` announces for a partition; None when it has no rows there."""
    return next((p for p in block.partitions if p.partition == partition), None)


def check_rows(block: BlockFile, announced: PartitionBlock, rows: int) -> None:
    """Raise when a partition did not have the announced rows."""
    if rows != announced.rows:
        raise ReadError(f"{describe(block)} gave {rows:,} rows of partition {announced.partition}, not {announced.rows:,}")


@dataclass(frozen=True, slots=True)
class LaneReader:
    """Chooses how each block is read: mapped when it lies on this machine and the lane is `file`, streamed otherwise."""

    lane: Lane
    local: BlockReader
    remote: BlockReader

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition in sequence."""
        near = self.lane == "file" and block.host == host_name()
        return (self.local if near else self.remote).read(block, partition)
