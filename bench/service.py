"""The server under load: clients of small queries alone, and beside slow readers, clients that vanish, and a large query.

    python bench/service.py [--seconds 60] [--clients 1,16,64,256] [--roapi PROGRAM] [--json OUT]

Every client asks for one row of 1,000 by a statement that was never asked before (`bench/service_load.py`, in a process of its
own on the same machine: it takes a part of the processors). Printed are answers a second, their times, errors, and the server's
resident memory before and after. In the same run: ROAPI (DataFusion behind a compiled server, `pip download roapi`) with the
same statements, and DuckDB in this process, one thread, without HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, report
from bench.service_load import ROWS, statement

LOAD = Path(__file__).parent / "service_load.py"
LARGE = "SELECT sum(a.i * b.i) FROM big a, big b WHERE b.i < 60 AND a.i + b.i > 1"
WIDE = "SELECT i, i * 7 AS j, 'a text of some length ' || i AS s FROM big WHERE i < 200000"
READERS, READER_BYTES_S = 50, 1024
VANISH_S = 0.1


def make(folder: Path) -> Path:
    """`t` with 1,000 rows and `big` with 2 million."""
    rng = np.random.default_rng(7)
    pq.write_table(pa.table({"id": np.arange(ROWS), "k": np.arange(ROWS) % 10, "v": rng.random(ROWS)}), folder / "t.parquet")
    pq.write_table(pa.table({"i": np.arange(2_000_000)}), folder / "big.parquet")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", default="1,16,64,256")
    parser.add_argument("--roapi", default="", help="the program, to run beside")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    clients = [int(n) for n in args.clients.split(",")]
    print(machine_line())
    found: dict[str, Any] = report()
    with tempfile.TemporaryDirectory() as name:
        data = make(Path(name))
        with sabot_sql_server(data) as (pid, port):
            load("sabot-sql", port, 16, 3.0)  # everything is loaded
            for many in clients:
                found[f"sabot-sql, {many} clients"] = told("sabot-sql", pid, port, many, args.seconds)
            for what, beside in (("slow readers", slow_readers), ("clients that vanish", vanishing), ("a large query", large)):
                time.sleep(3)  # what the last one left is done
                with running(beside, port) as done:
                    found[f"beside {what}"] = told(f"16 clients beside {what}", pid, port, 16, args.seconds)
                print(f"    {what}: {done[0]:,}")
            time.sleep(2)
            print(f"    resident memory at the end {resident_mb(pid):.0f} MB")
        if args.roapi:
            with roapi_server(args.roapi, data) as (pid, port):
                load("roapi", port, 16, 3.0)
                for many in clients:
                    found[f"roapi, {many} clients"] = told("roapi", pid, port, many, args.seconds)
        found["DuckDB in process per_s"] = on_duckdb(data, min(args.seconds, 5.0))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return 0


def told(what: str, pid: int, port: int, clients: int, seconds: float) -> dict[str, Any]:
    """One load, printed."""
    before_mb = resident_mb(pid)
    found = load("roapi" if what == "roapi" else "sabot-sql", port, clients, seconds)
    found["resident_mb"] = [before_mb, resident_mb(pid)]
    print(f"{what:40} {clients:4} clients  {found['per_s']:8.0f} q/s   p50 {found['p50']:7.2f}  p99 {found['p99']:7.2f}  "
          f"max {found['max']:7.1f} ms   errors {found['errors']}   resident {before_mb:.0f} -> {resident_mb(pid):.0f} MB",
          flush=True)  # fmt: skip
    for error in found["first_errors"]:
        print(f"    {error}")
    return found


def load(kind: str, port: int, clients: int, seconds: float) -> dict[str, Any]:
    """What `bench/service_load.py` finds."""
    command = [sys.executable, str(LOAD), kind, str(port), str(clients), str(seconds)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def sabot_sql_server(data: Path) -> Iterator[tuple[int, int]]:
    """Process and port of a server of ours."""
    command = [sys.executable, "-m", "sabot_sql.cli", "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "listens on" in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield process.pid, int(line.split("listens on ")[1].split()[0].rpartition(":")[2])
        finally:
            process.terminate()


@contextlib.contextmanager
def roapi_server(program: str, data: Path) -> Iterator[tuple[int, int]]:
    """Process and port of a ROAPI over the same table."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--addr-http", f"127.0.0.1:{port}", "--table", f"t={data}/t.parquet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield process.pid, port
        finally:
            process.terminate()


def on_duckdb(data: Path, seconds: float) -> float:
    """Answers a second of DuckDB in this process."""
    duck = duckdb.connect(config={"threads": 1})
    duck.execute(f"CREATE VIEW t AS FROM read_parquet('{data}/t.parquet')")
    begin_s, count = time.perf_counter(), 0
    while time.perf_counter() - begin_s < seconds:
        assert len(duck.execute(statement(count)).fetchall()) == 1
        count += 1
    per_s = count / (time.perf_counter() - begin_s)
    print(f"{'DuckDB in this process':40}             {per_s:8.0f} q/s")
    return per_s


# what runs beside


@contextlib.contextmanager
def running(beside: Callable[[int, threading.Event, list[int]], None], port: int) -> Iterator[list[int]]:
    """Runs `beside` meanwhile; gives the count that it keeps."""
    stop, done = threading.Event(), [0]
    thread = threading.Thread(target=beside, args=(port, stop, done))
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


def post(sql: str, **fields: Any) -> bytes:
    """A request to `POST /v1/sql`."""
    body = json.dumps({"sql": sql, **fields})
    head = f"POST /v1/sql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def slow_readers(port: int, stop: threading.Event, done: list[int]) -> None:
    """Connections that read large answers slowly; counts the bytes that they read."""
    readers = []
    for _ in range(READERS):
        reader = socket.create_connection(("127.0.0.1", port))
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(post(WIDE, format="csv", row_limit=1_000_000))
        readers.append(reader)
    while not stop.wait(1.0):
        for reader in readers:
            with contextlib.suppress(OSError):
                reader.settimeout(0.0)
                done[0] += len(reader.recv(READER_BYTES_S))
    for reader in readers:
        reader.close()


def vanishing(port: int, stop: threading.Event, done: list[int]) -> None:
    """Clients that send a query and leave; counts them."""
    while not stop.wait(VANISH_S):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(post(LARGE))
            time.sleep(0.001)
        done[0] += 1


def large(port: int, stop: threading.Event, done: list[int]) -> None:
    """One client that asks one large query after the other; counts the answers."""
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(post(LARGE, wait_ms=60_000))
            answer = b""
            while b'"state"' not in answer:
                part = client.recv(65536)
                if not part:
                    break
                answer += part
        assert b'"finished"' in answer, answer
        done[0] += 1


if __name__ == "__main__":
    sys.exit(main())
