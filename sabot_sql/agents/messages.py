"""What coordinator and agents say to each other, in the wire form of plans (`planner.wire`); nothing is pickled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sabot_sql.errors import SabotError
from sabot_sql.executor.exchange import BlockFile, BlockName
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.physical import Session, Stage, Task
from sabot_sql.planner.wire import register

Inputs = dict[int, tuple[BlockFile, ...]]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The part of a deployment that is the same for all agents and attempts, encoded once: a stage without its tasks, the
    blocks it reads and what its tasks may use.

    Attributes:
        run: names this run of the stage; cancelling it does not touch a later run of the same stage.
        morsel_bytes: target size of a batch between operators.
    """

    job_id: str
    run: str
    stage: Stage
    inputs: Inputs
    session: Session
    morsel_bytes: int


@dataclass(frozen=True, slots=True)
class Deploy:
    """Run these tasks of a stage; the answer is a stream of one `TaskDone` or `TaskFailed` a task, as they end.

    Attributes:
        plan: a `StagePlan` on the wire.
        attempts: the attempt of each task.
        timeout_s: seconds from receipt until the tasks must stop, or None.
    """

    plan: bytes
    tasks: tuple[Task, ...]
    attempts: tuple[int, ...]
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task attempt ended well."""

    index: int
    attempt: int
    result: TaskResult


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


AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Names go into paths and addresses."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What an agent that was started elsewhere tells the coordinator, again and again.

    Attributes:
        release: of the project; coordinator and agents must have the same.
        jobs: those whose blocks it has.
        leaving: it was told to end, and waits for its tasks and for its blocks to be taken over.
    """

    agent_id: str
    incarnation: str
    pid: int
    host: str
    flight_uri: str
    slots: int
    release: str
    jobs: tuple[str, ...] = ()
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """The coordinator's answer.

    Attributes:
        refused: why the agent is not taken; empty where it is.
        drop: jobs that have ended.
        released: nothing is left that would need the agent.
    """

    refused: str = ""
    drop: tuple[str, ...] = ()
    released: bool = False


@dataclass(frozen=True, slots=True)
class FindBlocks:
    """Which of these blocks does the agent not have whole? The answer is another `FindBlocks`. Sizes are those of the buffers:
    a file is at least half as long."""

    names: tuple[BlockName, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AdoptBlocks:
    """Copy these blocks, whose buffers have these sizes, from the agent at `flight_uri` and keep them as your own."""

    flight_uri: str
    names: tuple[BlockName, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlockTicket:
    """What a Flight ticket asks for: these batches of one block file, whose bytes are to be as they were written (see
    `PartitionBlock`)."""

    job_id: str
    stage_id: int
    task_index: int
    attempt: int
    batches: tuple[int, ...]
    spans: tuple[int, ...]
    checksum: int


@dataclass(frozen=True, slots=True)
class FileTicket:
    """A Flight ticket for the bytes of a block file, as rows (bytes, last) of what `blocks.file_chunks` gives."""

    name: BlockName


register(StagePlan, Deploy, TaskDone, TaskFailed, Cancel, DropJob, AgentReport, BlockTicket)
register(Registration, Registered, FindBlocks, AdoptBlocks, FileTicket)
