"""A probe side of which few rows have a match loses the others before it is partitioned: the build side's keys go to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.jobs.manager import JobManager
from sabot_sql.planner import small_work

FACTS = """
    SELECT CASE WHEN i % 17 > 0 THEN (i * 7919) % 20000 END AS k, (i * 31) % 20000 AS j, i AS v, 'fact ' || i % 100 AS s
    FROM range(200000) t(i)"""
DIMS = """
    SELECT CASE WHEN i % 20 > 0 THEN i END AS k, i % 20000 AS j, i % 40 AS f, repeat('wide ', 40) || i AS text
    FROM range(20000) t(i)"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, sql in (("facts", FACTS), ("dims", DIMS)):
        (folder / name).mkdir()
        duckdb.sql(sql).write_parquet(str(folder / name / "1.parquet"), row_group_size=10_240)
    return folder


@pytest.fixture(scope="module")
def manager(folder: Path) -> Iterator[JobManager]:
    """Two agents; the little that is joined with is no longer done by each task that needs it."""
    patch = pytest.MonkeyPatch()
    patch.setattr(small_work, "SMALL_ROWS", -1)
    manager = JobManager(Settings(agents=AgentSettings(count=2, threads=1), broadcast_bytes=10_000), str(folder))
    try:
        manager.start()
        catalog = manager._engine.catalog
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(60)
        yield manager
    finally:
        manager.close()
        patch.undo()


@pytest.mark.parametrize(
    ("sql", "reduced"),
    [
        ("SELECT count(*), sum(v), max(text) FROM facts JOIN dims USING (k) WHERE f = 3", True),
        ("SELECT v, text FROM facts JOIN dims ON facts.k = dims.k AND facts.j % 2 = dims.j % 2 WHERE f = 3", True),
        ("SELECT count(*), sum(v), max(text) FROM facts a JOIN dims b ON a.k IS NOT DISTINCT FROM b.k WHERE f = 1", True),
        ("SELECT s, count(text) FROM facts JOIN (SELECT * FROM dims WHERE f = 7) d ON facts.k + 1 = d.k GROUP BY s", True),
        ("SELECT count(*), sum(v), max(text) FROM facts LEFT JOIN (SELECT * FROM dims WHERE f = 3) d USING (k)", False),
        ("SELECT count(*), sum(v), max(text) FROM facts JOIN dims USING (k)", False),
        ("SELECT count(*), sum(v), max(text) FROM facts JOIN dims ON facts.k = dims.k AND v % 7 < f WHERE f = 3", False),
    ],
)
def test_the_answer_is_the_same(manager: JobManager, sql: str, reduced: bool) -> None:
    request = QueryRequest(f"{sql} ORDER BY ALL", route="distributed")
    plan = manager.explain(request).physical
    assert ("semi" in plan) == reduced
    found, expected = (manager.execute(QueryRequest(request.sql, route=route)).table for route in ("distributed", "local"))
    assert found.num_rows
    assert found.equals(expected)
