"""How a job gets into the job database while it runs.

The job and its record advance side by side: the thread that runs the stages hands each output over and goes on, a second
thread writes them. What is waited for before the answer is the job itself, and of a job that somebody may ask for again the
end too.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from sabot_sql.errors import Cancelled, SabotError
from sabot_sql.jobs.database import away
from sabot_sql.jobs.ledger import Ledger

Output = dict[str, Any]


class JobFailed(Exception):
    """How a job's error is recorded: `data` is the problem object."""

    def __init__(self, error: SabotError) -> None:
        super().__init__(error.detail)
        self.code = error.problem.code
        self.data = error.to_problem()


class JobInterrupted(BaseException):
    """The process gives the job up. Not an `Exception`, so that nothing is recorded and the next process resumes the job.

    Args:
        why: what went wrong with the writing, if that is why.
    """

    def __init__(self, why: Exception | None = None) -> None:
        super().__init__(why)
        self.why = why


class RunsElsewhere(Exception):
    """Another server runs the job."""


class Steps(Protocol):
    """The steps of a job of an earlier process."""

    def take(self, ledger: Ledger) -> Output:
        """The output of the step that comes next."""
        ...

    def end(self, ledger: Ledger) -> Output:
        """The manifest of the result, or an output with `lost` stages."""
        ...

    def close(self) -> None:
        """No more steps are asked for."""
        ...


class Recording:
    """What a job that runs in another thread has to record.

    Args:
        on_committed: called when the job is in the database.
    """

    def __init__(self, query_id: str, spec: Output, on_committed: Callable[[], None]) -> None:
        self.query_id = query_id
        self.spec = spec
        self._on_committed = on_committed
        self._committed = threading.Event()
        self._is_ours = False
        self._outputs: queue.SimpleQueue[tuple[Output, bool] | BaseException] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._error: Exception | None = None

    # the side of the job

    def put(self, output: Output) -> None:
        """Hand over the output of a step.

        Raises:
            ServiceError: the database could not be written.
        """
        self._check()
        self._outputs.put((output, False))

    def finish(self, manifest: Output) -> None:
        """Hand over the manifest of the result, which ends the job.

        Raises:
            ServiceError: the database could not be written.
        """
        self._check()
        self._outputs.put((manifest, True))

    def fail(self, error: SabotError) -> None:
        """Hand over the error that ends the job."""
        self._outputs.put(JobFailed(error))

    def interrupt(self) -> None:
        """Leave the job as it is recorded."""
        self._outputs.put(JobInterrupted())

    def wait_committed(self) -> None:
        """Wait until the job is in the database.

        Raises:
            ServiceError: the database could not be written.
        """
        self._committed.wait()
        self._check()

    def wait_owned(self, cancel: threading.Event) -> None:
        """Wait until it is certain who runs the job: this process, or another server that was asked for it too.

        Raises:
            RunsElsewhere: the other; the job has ended by then.
            Cancelled: `cancel` was set meanwhile.
            ServiceError: the database could not be written.
        """
        while not self._committed.wait(0.02):
            if cancel.is_set():
                raise Cancelled("the query was cancelled", query_id=self.query_id)
        self._check()
        if not self._is_ours:
            raise RunsElsewhere

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the end is recorded.

        Raises:
            ServiceError: the database could not be written.
        """
        self._closed.wait(timeout_s)
        self._check()

    def _check(self) -> None:
        if isinstance(self._error, SabotError):
            raise self._error
        if self._error is not None:
            raise self.error_of(self._error) from self._error

    def error_of(self, error: Exception) -> SabotError:
        """What became of the writing, as an error of ours."""
        if isinstance(error, SabotError):
            return error
        return away(error, "the job database cannot be written", self.query_id)

    # the side of the database

    def committed(self) -> None:
        """The job is in the database."""
        self._is_ours = True
        self._committed.set()
        self._on_committed()

    def take(self) -> tuple[Output, bool]:
        """The output of the next step or the manifest, and whether it is that, when it is there."""
        output = self._outputs.get()
        if isinstance(output, BaseException):
            raise output
        return output

    def close(self, error: Exception | None) -> None:
        """Nothing more is recorded; what waits for that hears of `error`."""
        self._error = error
        self._committed.set()
        self._closed.set()
