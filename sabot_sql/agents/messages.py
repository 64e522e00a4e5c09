"""What coordinator and agents say to each other. Everything is JSON (and plans in their own wire form); nothing is pickled.

A message with plans in it is one line of JSON followed by the plans' bytes; the line says how long each is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sabot_sql.errors import SabotError
from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.planner.physical import Session, Stage, Task
from sabot_sql.planner.wire import from_wire, to_wire

Inputs = dict[int, tuple[BlockFile, ...]]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The part of a deployment that is the same for all agents and attempts, encoded once: a stage without its tasks, the
    blocks it reads and what its tasks may use.

    Attributes:
        run: names this run of the stage; cancelling it does not touch a later run of the same stage.
        memory_bytes: what one task may hold.
        morsel_bytes: target size of a batch between operators.
    """

    job_id: str
    run: str
    stage: Stage
    inputs: Inputs
    session: Session
    memory_bytes: int
    morsel_bytes: int

    def encode(self) -> bytes:
        head = {
            "job": self.job_id,
            "run": self.run,
            "inputs": {str(stage): [encode_block(b) for b in blocks] for stage, blocks in self.inputs.items()},
            "session": asdict(self.session),
            "memory_bytes": self.memory_bytes,
            "morsel_bytes": self.morsel_bytes,
        }
        return join(head, (to_wire(self.stage),))

    @staticmethod
    def decode(body: bytes) -> StagePlan:
        head, (stage,) = split(body)
        return StagePlan(
            job_id=head["job"],
            run=head["run"],
            stage=from_wire(stage, Stage),
            inputs={int(s): tuple(map(decode_block, blocks)) for s, blocks in head["inputs"].items()},
            session=Session(**head["session"]),
            memory_bytes=head["memory_bytes"],
            morsel_bytes=head["morsel_bytes"],
        )


@dataclass(frozen=True, slots=True)
class Deploy:
    """Run these tasks of a stage; the answer is a stream of one `TaskDone` or `TaskFailed` a task, as they end.

    Attributes:
        plan: an encoded `StagePlan`.
        attempts: the attempt of each task.
        timeout_s: seconds from receipt until the tasks must stop, or None.
    """

    plan: bytes
    tasks: tuple[Task, ...]
    attempts: tuple[int, ...]
    timeout_s: float | None = None

    def encode(self) -> bytes:
        head = {"attempts": self.attempts, "timeout_s": self.timeout_s}
        return join(head, (self.plan, *map(to_wire, self.tasks)))

    @staticmethod
    def decode(body: bytes) -> Deploy:
        head, (plan, *tasks) = split(body)
        return Deploy(plan, tuple(from_wire(t, Task) for t in tasks), tuple(head["attempts"]), head["timeout_s"])


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task attempt ended well: its block, the counters of its operators and the most memory it held."""

    index: int
    attempt: int
    block: BlockFile
    stats: tuple[dict[str, Any], ...]
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task attempt failed; `problem` is `SabotError.to_problem()`."""

    index: int
    attempt: int
    problem: dict[str, Any]

    @property
    def error(self) -> SabotError:
        return SabotError.from_problem(self.problem)


TaskOutcome = TaskDone | TaskFailed


def encode_outcome(outcome: TaskOutcome) -> bytes:
    """An outcome as one line of JSON."""
    if isinstance(outcome, TaskFailed):
        return dumps({"index": outcome.index, "attempt": outcome.attempt, "problem": outcome.problem})
    return dumps(
        {
            "index": outcome.index,
            "attempt": outcome.attempt,
            "block": encode_block(outcome.block),
            "stats": outcome.stats,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
    )


def decode_outcome(body: bytes) -> TaskOutcome:
    """What `encode_outcome` wrote."""
    data = json.loads(body)
    if "problem" in data:
        return TaskFailed(**data)
    return TaskDone(**{**data, "block": decode_block(data["block"]), "stats": tuple(data["stats"])})


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the tasks of one run of a stage, or of the whole job when `run` is None."""

    job_id: str
    run: str | None = None


@dataclass(frozen=True, slots=True)
class DropJob:
    """Stop the job's tasks and remove its blocks."""

    job_id: str


@dataclass(frozen=True, slots=True)
class AgentReport:
    """An agent's answer to a ping."""

    agent_id: str
    incarnation: str
    pid: int
    slots: int
    slots_used: int
    tasks_queued: int
    tasks_done: int
    tasks_failed: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class BlockTicket:
    """What a Flight ticket asks for: these batches of one block file."""

    job_id: str
    stage_id: int
    task_index: int
    attempt: int
    batches: tuple[int, ...]


AgentState = Literal["starting", "alive", "draining", "suspect", "lost", "stopped"]

Flat = Cancel | DropJob | AgentReport | BlockTicket


def encode(message: Flat) -> bytes:
    """A message of plain values as JSON."""
    return dumps(asdict(message))


def decode_ticket(body: bytes) -> BlockTicket:
    """The ticket that `encode` wrote."""
    data = json.loads(body)
    return BlockTicket(**{**data, "batches": tuple(data["batches"])})


def encode_block(block: BlockFile) -> list[Any]:
    """A block's description as a JSON-able list."""
    return [
        block.job_id,
        block.stage_id,
        block.task_index,
        block.attempt,
        block.agent_id,
        block.host,
        block.flight_uri,
        block.path,
        [[p.partition, p.rows, p.size_bytes, p.batches] for p in block.partitions],
    ]


def decode_block(data: list[Any]) -> BlockFile:
    """What `encode_block` wrote."""
    *head, partitions = data
    return BlockFile(*head, partitions=tuple(PartitionBlock(p, rows, size, tuple(at)) for p, rows, size, at in partitions))


def dumps(data: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(data, separators=(",", ":")).encode()


def join(head: dict[str, Any], parts: tuple[bytes, ...]) -> bytes:
    """One line of JSON, then the parts."""
    return b"".join((dumps({**head, "parts": [len(p) for p in parts]}), b"\n", *parts))


def split(body: bytes) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """The head and the parts that `join` put together."""
    line, _, rest = body.partition(b"\n")
    head = json.loads(line)
    parts, at = [], 0
    for length in head.pop("parts"):
        parts.append(rest[at : at + length])
        at += length
    if at != len(rest):
        raise ValueError(f"message of {len(body)} bytes has {len(rest) - at} bytes too many or too few")
    return head, tuple(parts)
