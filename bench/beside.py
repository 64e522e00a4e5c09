"""Queries over the agents beside DuckDB: asked for the first time, and with their columns in the agents' memory."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from bench.machine import machine_line
from sabot_sql.client.difference import difference
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager

PAUSE_S = 0.2
"""Between repeats, in which columns are loaded: a thread of the lowest priority finds no time in a busy loop."""

Run = Callable[[str], pa.Table]


def compare(data: Path, queries: Mapping[str, str], agents: int, repeats: int, json_path: str = "") -> None:
    """Run each query on both sides and print their times, the ratio of each and that of the sums.

    DuckDB has as many threads as there are agents and reads the files each time. Cold: the first run of a query in a pool that
    keeps no columns, kernels loaded, the files in the machine's page cache. Warm: the best of the repeats in a pool that keeps
    columns. Every answer is compared with DuckDB's.

    Args:
        data: holds the tables as folders of Parquet files.
        json_path: where the times go as well.
    """
    print(machine_line())
    duck = duckdb.connect(config={"threads": agents})
    for folder in data.iterdir():
        duck.execute(f"CREATE VIEW {folder.name} AS FROM read_parquet('{folder}/*.parquet')").fetchall()

    def on_duckdb(sql: str) -> pa.Table:
        return duck.sql(sql).to_arrow_table()

    found = {}
    for way, times, settings in (
        ("cold", 1, AgentSettings(count=agents, threads=1, column_cache_bytes=0)),
        ("warm", repeats, AgentSettings(count=agents, threads=1)),
    ):
        manager = JobManager(Settings(agents=settings), str(data))
        manager.start()

        def on_agents(sql: str, manager: JobManager = manager) -> pa.Table:
            return manager.execute(QueryRequest(sql, route="distributed")).table

        on_agents(next(iter(queries.values())))  # the pool starts
        found[way] = {name: measure(sql, on_duckdb, on_agents, times) for name, sql in queries.items()}
        manager.close()
    for name in queries:
        cells = (f"{way} {ours:7.1f} ms, DuckDB {theirs:7.1f}, ratio {ours / theirs:5.2f}" for way, (theirs, ours) in
                 ((way, times[name]) for way, times in found.items()))  # fmt: skip
        print(f"{name}  " + "   ".join(cells))
    for way, each in found.items():
        theirs, ours = (sum(pair[i] for pair in each.values()) for i in (0, 1))
        print(f"{way}: {ours:.0f} ms against DuckDB's {theirs:.0f}, ratio {ours / theirs:.2f}")
    if json_path:
        Path(json_path).write_text(json.dumps({"machine": machine_line(), **found}, indent=1))


def measure(sql: str, on_duckdb: Run, on_agents: Run, repeats: int) -> tuple[float, float]:
    """The best milliseconds of DuckDB and of the agents, which take turns."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        answers = []
        for i, run in enumerate((on_duckdb, on_agents)):
            begin = time.perf_counter()
            answers.append(run(sql))
            best[i] = min(best[i], (time.perf_counter() - begin) * 1e3)
        assert (said := difference(*answers)) == "", said
        if repeats > 1:
            time.sleep(PAUSE_S)
    return best[0], best[1]
