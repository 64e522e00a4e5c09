"""The first step of a GROUP BY in two steps: groups are brought together as they come, as long as that makes them fewer.

Every so many groups it is looked at how many of the last rows began a new one. Where nearly all did, the second step sees as
many groups either way: what there is goes on, and the rows after it go on as they are, each as a group of its own. Where the
rows of a group lie one after the other, as in a table that is sorted by it, they are brought together without looking any group
up. After a while it is tried again, each time for longer. Groups that take too much memory go on, too. Bringing equal ones
together is the second step's work in any case.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.executor.aggregate_feed import feeds_of
from sabot_sql.executor.aggregation import AggregateState, Aggregation
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.planner.physical import HashAggregate
from sabot_sql.types import Schema

LOOK_GROUPS = 1 << 17
"""Groups after which it is looked at the rows since the last look."""

NEW_SHARE = 0.9
"""Share of rows that begin a group from which bringing them together is given up."""

RUNS_GAIN = 1.25
"""Runs of equal keys are taken for groups where they are at most so many times as many as the groups, ..."""

RUNS_LOST = 2
"""... until they are so many times as many as they were."""

PASSED_LOOKS = 8
"""Rows that pass as they are, or in runs, before it is tried again, in `LOOK_GROUPS`; twice as many each time."""


def is_streamed(node: HashAggregate) -> bool:
    """Whether `node` is a first step whose groups may go on before all rows are seen."""
    return node.mode == "partial" and bool(node.groups) and not any(feed.keeps_values for feed in feeds_of(node)[0])


@dataclass(slots=True)
class PartialState:
    """One worker's groups.

    Attributes:
        looked_groups: groups at the last look.
        rows: since then.
        tries: how often bringing rows together was given up.
        to_pass: rows that are yet to pass as they are, or in runs.
        run_share: runs to rows where that was decided.
    """

    held: AggregateState
    looked_groups: int = 0
    rows: int = 0
    tries: int = 0
    to_pass: int = 0
    run_share: float = 1.0
    rows_out: int = 0


class PartialAggregateOperator:
    """A `HashAggregate` node of mode `partial` with keys, and no call whose values must be distinct.

    Args:
        input_types: schema of the incoming batches.
        schema: Arrow schema of the batches to give out.
    """

    def __init__(self, node: HashAggregate, input_types: Schema, schema: pa.Schema, stats: OperatorStats) -> None:
        self.aggregation = Aggregation(node, input_types, schema)
        self.schema = schema
        self.stats = stats
        self._workers = 0

    def new_state(self, context: TaskContext) -> PartialState:
        self._workers += 1
        return PartialState(self.aggregation.empty(context))

    def process(self, batch: pa.RecordBatch, state: PartialState) -> Iterator[pa.RecordBatch]:
        began = time.perf_counter_ns()
        held = state.held
        held.rows_in += batch.num_rows
        if state.to_pass > 0 and batch.num_rows:
            state.to_pass -= batch.num_rows
            found = self._passed(batch, state)
            state.rows_out += found.num_rows
            held.elapsed_ns += time.perf_counter_ns() - began
            yield found
            return
        self.aggregation.add(batch, held)
        held.account()
        state.rows += batch.num_rows
        held.elapsed_ns += time.perf_counter_ns() - began
        new = held.table.count - state.looked_groups
        if new >= LOOK_GROUPS:
            state.run_share = len(self.aggregation.runs(batch)[1]) / batch.num_rows
            if new >= NEW_SHARE * state.rows or state.run_share * state.rows <= RUNS_GAIN * new:
                state.to_pass = LOOK_GROUPS * PASSED_LOOKS << state.tries
                state.tries += 1
            state.looked_groups, state.rows = held.table.count, 0
        if state.to_pass > 0 or held.size_bytes * self._workers > held.context.share_bytes // 2:
            yield from self._given_out(state)
            held.clear()
            held.account()
            state.looked_groups = state.rows = 0

    def _passed(self, batch: pa.RecordBatch, state: PartialState) -> pa.RecordBatch:
        """The rows of a batch as groups of their own, or its runs."""
        if state.run_share >= NEW_SHARE:
            return self.aggregation.each_row(batch)
        groups, firsts = self.aggregation.runs(batch)
        if len(firsts) > RUNS_LOST * state.run_share * batch.num_rows:
            state.to_pass = 0  # rows lie in another order from here on
        return self.aggregation.each_run(batch, groups, firsts)

    def drain(self, states: Sequence[PartialState]) -> Iterator[pa.RecordBatch]:
        """The groups that are left, those of several workers brought together where that has made them fewer."""
        first, *others = states
        if not any(state.tries for state in states):
            began = time.perf_counter_ns()
            for other in others:
                first.held.context.check()
                first.held.absorb(other.held)
                other.held.clear()
                other.held.account()
                first.held.account()
            first.held.elapsed_ns += time.perf_counter_ns() - began
        for state in states:
            yield from self._given_out(state)

    def close(self, state: PartialState) -> None:
        held = state.held
        self.stats.rows_in += held.rows_in
        self.stats.rows_out += state.rows_out
        self.stats.elapsed_ns += held.elapsed_ns
        held.rows_in = held.elapsed_ns = state.rows_out = 0
        held.release()

    def _given_out(self, state: PartialState) -> Iterator[pa.RecordBatch]:
        """All groups of a state."""
        began = time.perf_counter_ns()
        for batch in self.aggregation.outputs(state.held):
            state.held.elapsed_ns += time.perf_counter_ns() - began
            state.rows_out += batch.num_rows
            yield batch
            began = time.perf_counter_ns()
