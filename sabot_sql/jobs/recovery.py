"""Jobs of an earlier process: which of them go on, and how.

DBOS itself finds them when it is launched on their database, and calls the workflow again. What was recorded is replayed;
the first step that is not recorded runs here. The blocks of recorded stages are used where they still lie, and made again
where they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

import pyarrow as pa

from sabot_sql.errors import SabotError
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.job_run import JobRun
from sabot_sql.jobs.ledger import Ledger
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.jobs.recording import JobFailed, JobInterrupted, Output
from sabot_sql.jobs.spec import record_of_row
from sabot_sql.jobs.store import STORE, VERSION

UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")


def unfinished(folder: StateFolder) -> list[QueryRecord]:
    """The jobs in the database of `folder` that have not ended, oldest first. Those planned by another version of the
    project are cancelled: nobody will run them."""
    rows = STORE.rows(folder, status=UNFINISHED)
    foreign = [row.workflow_id for row in rows if row.app_version != VERSION]
    if foreign:
        STORE.cancel(folder, foreign)
    return [record_of_row(row) for row in reversed(rows) if row.workflow_id not in foreign]


class ResumedSteps:
    """The steps of a resumed job, run in the thread of the workflow.

    Args:
        make_run: the run that goes on from a ledger.
        admit: waits for a place, which it holds while inside; gives the seconds waited.
        finish: keeps the answer and returns its manifest.
        translate: any exception as an error of ours.
    """

    def __init__(
        self,
        record: QueryRecord,
        make_run: Callable[[Ledger], JobRun],
        admit: Callable[[], AbstractContextManager[float]],
        finish: Callable[[JobRun, pa.Table, float], Output],
        translate: Callable[[BaseException], SabotError],
    ) -> None:
        self._record = record
        self._make_run = make_run
        self._admit = admit
        self._finish = finish
        self._translate = translate
        self._run: JobRun | None = None
        self._queue_s = 0.0
        self._place = ExitStack()

    def take(self, ledger: Ledger) -> Output:
        """Run the next step."""
        try:
            return self._start(ledger).step()
        except BaseException as exc:
            raise self._fail(exc) from exc

    def end(self, ledger: Ledger) -> Output:
        """Collect the answer, or say which stage is lost."""
        try:
            run = self._start(ledger)
            found = run.collect()
            if isinstance(found, dict):
                return found
            self._record.advance("finishing")
            manifest = self._finish(run, found, self._queue_s)
            self.close()
        except BaseException as exc:
            raise self._fail(exc) from exc
        self._record.finish(manifest["stats"])
        return manifest

    def _start(self, ledger: Ledger) -> JobRun:
        if self._run is None:
            self._queue_s = self._place.enter_context(self._admit())
            self._run = self._make_run(ledger.copy())
        return self._run

    def close(self) -> None:
        """Give the place up, and what the run has left with the agents; whether it came to its end or not."""
        self._place.close()
        run, self._run = self._run, None
        if run is not None and not self._record.interrupted:
            run.drop()

    def _fail(self, exc: BaseException) -> BaseException:
        with suppress(SabotError):  # the first error is the one that counts
            self.close()
        error = self._translate(exc)
        if self._record.interrupted:
            self._record.release()
            return JobInterrupted()
        self._record.fail(error)
        return JobFailed(error)
