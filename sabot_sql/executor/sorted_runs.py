"""Sorted runs on disk, and their merge.

Of each batch of a run its first row's keys stay in memory. They say in which order batches are needed, so that the merge reads
some more of them at a time, sorts these with the rows it has left, and gives out what comes before the first row of the next
batch: every row is read once a pass and sorted about twice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sabot_sql.executor.columns import Array
from sabot_sql.executor.gather import batch_of, concatenate, take
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.ordering import first_rows
from sabot_sql.executor.spill import SpillFile
from sabot_sql.planner.physical import SortKey
from sabot_sql.types import Schema

FAN_IN = 64
"""Runs that are merged at once, at most."""

LOADED = 2 * FAN_IN
"""Batches that are in memory then, at least."""

ORDER_BYTES = 64
"""What ordering a row takes beside its keys."""


@dataclass(slots=True)
class _Run:
    """A file of sorted batches; `heads` are the keys of the first row of each."""

    file: SpillFile
    heads: pa.RecordBatch


class SortedRuns:
    """Runs that are merged in the order in which they were added: rows with equal keys come as they did. One thread at a time.

    Args:
        schema: of the rows.
        keys, types: how they are ordered, and the SQL types of their columns.
    """

    def __init__(
        self, schema: pa.Schema, keys: Sequence[SortKey], types: Schema, what: str, stats: OperatorStats, context: TaskContext
    ) -> None:
        assert context.spill is not None
        self.schema = schema
        self._scope = context.spill
        self._what = what
        self._stats = stats
        self._runs: list[_Run] = []
        # ordering looks at a batch with the key columns alone
        self._columns = list(dict.fromkeys(k.index for k in keys))
        self._keys = tuple(SortKey(self._columns.index(k.index), k.descending, k.nulls_first) for k in keys)
        self._types = tuple(types[c] for c in self._columns)
        self._key_schema = pa.schema([schema.field(c) for c in self._columns])

    def add(self, batch: pa.RecordBatch, stop: int | None, context: TaskContext) -> None:
        """Add the rows of a batch as a run, or the first `stop` of them."""
        order = self._order(self._keys_of(batch), context)[:stop]
        size = _rows_at_a_time(batch.nbytes, batch.num_rows, context)
        pieces = (take(batch, order[at : at + size], self.schema) for at in range(0, len(order), size))
        self._runs.append(self._write(pieces, context))

    def merged(self, context: TaskContext) -> Generator[pa.RecordBatch, None, None]:
        """All rows in order, in batches of about `context.morsel_bytes`; once."""
        while len(self._runs) > (fan_in := self._fan_in(context)):
            runs, self._runs = self._runs, []
            for first in range(0, len(runs), fan_in):
                together = runs[first : first + fan_in]
                self._runs.append(self._write(self._merge(together, None, context), context))
        try:
            yield from self._merge(self._runs, context.morsel_bytes, context)
        finally:  # the reader may have enough before the end
            for run in self._runs:
                run.file.remove()

    def _fan_in(self, context: TaskContext) -> int:
        """Runs that may be merged at once: for each a batch, and as many again, must fit."""
        largest = max((self._batch_bytes(run) for run in self._runs), default=1)
        return max(2, min(FAN_IN, context.share_bytes // (2 * largest)))

    def _merge(self, runs: Sequence[_Run], morsel_bytes: int | None, context: TaskContext) -> Iterator[pa.RecordBatch]:
        """The rows of runs, which are given up; without `morsel_bytes` in batches as they lie in a run."""
        heads = concatenate([run.heads for run in runs], self._key_schema)
        owners = np.repeat(np.arange(len(runs)), [run.heads.num_rows for run in runs])
        needed = self._order(heads, context)
        readers = [run.file.batches(context) for run in runs]
        loaded: list[list[pa.RecordBatch]] = [[] for _ in runs]
        largest = max((self._batch_bytes(run) for run in runs), default=1)
        step = max(1, context.share_bytes // largest - len(runs))
        for at in range(0, len(needed), step):
            for entry in needed[at : at + step]:
                loaded[owners[entry]].append(next(readers[owners[entry]]))
            end = int(needed[at + step]) if at + step < len(needed) else None
            given = self._before(loaded, None if end is None else (int(owners[end]), heads.slice(end, 1)), context)
            rows = concatenate([b for batches in loaded for b in batches], self.schema)
            if morsel_bytes is None:
                size = _rows_at_a_time(rows.nbytes, rows.num_rows, context)
            else:
                size = max(1, morsel_bytes * rows.num_rows // max(1, rows.nbytes))
            for first in range(0, len(given), size):
                context.check()
                yield take(rows, given[first : first + size], self.schema)
            _drop(loaded, given)
        for run in runs:
            run.file.remove()

    def _before(
        self, loaded: Sequence[Sequence[pa.RecordBatch]], end: tuple[int, pa.RecordBatch] | None, context: TaskContext
    ) -> Array:
        """The positions of the loaded rows that come before `end`, in order: a row that a run has not loaded yet, given by
        its run and its keys."""
        keys = [[self._keys_of(b) for b in batches] for batches in loaded]
        if end is None:
            return self._order(concatenate([b for batches in keys for b in batches], self._key_schema), context)
        run, head = end
        keys[run].append(head)
        marker = sum(b.num_rows for batches in keys[: run + 1] for b in batches) - 1
        order = self._order(concatenate([b for batches in keys for b in batches], self._key_schema), context)
        given = order[: int(np.flatnonzero(order == marker)[0])]
        return np.where(given > marker, given - 1, given)

    def _write(self, batches: Iterator[pa.RecordBatch], context: TaskContext) -> _Run:
        file = self._scope.create(self.schema, self._what, self._stats)
        heads = []
        for batch in batches:
            context.check()
            file.write(batch)
            heads.append(take(self._keys_of(batch), np.zeros(1, np.int64), self._key_schema))  # a slice would keep it all
        file.finish()
        return _Run(file, concatenate(heads, self._key_schema))

    def _keys_of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch_of([batch.column(c) for c in self._columns], batch.num_rows, self._key_schema)

    def _order(self, keys: pa.RecordBatch, context: TaskContext) -> Array:
        return first_rows(keys, self._keys, self._types, keys.num_rows, context)

    def _batch_bytes(self, run: _Run) -> int:
        """What merging takes for a batch of a run."""
        count: int = max(1, run.heads.num_rows)
        return (sort_bytes(run.file.size_bytes, run.file.rows) + 2 * int(run.heads.nbytes)) // count + 1


def sort_bytes(size_bytes: int, num_rows: int) -> int:
    """What sorting batches takes, with these: they are put together, and ordered."""
    return 2 * size_bytes + ORDER_BYTES * num_rows


def _rows_at_a_time(size_bytes: int, num_rows: int, context: TaskContext) -> int:
    """Rows of a batch of a run."""
    return max(16, context.share_bytes // LOADED // (1 + sort_bytes(size_bytes, num_rows) // max(1, num_rows)))


def _drop(loaded: list[list[pa.RecordBatch]], given: Array) -> None:
    """Let go of the rows that were given: in each run the first ones."""
    counts = [sum(b.num_rows for b in batches) for batches in loaded]
    gone = np.bincount(np.repeat(np.arange(len(loaded)), counts)[given], minlength=len(loaded))
    for batches, count in zip(loaded, gone.tolist()):
        while batches and count >= batches[0].num_rows:
            count -= batches.pop(0).num_rows
        if count:
            batches[0] = batches[0].slice(count)
