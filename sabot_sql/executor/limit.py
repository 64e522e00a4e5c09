"""LIMIT and OFFSET without ORDER BY: rows in the order of their arrival, and the end as soon as there are enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.planner.physical import Limit


@dataclass(slots=True)
class _State:
    context: TaskContext
    seen: int = 0
    given: int = 0


class LimitOperator:
    """Lets rows [offset, offset + limit) pass. The pipeline that runs it has one worker, so that arrival is the source's order.

    Args:
        schema: Arrow schema of the input, which is also the output's.
    """

    def __init__(self, node: Limit, schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.schema = schema
        self.stats = stats

    def new_state(self, context: TaskContext) -> _State:
        return _State(context)

    def process(self, batch: pa.RecordBatch, state: _State) -> Iterator[pa.RecordBatch]:
        state.context.check()
        first = max(0, self.node.offset - state.seen)
        last = batch.num_rows
        if self.node.limit is not None:
            last = min(last, self.node.offset + self.node.limit - state.seen)
        state.seen += batch.num_rows
        if first < last:
            state.given += last - first
            yield batch if last - first == batch.num_rows else batch.slice(first, last - first)

    def drain(self, states: Sequence[_State]) -> Iterator[pa.RecordBatch]:
        return iter(())

    def exhausted(self, state: _State) -> bool:
        """Whether no further row will pass: the pipeline need not read on."""
        return self.node.limit is not None and state.seen >= self.node.offset + self.node.limit

    def close(self, state: _State) -> None:
        self.stats.rows_in += state.seen
        self.stats.rows_out += state.given
        state.seen = state.given = 0
