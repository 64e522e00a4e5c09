"""The local route for statements whose memory no limit in this process would hold: processes of their own, which may be killed.

A process is started when one is needed, keeps its DuckDB instance from query to query, and ends when it was idle for a
while. A query that is cancelled, runs out of time or takes too much memory takes its process with it and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.catalog.table import Table
from sabot_sql.config import LocalSettings
from sabot_sql.errors import (
    Cancelled,
    ExecutionError,
    InternalError,
    OutOfMemory,
    QueryError,
    QueryTimeout,
    SabotError,
    ServiceError,
)
from sabot_sql.executor.answer_size import refuse_larger
from sabot_sql.executor.child_environment import inherited
from sabot_sql.executor.local_guarded_wire import bare, packed, to_plain, unpacked
from sabot_sql.executor.owned_folders import sweep
from sabot_sql.planner.amounts import size_text
from sabot_sql.planner.physical import Session

IDLE_S = 60.0
"""How long a process is kept that nobody needs."""

POLL_S = 0.02
"""How soon a cancelled query is noticed."""

ENGINE_BYTES = 128 << 20
"""What DuckDB maps for itself. A process that has kept much more after a query is not used again."""

CLOSE_S = 5.0
"""How long closing waits for the threads whose queries it ended."""

ALLOCATING = ("alloc", "Out of Memory", "MemoryError")
"""What an error says that is for lack of memory, in whatever words."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When one query must end.

    Attributes:
        deadline_s: `time.monotonic()` by which it must.
        out_of_time: the error that it then ends with.
    """

    deadline_s: float | None
    out_of_time: QueryTimeout
    cancel: threading.Event | None

    def check(self) -> float:
        """Seconds that may be waited before the next look.

        Raises:
            Cancelled, QueryTimeout: it must end now.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("the query was cancelled")
        if self.deadline_s is None:
            return POLL_S
        left = self.deadline_s - time.monotonic()
        if left <= 0:
            raise self.out_of_time
        return min(left, POLL_S)


class LocalGuarded:
    """Runs statements in processes of their own, `settings.guarded_processes` at once. Thread-safe.

    Statements must have passed `planner.policy`.

    Args:
        locations: folders and files of the catalog.
        max_bytes: largest answer.
    """

    def __init__(self, settings: LocalSettings, locations: Callable[[], Sequence[str]], max_bytes: int) -> None:
        self._settings = settings
        self._locations = locations
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._busy: set[_Process] = set()
        self._starting = 0
        self._idle: tuple[_Process, float] | None = None  # and since when
        self._reaper: threading.Thread | None = None
        self._closed = False

    def execute(
        self,
        sql: str,
        params: dict[str, Any] | None,
        tables: Sequence[Table],
        session: Session,
        timeout_s: float | None = None,
        cancel: threading.Event | None = None,
        all_tables: bool = False,
        types: list[str] | None = None,
    ) -> pa.Table:
        """The answer of one statement, as `LocalDuckDB.execute` gives it.

        Raises:
            QueryTimeout, Cancelled: it was stopped.
            OutOfMemory: it needed more than its process may take.
            QueryError, ExecutionError: as there.
        """
        limits = self._limits(timeout_s, cancel)
        request = packed(
            {
                "sql": sql,
                "params": to_plain(params or {}),
                "tables": bare(tables),
                "session": session,
                "all_tables": all_tables,
                "locations": tuple(self._locations()),
            }
        )
        table, found_types = self._run(request, limits, again=True)
        if types is not None:
            types.extend(found_types)
        return table

    def _run(self, request: bytes, limits: Limits, again: bool) -> tuple[pa.Table, list[str]]:
        """The answer and its types; with `again`, from another process where an idle one turns out to have died."""
        process = self._take(limits)
        was_idle, begin = process.reusable, time.monotonic()
        try:
            return self._exchange(process, request, limits)
        except _Ended:
            at_once = was_idle and time.monotonic() - begin < AT_ONCE_S
            error = self._died(process)
            if not (again and at_once) or isinstance(error, Cancelled):
                raise error from None
        except SabotError as error:
            found = self._without_memory(error)
            raise found from (None if found is error else error)
        finally:
            self._give_back(process)
        return self._run(request, limits, again=False)

    def _limits(self, timeout_s: float | None, cancel: threading.Event | None) -> Limits:
        if timeout_s is not None:
            error = QueryTimeout(f"the query ran longer than {timeout_s:g} s", hint="raise timeout_s, or read less")
            return Limits(time.monotonic() + timeout_s, error, cancel)
        limit_s = self._settings.guarded_timeout_s
        error = QueryTimeout(
            f"the query ran longer than {limit_s:g} s, the limit of the setting local.guarded_timeout_s",
            hint="it holds for statements that may need memory of any size and have no timeout_s of their own",
        )
        return Limits(time.monotonic() + limit_s, error, cancel)

    def _exchange(self, process: _Process, request: bytes, limits: Limits) -> tuple[pa.Table, list[str]]:
        """The answer and its types."""
        process.reusable = False
        process.send(request, limits)
        answer = process.receive_header(limits)
        if "problem" in answer:
            error = SabotError.from_problem(answer["problem"], answer["sql"])
            process.reusable = isinstance(error, QueryError)
            raise error
        refuse_larger(answer["size"], self._max_bytes)
        table = pa.ipc.open_stream(process.receive(answer["size"], limits)).read_all()
        held_bytes = process.receive_header(limits)["held_bytes"]
        grown_bytes = held_bytes - process.fresh_bytes
        process.reusable = grown_bytes < ENGINE_BYTES + self._settings.guarded_memory_bytes // 4
        return table, list(answer["types"])

    def _died(self, process: _Process) -> SabotError:
        code, peak_bytes = process.kill(), process.peak_bytes
        with self._changed:
            if self._closed:
                return Cancelled("the engine was closed while the query ran")
        if peak_bytes > self._settings.guarded_memory_bytes // 2:
            return self._without_memory(OutOfMemory(f"the process ended at {size_text(peak_bytes)}: {how_it_ended(code)}"))
        return ExecutionError(f"the process that ran the query ended: {how_it_ended(code)}", retryable=True)

    def _without_memory(self, error: SabotError) -> SabotError:
        """An error for lack of memory with the setting that is to blame; others as they are."""
        said = f"{error.engine_message or ''} {error.detail}"
        lacking = isinstance(error, (ExecutionError, InternalError)) and any(word in said for word in ALLOCATING)
        if not isinstance(error, OutOfMemory) and not lacking:
            return error
        return OutOfMemory(
            f"the query needs more than {size_text(self._settings.guarded_memory_bytes)} of memory, "
            "the limit of the setting local.guarded_memory_bytes",
            hint="it holds for statements that may need memory of any size; make smaller values, or raise the limit",
            engine_message=error.engine_message or error.detail,
        )

    # the processes

    def _take(self, limits: Limits) -> _Process:
        """An idle process, or a new one when there is room."""
        while True:
            with self._changed:
                if self._closed:
                    raise ServiceError("the engine is closed", code="SHUTTING_DOWN")
                if self._idle is not None:
                    process, self._idle = self._idle[0], None
                    if process.alive():
                        self._busy.add(process)
                        return process
                    process.end()
                elif len(self._busy) + self._starting < self._settings.guarded_processes:
                    self._starting += 1
                    break
                else:
                    self._changed.wait(limits.check())
        try:
            process = _Process(self._settings)
        except BaseException:
            with self._changed:
                self._starting -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._starting -= 1
            self._busy.add(process)
        try:
            process.begin(limits)
        except BaseException as error:
            self._give_back(process)
            if isinstance(error, _Ended):
                raise ExecutionError("the process that is to run the query does not start", retryable=True) from error
            raise
        return process

    def _give_back(self, process: _Process) -> None:
        """Keep one idle process; all others end."""
        with self._changed:
            kept = process.reusable and not self._closed and self._idle is None
            if kept:
                self._idle = (process, time.monotonic())
                self._busy.discard(process)  # before somebody takes it, who would lose it again
                self._changed.notify_all()
                if self._reaper is None:
                    self._reaper = threading.Thread(target=self._reap, name="sabot-guarded-idle", daemon=True)
                    self._reaper.start()
        if not kept:
            process.end()
            with self._changed:
                self._busy.discard(process)
                self._changed.notify_all()

    def _reap(self) -> None:
        """End the process that was idle for long; returns when there is none any more."""
        with self._changed:
            while not self._closed and (self._idle is not None or self._busy):
                if self._idle is None:
                    self._changed.wait()
                    continue
                process, since_s = self._idle
                left = since_s + IDLE_S - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                else:
                    self._idle = None
                    process.end()
            self._reaper = None

    def close(self) -> None:
        """End all processes and the queries in them."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, None
            if idle is not None:
                idle[0].end()
            for process in self._busy:
                process.kill()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._starting, CLOSE_S)
            reaper = self._reaper
        if reaper is not None:
            reaper.join(CLOSE_S)


AT_ONCE_S = 0.1
"""A process that ends so soon after an idle time has been ending before it got the query."""


class _Ended(Exception):
    """The process closed its end."""


class _Process:
    """One guarded process and the connection to it; used by one thread at a time, but `kill` by any.

    Attributes:
        fresh_bytes: the memory it had before its first query.
        peak_bytes: the most it was seen to have; what the kernel tells of a process that ended may be its parent's.
        reusable: nothing is under way, and it has not become large.
    """

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._ending = threading.Lock()
        self._ended: int | None = None
        self.peak_bytes = 0
        self.fresh_bytes = 0
        self.reusable = False
        self._socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        arguments = ["--connection", str(theirs.fileno()), "--lifeline", str(lifeline)]
        try:
            # a session of its own: Ctrl-C in the terminal must reach this process only
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sabot_sql.executor.local_guarded_process", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
                env=environment(),
            )
        except OSError as exc:
            os.close(self._lifeline)
            self._socket.close()
            raise ServiceError(f"no process can be started: {exc}") from exc
        finally:
            theirs.close()
            os.close(lifeline)
        self._socket.setblocking(False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, limits: Limits) -> None:
        """Configure the process and wait until it is ready."""
        settings = self._settings
        self.send(packed({"threads": settings.threads, "memory_bytes": settings.guarded_memory_bytes}), limits)
        self.fresh_bytes = self.receive_header(limits)["held_bytes"]

    def alive(self) -> bool:
        """Whether it is still there; nothing is under way."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, data: bytes, limits: Limits) -> None:
        view = memoryview(data)
        while view:
            self._wait(select.POLLOUT, limits)
            with contextlib.suppress(BlockingIOError):
                try:
                    view = view[self._socket.send(view) :]
                except OSError as exc:
                    if isinstance(exc, BlockingIOError):
                        raise
                    raise _Ended from exc

    def receive_header(self, limits: Limits) -> dict[str, Any]:
        return unpacked(lambda size: memoryview(self.receive(size, limits)))

    def receive(self, size: int, limits: Limits) -> pa.Buffer:
        buffer = pa.allocate_buffer(size)
        view = memoryview(buffer)
        while view:
            self._wait(select.POLLIN, limits)
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise _Ended from exc
            if count == 0:
                raise _Ended
            view = view[count:]
        return buffer

    def _wait(self, event: int, limits: Limits) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        while not poll.poll(limits.check() * 1e3):
            self.peak_bytes = max(self.peak_bytes, resident_bytes(self.pid))

    def end(self) -> None:
        """Kill the process and close the connection; by the thread that uses it."""
        self.kill()
        self._socket.close()

    def kill(self) -> int:
        """Kill the process, wait for it and remove what it left; its exit code."""
        with self._ending:
            if self._ended is None:
                self._process.kill()
                self._ended = self._process.wait()
                os.close(self._lifeline)
                sweep(Path(tempfile.gettempdir()))
            return self._ended


def resident_bytes(pid: int) -> int:
    """The memory a process has now; 0 where it is not told."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/statm", encoding="ascii") as line:
        return int(line.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def environment() -> dict[str, str]:
    """The environment of a guarded process: this package is found, and no library reserves memory that it does not need,
    which the limit would count."""
    return {
        **inherited(),
        "OPENBLAS_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "ARROW_IO_THREADS": "2",
        "MALLOC_ARENA_MAX": "2",
    }
