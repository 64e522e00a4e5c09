"""Block files: one Arrow IPC file a task attempt, written by its task, mapped or streamed by its readers.

A file begins in the first place that has room for it. When that is full it is moved to the next one and goes on there.
"""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from sabot_sql.agents.block_budget import BlockBudget, Grant, Place
from sabot_sql.agents.block_root import job_folder
from sabot_sql.errors import Cancelled, ExecutionError, OutOfMemory, ReadError
from sabot_sql.executor.exchange import BlockFile, BlockReader, PartitionBlock

Lane = Literal["file", "flight"]

MAGIC = b"ARROW1\0\0"  # begins an Arrow IPC file
FRAME_BYTES = 1024  # about what a batch takes beside its buffers


def host_name() -> str:
    """Names this machine; blocks of agents with the same name are read as files."""
    return platform.node() or "localhost"


def block_path(root: Path, job_id: str, stage_id: int, task_index: int, attempt: int) -> Path:
    """Where the block of a task attempt lies."""
    return job_folder(root, job_id) / f"{stage_id}-{task_index}-{attempt}.arrow"


def find_block(roots: Sequence[Path], job_id: str, stage_id: int, task_index: int, attempt: int) -> Path:
    """Where the block of a task attempt lies among `roots`; in the first where it is in none."""
    paths = [block_path(root, job_id, stage_id, task_index, attempt) for root in roots]
    return next((path for path in paths if path.exists()), paths[0])


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
    """Writes the batches of one task attempt into one file. No batches make no file.

    Args:
        root: the folder with the folders of the jobs, where there is only one and no limit.
        budget: grants room; its places go before `root`.
    """

    def __init__(
        self,
        root: Path,
        job_id: str,
        stage_id: int,
        task_index: int,
        attempt: int,
        agent_id: str,
        flight_uri: str,
        budget: BlockBudget | None = None,
    ) -> None:
        self._block = (job_id, stage_id, task_index, attempt)
        self._name = (*self._block, agent_id, host_name(), flight_uri)
        self._budget = budget or BlockBudget((Place(str(root)),))
        self._grant: Grant | None = None
        self._left_bytes = 0  # of the grant
        self._enter(0)
        self._partitions: dict[int, _Written] = {}
        self._num_batches = 0
        self._file: pa.NativeFile | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def _enter(self, place: int) -> None:
        """Write in this place from now on."""
        self._place = place
        self.path = block_path(Path(self._budget.places[place].root), *self._block)
        self._part = self.path.with_suffix(".part")

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        """Append a batch to a partition.

        Raises:
            OutOfMemory: what blocks may take is taken, or the disk is full.
            Cancelled: the job was dropped.
        """
        size_bytes = batch.nbytes
        needed = size_bytes + FRAME_BYTES
        try:
            if needed > self._left_bytes:
                self._ask(needed, self._place)
            self._in_a_place(lambda: self._append(batch), needed)
        except OSError as exc:
            raise self._translate(exc) from exc
        self._left_bytes -= needed
        written = self._partitions.setdefault(partition, _Written())
        written.rows += batch.num_rows
        written.size_bytes += size_bytes
        written.batches.append(self._num_batches)
        self._num_batches += 1

    def finish(self) -> BlockFile:
        """Write the end and give the file its name."""
        try:
            if self._writer is not None:
                self._in_a_place(self._close, FRAME_BYTES)
                self._part.rename(self.path)
        except OSError as exc:
            raise self._translate(exc) from exc
        self._settle()
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
        self._settle()

    def _ask(self, num_bytes: int, first: int) -> None:
        """Have a grant for `num_bytes`, and the file where that was granted."""
        self._settle()
        carried_bytes = self._file.tell() if self._file is not None else 0
        self._grant = self._budget.grant(self._block[0], num_bytes, first, carried_bytes)
        self._left_bytes = self._grant.num_bytes
        if self._grant.place != self._place:
            self._left_bytes -= carried_bytes
            self._move(self._grant.place)

    def _settle(self) -> None:
        if self._grant is not None:
            self._budget.settle(self._grant, self._grant.num_bytes - self._left_bytes)
        self._grant, self._left_bytes = None, 0

    def _open(self, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
        self._file = pa.OSFile(str(self._part), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)
        return self._writer

    def _move(self, place: int) -> None:
        """Go on in another place, with what is written so far."""
        old, file = self._part, self._file
        self._writer = self._file = None
        self._enter(place)
        if file is None:
            return
        file.close()
        try:
            if not self._num_batches:
                return
            with pa.memory_map(str(old)) as source:
                source.seek(len(MAGIC))
                stream = pa.ipc.open_stream(source)  # without its end the file is a stream
                writer = self._open(stream.schema)
                for _ in range(self._num_batches):
                    writer.write_batch(stream.read_next_batch())
        finally:
            old.unlink(missing_ok=True)

    def _in_a_place(self, act: Callable[[], object], num_bytes: int) -> None:
        """Write; where the place is full, sooner than its account says, write in the next one."""
        try:
            act()
        except OSError as exc:
            if not is_full(exc) or self._place + 1 == len(self._budget.places):
                raise
            self._ask(num_bytes, self._place + 1)
            act()

    def _append(self, batch: pa.RecordBatch) -> None:
        writer = self._writer if self._writer is not None else self._open(batch.schema)
        writer.write_batch(batch)

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
        if is_full(exc):
            return OutOfMemory(f"no space left in {root} for what the stages hand to each other", hint="make room there")
        return ExecutionError(f"cannot write {self.path.name} in {root}: {exc}")


def is_full(exc: OSError) -> bool:
    """Whether a file system has no room for more."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT) or "space" in str(exc)


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
