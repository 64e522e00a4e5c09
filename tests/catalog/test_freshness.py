"""Files that are replaced, added, removed: the next look-up sees it, and nothing else is looked at again."""

from __future__ import annotations

import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog import stamps
from sabot_sql.catalog.stamps import Watch
from sabot_sql.errors import PlanError, ReadError
from tests.catalog.conftest import columns_of


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def settle():
    time.sleep(1.5 * stamps.SETTLE_NS / 1e9)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "t/0.parquet", a=[1, 2, 3])
    settle()
    return tmp_path


def test_unchanged_table_is_not_read_again(folder, open_catalog):
    catalog = open_catalog(folder)
    first, version = catalog.table("t"), catalog.version
    assert catalog.table("t") is first
    assert catalog.version == version


def test_file_rewritten_in_place_is_seen(folder, open_catalog):
    catalog = open_catalog(folder)
    version = catalog.table("t").version
    write(folder / "t/0.parquet", b=["x"])
    table = catalog.table("t")
    assert columns_of(table) == [("b", "VARCHAR")]
    assert table.version > version


def test_rewrite_of_the_same_size_and_time_is_seen(folder, open_catalog):
    path = folder / "t/0.parquet"
    catalog = open_catalog(folder)
    assert catalog.table("t").statistics.columns["a"].max == 3
    old = path.stat()
    write(path, a=[4, 5, 6])
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    assert catalog.table("t").statistics.columns["a"].max == 6


def test_file_renamed_over_another_is_seen(folder, open_catalog):
    catalog = open_catalog(folder)
    catalog.table("t")
    write(folder / "new", a=[7])
    os.replace(folder / "new", folder / "t/0.parquet")
    assert catalog.table("t").statistics.rows == 1


def test_two_writes_within_a_tick_of_the_clock_are_both_seen(folder, open_catalog, monkeypatch):
    monkeypatch.setattr(stamps, "stamp", lambda path: (1, 2, time.time_ns() // 10**10, 0) if os.path.exists(path) else None)
    watch = Watch.of((), (str(folder / "t/0.parquet"),))
    assert watch.settled  # its last change lies long back
    recent = (1, 2, 3, time.time_ns())
    monkeypatch.setattr(stamps, "stamp", lambda path: recent)
    watch = Watch.of((), (str(folder / "t/0.parquet"),))
    assert not watch.settled
    assert not watch.is_current()


def test_files_added_and_removed_are_seen(folder, open_catalog):
    catalog = open_catalog(folder)
    assert catalog.table("t").statistics.rows == 3
    write(folder / "t/1.parquet", a=[4])
    assert catalog.table("t").statistics.rows == 4
    (folder / "t/0.parquet").unlink()
    assert catalog.table("t").statistics.rows == 1


def test_new_hive_folder_is_seen(tmp_path, open_catalog):
    write(tmp_path / "t/y=1/m=1/f.parquet", a=[1])
    settle()
    catalog = open_catalog(tmp_path)
    assert catalog.table("t").statistics.rows == 1
    write(tmp_path / "t/y=1/m=2/f.parquet", a=[1])
    assert catalog.table("t").statistics.rows == 2


def test_only_changed_files_are_opened_again(folder, open_catalog, monkeypatch):
    for i in range(1, 4):
        write(folder / f"t/{i}.parquet", a=[i])
    settle()
    catalog = open_catalog(folder)
    catalog.table("t")
    opened = []
    read_metadata = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda path: opened.append(path) or read_metadata(path))
    write(folder / "t/2.parquet", a=[9, 9])
    assert catalog.table("t").statistics.rows == 7
    assert opened == [str(folder / "t/2.parquet")]


def test_new_table_is_found_and_listed(folder, open_catalog):
    catalog = open_catalog(folder)
    version = catalog.version
    write(folder / "u.parquet", a=[1])
    assert catalog.table("u").statistics.rows == 1
    (folder / "later").mkdir()
    with pytest.raises(PlanError, match="later"):
        catalog.table("later")
    write(folder / "later/0.parquet", a=[1])
    assert [table.name for table in catalog.tables()] == ["later", "t", "u"]
    assert catalog.version > version


@pytest.mark.parametrize("name", ["t", "u"])
def test_vanished_table_is_missed_by_the_name_of_its_file(folder, open_catalog, name):
    write(folder / "u.parquet", a=[1])
    catalog = open_catalog(folder)
    catalog.tables()
    (folder / "u.parquet").unlink()
    (folder / "t/0.parquet").unlink()
    with pytest.raises(ReadError, match=f"{folder}/{name}") as caught:
        catalog.table(name)
    assert caught.value.problem.code == "FILE_MISSING"
    write(folder / "u.parquet", a=[1, 2])
    assert catalog.table("u").statistics.rows == 2


def test_vanished_file_of_a_mapping_is_named(folder, open_catalog):
    catalog = open_catalog({"t": folder / "t/0.parquet", "all": str(folder / "t/*.parquet")})
    assert catalog.table("t").statistics.rows == catalog.table("all").statistics.rows == 3
    (folder / "t/0.parquet").unlink()
    for name, place in (("t", "t/0.parquet"), ("all", "t/[*].parquet")):
        with pytest.raises(ReadError, match=place) as caught:
            catalog.table(name)
        assert caught.value.problem.code == "FILE_MISSING"
    write(folder / "t/0.parquet", a=[1])
    assert catalog.table("t").statistics.rows == catalog.table("all").statistics.rows == 1


def test_pattern_sees_new_files_in_new_folders(tmp_path, open_catalog):
    write(tmp_path / "a/x.parquet", a=[1])
    settle()
    catalog = open_catalog({"t": str(tmp_path / "*/*.parquet"), "deep": str(tmp_path / "**/*.parquet")})
    assert catalog.table("t").statistics.rows == catalog.table("deep").statistics.rows == 1
    write(tmp_path / "b/y.parquet", a=[1])
    write(tmp_path / "b/c/y.parquet", a=[1])
    assert catalog.table("t").statistics.rows == 2
    assert catalog.table("deep").statistics.rows == 3


def test_corrupt_file_that_is_mended_is_read(folder, open_catalog):
    write(folder / "t/1.parquet", a=[1])
    good = (folder / "t/1.parquet").read_bytes()
    (folder / "t/1.parquet").write_bytes(good[:50])
    catalog = open_catalog(folder)
    for _ in range(2):
        with pytest.raises(ReadError):
            catalog.table("t")
    (folder / "t/1.parquet").write_bytes(good)
    assert catalog.table("t").statistics.rows == 4


def test_rewrite_in_place_of_one_file_of_many_is_seen(tmp_path, open_catalog):
    write(tmp_path / "t/0.parquet", a=[1, 2, 3])
    data = (tmp_path / "t/0.parquet").read_bytes()
    for i in range(1, 300):
        (tmp_path / f"t/{i}.parquet").write_bytes(data)
    settle()
    catalog = open_catalog(tmp_path)
    assert catalog.table("t").statistics.columns["a"].max == 3
    catalog.table("t")
    write(tmp_path / "t/150.parquet", a=[1, 2, 9])
    assert catalog.table("t").statistics.columns["a"].max == 9
