"""Queries over agents with little memory: DuckDB's answers, spills that are shown, and nothing left of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sabot_sql.client.difference import difference
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import OutOfMemory, SabotError
from sabot_sql.jobs.manager import JobManager
from tests.agents.processes import until

MB = 1 << 20
ROWS = 100_000
JOIN = """select big.k, big.s, other.v from big join other on big.k = other.k and big.v >= other.v"""
QUERIES = {
    "group by": "select k, s, count(*) n, sum(v) v, min(s) m, avg(f) f from big group by k, s",
    "count distinct": "select coalesce(k, v) % 999 as g, count(distinct k) a, count(distinct s) b from big group by 1",
    "count distinct of all": "select count(distinct k) a, count(distinct s) b, sum(distinct v) c, sum(v) d from big",
    "aggregate of duckdb": "select k % 50000 as k, string_agg(s, ',' order by v, s) s, median(v) v from big group by 1",
    "join": f"select count(*) n, sum(k) k, max(s) s, sum(v) v from ({JOIN})",
    "left join": "select count(*) n, sum(b.v) v, sum(a.k) k from big a left join other b on a.k = b.k and b.v > 3",
    "semi join": "select count(*) n, sum(v) v from big where exists (from other where other.k = big.k and other.v < big.v)",
    "anti join": "select count(*) n, sum(v) v from big where not exists (from other where other.k = big.k)",
    "broadcast join": "select count(*) n, sum(big.v) v from big join (from other where v < 10) o on big.k + 1 = o.k + 1",
    "sort": "select k, s, v from big order by s desc, v, k",
    "sort with limit": "select k, s, v from big order by s, v, k limit 70000 offset 1000",
    "window": """select sum(r) r, sum(q) q
        from (select rank() over (order by s, v) r, sum(v) over (order by k, v, s) q from big)""",
}
SPILLING = {"group by", "join", "left join", "sort", "sort with limit", "window"}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Tables `big` and `other`, of keys that meet twice or so."""
    con = duckdb.connect(config={"threads": 2})
    con.execute(f"""CREATE TABLE big AS SELECT CASE WHEN i % 17 = 0 THEN NULL ELSE hash(i) % 70000 END::BIGINT AS k,
        'text of some length ' || (i % 40001) AS s, i % 7 AS g, (i * 37 % 1001)::INTEGER AS v, (i % 1000)::DOUBLE AS f
        FROM range({ROWS}) t(i)""")
    con.execute(f"CREATE TABLE other AS SELECT (hash(i * 3) % 70000)::BIGINT AS k, i % 1000 AS v FROM range({ROWS}) t(i)")
    folder = tmp_path_factory.mktemp("data")
    for name in ("big", "other"):
        con.execute(f"COPY {name} TO '{folder / name}.parquet' (ROW_GROUP_SIZE 20000)")
    con.execute(f"SET VARIABLE folder = '{folder}'")
    return con


def manager_of(oracle: duckdb.DuckDBPyConnection, spill_dir: Path, **settings: int) -> JobManager:
    folder = oracle.execute("SELECT getvariable('folder')").fetchall()[0][0]
    chosen = {"memory_bytes": 8 * MB, "threads": 1, "column_cache_bytes": 0, **settings}
    manager = JobManager(Settings(agents=AgentSettings(count=2, spill_dir=str(spill_dir), **chosen)), folder)  # type: ignore[arg-type]
    manager.start()
    return manager


@pytest.fixture(scope="module")
def spill_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spill")


@pytest.fixture(scope="module")
def manager(oracle: duckdb.DuckDBPyConnection, spill_dir: Path) -> Iterator[JobManager]:
    manager = manager_of(oracle, spill_dir)
    yield manager
    manager.close()
    assert list(spill_dir.iterdir()) == []


def spilled_files(spill_dir: Path) -> list[Path]:
    """What operators have on disk."""
    return list(spill_dir.glob("*/agent-*/*"))


def distributed(sql: str) -> QueryRequest:
    return QueryRequest(sql, route="distributed", timeout_s=120)


@pytest.mark.parametrize("name", QUERIES)
def test_answers_are_duckdbs_and_nothing_is_left(
    name: str, manager: JobManager, spill_dir: Path, oracle: duckdb.DuckDBPyConnection
) -> None:
    result = manager.execute(distributed(QUERIES[name]))
    assert difference(oracle.sql(QUERIES[name]).to_arrow_table(), result.table) == ""
    assert (result.stats["bytes_spilled"] > 0) >= (name in SPILLING)
    assert 0 < result.stats["peak_memory_bytes"] <= 6 * MB
    until(lambda: not [p for p in spilled_files(spill_dir) if p.name != "duckdb"])
    assert all(p.name.endswith("_owner") for p in spill_dir.glob("*/agent-*/duckdb/*"))  # DuckDB's mark that it is alive


@pytest.mark.parametrize("name", ["join", "semi join", "group by", "sort"])
def test_tasks_that_run_at_once_share_the_memory(name: str, oracle: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    manager = manager_of(oracle, tmp_path, threads=3, memory_bytes=16 * MB)
    try:
        result = manager.execute(distributed(QUERIES[name]))
        assert difference(oracle.sql(QUERIES[name]).to_arrow_table(), result.table) == ""
        assert result.stats["bytes_spilled"] > 0
        until(lambda: not [p for p in spilled_files(tmp_path) if p.name != "duckdb"])
    finally:
        manager.close()
    assert list(tmp_path.iterdir()) == []


def test_explain_analyze_shows_what_was_spilled(manager: JobManager) -> None:
    text = manager.explain(distributed(QUERIES["join"]), analyze=True).text
    (line,) = [line for line in text.splitlines() if "HashJoin" in line]
    assert " bytes spilled, " in line


def test_a_query_without_room_to_spill_fails_alone(oracle: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    manager = manager_of(oracle, tmp_path, spill_bytes=1 * MB)
    try:
        with pytest.raises(OutOfMemory, match=r"a sort \(Sort\) has no room to spill: agents\.spill_bytes"):
            manager.execute(distributed(QUERIES["sort"]))
        until(lambda: not spilled_files(tmp_path))
        pids = {a.pid for a in manager.agents()}
        assert manager.execute(distributed("select count(*) n from big")).table.to_pydict() == {"n": [ROWS]}
        assert {a.pid for a in manager.agents()} == pids
    finally:
        manager.close()


def test_with_enough_memory_nothing_is_written(oracle: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    manager = manager_of(oracle, tmp_path, memory_bytes=4 << 30)
    try:
        for sql in QUERIES.values():
            assert manager.execute(distributed(sql)).stats["bytes_spilled"] == 0
            assert spilled_files(tmp_path) == []
    finally:
        manager.close()


def spilling(manager: JobManager, spill_dir: Path) -> str:
    """A sort that is under way and has spilled."""
    query_id = manager.submit(distributed(QUERIES["sort"])).query_id
    until(lambda: any(p.is_file() for p in spill_dir.glob("*/agent-*/*/*")), 60)
    return query_id


def test_a_cancelled_query_leaves_nothing(manager: JobManager, spill_dir: Path) -> None:
    query_id = spilling(manager, spill_dir)
    manager.cancel(query_id)
    assert manager.status(query_id, 10).state == "cancelled"
    until(lambda: not [p for p in spilled_files(spill_dir) if p.name != "duckdb"])


def test_a_killed_agent_leaves_nothing(manager: JobManager, spill_dir: Path) -> None:
    query_id = spilling(manager, spill_dir)
    left = [p for p in spill_dir.glob("*/agent-*/*/*") if p.is_file()]
    victim = left[0].relative_to(spill_dir).parts[1]
    (pid,) = [a.pid for a in manager.agents() if a.id == victim]
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: manager.status(query_id, 1).state in ("finished", "failed"), 60)
    until(lambda: not [p for p in spilled_files(spill_dir) if p.name != "duckdb"], 30)


def test_a_query_past_its_time_limit_leaves_nothing(manager: JobManager, spill_dir: Path) -> None:
    with pytest.raises(SabotError):
        manager.execute(
            QueryRequest(f"select count(*) from ({JOIN}) a, big where a.v < big.v", route="distributed", timeout_s=3)
        )
    until(lambda: not [p for p in spilled_files(spill_dir) if p.name != "duckdb"], 30)
