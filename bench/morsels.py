"""How large a morsel should be: plans with `agents.morsel_bytes` from 16 KB to 4 MB, and who holds Python's lock meanwhile.

    python bench/morsels.py --data FOLDER [--repeats 5] [--agents 2] [--py-spy COMMAND] [--json OUT]

FOLDER holds TPC-H's tables as folders of Parquet files. One pool runs all sizes in turns, with its columns in memory. With
`--py-spy` (the command of that profiler, which need not be installed for us) the agents are sampled while a plan runs again and
again: the share of a task's samples that hold the interpreter's lock is time in Python and in code that does not let go of it;
what is left is kernels, DuckDB and Arrow.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, quantile
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager

QUERIES = Path(__file__).parent / "accept" / "tpch" / "queries"
PLANS = {
    "group by 10,000": "SELECT l_suppkey g, sum(l_quantity) q, count(*) n FROM lineitem GROUP BY g ORDER BY q DESC, g LIMIT 5",
    "group by 1.5 M": "SELECT l_orderkey g, sum(l_quantity) q FROM lineitem GROUP BY g ORDER BY q DESC, g LIMIT 5",
    "join": "SELECT count(*) n, sum(o_totalprice) t FROM lineitem JOIN orders ON l_orderkey = o_orderkey",
    "join, filter, project": "SELECT sum(CASE WHEN o_orderdate < l_shipdate - 60 THEN l_extendedprice * (1 - l_discount) "
    "* (1 + l_tax) ELSE 0 END) s FROM lineitem JOIN orders ON l_orderkey = o_orderkey WHERE l_extendedprice * 2 < o_totalprice",
    **{name: (QUERIES / f"{name}.sql").read_text() for name in ("q01", "q03", "q09", "q18")},
}
SIZES = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20]
RATE, SAMPLED_S = 250, 4.0


class Bench:
    """A pool whose morsels change their size from query to query."""

    def __init__(self, data: str, agents: int) -> None:
        self.manager = JobManager(Settings(agents=AgentSettings(count=agents, threads=1)), data)
        self.manager.start()

    def run(self, sql: str, morsel_bytes: int) -> float:
        """Milliseconds of one run."""
        pool = self.manager._engine.pool
        pool._settings = dataclasses.replace(pool._settings, morsel_bytes=morsel_bytes)
        began = time.perf_counter()
        self.manager.execute(QueryRequest(sql, route="distributed"))
        return (time.perf_counter() - began) * 1e3

    def lock_share(self, sql: str, morsel_bytes: int, py_spy: str) -> float:
        """The share of the time in which a task's thread was busy that it held the interpreter's lock."""
        busy, holding = (self._samples(sql, morsel_bytes, py_spy, *flags) for flags in ((), ("--gil",)))
        return holding / max(1, busy)

    def _samples(self, sql: str, morsel_bytes: int, py_spy: str, *flags: str) -> int:
        """Samples in which a task's thread was busy, or, with `--gil`, held the lock."""
        pids = [agent.pid for agent in self.manager.agents()]
        with tempfile.TemporaryDirectory() as folder:
            command = [py_spy, "record", "-r", str(RATE), "-d", str(int(SAMPLED_S)), "-f", "raw", *flags]
            files = [Path(folder) / str(pid) for pid in pids]
            watching = [
                subprocess.Popen(
                    [*command, "-p", str(pid), "-o", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                for pid, file in zip(pids, files)
            ]
            while any(process.poll() is None for process in watching):
                self.run(sql, morsel_bytes)
            lines = [line for file in files for line in file.read_text().splitlines()]
        return sum(int(line.rpartition(" ")[2]) for line in lines if "run_task" in line)


def size_name(num_bytes: int) -> str:
    return f"{num_bytes >> 20} MB" if num_bytes >= 1 << 20 else f"{num_bytes >> 10} KB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--plans", default="", help="names, separated by ;")
    parser.add_argument("--py-spy", default="")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    plans = {name: PLANS[name] for name in args.plans.split(";")} if args.plans else PLANS
    bench = Bench(args.data, args.agents)
    report: dict[str, dict[str, object]] = {}
    print(f"{'p50 (min) in ms':24}" + "".join(f"{size_name(size):>16}" for size in SIZES))
    for name, sql in plans.items():
        for _ in range(2):  # columns are loaded after the second reading
            bench.run(sql, SIZES[-2])
            time.sleep(0.5)
        times: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(args.repeats):
            for size in SIZES:
                times[size].append(bench.run(sql, size))
        report[name] = {size_name(size): ms for size, ms in times.items()}
        print(f"{name:24}" + "".join(f"{quantile(ms, 0.5):8.0f} ({min(ms):5.0f})" for ms in times.values()), flush=True)
        if args.py_spy:
            shares = {size_name(size): bench.lock_share(sql, size, args.py_spy) for size in SIZES[::2]}
            report[name]["lock"] = shares
            print("  holds the lock:  " + "  ".join(f"{size} {share:.0%}" for size, share in shares.items()), flush=True)
    bench.manager.close()
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine_line(), **report}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
