"""What a question over 1,000 to 10 million rows costs on each route, beside DuckDB in the same process.

    python bench/sizes.py [--repeats 15] [--agents 2] [--json OUT]

The question is a filtered sum a group over Parquet. "Local" is the fast path in this process, "pool" the agents of a warm pool,
"cold" the first question to a connection that has just been opened, its agents' start included. All take turns, every call has
another literal, and every answer is compared with DuckDB's. DuckDB has as many threads as there are agents.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.answers import same_answer
from bench.machine import machine_line, quantile, report

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FILES = 4
COLD_RUNS = 3
QUESTION = "select g, count(*) as n, sum(v) as v from t{rows} where k >= {n} group by g order by g"


def make(folder: Path, rows: int) -> None:
    """The table `t{rows}`: k (0, 1, 2, ...), g (0 to 99), v (random)."""
    rng = np.random.default_rng(7)
    (folder / f"t{rows}").mkdir()
    for part in range(FILES):
        count = rows // FILES
        k = np.arange(count) + part * count
        table = pa.table({"k": k, "g": k % 100, "v": rng.random(count)})
        pq.write_table(table, folder / f"t{rows}" / f"part-{part}.parquet")


def timed(run: Callable[[str], pa.Table], sql: str) -> tuple[float, pa.Table]:
    """Milliseconds, and the answer."""
    begin = time.perf_counter()
    table = run(sql)
    return (time.perf_counter() - begin) * 1e3, table


def once(folder: Path, agents: int, sql: str) -> tuple[float, pa.Table]:
    """Milliseconds from opening a connection to its first answer from the agents, and the answer."""
    begin = time.perf_counter()
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=agents) as db:
        table = db.execute_sql(sql, route="distributed").to_arrow()
        return (time.perf_counter() - begin) * 1e3, table


def measure(folder: Path, agents: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Size -> way -> median, 95th percentile and least milliseconds."""
    duck = duckdb.connect(config={"threads": agents})
    for rows in SIZES:
        duck.execute(f"CREATE VIEW t{rows} AS FROM read_parquet('{folder}/t{rows}/*.parquet')").fetchall()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=agents) as db:
        ways: dict[str, Callable[[str], pa.Table]] = {
            "DuckDB": lambda sql: duck.sql(sql).to_arrow_table(),
            "local": lambda sql: db.execute_sql(sql, route="local").to_arrow(),
            "pool": lambda sql: db.execute_sql(sql, route="distributed").to_arrow(),
        }
        for rows in SIZES:
            times: dict[str, list[float]] = {way: [] for way in (*ways, "cold")}
            for n in range(repeats + 3):
                sql = QUESTION.format(rows=rows, n=n % (rows // 2))
                answers = {}
                for way, run in ways.items():
                    took, answers[way] = timed(run, sql)
                    if n >= 3:
                        times[way].append(took)
                for way in ("local", "pool"):
                    assert (said := same_answer(answers["DuckDB"], answers[way])) == "", said
            for n in range(COLD_RUNS):
                sql = QUESTION.format(rows=rows, n=n)
                took, table = once(folder, agents, sql)
                times["cold"].append(took)
                assert (said := same_answer(ways["DuckDB"](sql), table)) == "", said
            found[str(rows)] = {way: summary(values) for way, values in times.items()}
            cells = "   ".join(f"{way} {figures['p50']:8.2f}" for way, figures in found[str(rows)].items())
            print(f"{rows:>10,} rows   {cells}   ms, p50", flush=True)
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and least."""
    return {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "min": min(values)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    found: dict[str, Any] = report()
    with tempfile.TemporaryDirectory(prefix="sabot-sizes-") as name:
        for rows in SIZES:
            make(Path(name), rows)
        found["sizes"] = measure(Path(name), args.agents, args.repeats)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
