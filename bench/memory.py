"""TPC-H's 22 queries and a sort of all rows of lineitem in agents with little memory: right, and within it?

    python bench/memory.py --data FOLDER [--memory-bytes 268435456] [--agents 2] [--only q09,q18,sort] [--json OUT]

FOLDER holds the tables as folders of Parquet files. Every answer is compared with DuckDB's, which has the rest of the machine.
Of each agent the resident memory is looked at every 5 ms: its own pages (anonymous), and with them those of shared memory, in
which blocks lie that have a budget of their own (agents.block_memory_bytes). The column cache is off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line
from sabot_sql.client.difference import difference
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager

QUERIES = sorted((Path(__file__).parent / "accept" / "tpch" / "queries").glob("*.sql"))
SORT = "select l_orderkey, l_linenumber, l_extendedprice from lineitem order by l_extendedprice, l_orderkey, l_linenumber"
RESULT_BYTES = 64 << 30
SAMPLE_S = 0.005
MB = 1e6
LARGE_ROWS = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--memory-bytes", type=int, default=256 << 20)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line(), f"{args.memory_bytes / MB:.0f} MB an agent")
    duck = duckdb.connect(config={"threads": args.agents})
    for folder in Path(args.data).iterdir():
        duck.execute(f"CREATE VIEW {folder.name} AS FROM read_parquet('{folder}/*.parquet')").fetchall()
    queries = {path.stem: path.read_text() for path in QUERIES} | {"sort": SORT}
    names = args.only.split(",") if args.only else list(queries)
    settings = AgentSettings(count=args.agents, threads=1, column_cache_bytes=0, memory_bytes=args.memory_bytes)
    manager = JobManager(Settings(agents=settings, result_max_bytes=RESULT_BYTES), args.data)
    manager.start()
    found: dict[str, Any] = {}
    try:
        manager.execute(QueryRequest("select count(*) from nation", route="distributed"))
        pids = [int(a.pid) for a in manager.agents()]
        idle = [memory_of(pid)[0] for pid in pids]
        print(f"idle: {max(idle) / MB:.0f} MB")
        for name in names:
            found[name] = measure(queries[name], manager, duck, pids)
            print(f"{name:5}", *(f"{key} {value}" for key, value in found[name].items()), flush=True)
    finally:
        manager.close()
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine_line(), "idle": idle, **found}, indent=1))
    return 0


def measure(sql: str, manager: JobManager, duck: duckdb.DuckDBPyConnection, pids: list[int]) -> dict[str, Any]:
    """One query, with what it took."""
    began = time.perf_counter()
    with Watch(pids) as watch:
        try:
            answer: pa.Table | None = None
            result = manager.execute(QueryRequest(sql, route="distributed"))
            answer, said = result.table, ""
            stats = result.stats
        except Exception as error:  # a query that fails is a line of the table
            said, stats = f"{type(error).__name__}: {error}", {}
    elapsed_s = time.perf_counter() - began
    if answer is not None:
        expected = duck.sql(sql).to_arrow_table()
        large = answer.num_rows > LARGE_ROWS
        said = difference(expected, answer) if not large or answer.schema != expected.schema else different(expected, answer)
    return {
        "seconds": round(elapsed_s, 2),
        "spilled_mb": round(stats.get("bytes_spilled", 0) / MB, 1),
        "task_peak_mb": round(stats.get("peak_memory_bytes", 0) / MB, 1),
        "own_mb": round(max(watch.own.values()) / MB),
        "resident_mb": round(max(watch.resident.values()) / MB),
        "said": said or "right",
    }


def different(expected: pa.Table, answer: pa.Table) -> str:
    """What is wrong with an answer whose order is given in full, without a look at single rows."""
    if answer.num_rows != expected.num_rows:
        return f"{answer.num_rows:,} rows instead of {expected.num_rows:,}"
    return "" if answer.equals(expected) else "other rows, or another order"


class Watch:
    """Looks at the memory of processes, while inside."""

    def __init__(self, pids: list[int]) -> None:
        self.own = dict.fromkeys(pids, 0)
        self.resident = dict.fromkeys(pids, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(SAMPLE_S):
            for pid in self.own:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    own, resident = memory_of(pid)
                    self.own[pid] = max(self.own[pid], own)
                    self.resident[pid] = max(self.resident[pid], resident)


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process: its own pages, and all."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return tuple(int(lines[name].split()[0]) << 10 for name in ("RssAnon", "VmRSS"))  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
