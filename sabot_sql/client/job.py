"""A query that runs in the background."""

from __future__ import annotations

import time

from sabot_sql.client.contract import is_terminal
from sabot_sql.client.reporter import Reporter
from sabot_sql.client.result import Result
from sabot_sql.client.service import Service
from sabot_sql.engine.request import Progress, ProgressCallback, QueryStatus
from sabot_sql.errors import QueryTimeout

POLL_S = 10.0
PROGRESS_POLL_S = 0.25


class Job:
    """A submitted query, known by its id; another connection to the same engine finds it by `connection.job(query_id)`."""

    def __init__(self, service: Service, query_id: str) -> None:
        self._service = service
        self.query_id = query_id

    def status(self) -> QueryStatus:
        """Where the query is now."""
        return self._service.status(self.query_id)

    def progress(self) -> Progress:
        """How far it is."""
        return self.status().progress

    def wait(self, timeout_s: float | None = None, progress: ProgressCallback | None = None) -> QueryStatus:
        """Waits for the end, good or bad, and returns the last status.

        Args:
            progress: as in `Connection.execute_sql`.

        Raises:
            QueryTimeout: the query goes on after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        reporter = Reporter(progress) if progress is not None else None
        poll_s = POLL_S if progress is None else PROGRESS_POLL_S
        while True:
            left = poll_s if deadline is None else min(poll_s, max(0.0, deadline - time.monotonic()))
            status = self._service.status(self.query_id, left)
            if reporter is not None:
                reporter(status.progress)
            if is_terminal(status):
                return status
            if deadline is not None and time.monotonic() >= deadline:
                raise QueryTimeout(
                    f"query {self.query_id} is still {status.state} after {timeout_s:g} s", hint="it goes on; cancel() ends it",
                    query_id=self.query_id,
                )  # fmt: skip

    def result(self, timeout_s: float | None = None) -> Result:
        """The answer, waited for; raises the query's own error when it failed."""
        self.wait(timeout_s)
        return Result(self._service.result(self.query_id))

    def cancel(self) -> QueryStatus:
        """Asks the query to stop; one that has ended stays as it is."""
        return self._service.cancel(self.query_id)

    def retry(self) -> Job:
        """Runs the statement once more, as a new query; this one has ended.

        Raises:
            QueryError: QUERY_NOT_FINISHED.
            NotSupported: its parameters are not known any more.
        """
        return Job(self._service, self._service.retry(self.query_id).query_id)

    def __repr__(self) -> str:
        return f"<Job {self.query_id}>"
