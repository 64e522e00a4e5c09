"""The process that runs a job is killed at a random moment, again and again: `make chaos-jobs RUNS=100`.

Jobs of one, three and six stages run on two real agents, recorded in SQLite and in a real PostgreSQL. After each kill the next
process on the same state must answer the same idempotency key with the right rows: one job, one recorded end, each stage
recorded once (again only where the record says that its blocks were lost), and nothing left behind. Prints a table; the exit
code is 1 where one of them does not hold.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from sabot_sql.config import AgentSettings, DurableSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.database import JobDatabase
from sabot_sql.jobs.manager import JobManager
from tests.jobs.postgres import postgresql

ROOT = Path(__file__).parents[2]
ROWS = 400_000
WAIT_S = 60.0

QUERIES = {
    1: "SELECT k, v FROM facts WHERE v % 1009 = 7",
    3: "SELECT k, sum(v) AS total, count(*) AS n FROM facts GROUP BY k ORDER BY total DESC, k LIMIT 50",
    6: """SELECT d.name, count(*) AS n, sum(f.v) AS total FROM facts f JOIN facts g ON f.k = g.v JOIN dims d ON f.k = d.k
          WHERE g.k % 7 = 3 GROUP BY d.name ORDER BY total DESC, d.name LIMIT 20""",
}
"""By the number of stages they are planned with, or about."""


def make(folder: Path) -> None:
    """The tables."""
    with duckdb.connect() as con:
        for name, count, columns in (
            ("facts", ROWS, "(range * 7919) % 20011 AS k, (range * 104729) % 100003 AS v"),
            ("dims", 20_011, "range AS k, 'name ' || (range % 97) AS name"),
        ):
            (folder / name).mkdir(parents=True)
            for part in range(4):
                first, last = count * part // 4, count * (part + 1) // 4
                con.execute(f"COPY (SELECT {columns} FROM range({first}, {last})) TO '{folder / name}/{part}.parquet'")


def settings(state: Path, url: str) -> Settings:
    return Settings(state_dir=state, agents=AgentSettings(count=2, threads=1), durable=DurableSettings(url, lease_s=1.0))


class Victim:
    """A process with an engine; a line of JSON in, one out."""

    def __init__(self, state: Path, url: str, data: Path) -> None:
        command = [sys.executable, "-m", "tests.jobs.kills", "--child", str(state), url, str(data)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("ready")

    def send(self, *request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def ask(self, *request: Any) -> Any:
        self.send(*request)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def child(state: str, url: str, data: str) -> None:
    """The other side of a `Victim`."""
    with contextlib.closing(JobManager(settings(Path(state), url), data)) as manager:
        manager.start()
        for line in sys.stdin:
            what, *args = json.loads(line)
            found: Any = True
            if what == "ready":
                manager.list()
                while not manager.agents():
                    time.sleep(0.01)
            elif what == "warm":  # starts the agents, and compiles nothing any more
                manager.execute(QueryRequest(args[0], route="distributed"))
            elif what == "submit":
                sql, key = args
                found = manager.submit(QueryRequest(sql, route="distributed", idempotency_key=key)).query_id
            elif what == "answer":
                status = manager.status(args[0], WAIT_S)
                rows = manager.result(args[0]).table.to_pylist() if status.state == "finished" else str(status.error)
                found = [status.state, rows, [[s.query_id, s.state] for s in manager.list()]]
            print(json.dumps(found, default=str), flush=True)


@dataclass
class Recorded:
    """The jobs of a database with their states, and the steps of each in their order."""

    states: dict[str, str]
    steps: dict[str, list[str]]


def recorded(database: JobDatabase) -> Recorded:
    """What is in the database; a step that says which blocks are gone is called `lost`."""
    engine = database.make_engine(1)
    schema = "dbos." if database.shared else ""
    try:
        with engine.connect() as connection:
            jobs = connection.execute(sa.text(f"SELECT workflow_uuid, status FROM {schema}workflow_status")).all()
            columns = "workflow_uuid, function_name, output"
            rows = connection.execute(sa.text(f"SELECT {columns} FROM {schema}operation_outputs ORDER BY function_id")).all()
    finally:
        engine.dispose()
    steps: dict[str, list[str]] = {job[0]: [] for job in jobs}
    for query_id, name, output in rows:
        steps[query_id].append("lost" if '"lost"' in (output or "") else name)
    return Recorded({job[0]: job[1] for job in jobs}, steps)


def repeats(steps: list[str]) -> list[str]:
    """Stages that were recorded twice, without being lost between."""
    found, seen = [], set()
    for step in steps:
        if step == "lost":
            seen.clear()
        elif step in seen:
            found.append(step)
        seen.add(step)
    return found


def left_behind(state: Path) -> list[str]:
    """What a state folder that nobody uses should not have, and shared memory that nobody uses."""
    shm = [str(p) for p in Path("/dev/shm").glob("sabot-*") if str(state) in _owner_of(p)]
    parts = [str(p) for p in state.rglob("*.part")]
    agents = subprocess.run(["pgrep", "-f", str(state)], capture_output=True, text=True, check=False).stdout.split()
    return shm + parts + [f"process {pid}" for pid in agents]


def _owner_of(path: Path) -> str:
    with contextlib.suppress(OSError):
        return (path / "owner").read_text()
    return ""


def struck(state: Path, url: str, data: Path, sql: str, expected: str, delay_s: float) -> tuple[str, str, int]:
    """One run: when it was struck, what is wrong with it, and how many stages ran again."""
    victim = Victim(state, url, data)
    victim.ask("warm", sql)
    victim.send("submit", sql, "key")
    time.sleep(delay_s)
    victim.kill()
    database = JobDatabase(state / "jobs.db", url)
    before = recorded(database)
    heir = Victim(state, url, data)
    try:
        query_id = heir.ask("submit", sql, "key")
        found, rows, listed = heir.ask("answer", query_id)
    finally:
        heir.close()
    after = recorded(database)
    steps = after.steps[query_id]
    wrong = [
        found != "finished" and f"it is {found}: {rows}",
        json.dumps(rows) != expected and "other rows",
        listed.count([query_id, "finished"]) != 1 and f"the list has {listed}",
        after.states[query_id] != "SUCCESS" and f"its record says {after.states[query_id]}",
        bool(repeats(steps)) and f"recorded twice: {repeats(steps)} of {steps}",
        bool(left := left_behind(state)) and f"left behind: {left}",
    ]
    match before.states.get(query_id):
        case None:
            moment = "before it was recorded"
        case "PENDING":
            moment = f"after {len(before.steps[query_id])} steps"
        case _:
            moment = "after its end"
    return moment, "; ".join(w for w in wrong if w), len(steps) - len(set(steps))


@contextlib.contextmanager
def databases(server: Any) -> Iterator[str]:
    """A fresh PostgreSQL database; an empty address, for SQLite, without a server."""
    if server is None:
        yield ""
        return
    admin = sa.create_engine(JobDatabase(url=server.get_uri()).sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    name = f"jobs_{time.monotonic_ns()}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield sa.make_url(server.get_uri()).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def undisturbed(folder: Path, data: Path, sql: str) -> tuple[float, int, str]:
    """Seconds, stages and rows of a job that nobody strikes."""
    victim = Victim(folder, "", data)
    try:
        victim.ask("warm", sql)
        begin_s = time.monotonic()
        query_id = victim.ask("submit", sql, "key")
        state, rows, _ = victim.ask("answer", query_id)
        took_s = time.monotonic() - begin_s
    finally:
        victim.close()
    assert state == "finished", rows
    table = duckdb_answer(data, sql)
    assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, json.loads(json.dumps(table.to_pylist(), default=str))))
    return took_s, len(recorded(JobDatabase(folder / "jobs.db")).steps[query_id]), json.dumps(rows)


def duckdb_answer(data: Path, sql: str) -> pa.Table:
    with duckdb.connect() as con:
        for folder in data.iterdir():
            con.execute(f"CREATE VIEW {folder.name} AS FROM read_parquet('{folder}/*.parquet')")
        return con.sql(sql).to_arrow_table()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=102, help="of each store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["sqlite", "postgresql", "both"], default="both")
    args = parser.parse_args()
    dice, bad = random.Random(args.seed), 0
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        make(data := work / "data")
        known = {n: undisturbed(work / f"calm-{n}", data, sql) for n, sql in QUERIES.items()}
        for store in ("sqlite", "postgresql") if args.store == "both" else (args.store,):
            with postgresql() if store == "postgresql" else contextlib.nullcontext() as server:
                for number, sql in QUERIES.items():
                    took_s, stages, expected = known[number]
                    moments, again, wrong = collections.Counter[str](), 0, 0
                    for run in range(args.runs // len(QUERIES)):
                        with databases(server) as url:
                            state = work / f"{store}-{number}-{run}"
                            moment, problem, repeated = struck(state, url, data, sql, expected, dice.uniform(0, 1.3 * took_s))
                        moments[moment] += 1
                        again += repeated
                        if problem:
                            wrong += 1
                            print(f"BAD {store}, {stages} stages, run {run}, {moment}: {problem}", flush=True)
                        shutil.rmtree(state, ignore_errors=True)
                    total, bad = sum(moments.values()), bad + wrong
                    told = ", ".join(f"{n} {moment}" for moment, n in sorted(moments.items()))
                    print(f"{store:10} {stages} stages ({took_s:.2f} s)  {total} runs, {total - wrong} right, "
                          f"{again} steps recorded again  |  {told}", flush=True)  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        sys.exit(main())
