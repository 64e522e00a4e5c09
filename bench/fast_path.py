"""What a small query costs beside DuckDB in the same process: embedded and over HTTP, cached and new text, alone, in a crowd.

    python bench/fast_path.py [--repeats 300] [--large-rows 20000000] [--json OUT]

The runs of a case take turns, so that a slow moment of the machine meets all of them. In its turn each runs twice: the second
call is the one that counts; the first, for which the others have emptied the processor's caches, is told beside it. Every call
has a new literal where the text is new, a new parameter where it is cached, and another alias where the shape of the statement
is new; answers are checked. `/livez` is what the HTTP server and the client cost without any query. Clients of a crowd are
threads of this process, which share one interpreter lock; "HTTP, processes" are as many clients of the same server in up to
four processes of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.machine import machine_line, quantile, report

counter = itertools.count(1)
Call = Callable[[int], object]

LARGE = "select g, count(*), sum(v), max(v * v) from large group by g order by 2 desc limit 10"


def make(folder: Path, rows: int, name: str | None = None) -> Path:
    """One Parquet file of `rows` rows: k (0, 1, 2, ...), g (random), v (random), s (text)."""
    rng = np.random.default_rng(7)
    path = folder / f"{name or f't{rows}'}.parquet"
    text = pa.array([f"name {i % 97}" for i in range(min(rows, 10_000))])
    columns = {"k": np.arange(rows), "g": rng.integers(0, max(1, rows // 10), rows), "v": rng.random(rows)}
    table = pa.table(columns)
    pq.write_table(table if rows > len(text) else table.append_column("s", text), path)
    return path


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A `sabot-sql serve` over `folder` without agents."""
    port = 18600 + int(time.time()) % 1000
    command = [sys.executable, "-m", "sabot_sql.cli.main", "serve", "--data", str(folder), "--port", str(port), "--agents", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(25)


def cases() -> list[tuple[str, str, str]]:
    """Title, text with {n}, text with $p."""
    texts = [("SELECT 1", "select {}")]
    texts += [
        (f"filter {rows:,} rows", f"select count(*), sum(v) from t{rows} where k < {{}} % {rows}") for rows in (1_000, 10_000)
    ]
    texts.append(("point look-up", "select * from t10000 where k = {} % 10000"))
    texts.append(
        ("small join", "select count(*), sum(a.v + b.v) from t1000 a join t10000 b on a.k = b.k where b.g < {} % 1000")
    )
    return [(title, text.format("{n}"), text.format("$p")) for title, text in texts]


def runs_of(duck: duckdb.DuckDBPyConnection, db: Any, remote: Any, new: str, cached: str) -> dict[str, Call]:
    """The calls of one case by their names."""

    def aliased(n: int) -> str:
        return f"with q{n} as ({new.format(n=n)}) select * from q{n}"

    return {
        "DuckDB, new text": lambda n: duck.cursor().sql(new.format(n=n)).to_arrow_table(),
        "DuckDB, parameter": lambda n: duck.cursor().sql(cached, params={"p": n}).to_arrow_table(),
        "embedded, cached text": lambda n: db.execute_sql(cached, {"p": n}, route="local").to_arrow(),
        "embedded, new literal": lambda n: db.execute_sql(new.format(n=n), route="local").to_arrow(),
        "embedded, new shape": lambda n: db.execute_sql(aliased(n), route="local").to_arrow(),
        "HTTP, cached text": lambda n: remote.execute_sql(cached, {"p": n}, route="local").to_arrow(),
        "HTTP, new literal": lambda n: remote.execute_sql(new.format(n=n), route="local").to_arrow(),
        "HTTP /livez": lambda n: remote._service.channel.call("GET", "/livez"),
    }


def in_turns(runs: dict[str, Call], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each run's calls, the runs one after the other in each round, each twice; ten rounds do not count. Under
    "<run>, first" are the first calls of the two."""
    times: dict[str, list[float]] = {f"{label}{call}": [] for label in runs for call in ("", ", first")}
    for turn in range(repeats + 10):
        for label, call in runs.items():
            for which in (", first", ""):
                n = next(counter)
                begin = time.perf_counter()
                call(n)
                if turn >= 10:
                    times[label + which].append((time.perf_counter() - begin) * 1e3)
    return times


def latency(duck: duckdb.DuckDBPyConnection, db: Any, remote: Any, repeats: int) -> list[dict[str, Any]]:
    """One client: every case, every way."""
    found = []
    for title, new, cached in cases():
        want, wanted = duck.sql(new.format(n=77)).to_arrow_table(), duck.sql(cached, params={"p": 77}).to_arrow_table()
        for got in (db, remote):
            assert got.execute_sql(new.format(n=77), route="local").to_arrow().equals(want), title
            assert got.execute_sql(cached, {"p": 77}, route="local").to_arrow().equals(wanted), title
        print(f"\n{title}")
        runs = runs_of(duck, db, remote, new, cached)
        times = in_turns(runs, repeats)
        for label in runs:
            values, cold = times[label], quantile(times[f"{label}, first"], 0.5)
            p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
            beside = quantile(times["DuckDB, parameter" if "cached" in label or "param" in label else "DuckDB, new text"], 0.5)
            ratio = "" if "livez" in label else f"   {p50 / beside:5.2f} x DuckDB, {p50 - beside:+7.3f} ms"
            print(f"  {label:24} p50 {p50:8.3f}  p99 {p99:8.3f}  min {min(values):8.3f}, first {cold:8.3f} ms{ratio}")
            figures = {"p50_ms": p50, "p99_ms": p99, "first_p50_ms": cold, "duckdb_ms": beside}
            found.append({"case": title, "run": label, **figures})
    return found


def many_clients(duck: duckdb.DuckDBPyConnection, db: Any, remote: Any, url: str, seconds: float) -> list[dict[str, Any]]:
    """1, 4, 16 and 64 clients that ask the 1,000-row filter, each with its own literals."""
    _, new, _ = cases()[1]
    calls: dict[str, Call] = {
        "DuckDB": lambda n: duck.cursor().sql(new.format(n=n)).to_arrow_table(),
        "embedded": lambda n: db.execute_sql(new.format(n=n), route="local").to_arrow(),
        "HTTP": lambda n: remote.execute_sql(new.format(n=n), route="local").to_arrow(),
    }
    ways: dict[str, Callable[[int], list[float]]] = {
        label: lambda clients, call=call: crowd(call, clients, seconds) for label, call in calls.items()
    }
    ways["HTTP, processes"] = lambda clients: crowd_of_processes(url, clients, seconds)
    print("\nfilter 1,000 rows, new literals, clients as threads of this process, or of up to four others")
    found = []
    for clients in (1, 4, 16, 64):
        for label, way in ways.items():
            times = way(clients)
            p50, p99, rate = quantile(times, 0.5), quantile(times, 0.99), len(times) / seconds
            print(f"  {clients:2} clients, {label:15} {rate:7.0f} q/s  p50 {p50:8.3f}  p99 {p99:8.3f} ms")
            found.append({"case": "clients", "run": label, "clients": clients, "qps": rate, "p50_ms": p50, "p99_ms": p99})
    return found


def crowd(call: Call, clients: int, seconds: float) -> list[float]:
    """Milliseconds of all calls that `clients` threads make in `seconds`."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def ask() -> None:
        mine = []
        while (begin := time.perf_counter()) < end:
            call(next(counter))
            mine.append((time.perf_counter() - begin) * 1e3)
        times.extend(mine)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def crowd_of_processes(url: str, clients: int, seconds: float) -> list[float]:
    """As `crowd`, over HTTP: the clients are threads of up to four processes, which begin once all of them are ready."""
    count = min(clients, 4)
    command = [sys.executable, __file__, "--ask", url, "--clients", str(clients // count), "--seconds", str(seconds)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("begin\n")
        process.stdin.flush()
    return [ms for process in processes for ms in json.loads(process.communicate()[0])]


def ask_as_process(url: str, clients: int, seconds: float) -> None:
    """What one process of `crowd_of_processes` does; it prints its times."""
    _, new, _ = cases()[1]
    first = int.from_bytes(os.urandom(3)) << 20  # literals that no other process has
    with sabot_sql.connect(url) as remote:
        remote.execute_sql(new.format(n=first), route="local")
        print("ready", flush=True)
        sys.stdin.readline()
        print(
            json.dumps(crowd(lambda n: remote.execute_sql(new.format(n=first + n), route="local").to_arrow(), clients, seconds))
        )


def beside_large(db: Any, remote: Any, repeats: int) -> list[dict[str, Any]]:
    """A small query alone, and with a large local query running in a loop on the same engine."""
    _, new, _ = cases()[1]
    print("\nfilter 1,000 rows, new literals, alone and beside a large local query that runs again and again")
    found = []
    for label, connection in (("embedded", db), ("HTTP", remote)):
        small: dict[str, Call] = {"small": lambda n, c=connection: c.execute_sql(new.format(n=n), route="local").to_arrow()}
        alone = in_turns(small, repeats)["small"]
        stop = threading.Event()
        took: list[float] = []

        def work(stop: threading.Event = stop, took: list[float] = took, connection: Any = connection) -> None:
            while not stop.is_set():
                begin = time.perf_counter()
                connection.execute_sql(f"{LARGE} -- {next(counter)}", route="local").to_arrow()
                took.append(time.perf_counter() - begin)

        large = threading.Thread(target=work)
        large.start()
        time.sleep(0.5)
        beside = in_turns(small, repeats)["small"]
        stop.set()
        large.join()
        p99s = quantile(alone, 0.99), quantile(beside, 0.99)
        print(
            f"  {label:9} alone p50 {quantile(alone, 0.5):.3f} p99 {p99s[0]:.3f} ms, beside p50 {quantile(beside, 0.5):.3f} "
            f"p99 {p99s[1]:.3f} ms: p99 {p99s[1] / p99s[0]:.2f} x; the large query ran {len(took)} times, "
            f"{quantile(took, 0.5):.2f} s each"
        )
        found.append({"case": "beside", "run": label, "alone_p99_ms": p99s[0], "beside_p99_ms": p99s[1]})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--large-rows", type=int, default=20_000_000)
    parser.add_argument("--json", default="")
    parser.add_argument("--ask", default="", help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        ask_as_process(args.ask, args.clients, args.seconds)
        return 0
    print(machine_line())
    begun = report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        duck = duckdb.connect()
        for rows in (1_000, 10_000):
            duck.execute(f"CREATE VIEW t{rows} AS SELECT * FROM read_parquet('{make(folder, rows)}')")
        make(folder, args.large_rows, "large")
        with (
            sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0) as db,
            server(folder) as url,
            sabot_sql.connect(url) as remote,
        ):
            found = latency(duck, db, remote, args.repeats)
            found += many_clients(duck, db, remote, url, args.seconds)
            found += beside_large(db, remote, args.repeats)
    if args.json:
        Path(args.json).write_text(json.dumps({**begun, "rows": found}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
