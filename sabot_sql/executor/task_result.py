"""What a task reports when it is done. Apart from `task`, so that the coordinator knows it without the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.planner.wire import register


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task reports when it is done.

    Attributes:
        block: the rows it hands on.
        stats: of every operator, as mappings with the fields of `OperatorStats`.
    """

    block: BlockFile
    stats: tuple[dict[str, Any], ...]
    peak_memory_bytes: int


register(BlockFile, PartitionBlock, TaskResult)
