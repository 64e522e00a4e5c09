"""Queries that Ctrl-C stops at once, wherever they run."""

from __future__ import annotations

import threading

from sabot_sql.client.connection import Connection
from sabot_sql.client.result import Result
from sabot_sql.engine.request import ProgressCallback, QueryRequest

LOOK_S = 0.1
STOP_S = 10.0


def run_interruptible(
    connection: Connection, request: QueryRequest, progress: ProgressCallback | None = None, row_limit: int | None = None
) -> Result:
    """As `Connection.run`, in a thread, while this one waits where a signal reaches it.

    Raises:
        KeyboardInterrupt, SystemExit: by a signal's handler; after the query was asked to stop, and has or has not within ten
            seconds. A second interrupt does not wait.
    """
    cancel, done = threading.Event(), threading.Event()
    outcome: list[Result | BaseException] = []

    def work() -> None:
        try:
            outcome.append(connection.run(request, progress, cancel, row_limit))
        except BaseException as error:
            outcome.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="sabot-query", daemon=True).start()
    try:
        while not done.wait(LOOK_S):
            pass
    except (KeyboardInterrupt, SystemExit):
        cancel.set()
        done.wait(STOP_S)
        raise
    found = outcome[0]
    if isinstance(found, BaseException):
        raise found
    return found
