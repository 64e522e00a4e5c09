"""Learning statistics in the background: queries name tables, a thread of low priority looks at their rows when none runs.

No query waits for it. A table is learnt once for as long as its files stay the same; what was learnt is kept in the store, if
there is one, and stands in the table that the catalog gives out from then on.
"""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sabot_sql.catalog.entries import Versions
from sabot_sql.catalog.stamps import Stamp, stamp
from sabot_sql.catalog.statistics import Finding, merged
from sabot_sql.catalog.statistics_store import StatisticsStore, place_of
from sabot_sql.catalog.table import Table

if TYPE_CHECKING:
    from sabot_sql.catalog.sources_sample import Sampler

log = logging.getLogger(__name__)

QUIET_S = 0.03
"""How long no query may have run before a step of learning."""

START_QUIET_S = 0.1
"""The same before the first step, which loads and opens what learning needs: a process of one query ends before that."""

MOST_TABLES = 10_000
"""Tables whose findings are held in memory."""

MOST_WAIT_S = 1.0
"""How long a step waits for that at most: on a server that is never quiet, learning still goes on, slowly."""

POLL_S = 0.005
NICENESS = 10


class Stopped(Exception):
    """The catalog closes: learning stops where it is."""


class Activity:
    """Whether queries run. A context manager around each; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._last_s = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.touch()
        with self._lock:
            self._running -= 1

    def touch(self) -> None:
        """Note that there was something to do just now."""
        self._last_s = time.monotonic()

    def is_quiet(self, quiet_s: float) -> bool:
        """Whether no query runs or ran in the last `quiet_s` seconds."""
        return not self._running and time.monotonic() - self._last_s >= quiet_s


class Learner:
    """What was learnt of a catalog's tables, and the thread that learns more. Thread-safe.

    Args:
        versions: the catalog's; a table that was learnt gets a new one.
        path: the file that findings are kept in; None to keep them in memory.
        activity: where queries say that they run.
    """

    def __init__(self, versions: Versions, path: Path | None, activity: Activity) -> None:
        self._versions = versions
        self._activity = activity
        self._store = open_store(path) if path is not None else None
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._known: dict[str, tuple[Stamps, Finding]] = {}
        self._shown: dict[str, tuple[Table, Table]] = {}  # by name: the files' table, and the one with what was learnt
        self._asked: dict[str, int] = {}  # by name: the version that was put into the queue
        self._queue: dict[str, Table] = {}
        self._busy = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sampler: Sampler | None = None

    def shown(self, table: Table) -> Table:
        """`table` with what was learnt of it, if its files are those that were looked at."""
        found = self._shown.get(table.name)
        if found is not None and found[0] is table:
            return found[1]
        if table.error is not None:
            return table
        with self._lock:
            finding = self._finding(table)
            result = table if finding is None else with_finding(table, finding, table.version)
            self._shown[table.name] = (table, result)
            for held in (self._shown, self._asked, self._known):
                if len(held) > MOST_TABLES:
                    held.pop(next(iter(held)))
            return result

    def learn(self, tables: Iterable[Table]) -> None:
        """Put those of `tables` (as `shown` gave them) of which nothing was learnt into the queue; returns at once."""
        for table in tables:
            if table.scan.kind != "view" and table.statistics.learnt is None and self._asked.get(table.name) != table.version:
                self._put(table)

    def _put(self, table: Table) -> None:
        with self._lock:
            if self._stop.is_set() or table.error is not None or self._asked.get(table.name) == table.version:
                return
            self._asked[table.name] = table.version
            if not table.scan.files:
                return
            self._queue[table.name] = table
            self._activity.touch()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sabot-statistics", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # a thread inside DuckDB must not outlive the interpreter
            self._wake.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the queue is empty and nothing is being learnt; False when that takes longer."""
        with self._wake:
            return self._wake.wait_for(lambda: self._stop.is_set() or not (self._queue or self._busy), timeout_s)

    def close(self) -> None:
        """Stop the thread, in the middle of what it reads. May be called twice."""
        with self._wake:
            self._stop.set()
            self._queue.clear()
            self._wake.notify_all()
        thread = self._thread
        while thread is not None and thread.is_alive() and thread is not threading.current_thread():
            # a statement that begins after an interrupt does not see it
            sampler = self._sampler
            if sampler is not None:
                sampler.interrupt()
            thread.join(0.02)
        if self._store is not None:
            self._store.close()
        atexit.unregister(self.close)

    def _finding(self, table: Table) -> Finding | None:
        """What is known of the files that `table` was made from."""
        place = self._place(table)
        known = self._known.get(place)
        if known is None and not self._is_kept(table):
            return None
        stamps = stamps_of(table)
        if stamps is None:
            return None
        if known is not None:
            if known[0] == stamps:
                return known[1]
            # size and mtime may be as they were: the store must not bring back what was learnt of other rows
            del self._known[place]
            if self._store is not None:
                self._store.forget(table)
            return None
        assert self._store is not None
        if (found := self._store.load(table)) is not None:
            self._known[place] = (stamps, found)
        return found

    def _is_kept(self, table: Table) -> bool:
        """Whether findings outlive the process: those of tables handed over in memory do not."""
        return self._store is not None and table.location != "memory"

    @staticmethod
    def _place(table: Table) -> str:
        return table.scan.files[0].path if table.location == "memory" and table.scan.files else place_of(table)

    def _run(self) -> None:
        """The thread: sleeps until there is a queue, and learns it."""
        yield_to_others()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stop.is_set() or bool(self._queue))
            try:
                self._pause(START_QUIET_S)
                self._learn_queue()
            except Stopped:
                return
            except Exception as error:  # the edge of the thread
                log.warning("statistics cannot be learnt: %s", error)
                with self._wake:
                    self._queue.clear()
                    self._wake.notify_all()

    def _learn_queue(self) -> None:
        """Learn all tables in the queue, the first asked for first."""
        from sabot_sql.catalog.sources_sample import Sampler  # loaded when it is quiet, not with the first query

        self._sampler = Sampler()
        try:
            while (table := self._next()) is not None:
                try:
                    self._learn(self._sampler, table)
                except Stopped:
                    raise
                except Exception as error:  # a table that cannot be learnt leaves the others
                    if self._stop.is_set():
                        raise Stopped from error
                    log.info('statistics of table "%s" cannot be learnt: %s', table.name, str(error).split("\n")[0])
        finally:
            self._sampler.close()
            self._sampler = None

    def _next(self) -> Table | None:
        """The next table of the queue; None, and whoever waits is told, when there is none."""
        with self._wake:
            self._busy = bool(self._queue)
            if not self._busy:
                self._wake.notify_all()
                return None
            return self._queue.pop(next(iter(self._queue)))

    def _learn(self, sampler: Sampler, table: Table) -> None:
        with self._lock:
            stamps, known = stamps_of(table), self._finding(table)
        if stamps is None:
            return  # the next query brings the table as it is now
        if known is None:
            from sabot_sql.catalog.learn_table import learn_table

            with sampler.reading(table) as reading:
                known = learn_table(reading, self._pause)
            if stamps_of(table) != stamps:
                return
            if self._is_kept(table) and self._store is not None:
                self._store.save(table, known)
        with self._lock:
            self._known[self._place(table)] = (stamps, known)
            shown = self._shown.get(table.name)
            if shown is not None and shown[0].version == table.version:
                self._shown[table.name] = (shown[0], with_finding(shown[0], known, self._versions.advance()))

    def _pause(self, quiet_s: float = QUIET_S) -> None:
        """Wait until no query runs."""
        end_s = time.monotonic() + MOST_WAIT_S
        while not self._activity.is_quiet(quiet_s) and time.monotonic() < end_s:
            if self._stop.wait(POLL_S):
                break
        if self._stop.is_set():
            raise Stopped


Stamps = tuple[Stamp | None, ...]


def stamps_of(table: Table) -> Stamps | None:
    """The stamps of the table's files; None where they are not those the table was made from."""
    found: list[Stamp | None] = []
    for file in table.scan.files:
        now = stamp(file.path)
        if now is None or now[1:3] != (file.size_bytes, file.mtime_ns):
            return None
        found.append(now)
    if table.scan.kind == "duckdb":
        found += [stamp(file.path + ".wal") for file in table.scan.files]
    return tuple(found)


def open_store(path: Path) -> StatisticsStore | None:
    """The store in the file `path`; None where there can be none, and findings live as long as the process."""
    try:
        return StatisticsStore(path)
    except (sqlite3.Error, OSError) as error:
        log.warning("learnt statistics cannot be kept in %s: %s", path, error)
        return None


def with_finding(table: Table, finding: Finding, version: int) -> Table:
    """`table` with what was learnt of it."""
    return replace(table, statistics=merged(table.statistics, finding), version=version)


def yield_to_others() -> None:
    """Lower the priority of this thread (and of no other), where the system has that."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        except OSError:
            log.debug("the thread that learns statistics keeps its priority")
