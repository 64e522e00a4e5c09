"""Which stages of a job are done: a fold over the outputs of its recorded steps.

The next step of a job follows from the recorded outputs alone, so that a resumed job walks through its record by the same
steps as the first time, and only then goes on. A step that found blocks of an earlier stage gone records that; the stage
then is done again, as a new step.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sabot_sql.errors import AgentLost
from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.executor.task_result import TaskResult

MAX_RUNS = 3
BLOCK_FIELDS = ("job_id", "stage_id", "task_index", "attempt", "agent_id", "host", "flight_uri", "path", "owner")
PARTITION_FIELDS = ("partition", "rows", "size_bytes", "batches", "spans", "checksum")
PLAIN_BYTES = 8 << 10
OUTPUT_BYTES = 64 << 10


@dataclass(slots=True)
class Ledger:
    """The stages of a job in the order in which they run.

    Attributes:
        done: results of the tasks of each complete stage, or the output that holds them.
        runs: how often each stage was complete.
        plan: the output that holds the plan as finished stages changed it (`encode_plan`), if they did.
    """

    stages: tuple[int, ...]
    done: dict[int, list[TaskResult] | dict[str, Any]] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)
    plan: dict[str, Any] | None = None

    def next(self) -> int | None:
        """The stage that runs next; None when all are done."""
        return next((stage for stage in self.stages if stage not in self.done), None)

    def fold(self, output: dict[str, Any]) -> None:
        """Take note of a step's output."""
        for part in output.get("outputs", ()):
            self.fold(part)
        if "outputs" in output:
            return
        if "lost" in output:
            for stage in output["lost"]:
                self.done.pop(stage, None)
            return
        self.note(output["stage"], output)
        if "plan" in output:
            self.plan, self.stages = output, tuple(output["stages"])

    def results(self, stage: int) -> list[TaskResult]:
        """The results of the tasks of a complete stage."""
        found = self.done[stage]
        if isinstance(found, dict):
            found = self.done[stage] = decode_results(found)
        return found

    def copy(self) -> Ledger:
        """A ledger that goes on by itself."""
        return Ledger(self.stages, dict(self.done), dict(self.runs), self.plan)

    def note(self, stage: int, results: list[TaskResult] | dict[str, Any]) -> None:
        """Take note of a complete stage."""
        self.done[stage] = results
        self.runs[stage] = self.runs.get(stage, 0) + 1

    def lost(self, stages: Iterable[int], gone_of: Callable[[list[BlockFile]], list[BlockFile]]) -> dict[str, Any] | None:
        """The output that tells of those of `stages` whose blocks are gone; None when all are there.

        Args:
            gone_of: which of some blocks are.

        Raises:
            AgentLost: a stage was lost too often.
        """
        gone = [stage for stage in stages if gone_of([result.block for result in self.results(stage)])]
        for stage in gone:
            if self.runs[stage] >= MAX_RUNS:
                raise AgentLost(f"the output of stage {stage} was lost {self.runs[stage]} times", retryable=True)
        return {"lost": gone} if gone else None


def encode_results(stage: int, results: list[TaskResult]) -> dict[str, Any]:
    """A complete stage as a step's output: small enough for a database, whatever the number of tasks."""
    tasks = [[encode_block(r.block), list(r.stats), r.peak_memory_bytes] for r in results]
    text = json.dumps(tasks, separators=(",", ":"))
    if len(text) <= PLAIN_BYTES:
        return {"stage": stage, "tasks": tasks}
    packed = _pack(text)
    if len(packed) > OUTPUT_BYTES:
        packed = _pack(json.dumps([[block, [], peak] for block, _, peak in tasks], separators=(",", ":")))
    return {"stage": stage, "packed": packed}


def decode_results(output: dict[str, Any]) -> list[TaskResult]:
    """What `encode_results` wrote."""
    tasks = output["tasks"] if "tasks" in output else json.loads(zlib.decompress(base64.b64decode(output["packed"])))
    return [TaskResult(decode_block(block), tuple(stats), peak) for block, stats, peak in tasks]


def encode_block(block: BlockFile) -> list[Any]:
    """A block's description as JSON."""
    head = [getattr(block, name) for name in BLOCK_FIELDS]
    return [*head, [[getattr(p, name) for name in PARTITION_FIELDS] for p in block.partitions]]


def decode_block(data: list[Any]) -> BlockFile:
    """What `encode_block` wrote."""
    partitions = tuple(
        PartitionBlock(p, rows, size, tuple(batches), tuple(spans), check) for p, rows, size, batches, spans, check in data[-1]
    )
    return BlockFile(**dict(zip(BLOCK_FIELDS, data)), partitions=partitions)


def _pack(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 1)).decode()
