"""What a small query costs beside DuckDB in the same process: embedded and over HTTP, cached and new text.

    python bench/fast_path.py [--repeats 300] [--json OUT]

Every call has a new literal where the text is new, or a new parameter where it is cached; every answer is checked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.machine import machine_line, quantile, spread

counter = itertools.count(1)


def make(folder: Path, rows: int) -> Path:
    """One Parquet file of `rows` rows: k (0, 1, 2, ...), v (random), s (text)."""
    rng = np.random.default_rng(7)
    path = folder / f"t{rows}.parquet"
    pq.write_table(pa.table({"k": np.arange(rows), "v": rng.random(rows), "s": [f"name {i % 97}" for i in range(rows)]}), path)
    return path


def timed(call: Callable[[int], object], repeats: int) -> list[float]:
    """Milliseconds of each call, after ten that do not count."""
    for _ in range(10):
        call(next(counter))
    times = []
    for _ in range(repeats):
        n = next(counter)
        begin = time.perf_counter()
        call(n)
        times.append((time.perf_counter() - begin) * 1e3)
    return times


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    rows_out = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {rows: make(folder, rows) for rows in (1_000, 10_000)}
        duck = duckdb.connect()
        for rows, path in paths.items():
            duck.execute(f"CREATE VIEW t{rows} AS SELECT * FROM read_parquet('{path}')")
        with (
            sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0) as db,
            server(folder) as url,
            sabot_sql.connect(url) as remote,
        ):
            cases = [("SELECT 1", "select {n}", "select $p")]
            cases += [
                (f"filter {rows:,} rows", f"select count(*), sum(v) from t{rows} where k < {{n}} % {rows}",
                 f"select count(*), sum(v) from t{rows} where k < $p % {rows}")
                for rows in paths
            ]  # fmt: skip
            look_up = "select * from t10000 where k = {} % 10000"
            cases.append(("point look-up", look_up.format("{n}"), look_up.format("$p")))
            for title, new_text, cached_text in cases:
                want = duck.sql(new_text.format(n=77)).to_arrow_table()
                wanted = duck.sql(cached_text, params={"p": 77}).to_arrow_table()
                for got in (db, remote):
                    assert got.execute_sql(new_text.format(n=77), route="local").to_arrow().equals(want), title
                    assert got.execute_sql(cached_text, {"p": 77}, route="local").to_arrow().equals(wanted), title
                runs: dict[str, Callable[[int], object]] = {
                    "DuckDB, new text": lambda n, t=new_text: duck.cursor().sql(t.format(n=n)).to_arrow_table(),
                    "DuckDB, parameter": lambda n, t=cached_text: duck.cursor().sql(t, params={"p": n}).to_arrow_table(),
                    "embedded, new text": lambda n, t=new_text: db.execute_sql(t.format(n=n), route="local").to_arrow(),
                    "embedded, cached text": lambda n, t=cached_text: db.execute_sql(t, {"p": n}, route="local").to_arrow(),
                    "HTTP, new text": lambda n, t=new_text: remote.execute_sql(t.format(n=n), route="local").to_arrow(),
                    "HTTP, cached text": lambda n, t=cached_text: remote.execute_sql(t, {"p": n}, route="local").to_arrow(),
                }
                print(f"\n{title}")
                base: dict[str, float] = {}
                for label, call in runs.items():
                    times = timed(call, args.repeats)
                    p50 = quantile(times, 0.5)
                    base.setdefault("new text" if "new" in label else "parameter", p50)
                    duck_p50 = base["new text" if "new" in label else "parameter"]
                    ratio = f"{p50 / duck_p50:5.2f} x DuckDB, {p50 - duck_p50:+7.3f} ms"
                    print(f"  {label:24} {spread(times)} ms   {ratio}")
                    rows_out.append(
                        {"case": title, "run": label, "p50_ms": p50, "p95_ms": quantile(times, 0.95), "duckdb_ms": duck_p50}
                    )
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine_line(), "rows": rows_out}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
