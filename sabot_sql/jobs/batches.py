"""Many statements submitted at once: one request, one record, a status for each.

A batch is a workflow of the job database. What it has to do is its input; its statements are queries whose ids come from the
batch's, so that a batch which goes on after a restart finds those that were begun and begins only the others.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sabot_sql.engine.request import (
    TERMINAL_STATES,
    BatchRequest,
    BatchState,
    BatchStatus,
    QueryRequest,
    QueryStatus,
    State,
    StatementStatus,
)
from sabot_sql.errors import Cancelled, QueryError, SabotError
from sabot_sql.jobs.request_json import decode_request, encode_request

MAX_STATEMENTS = 1000
MAX_PARALLEL = 64
KEPT = 200
"""Batches that have ended and are remembered."""


class Batch:
    """One batch while this process works on it, or remembers it.

    Args:
        submit: begins a statement's query, or finds it.
        status: where a query is; waits for its end as long as told.
        cancel: stops a query.
    """

    def __init__(
        self,
        batch_id: str,
        request: BatchRequest,
        query_ids: Sequence[str],
        submit: Callable[[QueryRequest], QueryStatus],
        status: Callable[[str, float], QueryStatus],
        cancel: Callable[[str], QueryStatus],
    ) -> None:
        self.batch_id = batch_id
        self.request = request
        self.query_ids = tuple(query_ids)
        self.accepted = threading.Event()  # it is in the job database
        self.ended = threading.Event()
        self.closing = threading.Event()
        self._statements = [StatementStatus(name, q) for (name, _), q in zip(request.statements, query_ids)]
        self._begun: set[int] = set()
        self._dropped: set[int] = set()
        self._changed = threading.Condition()
        self._submit, self._status, self._cancel = submit, status, cancel
        self._cancelled = threading.Event()
        self._failed = threading.Event()

    def drive(self) -> None:
        """Run all statements; returns when the last has ended, or the process is about to."""
        at_once = 1 if self.request.order == "sequential" else max(1, min(self.request.max_parallel, len(self._statements)))
        with ThreadPoolExecutor(at_once, thread_name_prefix="batch") as pool:
            list(pool.map(self._run, range(len(self._statements))))
        if not self.closing.is_set():
            self.ended.set()

    def outcome(self) -> dict[str, Any]:
        """The end of the batch as JSON, for `restored`."""
        status = self.status()
        found = [[s.name, s.query_id, s.state, None if s.error is None else s.error.to_problem()] for s in status.statements]
        return {"state": status.state, "statements": found}

    def await_begun(self, index: int, wait_s: float) -> bool:
        """Whether a statement has a query; waits up to `wait_s` until it has one or is to have none."""
        with self._changed:
            self._changed.wait_for(lambda: index in self._begun or self._statements[index].state in TERMINAL_STATES, wait_s)
            return index in self._begun

    def statement(self, index: int) -> tuple[QueryRequest, StatementStatus]:
        """What a statement is, and where it is as long as it has no query."""
        return self.request.statements[index][1], dataclasses.replace(self._statements[index])

    def drop(self, index: int) -> None:
        """Do not begin a statement that has not begun."""
        self._dropped.add(index)

    def assume_begun(self) -> None:
        """Another server drives the batch: any of its queries may be there."""
        self._begun.update(range(len(self._statements)))

    def forsake(self) -> None:
        """It was cancelled elsewhere: what has not begun never will."""
        self._cancelled.set()
        for index in range(len(self._statements)):
            self._look(index, 0.0)
            if self._statements[index].state == "queued":
                self._never(index, "it was cancelled")

    def cancel(self) -> None:
        """Stop what runs and begin nothing more."""
        self._cancelled.set()
        for index in list(self._begun):
            self._cancel(self._statements[index].query_id)

    def status(self) -> BatchStatus:
        """Where all are now."""
        for index in list(self._begun):
            self._look(index, 0.0)
        found = [dataclasses.replace(s) for s in self._statements]
        state: BatchState = "running"
        if all(s.state in TERMINAL_STATES for s in found):
            failed = any(s.state == "failed" for s in found)
            state = "cancelled" if self._cancelled.is_set() else "failed" if failed else "finished"
        return BatchStatus(self.batch_id, state, self.request.user, found)

    def _run(self, index: int) -> None:
        statement = self._statements[index]
        if self._cancelled.is_set() or self._failed.is_set() or index in self._dropped:
            why = "a statement of its batch failed" if self._failed.is_set() else "it was cancelled"
            self._never(index, why)
            return
        while not self.closing.is_set():
            try:
                self._submit(self.request.statements[index][1])
                break
            except SabotError as error:
                if error.problem.code != "QUEUE_FULL":
                    self._end(index, "failed", error)
                    self._fail()
                    return
                time.sleep(0.05)  # others have filled the queue
        with self._changed:
            self._begun.add(index)
            self._changed.notify_all()
        if self._cancelled.is_set():
            self._cancel(statement.query_id)
        while not self.closing.is_set() and statement.state not in TERMINAL_STATES:
            try:
                self._look(index, 1.0)
            except SabotError:
                if not self.closing.is_set():
                    raise
        if statement.state == "failed":
            self._fail()

    def _never(self, index: int, why: str) -> None:
        query_id = self._statements[index].query_id
        self._end(index, "cancelled", Cancelled(f"{why} before it began", query_id=query_id))

    def _end(self, index: int, state: State, error: SabotError) -> None:
        """A statement ends that has no query."""
        with self._changed:
            statement = self._statements[index]
            statement.state, statement.error = state, error
            self._changed.notify_all()

    def _fail(self) -> None:
        if self.request.on_error == "stop":
            self._failed.set()

    def _look(self, index: int, wait_s: float) -> None:
        statement = self._statements[index]
        if statement.state not in TERMINAL_STATES:
            found = self._status(statement.query_id, wait_s)
            statement.error = found.error
            statement.state = found.state


def restored(batch_id: str, user: str, outcome: dict[str, Any]) -> BatchStatus:
    """A batch that an earlier process has ended."""
    statements = [
        StatementStatus(name, query_id, state, None if problem is None else SabotError.from_problem(problem))
        for name, query_id, state, problem in outcome["statements"]
    ]
    return BatchStatus(batch_id, outcome["state"], user, statements)


@dataclass(slots=True)
class RememberedBatches:
    """The batches of this process by id; the oldest ended ones are forgotten."""

    found: dict[str, Batch] = field(default_factory=dict)
    places: dict[str, tuple[Batch, int]] = field(default_factory=dict)  # of queries
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get_or_add(self, batch_id: str, make: Callable[[], Batch]) -> tuple[Batch, bool]:
        """The batch of this id, and whether it was made by this call."""
        with self.lock:
            batch = self.found.get(batch_id)
            if batch is not None:
                return batch, False
            batch = self.found[batch_id] = make()
            for index, each in enumerate(batch.query_ids):
                self.places[each] = batch, index
            ended = [key for key, each in self.found.items() if each.ended.is_set()]
            for key in ended[: max(0, len(ended) - KEPT)]:
                self._drop(key)
            return batch, True

    def forget(self, batch_id: str) -> None:
        """Know nothing of a batch any more."""
        with self.lock:
            self._drop(batch_id)

    def _drop(self, batch_id: str) -> None:
        for query_id in self.found.pop(batch_id).query_ids:
            del self.places[query_id]


def check_batch(request: BatchRequest) -> None:
    """Refuse what no batch can be.

    Raises:
        QueryError: INVALID_PARAMETER.
    """
    problem = None
    if not 0 < len(request.statements) <= MAX_STATEMENTS:
        problem = f"a batch of {len(request.statements):,} statements; give 1 to {MAX_STATEMENTS:,}"
    elif not 1 <= request.max_parallel <= MAX_PARALLEL:
        problem = f"max_parallel is {request.max_parallel}; give 1 to {MAX_PARALLEL}"
    elif request.order not in ("parallel", "sequential"):
        problem = f"order is {request.order!r}; give parallel or sequential"
    elif request.on_error not in ("continue", "stop"):
        problem = f"on_error is {request.on_error!r}; give continue or stop"
    elif len({name for name, _ in request.statements}) < len(request.statements):
        problem = "two statements of the batch have one name"
    if problem is not None:
        raise QueryError(problem, code="INVALID_PARAMETER")


def encode_batch(request: BatchRequest) -> dict[str, Any]:
    """A batch as JSON."""
    return {
        "statements": [[name, encode_request(each)] for name, each in request.statements],
        "order": request.order,
        "on_error": request.on_error,
        "max_parallel": request.max_parallel,
        "user": request.user,
    }


def decode_batch(data: dict[str, Any]) -> BatchRequest:
    """The batch that `encode_batch` wrote."""
    statements = [(name, decode_request(each)) for name, each in data["statements"]]
    return BatchRequest(statements, data["order"], data["on_error"], data["max_parallel"], data["user"])
