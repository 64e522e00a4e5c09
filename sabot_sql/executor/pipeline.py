"""Runs a pipeline: workers pull units, push their batches through the operators and into the sink."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sabot_sql.executor.limit import LimitOperator
from sabot_sql.executor.operator import Morsel, Sink, Source, StreamOperator, TaskContext, Unit


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
    work = _Work([(branch, unit) for branch in branches for unit in branch.source.units(context)])
    ordered = any(isinstance(o, LimitOperator) for b in branches for o in b.operators)
    count = 1 if ordered else max(1, min(context.threads, len(work.units)))
    workers = [_Worker(sink, context) for _ in range(count)]
    try:
        if count == 1:
            workers[0].run(work)
        else:
            with ThreadPoolExecutor(count, thread_name_prefix="morsel") as pool:
                for done in [pool.submit(w.run, work) for w in workers]:
                    done.exception()
            if work.error is not None:
                raise work.error
        _drain(branches, workers, work)
    finally:
        for worker in workers:
            worker.close()
    context.check()
    sink.combine([w.sink_state for w in workers], context)


def _drain(branches: Sequence[Branch], workers: Sequence[_Worker], work: _Work) -> None:
    """Push what operators have set aside through those above them, from the sources on. One that stands in several branches
    has the same operators above it in each."""
    number = len(work.units)
    for distance in range(max((len(b.operators) for b in branches), default=0), 0, -1):
        done: set[int] = set()
        for branch in branches:
            at = len(branch.operators) - distance
            if at < 0 or id(operator := branch.operators[at]) in done:
                continue
            done.add(id(operator))
            states = [state for w in workers if (state := w.state_of(operator)) is not None]
            if states:
                workers[0].push(number, operator.drain(states), branch.operators[at + 1 :], work)
                number += 1


class _Work:
    """The units of a pipeline, handed out in order."""

    def __init__(self, units: list[tuple[Branch, Unit]]) -> None:
        self.units = units
        self.error: BaseException | None = None
        self.stopped = False
        self._next = 0
        self._lock = threading.Lock()

    def take(self) -> tuple[int, Branch, Unit] | None:
        """The next unit with its number; None when there are no more or the pipeline has ended."""
        with self._lock:
            if self.stopped or self._next == len(self.units):
                return None
            number = self._next
            self._next += 1
        return number, *self.units[number]

    def fail(self, error: BaseException) -> None:
        """End the pipeline with the first error."""
        with self._lock:
            self.error = self.error or error
            self.stopped = True


class _Worker:
    """One thread's states of all operators and of the sink."""

    def __init__(self, sink: Sink, context: TaskContext) -> None:
        self.sink = sink
        self.context = context
        self.sink_state = sink.new_state(context)
        self._states: dict[int, tuple[StreamOperator, Any]] = {}

    def run(self, work: _Work) -> None:
        """Run units until there are no more."""
        try:
            while not work.stopped and (taken := work.take()) is not None:
                self._run_unit(*taken, work)
        except BaseException as error:
            work.fail(error)
            raise

    def close(self) -> None:
        for operator, state in self._states.values():
            operator.close(state)

    def state_of(self, operator: StreamOperator) -> Any:
        """The state of an operator that has run here; None where it has not."""
        found = self._states.get(id(operator))
        return None if found is None else found[1]

    def push(self, number: int, batches: Iterator[pa.RecordBatch], operators: Sequence[StreamOperator], work: _Work) -> None:
        """Push batches through operators into the sink."""
        states = [self._state(o) for o in operators]
        limits = [(o, s) for o, s in zip(operators, states) if isinstance(o, LimitOperator)]
        if any(o.exhausted(s) for o, s in limits):
            return
        stream = self._counted(batches)
        for operator, state in zip(operators, states):
            stream = _applied(operator, stream, state)
        with contextlib.closing(stream):
            for position, batch in enumerate(stream):
                self.context.check()
                self.sink.sink(Morsel(batch, (number << 32) + position), self.sink_state)
                if work.stopped or any(o.exhausted(s) for o, s in limits):
                    return

    def _run_unit(self, number: int, branch: Branch, unit: Unit, work: _Work) -> None:
        self.push(number, unit.batches(self.context), branch.operators, work)

    def _state(self, operator: StreamOperator) -> Any:
        if id(operator) not in self._states:
            self._states[id(operator)] = (operator, operator.new_state(self.context))
        return self._states[id(operator)][1]

    def _counted(self, source: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
        """The batches, each counted as memory of the task while it is on its way."""
        memory = self.context.memory
        with _closed(source) as batches:
            for batch in batches:
                self.context.check()
                if not batch.num_rows:
                    continue
                size = batch.nbytes
                memory.reserve(size, "a batch")
                try:
                    yield batch
                finally:
                    memory.release(size)


def _applied(
    operator: StreamOperator, batches: Generator[pa.RecordBatch, None, None], state: Any
) -> Generator[pa.RecordBatch, None, None]:
    with contextlib.closing(batches):
        for batch in batches:
            yield from operator.process(batch, state)


@contextlib.contextmanager
def _closed(batches: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """Close a generator at once when its reader stops early or fails: an error's traceback would keep it open."""
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()
