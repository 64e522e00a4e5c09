"""Queries over the agents beside DuckDB: asked for the first time, and with their columns in the agents' memory."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from bench.answers import same_answer
from bench.machine import machine_line, report
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager

PAUSE_S = 0.2
"""Between repeats, in which columns are loaded: a thread of the lowest priority finds no time in a busy loop."""

WARM_UP = 3
"""How often each query is asked before warm times are taken: what is read for the second time is loaded."""

QUIET_SHARE, QUIET_S, LOAD_S = 0.05, 0.5, 120.0
"""What is read often is loaded when at most this share of a core was busy for so long; and how long that may take."""

LEARN_S = 300.0
"""How long the statistics of all tables may take."""

Run = Callable[[str], pa.Table]


def compare(data: Path, queries: Mapping[str, str], agents: int, repeats: int, json_path: str = "") -> None:
    """Run each query on both sides and print their times, the ratio of each and that of the sums.

    DuckDB has as many threads as there are agents and reads the files each time. Cold: the first run of a query in a pool that
    keeps no columns, kernels loaded, the tables' statistics learnt, the files in the machine's page cache. Warm: the best of
    the repeats in a pool that has been asked all queries before, so that it has plans and columns. Every answer is compared
    with DuckDB's.

    Args:
        data: holds the tables as folders of Parquet files.
        json_path: where the times go as well.
    """
    print(machine_line())
    begun = report()
    on_duckdb = duckdb_over(data, agents)
    found = {}
    for way, times in (("cold", 1), ("warm", repeats)):
        with pool(data, agents, keeps_columns=way == "warm") as on_agents:
            on_agents(next(iter(queries.values())))  # the agents start
            if way == "warm":
                warm_up(on_agents, queries)
            found[way] = {name: measure(sql, on_duckdb, on_agents, times) for name, sql in queries.items()}
    for name in queries:
        cells = (f"{way} {ours:7.1f} ms, DuckDB {theirs:7.1f}, ratio {ours / theirs:5.2f}" for way, (theirs, ours) in
                 ((way, times[name]) for way, times in found.items()))  # fmt: skip
        print(f"{name}  " + "   ".join(cells))
    for way, each in found.items():
        theirs, ours = (sum(pair[i] for pair in each.values()) for i in (0, 1))
        print(f"{way}: {ours:.0f} ms against DuckDB's {theirs:.0f}, ratio {ours / theirs:.2f}")
    if json_path:
        Path(json_path).write_text(json.dumps({**begun, **found}, indent=1))


def scaling(data: Path, queries: Mapping[str, str], repeats: int, json_path: str = "", heaviest: int = 8) -> None:
    """Run each query on one agent and on two, warm, and print how much faster two are for those that take one the longest;
    beside it, how much faster DuckDB is with two threads: what the machine lets two cores do."""
    print(machine_line())
    begun = report()
    found: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for agents in (1, 2):
        with pool(data, agents) as on_agents:
            warm_up(on_agents, queries)
            found.append({name: best(sql, on_agents, repeats) for name, sql in queries.items()})
        on_duckdb = duckdb_over(data, agents)
        theirs.append({name: best(sql, on_duckdb, repeats) for name, sql in queries.items()})
    one, two = found
    names = sorted(one, key=lambda n: -one[n])[:heaviest]
    for name in names:
        print(f"{name}  1 agent {one[name]:7.1f} ms   2 agents {two[name]:7.1f} ms   {one[name] / two[name]:.2f} times as fast"
              f"   DuckDB {theirs[0][name] / theirs[1][name]:.2f} times")  # fmt: skip
    for who, (single, double) in (("agents", found), ("DuckDB", theirs)):
        print(f"{who}: {sum(single[n] for n in names) / sum(double[n] for n in names):.2f} times as fast over these")
    if json_path:
        times = {"agents": found, "DuckDB": theirs}
        Path(json_path).write_text(json.dumps({**begun, **times, "heaviest": names}, indent=1))


def duckdb_over(data: Path, threads: int) -> Run:
    """Runs queries in DuckDB over the tables of `data`."""
    duck = duckdb.connect(config={"threads": threads})
    for folder in data.iterdir():
        duck.execute(f"CREATE VIEW {folder.name} AS FROM read_parquet('{folder}/*.parquet')").fetchall()
    return lambda sql: duck.sql(sql).to_arrow_table()


@contextlib.contextmanager
def pool(data: Path, agents: int, keeps_columns: bool = True) -> Iterator[Run]:
    """Runs queries on agents of one thread each."""
    settings = AgentSettings(count=agents, threads=1)
    manager = JobManager(Settings(agents=settings if keeps_columns else replace(settings, column_cache_bytes=0)), str(data))
    try:
        manager.start()
        catalog = manager._engine.catalog  # a server has done this long before
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(LEARN_S)
        yield lambda sql: manager.execute(QueryRequest(sql, route="distributed")).table
    finally:
        manager.close()


def warm_up(on_agents: Run, queries: Mapping[str, str]) -> None:
    """Ask all queries until what they read is loaded."""
    for _ in range(WARM_UP):
        for sql in queries.values():
            on_agents(sql)
            time.sleep(PAUSE_S)
    end_s = time.monotonic() + LOAD_S
    while time.monotonic() < end_s:
        before = busy_s()
        time.sleep(QUIET_S)
        if busy_s() - before < QUIET_SHARE * QUIET_S:
            return


def busy_s() -> float:
    """Processor seconds of this process and of those below it, so far."""
    ticks: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                below.setdefault(int(fields[1]), []).append(int(folder.name))
                ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    found, left = 0, [os.getpid()]
    while left:
        found += ticks.get(left[-1], 0)
        left += below.pop(left.pop(), [])
    return found / os.sysconf("SC_CLK_TCK")


def best(sql: str, run: Run, repeats: int) -> float:
    """The best milliseconds of a query."""
    found = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        run(sql)
        found = min(found, (time.perf_counter() - begin) * 1e3)
    return found


def measure(sql: str, on_duckdb: Run, on_agents: Run, repeats: int) -> tuple[float, float]:
    """The best milliseconds of DuckDB and of the agents, which take turns; the first answers are compared."""
    best = [float("inf"), float("inf")]
    for repeat in range(repeats):
        answers = []
        for i, run in enumerate((on_duckdb, on_agents)):
            begin = time.perf_counter()
            answers.append(run(sql))
            best[i] = min(best[i], (time.perf_counter() - begin) * 1e3)
        if not repeat:
            assert (said := same_answer(*answers)) == "", said
        if repeats > 1:
            time.sleep(PAUSE_S)
    return best[0], best[1]
