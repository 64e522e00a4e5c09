"""Rows that a local query read and made, by DuckDB's own profile."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings
from sabot_sql.executor.local_counts import Counts
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.planner.physical import Session


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "big").mkdir()
    pq.write_table(pa.table({"a": range(40_000)}), tmp_path / "big" / "x.parquet", row_group_size=10_000)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "x.csv").write_text("c\n" + "\n".join(map(str, range(500))))
    catalog = Catalog(str(tmp_path), scratch_dir=tmp_path / ".scratch")
    catalog.register("arrow", pa.table({"d": range(300)}), False)
    return catalog


@pytest.mark.parametrize(
    ("sql", "scanned", "made"),
    [
        ("select sum(a) from big", 40_000, 40_000),
        ("select a from big where a < 500", 10_000, 500),
        ("select a from big where a % 2 = 0", 40_000, 40_000),
        ("select sum(c) from text where c < 10", 500, 500),
        ("select sum(c) from arrow, text", 800, 150_000),
        ("select sum(d) from big join arrow on a = d", 10_300, 300),
    ],
)
def test_rows_are_counted(catalog: Catalog, sql: str, scanned: int, made: int) -> None:
    local = LocalDuckDB(LocalSettings(), catalog.locations)
    tables = [t for t in catalog.tables() if t.name in sql]
    counts = Counts()
    try:
        local.execute(sql, None, tables, Session("UTC"), counts=counts)
    finally:
        local.close()
        catalog.close()
    assert counts.rows_scanned == scanned
    assert (counts.rows_made or 0) >= made


def test_a_limit_stops_the_count_too(catalog: Catalog) -> None:
    local, counts = LocalDuckDB(LocalSettings(), catalog.locations), Counts()
    try:
        local.execute("select a from big limit 10", None, [catalog.table("big")], Session("UTC"), counts=counts)
    finally:
        local.close()
        catalog.close()
    assert counts.work is not None
    assert counts.work <= 4_096
