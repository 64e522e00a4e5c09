"""Splits cover every row once, in order, at the seams of the format."""

from __future__ import annotations

from itertools import pairwise

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.catalog.splits import DUCKDB_ROW_GROUP, rowid_ranges, runs, splits
from sabot_sql.catalog.table import Split


def ranges(found):
    return [(split.file, split.first_row, split.num_rows) for split in found]


@pytest.fixture
def parquet(tmp_path, open_catalog):
    (tmp_path / "t").mkdir()
    for i, rows in enumerate((1000, 0, 250)):
        pq.write_table(pa.table({"a": range(rows)}), tmp_path / f"t/{i}.parquet", row_group_size=100)
    return open_catalog(tmp_path).table("t")


def test_parquet_is_cut_between_row_groups(parquet):
    size = parquet.scan.files[0].size_bytes
    found = splits(parquet, size // 3)
    assert (
        ranges(found) == [(0, 0, 300), (0, 300, 300), (0, 600, 400), (2, 0, 250)] or sum(r for _, _, r in ranges(found)) == 1250
    )
    assert all(first % 100 == 0 for _, first, _ in ranges(found))
    assert sum(split.size_bytes for split in found) == pytest.approx(size + parquet.scan.files[2].size_bytes, abs=10)


def test_small_targets_give_single_row_groups_and_large_ones_whole_files(parquet):
    assert ranges(splits(parquet, 1)) == [*((0, i, 100) for i in range(0, 1000, 100)), (2, 0, 100), (2, 100, 100), (2, 200, 50)]
    assert ranges(splits(parquet, 1 << 40)) == [(0, 0, 1000), (2, 0, 250)]


def test_ipc_is_cut_between_record_batches(open_catalog):
    table = open_catalog({"t": pa.table({"a": range(300_000)})}).table("t")
    assert ranges(splits(table, 1)) == [(0, 0, 122_880), (0, 122_880, 122_880), (0, 245_760, 54_240)]


def test_csv_and_json_files_stay_whole(tmp_path, open_catalog):
    for name in ("a.csv", "b.csv"):
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / name).write_text("a\n1\n")
    (tmp_path / "j.json").write_text('{"a":1}\n')
    catalog = open_catalog(tmp_path)
    assert splits(catalog.table("t"), 1) == [Split(0, 0, None, 4), Split(1, 0, None, 4)]
    assert splits(catalog.table("j"), 1) == [Split(0, 0, None, 8)]


def test_duckdb_tables_are_cut_at_row_groups_and_open_at_the_end(tmp_path, open_catalog):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a FROM range(300000)").fetchall()
        connection.execute("CREATE TABLE e(a INTEGER)").fetchall()
    catalog = open_catalog(tmp_path / "x.duckdb")
    assert ranges(splits(catalog.table("t"), 1)) == [(0, 0, 122_880), (0, 122_880, 122_880), (0, 245_760, None)]
    assert ranges(splits(catalog.table("t"), 1 << 40)) == [(0, 0, None)]
    assert ranges(splits(catalog.table("e"), 1)) == [(0, 0, None)]


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 3000))
def test_runs_cover_all_rows_in_order(rows_of, target):
    found = runs(rows_of, target)
    assert sum(rows for _, rows in found) == sum(rows_of)
    assert all(a + b == c for (a, b), (c, _) in pairwise(found))
    assert all(rows > 0 for _, rows in found)


@given(st.integers(0, 10_000_000), st.integers(0, 1 << 32), st.integers(1, 1 << 32))
def test_rowid_ranges_meet_and_the_last_is_open(rows, size_bytes, target):
    found = rowid_ranges(rows, size_bytes, target)
    assert found[0].first_row == 0
    assert [split.num_rows is None for split in found] == [False] * (len(found) - 1) + [True]
    assert all(a.first_row + (a.num_rows or 0) == b.first_row for a, b in pairwise(found))
    assert all(split.first_row % DUCKDB_ROW_GROUP == 0 for split in found)
