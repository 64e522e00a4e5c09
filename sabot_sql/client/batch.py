"""Several queries that were submitted at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sabot_sql.client.job import POLL_S, Job
from sabot_sql.client.service import Service
from sabot_sql.engine.request import TERMINAL_STATES, BatchStatus
from sabot_sql.errors import QueryError, QueryTimeout

Statement = str | tuple[str, Any] | Mapping[str, Any]
"""A statement; one with its parameters; or a mapping with `sql`, and `params` and `name` if there are."""


class JobBatch(list[Job]):
    """The jobs of a batch, in the order of its statements."""

    def __init__(self, service: Service, status: BatchStatus) -> None:
        super().__init__(Job(service, each.query_id) for each in status.statements)
        self._service = service
        self.batch_id = status.batch_id

    def status(self) -> BatchStatus:
        """The states of the batch and of its statements."""
        return self._service.batch_status(self.batch_id)

    def wait(self, timeout_s: float | None = None) -> BatchStatus:
        """Waits until all statements have ended, good or bad.

        Raises:
            QueryTimeout: some run on after `timeout_s`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = POLL_S if deadline_s is None else min(POLL_S, max(0.0, deadline_s - time.monotonic()))
            status = self._service.batch_status(self.batch_id, left_s)
            if status.state in TERMINAL_STATES:
                return status
            if deadline_s is not None and time.monotonic() >= deadline_s:
                raise QueryTimeout(
                    f"batch {self.batch_id} still runs after {timeout_s:g} s", hint="it goes on; cancel() ends it"
                )

    def cancel(self) -> BatchStatus:
        """Stops what runs; nothing more begins."""
        return self._service.cancel_batch(self.batch_id)


def read_statements(statements: Iterable[Statement]) -> list[tuple[str, str, Any]]:
    """Name, text and parameters of each; those without a name have their place, from 0 on.

    Raises:
        QueryError: one is nothing of that kind.
    """
    found = []
    for index, each in enumerate(statements):
        name: Any = None
        params: Any = None
        if isinstance(each, str):
            sql: Any = each
        elif isinstance(each, Mapping) and "sql" in each and not set(each) - {"sql", "params", "name"}:
            name, sql, params = each.get("name"), each["sql"], each.get("params")
        elif isinstance(each, tuple) and len(each) == 2:
            sql, params = each
        else:
            raise QueryError(
                f"statement {index} of the batch is a {type(each).__name__}",
                hint="give the text, (text, params), or a mapping with sql, params and name",
            )
        found.append((str(index) if name is None else str(name), sql, params))
    return found
