"""GROUP BY: a sink that keeps one state for each group and then gives the groups out in order of first appearance.

When the groups take half of the operator's share of the memory they go to disk (the other half is for what growing and giving
out copy), split by their keys (`spilled_groups.py`), and each part is merged by itself at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor.aggregation import AggregateState, Aggregation
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.spill import free_unused
from sabot_sql.executor.spilled_groups import SpilledGroups
from sabot_sql.planner.physical import HashAggregate
from sabot_sql.types import Schema


class HashAggregateSink:
    """The sink of a `HashAggregate` node; `batches` gives its output once `combine` was called.

    Args:
        input_types: schema of the incoming batches.
        output: Arrow schema of the batches to give out.

    Attributes:
        input_size: bytes and rows that will come, where that is known.
    """

    def __init__(self, node: HashAggregate, input_types: Schema, output: pa.Schema, stats: OperatorStats) -> None:
        self.aggregation = Aggregation(node, input_types, output)
        self.schema = output
        self.stats = stats
        self.input_size: tuple[int, int] | None = None
        self._merged: AggregateState | None = None
        self._workers = 0
        self._spilling = threading.Lock()
        self._spilled: SpilledGroups | None = None

    def new_state(self, context: TaskContext) -> AggregateState:
        self._workers += 1
        state = self.aggregation.empty(context)
        if self.input_size is not None and 2 * self.needed_bytes(*self.input_size) <= context.share_bytes:
            state.expect(self.input_size[1] // context.threads)
        return state

    def sink(self, morsel: Morsel, state: AggregateState) -> None:
        began = time.perf_counter_ns()
        state.context.check()
        batch = morsel.batch
        if batch.num_rows:
            self.aggregation.add(batch, state)
            size_bytes = state.size_bytes
            if self._is_large(size_bytes * self._workers, state.context):
                self._spill(state)
                size_bytes = state.size_bytes
            state.account(size_bytes)
        state.rows_in += batch.num_rows
        state.elapsed_ns += time.perf_counter_ns() - began

    def combine(self, states: list[Any], context: TaskContext) -> None:
        states = states or [self.new_state(context)]
        for state in states:
            self.stats.rows_in += state.rows_in
            self.stats.elapsed_ns += state.elapsed_ns
        began = time.perf_counter_ns()
        if self._spilled is not None or self._is_large(sum(s.size_bytes for s in states), context):
            for state in states:
                self._spill(state)
                state.account()
        merged, *others = states
        for other in others:
            context.check()
            merged.absorb(other)
            other.release()
            merged.account()
        if self._spilled is not None:
            context.memory.unsettle(1)
        else:
            merged.finish()
        merged.account()
        self._merged = merged
        self.stats.elapsed_ns += time.perf_counter_ns() - began

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups, in batches of about `context.morsel_bytes`; once."""
        state, self._merged = self._merged, None
        if state is None:
            raise InternalError("an aggregation was read before its states were combined, or twice")
        if self._spilled is None:
            yield from self._groups_of(state)
            return
        state.release()
        yield from self._merge(self._spilled, context)
        context.memory.unsettle(-1)

    def _groups_of(self, state: AggregateState) -> Iterator[pa.RecordBatch]:
        """The groups of a state, which is given up."""
        began = time.perf_counter_ns()
        try:
            for batch in self.aggregation.outputs(state):
                self.stats.elapsed_ns += time.perf_counter_ns() - began
                self.stats.rows_out += batch.num_rows
                yield batch
                began = time.perf_counter_ns()
        finally:
            state.release()

    def needed_bytes(self, size_bytes: int, num_rows: int) -> int:
        """What groups take at most, about, if each row is one: arrays are twice as large as what is in them, and as much again
        is for growing and giving out."""
        return 4 * (size_bytes + 8 * num_rows * (2 + len(self.aggregation.feeds)))

    def _is_large(self, size_bytes: int, context: TaskContext) -> bool:
        """Whether groups of that size must go to disk."""
        can_spill = bool(self.aggregation.key_types) or any(f.keeps_values for f in self.aggregation.feeds)
        return can_spill and size_bytes > context.share_bytes // 2

    def _spill(self, state: AggregateState) -> None:
        """Put the groups of a state on disk; it has none afterwards."""
        with self._spilling:
            if self._spilled is None:
                self._spilled = self._new_spilled(0, state.context)
            self._spilled.add(state)
        state.clear()
        free_unused()

    def _new_spilled(self, level: int, context: TaskContext) -> SpilledGroups:
        assert context.spill is not None
        key_types = self.aggregation.key_types
        keys = key_types, list(self.schema)[: len(key_types)]
        return SpilledGroups(keys, self.aggregation.feeds, level, context.spill, self.stats, context)

    def _merge(self, spilled: SpilledGroups, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The groups of each part; what is too large is split again."""
        spilled.aggregate_values(lambda: self.aggregation.empty(context))
        for part in spilled.parts():
            began = time.perf_counter_ns()
            state = self.aggregation.empty(context)
            deeper: SpilledGroups | None = None
            for _ in spilled.add_to(state, part):
                if self._is_large(state.size_bytes, context):
                    deeper = deeper or self._new_spilled(spilled.level + 1, context)
                    deeper.add(state)
                    state.clear()
                state.account()
            if deeper is not None:
                deeper.add(state)
            else:
                state.finish()
                state.account()
            self.stats.elapsed_ns += time.perf_counter_ns() - began
            if deeper is None:
                yield from self._groups_of(state)
            else:
                state.release()
                yield from self._merge(deeper, context)
