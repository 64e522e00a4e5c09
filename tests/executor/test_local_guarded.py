"""Statements that may need memory of any size: right answers from a process of their own, and nobody else pays for them."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings
from sabot_sql.errors import Cancelled, ExecutionError, OutOfMemory, PlanError, QueryError, QueryTimeout
from sabot_sql.executor import local_guarded
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.executor.local_guarded import LocalGuarded
from sabot_sql.planner.physical import Session

SETTINGS = LocalSettings(threads=1, guarded_memory_bytes=1 << 30)

DEAF = "select length(repeat('x', 150000000)) n"
"""Runs for some seconds and hears no interrupt."""

ROWS = pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "d": [dt.date(2024, 1, 31), None, dt.date(1999, 1, 1)]})


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("guarded")
    pq.write_table(ROWS, folder / "parquet.parquet")
    (folder / "csv.csv").write_text("a,b\n1,x\n2,y\n")
    (folder / "json.ndjson").write_text('{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')
    with duckdb.connect(str(folder / "base.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT i AS a, 'v' || i AS b FROM range(5) r(i)")
    with Catalog(None, scratch_dir=folder / "scratch") as found:
        found.register("p", str(folder / "parquet.parquet"))
        found.register("c", str(folder / "csv.csv"))
        found.register("j", str(folder / "json.ndjson"))
        found.register("m", ROWS)
        found.register("base", str(folder / "base.duckdb"))
        yield found


class Runner:
    """A `LocalGuarded` and the catalog it reads."""

    def __init__(self, catalog: Catalog, settings: LocalSettings = SETTINGS, max_bytes: int = 1 << 30) -> None:
        self.catalog = catalog
        self.guarded = LocalGuarded(settings, catalog.locations, max_bytes)
        self.of_others = frozenset(processes())

    def __call__(self, sql: str, tables: str = "", zone: str = "UTC", **more: Any) -> pa.Table:
        found = [self.catalog.table(name) for name in tables.split()]
        return self.guarded.execute(sql, more.pop("params", None), found, Session(zone), **more)

    @property
    def pids(self) -> list[int]:
        return [pid for pid in processes() if pid not in self.of_others]


@pytest.fixture(scope="module")
def shared(catalog: Catalog) -> Iterator[Runner]:
    runner = Runner(catalog)
    yield runner
    runner.guarded.close()


@pytest.fixture
def own(catalog: Catalog) -> Iterator[Runner]:
    runner = Runner(catalog)
    yield runner
    runner.guarded.close()


def processes(parent: int | None = None) -> list[int]:
    """The guarded processes of `parent`, of this process by default."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"local_guarded_process" in command and stat[0] != "Z" and int(stat[1]) == (parent or os.getpid()):
            found.append(int(entry.name))
    return found


def wait_for_gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", ["p", "c", "j", "m", "base.t"])
def test_answers_are_those_of_the_local_route(shared: Runner, name: str) -> None:
    sql = f"select *, repeat(b, a::int) r, a::decimal(9, 2) n, [a, 1] l, a::hugeint h from {name} order by a"
    types: list[str] = []
    expected_types: list[str] = []
    local = LocalDuckDB(SETTINGS, shared.catalog.locations)
    expected = local.execute(sql, None, [shared.catalog.table(name)], Session("UTC"), types=expected_types)
    local.close()
    found = shared(sql, name, types=types)
    assert found.schema == expected.schema
    assert found.to_pylist() == expected.to_pylist()
    assert types == expected_types


def test_parameters_arrive_as_they_were(shared: Runner) -> None:
    params = {
        "i": 7, "big": 2**100, "f": 1.5, "nan": float("nan"), "s": "x'\0y", "b": b"\0\xff", "n": None, "yes": True,
        "d": dt.date(2024, 2, 29), "ts": dt.datetime(2024, 2, 29, 1, 2, 3, 4), "t": dt.time(1, 2, 3),
        "tz": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "iv": dt.timedelta(days=3, seconds=5),
        "u": uuid.UUID(int=5), "dec": Decimal("12.340"), "l": [1, None, 3], "st": {"k": [1, 2], "time": "x"},
    }  # fmt: skip
    sql = "select " + ", ".join(f"${name} as {name}, typeof(${name}) as t_{name}" for name in params)
    local = LocalDuckDB(SETTINGS, shared.catalog.locations)
    expected = local.execute(sql, params, (), Session("UTC"))
    local.close()
    assert repr(shared(sql, params=params).to_pylist()) == repr(expected.to_pylist())


def test_the_time_zone_is_the_querys(shared: Runner) -> None:
    sql = "select repeat(hour(timestamptz '2024-01-01 12:00:00+00')::varchar, 1) h"
    assert shared(sql, zone="Asia/Tokyo").to_pydict() == {"h": ["21"]}
    assert shared(sql, zone="UTC").to_pydict() == {"h": ["12"]}


def test_errors_are_those_of_the_local_route(shared: Runner) -> None:
    with pytest.raises(PlanError) as caught:
        shared("select nope,\n repeat('x', 3) from p", "p")
    assert caught.value.problem.code == "UNDEFINED_COLUMN"
    assert caught.value.position is not None
    with pytest.raises(QueryError, match="38 digits"):
        shared("select repeat('9', 38)::hugeint + 1 h")
    assert len(shared.pids) == 1


def test_files_are_as_far_away_as_on_the_local_route(shared: Runner) -> None:
    for sql in ("select * from read_csv('/etc/passwd')", "copy (select 1) to '/tmp/x.csv'", "set threads = 4", "load httpfs"):
        with pytest.raises((QueryError, ExecutionError)):
            shared(sql)


def test_too_much_memory_ends_one_query_and_names_the_setting(own: Runner) -> None:
    begin = time.monotonic()
    for sql in (
        "select length(repeat('x', 1500000000))",
        "select sum(len(range(i * 100000))) from range(1000) t(i)",
        "select * from range(1000000000)",
        "select reservoir_quantile(i, 0.5, 1000000000) from range(10) t(i)",
    ):
        with pytest.raises(OutOfMemory, match=r"1.0 GiB.*local\.guarded_memory_bytes"):
            own(sql)
    assert time.monotonic() - begin < 30
    assert own("select repeat('x', 3) r").to_pydict() == {"r": ["xxx"]}


def test_a_query_deaf_to_interrupts_ends_in_time(own: Runner) -> None:
    assert own("select 1 one").num_rows == 1
    begin = time.monotonic()
    with pytest.raises(QueryTimeout, match=r"0\.5 s"):
        own(DEAF, timeout_s=0.5)
    assert time.monotonic() - begin < 1.5
    assert own.pids == []


def test_a_cancelled_query_ends_at_once(own: Runner) -> None:
    cancel = threading.Event()
    assert own("select 1 one").num_rows == 1
    threading.Timer(0.3, cancel.set).start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        own(DEAF, cancel=cancel)
    assert time.monotonic() - begin < 1.3


def test_without_a_time_limit_the_setting_is_one(catalog: Catalog) -> None:
    runner = Runner(catalog, LocalSettings(threads=1, guarded_timeout_s=0.2))
    try:
        with pytest.raises(QueryTimeout, match=r"0\.2 s, the limit of the setting local\.guarded_timeout_s"):
            runner(DEAF)
    finally:
        runner.guarded.close()


def test_a_killed_process_fails_its_query_alone(own: Runner) -> None:
    assert own("select 1 one").num_rows == 1
    (pid,) = own.pids
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(ExecutionError, match="SIGKILL"):
        own(DEAF)
    assert own("select 2 two").to_pydict() == {"two": [2]}


def test_a_process_that_died_while_idle_is_replaced(own: Runner) -> None:
    assert own("select 1 one").num_rows == 1
    (pid,) = own.pids
    os.kill(pid, signal.SIGKILL)
    wait_for_gone(pid)
    assert own("select 2 two").to_pydict() == {"two": [2]}
    assert own.pids != [pid]


def test_processes_are_few_and_others_wait(own: Runner) -> None:
    seen = []
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(own, f"select {n} n, length(repeat('x', 3000000)) l") for n in range(6)]
        while not all(f.done() for f in futures):
            seen.append(len(own.pids))
            time.sleep(0.01)
    assert sorted(f.result()["n"].to_pylist()[0] for f in futures) == list(range(6))
    assert max(seen) <= SETTINGS.guarded_processes
    assert len(own.pids) == 1  # one is kept


def test_who_waits_is_cancelled_and_runs_out_of_time_too(catalog: Catalog) -> None:
    runner = Runner(catalog, LocalSettings(threads=1, guarded_processes=1))
    cancel = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(runner, DEAF, cancel=cancel)
        while not runner.pids:
            time.sleep(0.01)
        with pytest.raises(QueryTimeout):
            runner("select 1", timeout_s=0.2)
        cancel.set()
        with pytest.raises(Cancelled):
            first.result()
    runner.guarded.close()


def test_an_idle_process_ends_by_itself(own: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_guarded, "IDLE_S", 0.3)
    assert own("select 1 one").num_rows == 1
    (pid,) = own.pids
    assert own("select 1 one").num_rows == 1
    assert own.pids == [pid]
    assert wait_for_gone(pid)
    assert own("select 1 one").num_rows == 1


def test_closing_leaves_nothing(catalog: Catalog) -> None:
    before = set(threading.enumerate())
    runner = Runner(catalog)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(runner, DEAF)
        while not runner.pids:
            time.sleep(0.01)
        time.sleep(0.3)
        runner.guarded.close()
        assert runner.pids == []
        with pytest.raises((Cancelled, sabot_sql.SabotError)):
            running.result()
    assert not [t for t in set(threading.enumerate()) - before if t.name.startswith("sabot-guarded")]


def test_an_answer_above_the_limit_is_refused(catalog: Catalog) -> None:
    runner = Runner(catalog, max_bytes=1 << 20)
    try:
        with pytest.raises(QueryError) as caught:
            runner("select repeat('x', 100000) from range(100)")
        assert caught.value.problem.code == "RESULT_TOO_LARGE"
        assert runner("select 1 one").num_rows == 1
    finally:
        runner.guarded.close()


PARENT = """
import sys, threading, time
from sabot_sql.config import LocalSettings
from sabot_sql.executor.local_guarded import LocalGuarded
from sabot_sql.planner.physical import Session

def main():
    guarded = LocalGuarded(LocalSettings(threads=1), lambda: (), 1 << 30)
    guarded.execute("select 1", None, (), Session("UTC"))
    print("ready", flush=True)
    if sys.argv[1] == "busy":
        guarded.execute("select length(repeat('x', 150000000))", None, (), Session("UTC"))
    time.sleep(60)

main()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_guarded_process_dies_with_a_killed_parent(tmp_path: Path, state: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), state], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        if state == "busy":
            time.sleep(0.4)
        (pid,) = processes(parent.pid)
    finally:
        parent.kill()
        parent.communicate()
    assert wait_for_gone(pid, 3)
