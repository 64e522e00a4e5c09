"""Runs one task: the pipelines of its stage, from the splits and blocks it was given to the block it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sabot_sql.executor.exchange import BlockFile, BlockReader, BlockWriter
from sabot_sql.executor.exchange_write import ExchangeWriteSink
from sabot_sql.executor.lower import Lowering, Pipeline, run_pipelines
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.physical import Stage, Task
from sabot_sql.planner.wire import register

WRITE_NODE = -1
"""The number of the exchange writer in a task's counters: it stands above the stage's tree."""

COUNTERS = tuple(f.name for f in fields(OperatorStats))

register(OperatorStats)


def run_task(
    stage: Stage,
    task: Task,
    inputs: dict[int, list[BlockFile]],
    reader: BlockReader,
    writer: BlockWriter,
    context: TaskContext,
) -> TaskResult:
    """Run `task` of `stage` and write its block.

    Whatever happens, the memory of the task is free afterwards; after an error its block is gone, too.

    Args:
        inputs: the blocks of every stage that this one reads.

    Raises:
        SabotError: the first error of any worker.
    """
    lowering = Lowering(stage, task, inputs, reader, context)
    try:
        branches = lowering.lower(stage.root)
        stats = OperatorStats(WRITE_NODE, "ExchangeWrite", "numba")
        context.stats.append(stats)
        schema = lowering.schema(stage.root.schema)
        sink = ExchangeWriteSink(stage.output, stage.root.schema, schema, writer, stats)
        run_pipelines((*lowering.pipelines, Pipeline(branches, sink, sink.needed_bytes(context))), context)
        block = writer.finish()
    except BaseException:
        writer.abort()
        raise
    finally:
        lowering.close()
        # the states of a pipeline that was stopped cannot be asked any more: what they held goes with the task
        context.memory.release(context.memory.used_bytes)
        if context.spill is not None:
            context.spill.close()
    return TaskResult(block, _report(context.stats), context.memory.peak_bytes)


def _report(stats: Sequence[OperatorStats]) -> tuple[dict[str, Any], ...]:
    """The counters; the build side of a join gives no rows of its own to what stands above the join."""
    for each in stats:
        if each.name == "HashJoinBuild":
            each.rows_out = 0
    return tuple({name: getattr(s, name) for name in COUNTERS} for s in stats)
