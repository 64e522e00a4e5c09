"""The queries whose ends the job database tells: of other servers, or of this one, which might not come to the end of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from sabot_sql.errors import SabotError
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.record import QueryLog, QueryRecord
from sabot_sql.jobs.spec import ENDED
from sabot_sql.jobs.store import STORE
from sabot_sql.jobs.workers import Workers

log = logging.getLogger(__name__)

FOLLOW_S = 0.2


class Elsewhere:
    """Keeps the records of such queries up with the job database: while there are any, one thread asks for all of them.

    Args:
        restore: the record of a job as the database has it, its result with it.
    """

    def __init__(self, folder: StateFolder, log: QueryLog, workers: Workers, restore: Callable[[Any], QueryRecord]) -> None:
        self._folder = folder
        self._log = log
        self._workers = workers
        self._restore = restore
        self._lock = threading.Lock()
        self._records: set[QueryRecord] = set()
        self._asking = False
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
        """Look after a record until the query has ended, whoever ends it."""
        with self._lock:
            self._records.add(record)
            asking, self._asking = self._asking, True
        if not asking:
            self._workers.run(self._ask_on)

    def follow(self, record: QueryRecord) -> None:
        """Wait for the end of a query, in this thread."""
        self.begin(record)
        record.ended.wait()

    def cancel(self, query_id: str) -> None:
        """Have the server that runs a query stop it, if it is another one."""
        with self._lock:
            followed = any(record.query_id == query_id for record in self._records)
        if followed and not STORE.runs(query_id):
            STORE.cancel(self._folder, [query_id])

    def close(self) -> None:
        """Look after nothing any more."""
        self._closed.set()

    def _ask_on(self) -> None:
        while True:
            closed = self._closed.wait(FOLLOW_S)
            with self._lock:
                self._records = {record for record in self._records if not record.ended.is_set()}
                records = list(self._records)
                self._asking = bool(records) and not closed
            if closed:
                for record in records:
                    record.release()
            if not self._asking:
                return
            try:
                self._ask(records)
            except SabotError as exc:
                log.info("asked again: %s", exc.detail)
            except Exception:  # the edge of a thread; the next round asks again
                log.exception("the ends of %d queries cannot be told", len(records))

    def _ask(self, records: list[QueryRecord]) -> None:
        rows = STORE.rows(self._folder, sorted({record.query_id for record in records}))
        ended = {row.workflow_id: row for row in rows if row.status in ENDED}
        for record in records:
            if (row := ended.get(record.query_id)) is not None:
                record.become(self._restore(row))
