"""Hash join: a sink that builds a table over one input, and an operator that probes it with the other.

A build side that would take more than the operator's share of the memory, with its table and what building it takes, goes to
disk in parts, by the hash of its keys. Rows of the probe side then go to disk in the same parts, and each pair of parts is
joined by itself when the probe side has ended; a part too large is split again. The parts of a build side that tasks share are
written once, and read by each of the tasks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor.columns import NO_FLAGS, Array, Column, unwrap
from sabot_sql.executor.gather import batch_of, concatenate, select, take, take_array
from sabot_sql.executor.join_table import NO_ROWS, JoinTable
from sabot_sql.executor.kernels import gathering, joining
from sabot_sql.executor.keys import KeyEncoder
from sabot_sql.executor.operator import Morsel, OperatorStats, TaskContext
from sabot_sql.executor.spill import SpillFile, free_unused
from sabot_sql.executor.spill_partitions import LEVELS, SpillPartitions
from sabot_sql.planner.expressions import references
from sabot_sql.planner.physical import HashJoin
from sabot_sql.types import Lane, Schema

Residual = Callable[[pa.RecordBatch], Array]
Part = tuple[SpillFile, Sequence[SpillFile]]
"""A file of the build side and those of the probe side with the same keys."""

SPLIT_WELL = 0.9
"""A part with more of the rows that were split is not split again: one key has most of them."""

WHAT = "the build side of a join (HashJoin)"
WHAT_PROBE = "the probe side of a join (HashJoin)"

_stats_lock = threading.Lock()


def _keys(
    batch: pa.RecordBatch, keys: Sequence[int], types: Schema, null_equal: tuple[bool, ...]
) -> tuple[list[Column], Array]:
    """The key columns, and which rows can match (uint8[n], empty for all): those with a NULL where it equals nothing cannot."""
    columns, usable = [], NO_FLAGS
    for position, equal in zip(keys, null_equal):
        column = unwrap(batch.column(position), types[position].type)
        if column.valid is not None and not equal:
            usable = column.valid if not len(usable) else usable & column.valid
            column.valid = None
        columns.append(column)
    return columns, usable


@dataclass(slots=True)
class _BuildState:
    context: TaskContext
    batches: list[tuple[int, pa.RecordBatch]] = field(default_factory=list)
    rows: int = 0
    rows_held: int = 0
    reserved: int = 0


class JoinBuildSink:
    """Collects the build side and makes the table over it.

    Args:
        build_types: the build side's columns.
        schema: their Arrow schema.

    Attributes:
        batch: after `combine`, the build rows that can match, by group, with the columns that are needed (see `column`).
        table: after `combine`, the table; None when no row can match, and when the rows are on disk.
        spilled: after `combine`, the parts of the rows where they are on disk; those that match nothing may be missing.
    """

    def __init__(self, node: HashJoin, build_types: Schema, schema: pa.Schema, stats: OperatorStats) -> None:
        self.node = node
        self.types = build_types
        self.stats = stats
        width = len(node.probe.schema)
        behind = {p - width for p in node.output if p >= width}
        if node.residual is not None:
            behind |= {p - width for p in references(node.residual) if p >= width}
        self.kept = sorted(behind | set(node.build_keys))
        self.all_columns = schema
        self.schema = pa.schema([schema.field(p) for p in self.kept])
        self.encoder = KeyEncoder([build_types[k].type for k in node.build_keys], growable=True)
        self.batch: pa.RecordBatch | None = None
        self.table: JoinTable | None = None
        self.spilled: tuple[SpillFile, ...] | None = None
        self.states: list[_BuildState] = []
        self.reserved = 0
        self._partitions: SpillPartitions | None = None
        self._spilling = threading.Lock()

    def new_state(self, context: TaskContext) -> _BuildState:
        self.states.append(_BuildState(context))
        return self.states[-1]

    def sink(self, morsel: Morsel, state: _BuildState) -> None:
        state.context.check()
        batch = morsel.batch
        if batch.num_rows == 0:
            return
        kept = batch_of([batch.column(p) for p in self.kept], batch.num_rows, self.schema)
        state.context.memory.reserve(kept.nbytes, WHAT)
        state.reserved += kept.nbytes
        state.rows += batch.num_rows
        state.rows_held += batch.num_rows
        state.batches.append((morsel.sequence, kept))
        if self.needed_bytes(state.reserved, state.rows_held) > state.context.share_bytes // len(self.states):
            self._spill(state)

    def needed_bytes(self, size_bytes: int, num_rows: int) -> int:
        """What building a table over rows takes at most, with these; strings of keys may all be kept once more."""
        texts = 2 * size_bytes + 48 * num_rows if any(t.lane is Lane.BYTES for t in self.encoder.types) else 0
        return 2 * size_bytes + texts + JoinTable.needed_bytes(self.encoder.key_words + 2, num_rows)

    def combine(self, states: list[_BuildState], context: TaskContext) -> None:
        began = time.perf_counter_ns()
        self.stats.rows_in += sum(s.rows for s in states)
        together = self.needed_bytes(sum(s.reserved for s in states), sum(s.rows_held for s in states))
        if self._partitions is not None or together > context.share_bytes:
            for state in states:
                self._spill(state)
            if self._partitions is not None:
                self.spilled = self._partitions.finish()
                free_unused()
        else:
            self._combine_in_memory(states, context)
        self.stats.elapsed_ns += time.perf_counter_ns() - began

    def _combine_in_memory(self, states: Sequence[_BuildState], context: TaskContext) -> None:
        self.reserved = sum(s.reserved for s in states)
        batches = [b for _, b in sorted((p for s in states for p in s.batches), key=lambda pair: pair[0])]
        for state in states:
            state.batches.clear()
            state.reserved = 0
        if len(batches) > 1:
            self._reserve(self.reserved, context)
        self.batch = concatenate(batches, self.schema)
        batches.clear()
        if self.batch.num_rows:
            self._reserve(JoinTable.needed_bytes(self.encoder.num_words + 1, self.batch.num_rows), context)
            self._build(context)
        held = self.batch.nbytes + self.encoder.size_bytes + (self.table.size_bytes if self.table else 0)
        self._reserve(held - self.reserved, context)
        self.stats.rows_out += self.batch.num_rows

    def close(self, context: TaskContext) -> None:
        """Let go of the rows, the table and their memory, whether `combine` ran or not; may be called twice."""
        self.batch = self.table = self.spilled = None
        if self._partitions is not None:
            self._partitions.remove()
            self._partitions = None
        for state in self.states:
            state.batches.clear()
            self.reserved += state.reserved
            state.reserved = 0
        self.states.clear()
        self._reserve(-self.reserved, context)

    def load(self, batches: Iterable[pa.RecordBatch], context: TaskContext) -> None:
        """Make the table over rows that fit; their columns are the kept ones."""
        state = self.new_state(context)
        for batch in batches:
            context.memory.reserve(batch.nbytes, WHAT)
            state.reserved += batch.nbytes
            state.batches.append((len(state.batches), batch))
        self._combine_in_memory([state], context)

    def column(self, position: int) -> pa.Array:
        """The build rows' column at `position` of the build side."""
        assert self.batch is not None
        return self.batch.column(self.kept.index(position))

    def new_partitions(self, level: int, stats: OperatorStats, context: TaskContext) -> SpillPartitions:
        """Empty parts for build rows."""
        assert context.spill is not None
        types = [self.types[k].type for k in self.node.build_keys]
        return SpillPartitions(context.spill, self.schema, self._key_columns, types, level, WHAT, stats, context)

    @property
    def _key_columns(self) -> list[int]:
        """The positions of the keys among the kept columns."""
        return [self.kept.index(k) for k in self.node.build_keys]

    def _keys(self, batch: pa.RecordBatch) -> tuple[list[Column], Array]:
        types = tuple(self.types[p] for p in self.kept)
        return _keys(batch, self._key_columns, types, self.node.null_equal)

    def _spill(self, state: _BuildState) -> None:
        """Put the rows of a worker on disk."""
        with self._spilling:
            if self._partitions is None:
                self._partitions = self.new_partitions(0, self.stats, state.context)
            for _, batch in state.batches:
                state.context.check()
                _, usable = self._keys(batch)  # NULLs that equal nothing would all be in one part
                self._partitions.add(select(batch, usable) if len(usable) else batch)
        state.batches.clear()
        state.context.memory.release(state.reserved)
        state.reserved = state.rows_held = 0

    def _build(self, context: TaskContext) -> None:
        assert self.batch is not None
        columns, usable = self._keys(self.batch)
        words = self.encoder.encode(columns) if columns else np.zeros((1, self.batch.num_rows), np.int64)
        pairs = self.node.kind in ("inner", "left") or self.node.residual is not None
        table = JoinTable(words, usable, pairs, context)
        self.table = table if table.num_rows else None
        if len(table.rows):
            # rows of a group side by side: pairs are made without looking up rows, and gathered from fewer places
            self._reserve(self.batch.nbytes, context)
            self.batch = take(self.batch, table.rows, self.schema)
            table.rows = NO_ROWS

    def _reserve(self, num_bytes: int, context: TaskContext) -> None:
        if num_bytes > 0:
            context.memory.reserve(num_bytes, "the table of a join (HashJoin)")
        else:
            context.memory.release(-num_bytes)
        self.reserved += num_bytes


def _scratch() -> OperatorStats:
    """Counters for the join of a part, whose rows are counted as those of the whole."""
    return OperatorStats(0, "HashJoin", "numba")


@dataclass(slots=True)
class _ProbeState:
    context: TaskContext
    blanks: dict[int, pa.Array] = field(default_factory=dict)
    selective: bool = False
    parts: SpillPartitions | None = None
    rows_in: int = 0
    rows_out: int = 0
    elapsed_ns: int = 0


class HashJoinProbe:
    """Pairs each batch of the probe side with the build rows of its keys, in the probe's order, then the build's.

    Args:
        build: the sink of the build side, combined before the first batch comes.
        residual: computes `node.residual` over probe columns then build columns (columns it does not refer to are NULL):
            uint8[n], 1 where it is true.
        schema: of the output.
    """

    def __init__(
        self,
        node: HashJoin,
        build: JoinBuildSink,
        probe_types: Schema,
        build_types: Schema,
        residual: Residual | None,
        schema: pa.Schema,
        stats: OperatorStats,
    ) -> None:
        if (node.residual is None) != (residual is None):
            raise InternalError("a join's residual condition and its evaluation must come together")
        self.node = node
        self.build = build
        self.probe_types = probe_types
        self.build_types = build_types
        self.residual = residual
        self.residual_columns = frozenset() if node.residual is None else references(node.residual)
        self.schema = schema
        self.stats = stats

    def new_state(self, context: TaskContext) -> _ProbeState:
        return _ProbeState(context)

    def process(self, batch: pa.RecordBatch, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        state.rows_in += batch.num_rows
        if self.build.spilled is not None:
            self._set_aside(batch, state)
            return
        yield from self._counted(self._join(batch, state) if batch.num_rows else iter(()), state)

    def drain(self, states: Sequence[_ProbeState]) -> Iterator[pa.RecordBatch]:
        """What the rows that were set aside give, once all have come."""
        if self.build.spilled is None:
            return
        files = [s.parts.finish() for s in states if s.parts is not None]
        if not files:
            return
        free_unused()
        state = states[0]
        pairs = zip(self.build.spilled, zip(*files))
        num_rows = sum(file.rows for file in self.build.spilled)
        yield from self._counted(self._join_parts(pairs, 0, num_rows, state), state)
        for each in states:
            if each.parts is not None:
                each.parts.remove()
                each.parts = None
                each.context.memory.unsettle(-1)

    def _counted(self, outputs: Iterator[pa.RecordBatch], state: _ProbeState) -> Iterator[pa.RecordBatch]:
        while True:
            state.context.check()
            began = time.perf_counter_ns()
            out = next(outputs, None)
            state.elapsed_ns += time.perf_counter_ns() - began
            if out is None:
                return
            state.rows_out += out.num_rows
            yield out

    def close(self, state: _ProbeState) -> None:
        with _stats_lock:
            self.stats.rows_in += state.rows_in
            self.stats.rows_out += state.rows_out
            self.stats.elapsed_ns += state.elapsed_ns
        state.rows_in = state.rows_out = state.elapsed_ns = 0
        state.blanks.clear()

    def _set_aside(self, batch: pa.RecordBatch, state: _ProbeState) -> None:
        """Put rows on disk until the probe side has ended."""
        began = time.perf_counter_ns()
        state.context.check()
        if state.parts is None:
            state.context.memory.unsettle(1)
            state.parts = self._new_parts(batch.schema, 0, state)
        state.parts.add(batch)
        state.elapsed_ns += time.perf_counter_ns() - began

    def _new_parts(self, schema: pa.Schema, level: int, state: _ProbeState) -> SpillPartitions:
        assert state.context.spill is not None
        keys = self.node.probe_keys
        types = [self.probe_types[k].type for k in keys]
        return SpillPartitions(state.context.spill, schema, keys, types, level, WHAT_PROBE, self.stats, state.context)

    def _join_parts(self, pairs: Iterable[Part], level: int, num_rows: int, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Join parts of the build side with the files of the same parts of the probe side.

        Args:
            level: how often they have been split.
            num_rows: build rows of all parts.
        """
        context = state.context
        for built, probed in pairs:
            if not any(file.rows for file in probed):
                continue
            if self.build.needed_bytes(built.size_bytes, built.rows) <= context.share_bytes:
                with self._table(built.batches(context), context) as build:
                    yield from self._probed(self._over(build, self.node, self.schema), probed, context)
            elif level + 1 < LEVELS and built.rows < SPLIT_WELL * num_rows:
                yield from self._split(built, probed, level + 1, state)
            else:
                yield from self._join_in_steps(built, probed, state)
            for file in probed:
                file.remove()

    def _split(self, built: SpillFile, probed: Sequence[SpillFile], level: int, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Join a part in smaller ones."""
        context = state.context
        builds = self.build.new_partitions(level, self.stats, context)
        for batch in built.batches(context):
            builds.add(batch)
        probes = self._new_parts(probed[0].schema, level, state)
        for file in probed:
            for batch in file.batches(context):
                probes.add(batch)
            file.remove()
        yield from self._join_parts(zip(builds.finish(), zip(probes.finish())), level, built.rows, state)
        builds.remove()
        probes.remove()

    def _join_in_steps(self, built: SpillFile, probed: Sequence[SpillFile], state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Join a part that cannot be split: as many build rows at a time as fit, each with all probe rows. Those that have had
        no match are handed from step to step."""
        context, node, kind = state.context, self.node, self.node.kind
        assert context.spill is not None
        schema = probed[0].schema
        unmatched = replace(node, kind="anti", output=tuple(range(len(schema))), schema=self.probe_types)
        pairs = node if kind == "semi" else replace(node, kind="inner")
        left: Sequence[SpillFile] = probed  # without a match so far
        for batches in self._steps(built, context):
            with self._table(batches, context) as build:
                if kind != "anti":
                    yield from self._probed(self._over(build, pairs, self.schema), left if kind == "semi" else probed, context)
                if kind == "inner":
                    continue
                rest = context.spill.create(schema, WHAT_PROBE, self.stats)
                for batch in self._probed(self._over(build, unmatched, schema), left, context):
                    rest.write(batch)
                rest.finish()
            if left is not probed:
                left[0].remove()
            left = [rest]
        if kind in ("left", "anti"):
            with self._table((), context) as build:
                yield from self._probed(self._over(build, node, self.schema), left, context)
        if left is not probed:
            left[0].remove()

    def _steps(self, built: SpillFile, context: TaskContext) -> Iterator[list[pa.RecordBatch]]:
        """The rows of a file, as many at a time as fit."""
        room = max(16, context.share_bytes * built.rows // self.build.needed_bytes(built.size_bytes, built.rows))
        batches: list[pa.RecordBatch] = []
        held = 0
        for batch in built.batches(context):
            while batch.num_rows:
                batches.append(batch.slice(0, room - held))
                held += batches[-1].num_rows
                batch = batch.slice(batches[-1].num_rows)
                if held == room:
                    yield batches
                    batches, held = [], 0
        if batches:
            yield batches

    @contextlib.contextmanager
    def _table(self, batches: Iterable[pa.RecordBatch], context: TaskContext) -> Iterator[JoinBuildSink]:
        """The table over build rows that fit, while inside."""
        build = JoinBuildSink(self.node, self.build_types, self.build.all_columns, _scratch())
        try:
            build.load(batches, context)
            yield build
        finally:
            build.close(context)

    def _over(self, build: JoinBuildSink, node: HashJoin, schema: pa.Schema) -> HashJoinProbe:
        """A join of the same rows with some of the build side."""
        return HashJoinProbe(node, build, self.probe_types, self.build_types, self.residual, schema, _scratch())

    def _probed(self, probe: HashJoinProbe, files: Sequence[SpillFile], context: TaskContext) -> Iterator[pa.RecordBatch]:
        """What a join gives for the rows of files."""
        state = probe.new_state(context)
        for file in files:
            for batch in file.batches(context):
                yield from probe.process(batch, state)
        probe.close(state)

    def _join(self, batch: pa.RecordBatch, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        groups, found = self._find(batch, state)
        state.selective = 2 * found < batch.num_rows
        if found == 0:
            if self.node.kind == "left":
                yield self._output(batch, None, np.full(batch.num_rows, -1, np.int64))
            elif self.node.kind == "anti":
                yield self._output(batch, None, None)
        elif self.node.kind in ("semi", "anti"):
            yield from self._by_match(batch, groups, found, state)
        elif self.residual is not None:
            yield from self._checked_pairs(batch, groups, state)
        else:
            yield from self._pairs(batch, groups, found, state)

    def _find(self, batch: pa.RecordBatch, state: _ProbeState) -> tuple[Array, int]:
        table = self.build.table
        if table is None:
            return NO_ROWS, 0
        columns, usable = _keys(batch, self.node.probe_keys, self.probe_types, self.node.null_equal)
        if not columns:
            return table.find(np.zeros((1, batch.num_rows), np.int64), usable, False, state.context)
        words, known = self.build.encoder.lookup(columns)
        if not known.all():
            usable = known if not len(usable) else usable & known
        return table.find(words, usable, state.selective, state.context)

    def _pairs(self, batch: pa.RecordBatch, groups: Array, found: int, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Inner and left join without further condition."""
        table = self.build.table
        assert table is not None
        room = self._room(batch, state.context)
        left = self.node.kind == "left"
        if len(table.starts):
            for each_probe, each_build, _ in self._candidates(groups, left, room):
                yield self._output(batch, each_probe, each_build)
            return
        probe: Array | None = None
        build = groups
        if found < len(groups) and not left:
            probe, build = np.empty(len(groups), np.int64), np.empty(len(groups), np.int64)
            joining.pair_unique(groups, probe, build)
            probe, build = probe[:found], build[:found]
        if len(build) <= 2 * room:
            yield self._output(batch, probe, build)
            return
        for at in range(0, len(build), room):
            if probe is None:
                yield self._output(batch.slice(at, room), None, build[at : at + room])
            else:
                yield self._output(batch, probe[at : at + room], build[at : at + room])

    def _by_match(self, batch: pa.RecordBatch, groups: Array, found: int, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Semi and anti join: probe rows by whether they have a match."""
        wanted = 1 if self.node.kind == "semi" else 0
        if self.residual is not None:
            matched = np.zeros(len(groups), np.uint8)
            for probe, build, _ in self._candidates(groups, False, self._room(batch, state.context)):
                state.context.check()
                joining.mark_probe(probe, self._check(batch, probe, build, state), matched)
            groups = matched.astype(np.int64) - 1
            found = int(np.count_nonzero(matched))
        count = found if wanted else len(groups) - found
        if count == len(groups):
            yield self._output(batch, None, None)
        elif count:
            probe = np.empty(len(groups), np.int64)
            joining.rows_by_match(groups, wanted, probe)
            yield self._output(batch, probe[:count], None)

    def _checked_pairs(self, batch: pa.RecordBatch, groups: Array, state: _ProbeState) -> Iterator[pa.RecordBatch]:
        """Inner and left join with a residual condition."""
        left = self.node.kind == "left"
        carried = np.zeros(1, np.int64)
        for probe, build, unfinished in self._candidates(groups, left, self._room(batch, state.context)):
            state.context.check()
            passed = self._check(batch, probe, build, state)
            if left:
                out_probe, out_build = np.empty(len(probe), np.int64), np.empty(len(probe), np.int64)
                count = int(joining.keep_left(probe, build, passed, unfinished, carried, out_probe, out_build))
                probe, build = out_probe[:count], out_build[:count]
            else:
                kept = np.empty(len(probe), np.int64)
                kept = kept[: gathering.mask_positions(passed, kept)]
                probe, build = probe[kept], build[kept]
            if len(probe):
                yield self._output(batch, probe, build)

    def _candidates(self, groups: Array, keep: bool, room: int) -> Iterator[tuple[Array, Array, int]]:
        """Pairs of equal keys, up to `room` at a time, as (probe rows, build rows, the probe row that is not finished or -1).

        Args:
            keep: pair probe rows without group with -1.
        """
        table = self.build.table
        assert table is not None
        state = np.zeros(2, np.int64)
        while state[0] < len(groups):
            probe, build = np.empty(room, np.int64), np.empty(room, np.int64)
            count = joining.pair_groups(groups, table.starts, int(keep), state, probe, build)
            if count:
                yield probe[:count], build[:count], int(state[0]) if state[1] else -1

    def _check(self, batch: pa.RecordBatch, probe: Array, build: Array, state: _ProbeState) -> Array:
        """The residual condition over pairs: uint8[n]."""
        assert self.residual is not None
        columns, width = [], len(self.probe_types)
        for position in range(width + len(self.build_types)):
            if position not in self.residual_columns:
                columns.append(self._blank(batch, position, len(probe), state))
            elif position < width:
                columns.append(take_array(batch.column(position), probe, False))
            else:
                columns.append(take_array(self.build.column(position - width), build, True))
        schema = pa.schema([pa.field(f"c{i}", column.type) for i, column in enumerate(columns)])
        return np.ascontiguousarray(self.residual(batch_of(columns, len(probe), schema)), np.uint8)

    def _blank(self, batch: pa.RecordBatch, position: int, num_rows: int, state: _ProbeState) -> pa.Array:
        """NULLs in place of a column that the residual condition does not read."""
        blank = state.blanks.get(position)
        if blank is None or len(blank) < num_rows:
            width = len(self.probe_types)
            schema = batch.schema if position < width else self.build.all_columns
            blank = state.blanks[position] = pa.nulls(
                num_rows, schema.field(position if position < width else position - width).type
            )
        return blank.slice(0, num_rows)

    def _output(self, batch: pa.RecordBatch, probe: Array | None, build: Array | None) -> pa.RecordBatch:
        """The output columns of pairs; probe None: all rows of the batch as they are."""
        columns, width = [], len(self.probe_types)
        num_rows = batch.num_rows if probe is None else len(probe)
        missing = build is not None and self.node.kind == "left" and bool(gathering.has_missing(build))
        for position in self.node.output:
            if position >= width:
                assert build is not None
                columns.append(take_array(self.build.column(position - width), build, missing))
            elif probe is None:
                columns.append(batch.column(position))
            else:
                columns.append(take_array(batch.column(position), probe, False))
        return batch_of(columns, num_rows, self.schema)

    def _room(self, batch: pa.RecordBatch, context: TaskContext) -> int:
        """Rows of an output batch of about `morsel_bytes`, by the columns that come out or are looked at."""
        width, num_bytes = len(self.probe_types), 16.0  # a pair of positions
        for position in {*self.node.output, *self.residual_columns}:
            column = batch.column(position) if position < width else self.build.column(position - width)
            num_bytes += column.nbytes / max(1, len(column))
        return max(1024, int(context.morsel_bytes / num_bytes))
