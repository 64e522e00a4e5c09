"""Block files: one Arrow IPC file a task attempt, written by its task, mapped or streamed by its readers.

A file begins in the first place that has room for it. When that is full it is moved to the next one and goes on there.

Whoever reads a partition of a file first compares the checksum of its bytes with that which its writer made. A damaged file
is removed, so that nobody else reads it and the stage that made it knows what to make again.
"""

from __future__ import annotations

import errno
import os
import platform
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from sabot_sql.agents.block_budget import BlockBudget, Grant, Place
from sabot_sql.agents.block_root import job_folder
from sabot_sql.errors import Cancelled, ExecutionError, OutOfMemory, ReadError
from sabot_sql.executor.exchange import BlockFile, BlockName, BlockReader, PartitionBlock
from sabot_sql.executor.kernels.checksums import checksum

Lane = Literal["file", "flight"]

MAGIC = b"ARROW1\0\0"  # begins an Arrow IPC file
FRAME_BYTES = 1024  # about what a batch takes beside its buffers
CHUNK_BYTES = 1 << 20  # in which files are handed to other agents


def host_name() -> str:
    """Names this machine; blocks of agents with the same name are read as files."""
    return platform.node() or "localhost"


def block_path(root: Path, job_id: str, stage_id: int, task_index: int, attempt: int) -> Path:
    """Where the block of a task attempt lies."""
    return job_folder(root, job_id) / f"{stage_id}-{task_index}-{attempt}.arrow"


def block_of(path: Path) -> BlockName:
    """Job, stage, task and attempt of a block's file."""
    stage_id, task_index, attempt = (int(part) for part in path.stem.split("-"))
    return path.parent.name, stage_id, task_index, attempt


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
    spans: list[int] = field(default_factory=list)


class FileBlockWriter:
    """Writes the batches of one task attempt into one file. No batches make no file.

    Args:
        root: the folder with the folders of the jobs, where there is only one and no limit.
        budget: grants room; its places go before `root`.
        owner: the incarnation of the agent that the file belongs to, if it does not belong to the job.
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
        owner: str = "",
    ) -> None:
        self._block = (job_id, stage_id, task_index, attempt)
        self._owner = owner
        self._name = (*self._block, agent_id, host_name(), flight_uri)
        self._budget = budget or BlockBudget((Place(str(root)),))
        self._grant: Grant | None = None
        self._left_bytes = 0  # of the grant
        self._enter(0)
        self._partitions: dict[int, _Written] = {}
        self._num_batches = 0
        self._ends: list[int] = []  # of each batch in the file, after a 0: the first has the file's head with it
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
        if not self._partitions:
            return BlockFile(*self._name, "", (), self._owner)
        try:
            data = np.memmap(self.path, np.uint8, "r")
        except OSError as exc:
            raise self._translate(exc) from exc
        partitions = tuple(self._partition(number, w, data) for number, w in sorted(self._partitions.items()))
        return BlockFile(*self._name, str(self.path), partitions, self._owner)

    def _partition(self, number: int, written: _Written, data: np.ndarray[Any, np.dtype[np.uint8]]) -> PartitionBlock:
        spans = [place for i in written.batches for place in (self._ends[i], self._ends[i + 1])]
        total = checksum(data, np.array(spans, np.int64))
        return PartitionBlock(
            number, written.rows, written.size_bytes, tuple(written.batches), tuple(spans), int(np.uint64(total).view(np.int64))
        )

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
                for _ in range(self._num_batches):
                    self._append(stream.read_next_batch())
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
        if self._file is None or self._writer is None:
            self._file = pa.OSFile(str(self._part), "wb")
            self._writer = pa.ipc.new_file(self._file, batch.schema)
            self._ends = [0]
        self._writer.write_batch(batch)
        self._ends.append(self._file.tell())

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
        for batch in map_batches(block, announced):
            rows += batch.num_rows
            yield batch
        check_rows(block, announced, rows)


def map_batches(block: BlockFile, wanted: PartitionBlock) -> list[pa.RecordBatch]:
    """The batches of a partition of a block file of this machine, without copying them.

    Raises:
        ReadError: FILE_MISSING; BLOCK_DAMAGED when the file is cut short or its bytes are not those that were written: it is
            removed.
    """
    try:
        mapped = pa.memory_map(block.path)
        if not _is_intact(mapped, wanted):
            raise ReadError(f"{describe(block)} is damaged: its checksum is another one", code="BLOCK_DAMAGED")
        file = pa.ipc.open_file(mapped)
        return [file.get_batch(i) for i in wanted.batches]
    except FileNotFoundError as exc:
        raise ReadError(f"{describe(block)} is missing: there is no file {block.path}", code="FILE_MISSING") from exc
    except ReadError:
        Path(block.path).unlink(missing_ok=True)
        raise
    except (OSError, pa.ArrowInvalid, IndexError) as exc:
        if getattr(exc, "errno", None) is None:  # it is not the system that refuses
            Path(block.path).unlink(missing_ok=True)
        raise ReadError(f"{describe(block)} cannot be read: {exc}", code="BLOCK_DAMAGED") from exc


def _is_intact(mapped: pa.MemoryMappedFile, wanted: PartitionBlock) -> bool:
    """Whether the bytes of a partition's batches are those that were written."""
    if not wanted.spans:
        return True
    data = np.frombuffer(mapped.read_buffer(), np.uint8)
    spans = np.array(wanted.spans, np.int64)
    return bool(len(data) >= spans[-1] and checksum(data, spans) == np.int64(wanted.checksum).view(np.uint64))


def is_whole(path: Path, size_bytes: int) -> bool:
    """Whether a block file with so many bytes of buffers is there.

    It is at least half as long: writing leaves out only validity bits that say nothing."""
    try:
        return path.stat().st_size >= size_bytes // 2
    except OSError:
        return False


def lost_files(blocks: Iterable[BlockFile]) -> list[BlockFile]:
    """Those of the blocks that lay on this machine and are not whole any more; of other machines nothing is known."""
    here = (block for block in blocks if block.partitions and block.host == host_name())
    return [block for block in here if not is_whole(Path(block.path), block.size_bytes)]


def adopt_file(budget: BlockBudget, name: BlockName, size_bytes: int, chunks: Iterable[tuple[bytes, bool]]) -> None:
    """Write another agent's block file.

    Args:
        size_bytes: of its buffers.
        chunks: its bytes and False, at the end their CRC-32 in four bytes and True.

    Raises:
        ReadError: BLOCK_DAMAGED: what came is not what was sent.
        OutOfMemory: there is no room.
    """
    grant = budget.grant(name[0], size_bytes + FRAME_BYTES)
    path = block_path(Path(budget.places[grant.place].root), *name)
    part = path.with_suffix(".part")
    crc, written, whole = 0, 0, False
    try:
        with part.open("wb") as file:
            for chunk, last in chunks:
                if last:
                    whole = crc.to_bytes(4, "big") == chunk
                    break
                crc = zlib.crc32(chunk, crc)
                written += file.write(chunk)
        if not whole:
            raise ReadError(f"block file {path.name} came damaged from another agent", code="BLOCK_DAMAGED")
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
        budget.settle(grant, written if whole else 0)


def file_chunks(path: Path) -> Iterator[tuple[bytes, bool]]:
    """What `adopt_file` takes.

    Raises:
        ReadError: FILE_MISSING.
    """
    crc = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                crc = zlib.crc32(chunk, crc)
                yield chunk, False
    except FileNotFoundError as exc:
        raise ReadError(f"there is no block file {path}", code="FILE_MISSING") from exc
    yield crc.to_bytes(4, "big"), True


def find_partition(block: BlockFile, partition: int) -> PartitionBlock | None:
    """What `block` announces for a partition; None when it has no rows there."""
    return next((p for p in block.partitions if p.partition == partition), None)


def check_rows(block: BlockFile, announced: PartitionBlock, rows: int) -> None:
    """Raise when a partition did not have the announced rows."""
    if rows != announced.rows:
        raise ReadError(f"{describe(block)} gave {rows:,} rows of partition {announced.partition}, not {announced.rows:,}")


@dataclass(frozen=True, slots=True)
class LaneReader:
    """Chooses how each block is read: mapped when it lies on this machine and the lane is `file`, streamed otherwise. A file
    of another agent's own that is not found is asked of that agent: machines may have the same name."""

    lane: Lane
    local: BlockReader
    remote: BlockReader

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition in sequence."""
        near = self.lane == "file" and block.host == host_name()
        if near and block.owner and not os.path.exists(block.path):
            near = False
        return (self.local if near else self.remote).read(block, partition)
