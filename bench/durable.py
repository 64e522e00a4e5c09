"""What recording costs a job: nothing kept, SQLite, PostgreSQL; one at a time, one hundred one by one, one hundred in a batch.

    python bench/durable.py [--repeats 60] [--jobs 100] [--json OUT]
    python bench/durable.py --steady 10000

The job is the two-stage one of `bench/overhead.py`, whose work is a few thousand rows. "execute" waits for its answer and for
the job to be in the database; "submit" for its end to be there too, as whoever asks again by its key needs. A batch is
submitted in one request and waited for. The PostgreSQL is started for this, with its defaults (it flushes each commit).
`--steady` runs so many jobs in a row on SQLite, has those that have ended forgotten after each tenth, as an hourly sweep would,
and shows what the process and its files take.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, spread
from bench.overhead import make
from sabot_sql.config import AgentSettings, DurableSettings, Settings
from sabot_sql.engine.request import BatchRequest, QueryRequest
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.store import STORE
from tests.jobs.postgres import postgresql

STORES = ("nothing kept", "SQLite", "PostgreSQL")
literals = itertools.count(2000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--json", default="")
    parser.add_argument("--steady", type=int, default=0)
    args = parser.parse_args()
    print(machine_line())
    if args.steady:
        steady(args.steady)
        return 0
    report: dict[str, object] = {"machine": machine_line()}
    with tempfile.TemporaryDirectory() as name:
        data = make(Path(name))
        for store in STORES:
            with opened(store, data) as manager:
                report[store] = found = measured(manager, args.repeats, args.jobs)
            print(f"\n{store}")
            for way, values in found.items():
                print(f"  {way:34} {spread(values)} ms")
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


@contextlib.contextmanager
def opened(store: str, data: Path) -> Iterator[JobManager]:
    """An engine with two agents whose jobs are recorded there."""
    with tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as stack:
        durable = DurableSettings(stack.enter_context(postgresql()).get_uri()) if store == "PostgreSQL" else DurableSettings()
        folder = None if store == "nothing kept" else Path(state)
        manager = JobManager(Settings(state_dir=folder, agents=AgentSettings(count=2, threads=1), durable=durable), str(data))
        stack.callback(manager.close)
        manager.start()
        for _ in range(10):
            manager.execute(job())
        yield manager


def job(key: str | None = None) -> QueryRequest:
    sql = f"select sum(v) as s, count(*) as c from t where k < {next(literals)}"
    return QueryRequest(sql, route="distributed", idempotency_key=key)


def measured(manager: JobManager, repeats: int, jobs: int) -> dict[str, list[float]]:
    """Milliseconds a job by the way it is run."""
    found: dict[str, list[float]] = {"execute": [], "submit, to its end": []}
    for _ in range(repeats):
        found["execute"].append(timed(lambda: manager.execute(job())))
        time.sleep(0.05)
        found["submit, to its end"].append(timed(lambda: manager.status(manager.submit(job()).query_id, 60)))
        time.sleep(0.05)
    found[f"a job of {jobs}, one by one"] = [
        timed(lambda: [manager.execute(job()) for _ in range(jobs)]) / jobs for _ in range(3)
    ]

    def batch() -> None:
        request = BatchRequest([(str(i), job()) for i in range(jobs)])
        status = manager.batch_status(manager.submit_batch(request).batch_id, 300)
        assert status.state == "finished", status

    found[f"a job of {jobs}, in one batch"] = [timed(batch) / jobs for _ in range(3)]
    return found


def steady(jobs: int) -> None:
    """Jobs in a row, and what they leave."""
    with tempfile.TemporaryDirectory() as name, opened("SQLite", make(Path(name))) as manager:
        folder = manager._folder
        for tenth in range(10):
            begin = time.perf_counter()
            for _ in range(jobs // 10):
                manager.execute(job())
            took_s = time.perf_counter() - begin
            STORE.delete_before(folder, dt.datetime.now(dt.UTC).isoformat())
            sizes = {path.name: path.stat().st_size >> 10 for path in sorted(folder.path.glob("jobs.db*"))}
            print(
                f"{(tenth + 1) * jobs // 10:7,} jobs  {took_s / jobs * 1e4:6.1f} ms a job  {usage(manager)}  KiB {sizes}",
                flush=True,
            )


def usage(manager: JobManager) -> str:
    """Resident memory, threads and descriptors of this process, and the files of its blocks."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    files = len(list(Path("/proc/self/fd").iterdir()))
    pool = manager._engine.pool
    blocks = sum(path.is_file() for path in pool._running.root.path.rglob("*.arrow")) if pool._running else 0
    resident_mib, threads = int(status["VmRSS"].split()[0]) >> 10, int(status["Threads"])
    return f"{resident_mib} MiB, {threads} threads, {files} descriptors, {blocks} blocks"


def timed(call: object) -> float:
    begin = time.perf_counter()
    call()  # type: ignore[operator]
    return (time.perf_counter() - begin) * 1e3


if __name__ == "__main__":
    sys.exit(main())
