"""Runs a pipeline: workers pull units, push their batches through the operators and into the sink.

Units are of any size. A worker that finds none left takes batches that others read of theirs: whoever reads hands batches over
as long as somebody has nothing to do, and processes them itself otherwise. So the last, large unit keeps all workers busy.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from sabot_sql.executor.limit import LimitOperator
from sabot_sql.executor.operator import Morsel, Sink, Source, StreamOperator, TaskContext, Unit

# The bits of a morsel's sequence: of its unit, of the batch in it, and of the piece that operators made of that batch.
BATCH_BITS, PIECE_BITS = 24, 18


@dataclass(frozen=True, slots=True)
class Branch:
    """A source and the streaming operators over it. Branches of one sink run one after the other (UNION ALL); an operator
    that stands in several of them is one operator, with one state a worker."""

    source: Source
    operators: tuple[StreamOperator, ...] = ()

    def then(self, operator: StreamOperator) -> Branch:
        return Branch(self.source, (*self.operators, operator))


def run_pipeline(branches: Sequence[Branch], sink: Sink, context: TaskContext) -> None:
    """Push all rows of `branches` into `sink` and combine its states.

    With one thread everything runs in the caller's; the first error of any worker ends all and is raised.

    Raises:
        Cancelled, QueryTimeout: as soon as the task must stop, looked at for every morsel.
    """
    units = [(branch, unit) for branch in branches for unit in branch.source.units(context)]
    ordered = any(isinstance(o, LimitOperator) for b in branches for o in b.operators)
    count = 1 if ordered or not units else max(1, context.threads)
    work = _Work(units, count, replace(context, failed=threading.Event()))
    workers = [_Worker(sink, work) for _ in range(work.workers)]
    try:
        if len(workers) == 1:
            workers[0].run()
        else:
            with ThreadPoolExecutor(len(workers), thread_name_prefix="morsel") as pool:
                for done in [pool.submit(w.run) for w in workers]:
                    done.exception()
            if work.error is not None:
                raise work.error
        _drain(branches, workers, len(units))
    finally:
        work.drop()
        for worker in workers:
            worker.close()
    context.check()
    sink.combine([w.sink_state for w in workers], context)


def _drain(branches: Sequence[Branch], workers: Sequence[_Worker], number: int) -> None:
    """Push what operators have set aside through those above them, from the sources on, numbered after the units. One that
    stands in several branches has the same operators above it in each."""
    for distance in range(max((len(b.operators) for b in branches), default=0), 0, -1):
        done: set[int] = set()
        for branch in branches:
            at = len(branch.operators) - distance
            if at < 0 or id(operator := branch.operators[at]) in done:
                continue
            done.add(id(operator))
            states = [state for w in workers if (state := w.state_of(operator)) is not None]
            if states:
                workers[0].read(number, replace(branch, operators=branch.operators[at + 1 :]), operator.drain(states), True)
                number += 1


@dataclass(slots=True)
class _Part:
    """A batch of a unit on its way; it counts as memory of the task."""

    number: int
    position: int
    branch: Branch
    batch: pa.RecordBatch
    size_bytes: int

    def sequence(self, piece: int) -> int:
        """Orders what operators make of the batch. Past the largest number pieces share it, and have the order in which their
        worker gives them out."""
        first = self.number << BATCH_BITS | min(self.position, (1 << BATCH_BITS) - 1)
        return first << PIECE_BITS | min(piece, (1 << PIECE_BITS) - 1)


class _Work:
    """What there is to do: the units of a pipeline, in order, and batches that their readers hand over.

    Attributes:
        context: of this pipeline; `failed` when a worker has.
    """

    def __init__(self, units: list[tuple[Branch, Unit]], workers: int, context: TaskContext) -> None:
        self.units = units
        self.workers = workers
        self.context = context
        self.error: BaseException | None = None
        self._next = 0
        self._readers = 0
        self._parts: deque[_Part] = deque()
        self._changed = threading.Condition()

    def take(self) -> tuple[int, Branch, Unit] | _Part | None:
        """The next unit with its number, else a batch of another worker's unit; None when there are no more or the pipeline has
        ended. Whoever takes a unit must say when it is `read`."""
        with self._changed:
            while not self.context.failed.is_set():
                if self._next < len(self.units):
                    self._next += 1
                    self._readers += 1
                    return self._next - 1, *self.units[self._next - 1]
                if self._parts:
                    return self._parts.popleft()
                if not self._readers:
                    return None
                self._changed.wait()
        return None

    def read(self) -> None:
        """A unit is at its end."""
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def hand_over(self, part: _Part) -> bool:
        """Give a batch to a worker that reads no unit; False when each of them has enough."""
        if self._next < len(self.units) or self.workers == 1:
            return False
        with self._changed:
            if self.context.failed.is_set() or len(self._parts) >= self.workers - self._readers:
                return False
            self._parts.append(part)
            self._changed.notify()
        return True

    def fail(self, error: BaseException) -> None:
        """End the pipeline with the first error."""
        with self._changed:
            self.error = self.error or error
            self.context.failed.set()
            self._changed.notify_all()

    def drop(self) -> None:
        """Let go of batches that nobody took."""
        while self._parts:
            self.context.memory.release(self._parts.popleft().size_bytes)


class _Worker:
    """One thread's states of all operators and of the sink."""

    def __init__(self, sink: Sink, work: _Work) -> None:
        self.sink = sink
        self.work = work
        self.context = work.context
        self.sink_state = sink.new_state(work.context)
        self._states: dict[int, tuple[StreamOperator, Any]] = {}

    def run(self) -> None:
        """Work until there is nothing left."""
        try:
            while (taken := self.work.take()) is not None:
                if isinstance(taken, _Part):
                    self._process(taken)
                    continue
                number, branch, unit = taken
                try:
                    self.read(number, branch, unit.batches(self.context))
                finally:
                    self.work.read()
        except BaseException as error:
            self.work.fail(error)
            raise

    def close(self) -> None:
        for operator, state in self._states.values():
            operator.close(state)

    def state_of(self, operator: StreamOperator) -> Any:
        """The state of an operator that has run here; None where it has not."""
        found = self._states.get(id(operator))
        return None if found is None else found[1]

    def read(self, number: int, branch: Branch, source: Iterator[pa.RecordBatch], alone: bool = False) -> None:
        """Push batches through the operators of `branch`, unless another worker takes them.

        Args:
            alone: no other worker runs any more.
        """
        memory = self.context.memory
        with _closed(source) as batches:
            if self._is_exhausted(branch):
                return
            for position, batch in enumerate(batches):
                self.context.check()
                if not batch.num_rows:
                    continue
                part = _Part(number, position, branch, batch, batch.nbytes)
                memory.reserve(part.size_bytes, "a batch")
                if not alone and self.work.hand_over(part):
                    continue
                self._process(part)
                if self._is_exhausted(branch):
                    return

    def _process(self, part: _Part) -> None:
        """Push a batch through the operators into the sink."""
        steps = [(o, self._state(o)) for o in part.branch.operators]
        try:
            with contextlib.closing(_through(part.batch, steps)) as pieces:
                for number, piece in enumerate(pieces):
                    self.context.check()
                    self.sink.sink(Morsel(piece, part.sequence(number)), self.sink_state)
                    if self._is_exhausted(part.branch):
                        return
        finally:
            self.context.memory.release(part.size_bytes)

    def _is_exhausted(self, branch: Branch) -> bool:
        """Whether a LIMIT lets no further row of the branch pass."""
        return any(isinstance(o, LimitOperator) and o.exhausted(self._state(o)) for o in branch.operators)

    def _state(self, operator: StreamOperator) -> Any:
        if id(operator) not in self._states:
            self._states[id(operator)] = (operator, operator.new_state(self.context))
        return self._states[id(operator)][1]


def _through(batch: pa.RecordBatch, steps: Sequence[tuple[StreamOperator, Any]]) -> Generator[pa.RecordBatch, None, None]:
    """What the operators make of a batch, one after the other."""
    if not steps:
        yield batch
        return
    operator, state = steps[0]
    with _closed(operator.process(batch, state)) as pieces:
        for piece in pieces:
            yield from _through(piece, steps[1:])


@contextlib.contextmanager
def _closed(batches: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """Close a generator at once when its reader stops early or fails: an error's traceback would keep it open."""
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()
