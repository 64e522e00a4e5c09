"""The queries that other servers behind the same job database run, as far as somebody has asked for them here."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any

from sabot_sql.errors import SabotError
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.record import QueryLog, QueryRecord
from sabot_sql.jobs.spec import ENDED
from sabot_sql.jobs.store import STORE
from sabot_sql.jobs.workers import Workers

FOLLOW_S = 0.2


class Elsewhere:
    """Keeps the records of such queries up with the job database.

    Args:
        restore: the record of a job as the database has it, its result with it.
    """

    def __init__(self, folder: StateFolder, log: QueryLog, workers: Workers, restore: Callable[[Any], QueryRecord]) -> None:
        self._folder = folder
        self._log = log
        self._workers = workers
        self._restore = restore
        self._query_ids: set[str] = set()
        self._closed = threading.Event()

    def is_elsewhere(self, row: Any) -> bool:
        """Whether a job of the database that is not run here is run by another server."""
        return self._folder.database.shared and row.status not in ENDED

    def record_of(self, row: Any) -> QueryRecord:
        """The record of a job that another server runs, which from now on is looked after here too."""
        record, fresh = self._log.get_or_add(row.workflow_id, lambda: self._restore(row))
        if fresh:
            self.begin(record)
        return record

    def begin(self, record: QueryRecord) -> None:
        """Look after a record in a thread of its own."""
        self._query_ids.add(record.query_id)
        self._workers.run(functools.partial(self.follow, record))

    def follow(self, record: QueryRecord) -> None:
        """Wait for the end of a query, in this thread."""
        while not self._closed.is_set() and not record.ended.wait(FOLLOW_S):
            with contextlib.suppress(SabotError):
                rows = STORE.rows(self._folder, [record.query_id])
                if rows and rows[0].status in ENDED:
                    record.become(self._restore(rows[0]))
        self._query_ids.discard(record.query_id)
        record.release()

    def runs_here(self, query_id: str) -> None:
        """A query has been taken over by this server."""
        self._query_ids.discard(query_id)

    def cancel(self, query_id: str) -> None:
        """Have the server that runs a query stop it, if it is another one."""
        if query_id in self._query_ids:
            STORE.cancel(self._folder, [query_id])

    def close(self) -> None:
        """Look after nothing any more."""
        self._closed.set()
