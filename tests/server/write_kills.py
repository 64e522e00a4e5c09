"""A server and its agents are killed while statements write: `make chaos-writes RUNS=50`.

Each run replaces a table of 400,000 rows or inserts into another, on the local route, on two agents, or as a durable job, and
kills -9 the server or an agent at a random moment. The next server on the same state must have the old table or the new one,
the rows of an INSERT all or not at all, those of a job that was accepted once, and nothing else in its folders. The exit code
is 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import urllib3

from tests.server.live_server import LiveServer, live_server

ROWS = 400_000
SUM = ROWS * (ROWS - 1) // 2
WAYS = ("local", "distributed", "job")
SPAN_S = 1.2
"""Moments lie between the start of a statement and so much later; it takes about as long."""

STAGED_SPAN_S = 0.3
"""What is between the first rows beside the tables and the commit, about."""


@dataclass
class Run:
    """One statement and the blow that it gets.

    Attributes:
        after_s: when: so long after the statement was sent, or
        staged: after the first of its rows lay beside the tables.
    """

    number: int
    verb: str
    way: str
    victim: str
    after_s: float
    staged: bool = False
    answer: dict[str, Any] | None = None
    problem: str = ""

    @property
    def sql(self) -> str:
        into = "CREATE OR REPLACE TABLE t AS" if self.verb == "replace" else "INSERT INTO u"
        return f"{into} SELECT v, {self.number}::INTEGER AS m, s FROM facts"

    @property
    def key(self) -> str:
        return f"run-{self.number}"


@dataclass
class Found:
    """What is known to hold: the run whose rows table t has, and those whose rows are in u."""

    table: int = 0
    inserted: set[int] = field(default_factory=set)


def make_data(folder: Path) -> Path:
    folder.mkdir(parents=True)
    with duckdb.connect() as con:
        rows = f"SELECT range AS v, 'row ' || range AS s FROM range({ROWS})"
        con.execute(f"COPY ({rows}) TO '{folder}/facts.parquet' (ROW_GROUP_SIZE 50000)")
    return folder


def chosen(number: int, rng: random.Random, verbs: tuple[str, ...] = ("replace", "insert")) -> Run:
    """All ways come after each other; moments are random."""
    way = WAYS[number % len(WAYS)]
    victim = "server" if way == "local" or rng.random() < 0.6 else "agent"
    staged = rng.random() < 0.5
    return Run(number, rng.choice(verbs), way, victim, rng.random() * (STAGED_SPAN_S if staged else SPAN_S), staged)


def send(server: LiveServer, run: Run) -> None:
    """Sends the statement; what comes of it is known only where an answer comes."""
    headers = {"Idempotency_Key": run.key} if run.way == "job" else {}
    route = "local" if run.way == "local" else "distributed"
    body = {"sql": run.sql, "route": route, "wait_ms": 0 if run.way == "job" else 60_000}
    with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
        answer = server.request("POST", "/v1/sql", body, **headers)
        run.answer = answer.json()
        if answer.status not in (200, 202):
            run.problem = f"{answer.status} {run.answer}"


def strike(server: LiveServer, run: Run) -> None:
    """Kills whom the run has chosen."""
    if run.victim == "server":
        server.process.kill()
        server.process.wait()
        return
    agents = [a["pid"] for a in server.request("GET", "/v1/agents").json()["agents"] if a["state"] == "alive"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(agents[run.number % len(agents)], signal.SIGKILL)


def struck(server: LiveServer, state: Path, run: Run) -> None:
    sending = threading.Thread(target=send, args=(server, run))
    sending.start()
    incoming, deadline = state / "tables" / "incoming", time.monotonic() + 10
    while run.staged and not any(incoming.glob("*/*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(run.after_s)
    strike(server, run)
    sending.join()


def check(server: LiveServer, state: Path, run: Run, found: Found) -> None:
    """Looks at both tables.

    Raises:
        AssertionError: a mixture, rows that came twice, a job that was accepted and forgotten, leftovers.
    """
    was_taken = run.way == "job" and run.answer is not None
    if was_taken:  # its key gives its answer, whoever ran it
        body = {"sql": run.sql, "route": "distributed", "wait_ms": 60_000}
        again = server.request("POST", "/v1/sql", body, Idempotency_Key=run.key)
        assert again.status == 200, again.data
        assert again.json()["rows_affected"] == ROWS, again.data
    must = was_taken or (run.answer is not None and run.answer.get("state") == "finished")
    assert not run.problem or run.victim == "agent", run.problem
    ((count, least, most, total),) = server.sql("SELECT count(*), min(m), max(m), sum(v)::BIGINT FROM t")["rows"]
    assert (count, total) == (ROWS, SUM), f"table t has {count} rows of {ROWS}"
    assert least == most, f"table t is a mixture of {least} and {most}"
    allowed = {run.number} if must else {run.number, found.table}
    assert least in (allowed if run.verb == "replace" else {found.table}), (least, allowed)
    found.table = least
    rows = server.sql("SELECT m, count(*), sum(v)::BIGINT FROM u WHERE m > 0 GROUP BY m")["rows"]
    assert all(row[1:] == [ROWS, SUM] for row in rows), rows
    inserted = {row[0] for row in rows}
    may = found.inserted | ({run.number} if run.verb == "insert" else set())
    least_of = may if must else found.inserted
    assert least_of <= inserted <= may, (least_of, inserted, may)
    found.inserted = inserted
    if run.victim == "server":
        left = [path.name for path in (state / "tables" / "incoming").iterdir()]
        assert left == [], left


def check_files(state: Path) -> None:
    """No file is there that no manifest names, once nobody reads it."""
    deadline = time.monotonic() + 45
    while True:
        named = 0
        for manifest in (state / "tables").glob("*/manifest.json"):
            named += len(json.loads(manifest.read_text())["files"])
        lying = len(list((state / "tables").rglob("*.parquet")))
        if lying == named:
            return
        assert time.monotonic() < deadline, f"{lying} files, {named} are named"
        time.sleep(0.2)


@contextlib.contextmanager
def started(data: Path, state: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "2", "--writable", "--state-dir", str(state)) as server:
        server.sql("SELECT count(*) FROM facts", route="distributed", wait_ms=60_000)
        yield server


def kill_runs(data: Path, state: Path, runs: list[Run]) -> collections.Counter[str]:
    """Does all runs on one state; how many tables were the new one, by victim."""
    found, outcome = Found(), collections.Counter[str]()
    with started(data, state) as server:
        server.sql("CREATE TABLE t AS SELECT v, 0::INTEGER AS m, s FROM facts", wait_ms=60_000)
        server.sql("CREATE TABLE u (v BIGINT, m INTEGER, s VARCHAR)")
    left, struck_last = list(runs), None
    while left or struck_last is not None:
        with started(data, state) as server:
            if struck_last is not None:
                check(server, state, struck_last, found)
                note(struck_last, found, outcome)
                struck_last = None
            while left and struck_last is None:
                run = left.pop(0)
                struck(server, state, run)
                if run.victim == "server":
                    struck_last = run
                else:
                    check(server, state, run, found)
                    note(run, found, outcome)
            if struck_last is None:
                check_files(state)
    return outcome


def note(run: Run, found: Found, outcome: collections.Counter[str]) -> None:
    outcome[told(run, found)] += 1
    print(
        f"run {run.number}: {told(run, found)} {run.after_s:.2f} s after {'the first rows' if run.staged else 'it was sent'}",
        flush=True,
    )


def told(run: Run, found: Found) -> str:
    is_new = found.table == run.number if run.verb == "replace" else run.number in found.inserted
    return f"{run.way} {run.verb}, {run.victim} killed: {'new' if is_new else 'old'}"


def main() -> int:
    """Does the runs and tells of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="sabot-writes-") as folder:
        data = make_data(Path(folder) / "data")
        runs = [chosen(number, rng) for number in range(1, arguments.runs + 1)]
        try:
            outcome = kill_runs(data, Path(folder) / "state", runs)
        except AssertionError as error:
            print(f"FAILED: {error}")
            return 1
    for name, count in sorted(outcome.items()):
        print(f"{count:4}  {name}")
    print(f"{sum(outcome.values())} runs: the old table or the new one each time, never a mixture")
    return 0


if __name__ == "__main__":
    sys.exit(main())
