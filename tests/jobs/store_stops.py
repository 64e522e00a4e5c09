"""The database of jobs stops every few seconds while jobs run, again and again: `make chaos-store JOBS=2000`.

Eight clients submit jobs of two stages, each under a key of its own, to a server that records them in a real PostgreSQL. Every
5 to 40 seconds that is stopped and starts again up to two seconds later. A client that is told that the database is away tries
again with its key. In the end each job must have been answered right, be recorded once and as finished, none may be pending,
and the queries of the local route must all have been answered meanwhile. Prints what happened; the exit code is 1 where that
does not hold.
"""

from __future__ import annotations

import argparse
import collections
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from sabot_sql.config import AgentSettings, DurableSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import SabotError
from sabot_sql.jobs.database import JobDatabase
from sabot_sql.jobs.manager import JobManager
from tests.jobs.postgres import postgresql

CLIENTS = 8
ATTEMPTS = 200
ROWS = 4000
PAUSE_S, AWAY_S = (5.0, 40.0), (0.0, 2.0)
PENDING_S = 60.0


class Clients:
    """Those who submit jobs, and what they saw."""

    def __init__(self, manager: JobManager, jobs: int) -> None:
        self._manager = manager
        self._numbers = iter(range(jobs))
        self._lock = threading.Lock()
        self.seen: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.over = threading.Event()

    def submit(self) -> None:
        """Submit jobs until there are none left, or something has gone wrong."""
        while not self.wrong:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            sql = f"SELECT sum(v) AS s FROM t WHERE v < {number}"
            request = QueryRequest(sql, route="distributed", idempotency_key=f"k{number}")
            for attempt in range(ATTEMPTS):
                if self.wrong:
                    return
                try:
                    rows = self._manager.execute(request).table.to_pylist()
                except SabotError as error:
                    self.seen[f"told {error.problem.code}"] += 1
                    if not error.retryable:
                        self.wrong.append(f"job {number}: {error}")
                        break
                    time.sleep(0.1 + 0.01 * attempt)
                    continue
                most = min(number, ROWS)
                want = sum(range(most)) if number else None
                if rows != [{"s": want}]:
                    self.wrong.append(f"job {number}: {rows}, not {want}")
                self.seen["answered"] += 1
                break
            else:
                self.wrong.append(f"job {number}: no answer after {ATTEMPTS} attempts")

    def ask_locally(self) -> None:
        """Queries of the local route need no database."""
        while not self.over.wait(0.05):
            self._manager.execute(QueryRequest("SELECT count(*) FROM t", route="local"))
            self.seen["local queries"] += 1


def stop_now_and_then(server: Any, dice: random.Random, pause_s: tuple[float, float], clients: Clients) -> None:
    """Stop the database, and start it again."""
    while not clients.over.wait(dice.uniform(*pause_s)):
        try:
            server.stop()
            time.sleep(dice.uniform(*AWAY_S))
            server.start()
        except (OSError, subprocess.SubprocessError, AssertionError) as exc:
            clients.wrong.append(f"the database does not start again: {exc}")
            return
        clients.seen["stops"] += 1


def recorded(url: str) -> dict[str, int]:
    """How many jobs are recorded in each state."""
    engine = JobDatabase(url=url).make_engine(1)
    try:
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT status, count(*) FROM dbos.workflow_status GROUP BY 1")).all()
            return {status: count for status, count in rows}
    finally:
        engine.dispose()


def jobs_with_stops(jobs: int, seed: int, pause_s: tuple[float, float] = PAUSE_S) -> tuple[list[str], dict[str, int], str]:
    """What went wrong, the states that are recorded, and a line that tells of it.

    Args:
        pause_s: the database runs at least and at most so long between two stops.
    """
    with tempfile.TemporaryDirectory(prefix="store-stops-") as name, postgresql() as server:
        (data := Path(name) / "data" / "t").mkdir(parents=True)
        for part in range(2):
            pq.write_table(pa.table({"v": range(part * ROWS // 2, (part + 1) * ROWS // 2)}), data / f"{part}.parquet")
        durable = DurableSettings(server.get_uri())
        agents = AgentSettings(count=2, threads=1)
        manager = JobManager(Settings(state_dir=Path(name) / "state", agents=agents, durable=durable), str(data.parent))
        try:
            manager.start()
            clients, begin_s = Clients(manager, jobs), time.monotonic()
            threads = [threading.Thread(target=clients.submit) for _ in range(CLIENTS)]
            stopping = (server, random.Random(seed), pause_s, clients)
            beside = [
                threading.Thread(target=clients.ask_locally),
                threading.Thread(target=stop_now_and_then, args=stopping),
            ]
            for thread in (*threads, *beside):
                thread.start()
            for thread in threads:
                thread.join()
            clients.over.set()
            for thread in beside:
                thread.join()
            took_s, end_s = time.monotonic() - begin_s, time.monotonic() + PENDING_S
            while (
                (states := recorded(server.get_uri())) != {"SUCCESS": jobs} and not clients.wrong and time.monotonic() < end_s
            ):
                time.sleep(1)
        finally:
            manager.close()
        return clients.wrong, states, f"{jobs:,} jobs in {took_s:.0f} s: {dict(clients.seen)}; recorded {states}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    wrong, states, told = jobs_with_stops(args.jobs, args.seed)
    print(told)
    for line in wrong[:20]:
        print("BAD", line)
    return 0 if not wrong and states == {"SUCCESS": args.jobs} else 1


if __name__ == "__main__":
    sys.exit(main())
