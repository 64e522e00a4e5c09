"""What a distributed job costs beside its work: cold start, agent start, and each span of a two-stage job on a warm pool.

    python bench/overhead.py [--repeats 60] [--agents 2] [--warm-only] [--json OUT]

The job is a filtered sum over two Parquet files: two scan tasks with partial aggregates, one task that merges them. Its
work is a few thousand rows, so what is measured is the way. Every answer is checked against DuckDB's, which runs the same
query in turns with it. "One at a time" is what somebody who waits for the answer sees: the end of a job's record is written
after it, and no next query comes meanwhile. "One after the other" pays for it in the next job.
"""

from __future__ import annotations

import argparse
import json
import os
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
from bench.machine import machine_line, quantile, report, spread

# What the coordinator does one after the other. The job's record is written beside the stages and after the answer; `record`
# is what the answer still had to wait for it. A stage is its deploy, its run in the agents and the way back.
SPANS = ("parse_ms", "estimate_ms", "bind_ms", "optimize_ms", "stage_1_ms", "stage_2_ms", "collect_ms", "record_ms")

PAUSE_S = 0.05  # after each job when they come one at a time

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
    parser.add_argument("--warm-only", action="store_true", help="leave out what starts processes")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    found: dict[str, object] = report()
    with tempfile.TemporaryDirectory() as name:
        folder = make(Path(name))
        if not args.warm_only:
            cold = [[float(x) for x in _cold(folder, args.agents).split()] for _ in range(5)]
            print(f"cold: import and connect   {spread([c[0] for c in cold])} ms")
            print(f"cold: to the first answer  {spread([c[1] for c in cold])} ms")
            found["cold_first_answer_ms"] = [c[1] for c in cold]
        duck = duckdb.connect()
        duck.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{folder}/t/*.parquet')")
        with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=args.agents) as db:
            bench = Jobs(duck, db, args.agents)
            for way, pause_s in (("one at a time", PAUSE_S), ("one after the other", 0.0)):
                found[way] = bench.run(way, args.repeats, pause_s)
    if not args.warm_only:
        found["agent_start_ms"] = _agent_start()
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return 0


class Jobs:
    """The same query on DuckDB and as a job, in turns and in changing order, each time with another literal."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, db: sabot_sql.Connection, agents: int) -> None:
        self.duck = duck
        self.db = db
        self.agents = agents
        self.literal = 2000

    def run(self, way: str, repeats: int, pause_s: float) -> dict[str, object]:
        """Measure, print, and return what was printed."""
        for _ in range(10):
            self.pair(pause_s)
        pairs = [self.pair(pause_s) for _ in range(repeats)]
        print(f"\ntwo-stage job, {self.agents} agents, warm pool, durable on SQLite, {way}, n = {repeats}")
        found: dict[str, object] = {}
        for key in pairs[0]:
            values = [pair[key] for pair in pairs]
            found[key] = {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "min": min(values)}
            print(f"  {key.removesuffix('_ms').replace('_', ' '):24} {spread(values)} ms")
        return found

    def pair(self, pause_s: float) -> dict[str, float]:
        """One run of either, their answers compared; milliseconds."""
        self.literal += 1
        sql = f"select sum(v) as s, count(*) as c from t where k < {self.literal}"
        if self.literal % 2:
            want, duck_ms = self.on_duckdb(sql)
            got, spans = self.as_job(sql, pause_s)
        else:
            got, spans = self.as_job(sql, pause_s)
            want, duck_ms = self.on_duckdb(sql)
        assert got.column("c") == want.column("c")
        assert abs(got.column("s")[0].as_py() - want.column("s")[0].as_py()) < 1e-6
        return {**spans, "DuckDB_ms": duck_ms, "overhead_over_DuckDB_ms": spans["wall_ms"] - duck_ms}

    def on_duckdb(self, sql: str) -> tuple[pa.Table, float]:
        begin = time.perf_counter()
        table = self.duck.sql(sql).to_arrow_table()
        return table, (time.perf_counter() - begin) * 1e3

    def as_job(self, sql: str, pause_s: float) -> tuple[pa.Table, dict[str, float]]:
        pids = {"coordinator": os.getpid(), **{agent["id"]: agent["pid"] for agent in self.db.agents()}}
        before = {name: cpu_ms(pid) for name, pid in pids.items()}
        begin = time.perf_counter()
        result = self.db.execute_sql(sql, route="distributed")
        wall_ms = (time.perf_counter() - begin) * 1e3
        table = result.to_arrow()
        assert result.stats["stages"] == 2
        assert result.stats["agents"] == min(2, self.agents)
        time.sleep(pause_s)  # the record is written to its end, and counts to this job's processor time
        cpu = {f"processor_{name}_ms": cpu_ms(pid) - before[name] for name, pid in pids.items()}
        stages = dict(zip(("stage_1_ms", "stage_2_ms"), result.stats["stage_ms"]))
        known = {span: float((result.stats | stages)[span]) for span in SPANS}
        return table, {**known, "other_ms": wall_ms - sum(known.values()), "wall_ms": wall_ms, **cpu}


def cpu_ms(pid: int) -> float:
    """Processor time that all threads of a process of ours have taken, ended ones too (Linux)."""
    process_clock = (~pid << 3) | 2
    return time.clock_gettime(process_clock) * 1e3


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
