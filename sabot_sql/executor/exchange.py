"""What stages hand to each other: blocks of Arrow batches in files, named by (job, stage, task, attempt, partition).

A task attempt writes one Arrow IPC file; every batch in it belongs to one partition. The `BlockFile` that describes it
travels to the consumers, which read their partitions and check that they got every row. Readers and writers are given to
the executor from above (the agents implement them over files and Flight).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class PartitionBlock:
    """One partition's share of a block file. The list of batches is the explicit end: a reader that sees fewer rows raises.

    Attributes:
        size_bytes: of its buffers.
        batches: the positions of its batches in the file, in sequence.
        spans: where the bytes of each begin and end in the file, one pair after the other.
        checksum: of these bytes (`kernels.checksums`), as a signed integer.
    """

    partition: int
    rows: int
    size_bytes: int
    batches: tuple[int, ...]
    spans: tuple[int, ...] = ()
    checksum: int = 0


BlockName = tuple[str, int, int, int]
"""Job, stage, task and attempt of a block file."""


@dataclass(frozen=True, slots=True)
class BlockFile:
    """The output of one task attempt.

    Attributes:
        host: identifies the machine; a reader on the same host maps `path`, any other asks `flight_uri`.
        owner: the incarnation of the agent that the file belongs to and goes with; empty for a file of the job's, which any
            agent on its host serves.
    """

    job_id: str
    stage_id: int
    task_index: int
    attempt: int
    agent_id: str
    host: str
    flight_uri: str
    path: str
    partitions: tuple[PartitionBlock, ...]
    owner: str = ""

    @property
    def name(self) -> BlockName:
        return self.job_id, self.stage_id, self.task_index, self.attempt

    @property
    def rows(self) -> int:
        return sum(p.rows for p in self.partitions)

    @property
    def size_bytes(self) -> int:
        return sum(p.size_bytes for p in self.partitions)


class BlockWriter(Protocol):
    """Takes the batches of one task attempt. `write` is called from one thread at a time."""

    def write(self, partition: int, batch: pa.RecordBatch) -> None: ...

    def finish(self) -> BlockFile:
        """Write the end and make the file readable under its name (write to a temporary name, then rename)."""
        ...

    def abort(self) -> None:
        """Remove what was written."""
        ...


class BlockReader(Protocol):
    """Reads partitions of block files, wherever they lie."""

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        """The batches of one partition in sequence.

        Raises:
            ReadError: a block is missing or has fewer rows than announced.
            AgentLost: its agent cannot be reached.
        """
        ...
