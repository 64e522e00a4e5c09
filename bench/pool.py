"""How soon a pool of agents is there, what a deployment costs, and what a thousand jobs leave behind.

    python bench/pool.py [--repeats 20] [--jobs 1000] [--json OUT]

`cold` is the time from the start of a pool, with a new helper process, until all its agents listen; `ready` that of agents that
the helper, which is there, starts in place of all that were killed at once. `deploy` is a stage of one task an agent that gives
one row, from the call to the last answer. Then come as many jobs of two stages as `--jobs` says, while memory, threads,
descriptors and blocks in shared memory are looked at. The speed of the lanes between agents is in `bench/exchange.py`, a whole
job's overhead in `bench/overhead.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, quantile
from sabot_sql.agents.pool import AgentPool
from sabot_sql.config import AgentSettings
from sabot_sql.executor.owned_folders import LOCK
from sabot_sql.planner.expressions import Const
from sabot_sql.planner.physical import Exchange, ExchangeRead, Project, Session, Stage, Task, Values
from sabot_sql.types import BIGINT, Field

ONE = (Field("x", BIGINT),)
SIZES = (1, 4, 8)
LOOKS = 5


def rows_stage(num_tasks: int) -> Stage:
    """Each task gives one row."""
    root = Project(Values(1, ()), (Const(42, BIGINT),), ONE)
    return Stage(0, root, Exchange("gather"), (), tuple(Task(i) for i in range(num_tasks)))


def gather_stage() -> Stage:
    """One task that reads all rows of stage 0."""
    return Stage(1, ExchangeRead(0, ONE), Exchange("gather"), (0,), (Task(0, partitions={0: (0,)}),))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    logging.getLogger("sabot_sql").setLevel(logging.ERROR)  # not each agent that is gone
    found: dict[str, Any] = {}
    for size in SIZES:
        found[f"cold, {size} agents"] = [started(size) for _ in range(args.repeats)]
    for size in SIZES:
        found[f"ready, {size} agents"] = replaced(size, args.repeats)
    for size in SIZES:
        found[f"deploy, {size} agents"] = deployed(size, 10 * args.repeats)
    for name, times in found.items():
        print(f"{name:22} p50 {quantile(times, 0.5):7.2f} ms   p95 {quantile(times, 0.95):7.2f} ms   {len(times)} times")
    found["jobs"] = many_jobs(args.jobs)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return 0


def started(size: int) -> float:
    """Milliseconds until a new pool's agents listen."""
    pool = AgentPool(AgentSettings(count=size))
    began = time.perf_counter()
    try:
        pool.start(wait=True)
        return (time.perf_counter() - began) * 1e3
    finally:
        pool.stop()


def replaced(size: int, repeats: int) -> list[float]:
    """Milliseconds from the kill of all agents until as many others listen in their place."""
    pool = AgentPool(AgentSettings(count=size))
    times = []
    try:
        pool.start(wait=True)
        for i in range(repeats):
            run_job(pool, f"warm-{i}", size)  # an agent that has done no task is replaced ever more slowly
            before = {agent.incarnation for agent in pool.agents()}
            began = time.perf_counter()
            for agent in pool.agents():
                os.kill(agent.pid, signal.SIGKILL)
            while any(agent.state != "alive" or agent.incarnation in before for agent in pool.agents()):
                time.sleep(0.0005)
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        pool.stop()
    return times


def deployed(size: int, repeats: int) -> list[float]:
    """Milliseconds of a stage with one task an agent."""
    pool = AgentPool(AgentSettings(count=size))
    times = []
    try:
        pool.start(wait=True)
        for i in range(repeats + 10):
            began = time.perf_counter()
            results = pool.run_stage(f"job-{i}", rows_stage(size), {}, Session())
            if i >= 10:
                times.append((time.perf_counter() - began) * 1e3)
            assert [r.block.rows for r in results] == [1] * size
            pool.drop_job(f"job-{i}")
    finally:
        pool.stop()
    return times


def run_job(pool: AgentPool, job_id: str, num_tasks: int) -> None:
    """Two stages, the answer read and all dropped."""
    results = pool.run_stage(job_id, rows_stage(num_tasks), {}, Session())
    (last,) = pool.run_stage(job_id, gather_stage(), {0: [r.block for r in results]}, Session())
    assert sum(b.num_rows for b in pool.read(last.block, 0)) == num_tasks
    pool.drop_job(job_id)


def many_jobs(jobs: int) -> list[dict[str, int]]:
    """What the processes hold, now and then."""
    pool = AgentPool(AgentSettings(count=2))
    looks = []
    try:
        pool.start(wait=True)
        for i in range(100):
            run_job(pool, f"first-{i}", 2)
        print(f"\n{'jobs':>6} {'coordinator MB':>15} {'agents MB':>10} {'threads':>8} {'files':>6} {'blocks':>7}")
        for look in range(LOOKS + 1):
            held = holdings(pool)
            looks.append({"jobs": look * jobs // LOOKS, **held})
            print("{:6,} {:15.1f} {:10.1f} {:8} {:6} {:7}".format(look * jobs // LOOKS, *held.values()))
            for i in range(jobs // LOOKS if look < LOOKS else 0):
                run_job(pool, f"job-{look}-{i}", 2)
    finally:
        pool.stop()
    return looks


def holdings(pool: AgentPool) -> dict[str, Any]:
    """Resident megabytes, threads and open files of coordinator and agents, and files of blocks in shared memory."""
    agents = [Path(f"/proc/{agent.pid}") for agent in pool.agents()]
    own = Path("/proc/self")
    owners = Path("/dev/shm").glob(f"sabot-sql-{os.getuid()}-*/{LOCK}")
    roots = [lock.parent for lock in owners if lock.read_text().strip() == str(os.getpid())]
    return {
        "coordinator_mb": resident_mb(own),
        "agents_mb": sum(map(resident_mb, agents)),
        "threads": sum(len(list((p / "task").iterdir())) for p in (own, *agents)),
        "files": sum(len(list((p / "fd").iterdir())) for p in (own, *agents)),
        "blocks": sum(1 for root in roots for _ in root.glob("*/*.arrow")),
    }


def resident_mb(process: Path) -> float:
    """Resident memory of a process."""
    return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
