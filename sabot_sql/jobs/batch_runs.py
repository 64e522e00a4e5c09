"""The batches of one manager: submitted, looked at, cancelled, and gone on with after a restart."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

from sabot_sql.engine.request import TERMINAL_STATES, BatchRequest, BatchStatus, QueryRequest, QueryStatus
from sabot_sql.errors import QueryError, SabotError, ServiceError
from sabot_sql.jobs.batches import (
    Batch,
    RememberedBatches,
    check_batch,
    decode_batch,
    encode_batch,
    restored,
)
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.identity import batch_id_of, statement_ids, statement_key
from sabot_sql.jobs.store import STORE
from sabot_sql.jobs.workers import Workers

POLL_S = 0.05
FOLLOW_S = 0.2


class BatchRuns:
    """Submits and remembers batches.

    Args:
        submit, status, cancel: the manager's, for the queries of the statements.
    """

    def __init__(
        self,
        folder: StateFolder,
        workers: Workers,
        submit: Callable[[QueryRequest], QueryStatus],
        status: Callable[[str, float], QueryStatus],
        cancel: Callable[[str], QueryStatus],
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._submit, self._status, self._cancel = submit, status, cancel
        self._remembered = RememberedBatches()

    def submit(self, request: BatchRequest) -> BatchStatus:
        """Begin a batch. When this returns it is in the job database.

        Raises:
            QueryError: INVALID_PARAMETER; IDEMPOTENCY_KEY_REUSED: the key belongs to another batch.
            NotSupported: a parameter has a type that cannot be written down.
        """
        check_batch(request)
        statements = [(name, dataclasses.replace(each, user=request.user)) for name, each in request.statements]
        request = dataclasses.replace(request, statements=statements)
        spec, key = encode_batch(request), request.idempotency_key
        batch_id = batch_id_of(self._folder.secret, request.user, key)
        if key is not None and not self._folder.temporary and self._remembered.found.get(batch_id) is None:
            row = STORE.batch_row(self._folder, batch_id)
            if row is not None:
                self._refuse_another(batch_id, key, row.input["args"][0], spec)
                return self._of_row(row)
        batch, fresh = self._remembered.get_or_add(batch_id, lambda: self._make(batch_id, request))
        if not fresh:
            self._refuse_another(batch_id, str(key), encode_batch(batch.request), spec)
            return batch.status()
        failed: list[Exception] = []
        self._workers.run(functools.partial(self._record, batch, spec, failed))
        while not batch.accepted.wait(POLL_S):
            if failed:
                raise ServiceError(f"the job database cannot be written: {failed[0]}") from failed[0]
        return self.status(batch_id)

    def status(self, batch_id: str, wait_s: float = 0.0) -> BatchStatus:
        """Where a batch is; waits up to `wait_s` for its end.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        batch = self._remembered.found.get(batch_id)
        if batch is not None:
            batch.ended.wait(wait_s)
            return batch.status()
        end_s = time.monotonic() + wait_s
        while True:
            status = self._of_row(self._row(batch_id))
            left_s = end_s - time.monotonic()
            if status.state in TERMINAL_STATES or left_s <= 0:
                return status
            time.sleep(min(left_s, FOLLOW_S))

    def cancel(self, batch_id: str) -> BatchStatus:
        """Stop what runs of a batch and begin nothing more of it; one that has ended stays as it is.

        Raises:
            QueryError: QUERY_NOT_FOUND.
        """
        batch = self._remembered.found.get(batch_id)
        if batch is None:
            status = self._of_row(self._row(batch_id))
            if status.state not in TERMINAL_STATES:
                STORE.cancel(self._folder, [batch_id])  # which the server that drives it notices
            return status
        if not batch.ended.is_set():
            batch.cancel()
        return batch.status()

    def cancelled(self, batch_id: str) -> None:
        """Another server has cancelled a batch that is driven here."""
        batch = self._remembered.found.get(batch_id)
        if batch is not None and not batch.ended.is_set():
            batch.cancel()

    def place(self, query_id: str) -> tuple[Batch, int] | None:
        """The batch that a query belongs to, and its place there."""
        return self._remembered.places.get(query_id)

    def resume(self, batch_id: str, spec: dict[str, Any]) -> Batch:
        """The batch of an earlier process, to be driven in the thread of its workflow."""
        return self._remembered.get_or_add(batch_id, lambda: self._make(batch_id, decode_batch(spec)))[0]

    def close(self) -> None:
        """The process ends: batches go on in the next one."""
        for batch in list(self._remembered.found.values()):
            batch.closing.set()

    def _record(self, batch: Batch, spec: dict[str, Any], failed: list[Exception]) -> None:
        error = STORE.record_batch(self._folder, batch, spec)
        if error is not None:
            failed.append(error)
            batch.ended.set()
        elif not batch.accepted.is_set():  # another server was asked under the same key, and has driven it
            self._remembered.forget(batch.batch_id)
            batch.accepted.set()

    def _make(self, batch_id: str, request: BatchRequest) -> Batch:
        statements = [
            (name, dataclasses.replace(each, idempotency_key=statement_key(batch_id, index)))
            for index, (name, each) in enumerate(request.statements)
        ]
        ids = statement_ids(self._folder.secret, request.user, batch_id, len(statements))
        return Batch(
            batch_id, dataclasses.replace(request, statements=statements), ids, self._submit, self._found, self._cancel
        )

    def _row(self, batch_id: str) -> Any:
        row = None if self._folder.temporary else STORE.batch_row(self._folder, batch_id)
        if row is None:
            raise QueryError(f"there is no batch {batch_id[:64]}", code="QUERY_NOT_FOUND")
        return row

    def _of_row(self, row: Any) -> BatchStatus:
        """A batch as the job database has it: ended, or driven by another server."""
        spec = row.input["args"][0]
        if row.output is not None:
            return restored(row.workflow_id, spec["user"], row.output)
        batch = self._make(row.workflow_id, decode_batch(spec))
        batch.assume_begun()
        if row.status == "CANCELLED":
            batch.forsake()
        return batch.status()

    def _found(self, query_id: str, wait_s: float) -> QueryStatus:
        try:
            return self._status(query_id, wait_s)
        except SabotError as error:
            if error.problem.code != "QUERY_NOT_FOUND":
                raise
            return QueryStatus(query_id, "queued", "", "")

    @staticmethod
    def _refuse_another(batch_id: str, key: str, known: dict[str, Any], spec: dict[str, Any]) -> None:
        fields = ("statements", "order", "on_error", "max_parallel")
        if json.dumps([known[f] for f in fields]) != json.dumps([spec[f] for f in fields]):
            raise QueryError(
                f"the idempotency key {key!r} was used for another batch ({batch_id})", code="IDEMPOTENCY_KEY_REUSED",
                hint="take a new key for each batch",
            )  # fmt: skip
