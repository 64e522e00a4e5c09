"""What a distributed job costs beside its work: cold start, agent start, and each span of a two-stage job on a warm pool.

    python bench/overhead.py [--repeats 60] [--agents 2] [--json OUT]

The job is a filtered sum over two Parquet files: two scan tasks with partial aggregates, one task that merges them. Its
work is a few thousand rows, so what is measured is the way. Every answer is checked against DuckDB's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.machine import machine_line, quantile, spread

# What the coordinator does one after the other. The job's record is written beside the stages; `record` is what the answer
# still had to wait for it. A stage is its deploy, its run in the agents and the way back.
SPANS = ("parse_ms", "estimate_ms", "bind_ms", "optimize_ms", "stage_1_ms", "stage_2_ms", "collect_ms", "record_ms")

COLD = """
import sys, time
begin = time.perf_counter()
import sabot_sql
db = sabot_sql.connect("embedded:", data=sys.argv[1], num_local_agents=int(sys.argv[2]))
connected = time.perf_counter()
db.execute_sql("select sum(v) from t where k < 100", route="distributed").scalar()
print((connected - begin) * 1e3, (time.perf_counter() - begin) * 1e3)
db.close()
"""


def make(folder: Path) -> Path:
    rng = np.random.default_rng(7)
    (folder / "t").mkdir()
    for part in range(2):
        pq.write_table(
            pa.table({"k": np.arange(2000) + part * 2000, "v": rng.random(2000)}), folder / "t" / f"part-{part}.parquet"
        )
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    report: dict[str, object] = {"machine": machine_line()}
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name))
        cold = [[float(x) for x in _cold(folder, args.agents).split()] for _ in range(5)]
        print(f"cold: import and connect   {spread([c[0] for c in cold])} ms")
        print(f"cold: to the first answer  {spread([c[1] for c in cold])} ms")
        report["cold_first_answer_ms"] = [c[1] for c in cold]
        duck = duckdb.connect()
        duck.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{folder}/t/*.parquet')")
        with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=args.agents) as db:
            spans: dict[str, list[float]] = {s: [] for s in (*SPANS, "other_ms")}
            walls, ducks = [], []
            for n in range(args.repeats + 10):
                sql = f"select sum(v) as s, count(*) as c from t where k < {3000 + n}"
                begin = time.perf_counter()
                want = duck.sql(sql).to_arrow_table()
                duck_ms, begin = (time.perf_counter() - begin) * 1e3, time.perf_counter()
                result = db.execute_sql(sql, route="distributed")
                wall = (time.perf_counter() - begin) * 1e3
                got = result.to_arrow()
                assert got.column("c") == want.column("c")
                assert abs(got.column("s")[0].as_py() - want.column("s")[0].as_py()) < 1e-6
                assert result.stats["stages"] == 2
                assert result.stats["agents"] == min(2, args.agents)
                if n < 10:
                    continue
                walls.append(wall)
                ducks.append(duck_ms)
                stages = dict(zip(("stage_1_ms", "stage_2_ms"), result.stats["stage_ms"]))
                known = {s: float((result.stats | stages)[s]) for s in SPANS}
                for s in SPANS:
                    spans[s].append(known[s])
                spans["other_ms"].append(wall - sum(known.values()))
            print(f"\ntwo-stage job, {args.agents} agents, warm pool, durable on SQLite, n = {len(walls)}")
            for s in spans:
                print(f"  {s.removesuffix('_ms'):10} {spread(spans[s])} ms")
            print(f"  {'wall':10} {spread(walls)} ms;  DuckDB {spread(ducks)} ms")
            print(f"  overhead over DuckDB: p50 {quantile(walls, 0.5) - quantile(ducks, 0.5):.2f} ms")
            report["spans_ms"] = {s: {"p50": quantile(v, 0.5), "p95": quantile(v, 0.95)} for s, v in spans.items()}
            report["wall_ms"] = {"p50": quantile(walls, 0.5), "p95": quantile(walls, 0.95)}
    report["agent_start_ms"] = _agent_start()
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


def _cold(folder: Path, agents: int) -> str:
    done = subprocess.run([sys.executable, "-c", COLD, str(folder), str(agents)], capture_output=True, text=True, check=True)
    return done.stdout


def _agent_start() -> dict[str, list[float]]:
    """Time from asking for agents to all of them answering, over a pool whose fork server is warm."""
    from sabot_sql.agents.pool import AgentPool
    from sabot_sql.config import AgentSettings

    found: dict[str, list[float]] = {}
    for count in (1, 4):
        times = []
        for _ in range(5):
            pool = AgentPool(AgentSettings(count=count, threads=1))
            begin = time.perf_counter()
            pool.start(wait=True)
            times.append((time.perf_counter() - begin) * 1e3)
            pool.stop()
        print(f"pool of {count}: fork server and agents ready  {spread(times)} ms")
        found[f"pool_of_{count}"] = times
    return found


if __name__ == "__main__":
    sys.exit(main())
