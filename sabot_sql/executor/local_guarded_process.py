"""The guarded process: `python -m sabot_sql.executor.local_guarded_process`.

It runs one statement after the other on a DuckDB instance of its own, locked down as the one of the local route, with a limit
to its memory that the kernel keeps. It may be killed at any moment, and dies with the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

import pyarrow as pa

from sabot_sql.config import LocalSettings
from sabot_sql.errors import InternalError, OutOfMemory, SabotError
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.executor.local_guarded_wire import from_plain, packed, unpacked

WRITE_BYTES = 1 << 20
NICENESS = 5


class GuardedProcess:
    """Answers the requests that come on `connection`, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._locations: list[str] = []
        self._engine: LocalDuckDB | None = None
        self._memory_bytes = 0

    def serve(self) -> None:
        """Answer until the other end is closed."""
        config = unpacked(self._receive)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # DuckDB spills what it can before the kernel refuses
        settings = LocalSettings(threads=config["threads"], memory_bytes=config["memory_bytes"] // 2)
        self._engine = LocalDuckDB(settings, lambda: self._locations)
        self._memory_bytes = config["memory_bytes"]
        self._connection.sendall(packed({"held_bytes": data_bytes()}))
        while True:
            request = unpacked(self._receive)
            limit_memory(self._memory_bytes)
            self._answer(request)

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            table, types = self._run(request)
            size = stream_size(table)
        except Exception as exc:  # the other end raises it
            error = as_ours(exc)
            self._connection.sendall(packed({"problem": error.to_problem(), "sql": error.sql}))
            return
        self._connection.sendall(packed({"types": tuple(types), "size": size}))
        with self._connection.makefile("wb", WRITE_BYTES) as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        del table
        pa.default_memory_pool().release_unused()
        self._connection.sendall(packed({"held_bytes": data_bytes()}))

    def _run(self, request: dict[str, Any]) -> tuple[pa.Table, list[str]]:
        assert self._engine is not None
        self._locations = list(request["locations"])
        types: list[str] = []
        table = self._engine.execute(
            request["sql"],
            from_plain(request["params"]),
            request["tables"],
            request["session"],
            all_tables=request["all_tables"],
            types=types,
            lane="large",
        )
        return table, types

    def _receive(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                os._exit(0)
            view = view[count:]
        return data


def as_ours(exc: Exception) -> SabotError:
    """Any exception as an error of ours."""
    if isinstance(exc, SabotError):
        return exc
    if isinstance(exc, MemoryError):  # Arrow's too
        return OutOfMemory(str(exc) or "there is no more memory")
    return InternalError(f"{type(exc).__name__}: {exc}")


def stream_size(table: pa.Table) -> int:
    """The bytes of `table` as an Arrow IPC stream."""
    sink = pa.MockOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return int(sink.size())


def limit_memory(limit_bytes: int) -> None:
    """Let this process take `limit_bytes` beyond what it has now, where the kernel keeps such a limit (Linux)."""
    if held := data_bytes():
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = held + limit_bytes if most == resource.RLIM_INFINITY else min(most, held + limit_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def data_bytes() -> int:
    """The writable memory that this process has mapped for itself, as the limit counts it; 0 where it is not told."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def die_with(lifeline: int) -> None:
    """End this process as soon as the other end of `lifeline` is closed, whatever it is doing then.

    The kernel sends the signal by itself: a thread would have to wait for the interpreter, which a query may hold.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        if poll.poll(0):  # closed before
            os._exit(0)
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True, name="lifeline").start()


def main() -> NoReturn:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="python -m sabot_sql.executor.local_guarded_process")
    parser.add_argument("--connection", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    arguments = parser.parse_args()
    die_with(arguments.lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(ConnectionError):
        GuardedProcess(socket.socket(fileno=arguments.connection)).serve()
    os._exit(0)


if __name__ == "__main__":
    main()
