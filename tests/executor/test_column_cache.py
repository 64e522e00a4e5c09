"""Columns that are read again and again come from memory, and are what the file has."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import pytest

from sabot_sql.catalog.stamps import SETTLE_NS
from sabot_sql.catalog.table import ScanSpec, Split
from sabot_sql.executor import column_cache
from sabot_sql.executor.column_cache import HOT_READS, ColumnCache, Segment
from sabot_sql.executor.duckdb_session import Limits, close_session, duck_session, limit_session
from sabot_sql.executor.scan import ScanSource
from sabot_sql.planner.physical import Scan
from sabot_sql.types import Field, inner_schema, parse_type
from tests.agents.processes import until
from tests.executor.stage_runner import Runner, data_file, parquet_table, scan
from tests.executor.tables import rows_of, stats

ROWS = "SELECT i, 'row ' || i AS s, (i % 7)::DECIMAL(15,2) AS d, CASE WHEN i % 3 = 0 THEN i END AS n FROM range(10000) t(i)"
HALVES = [Split(0, 0, 4000), Split(0, 4000, 6000)]


@pytest.fixture(autouse=True)
def cache_of_a_mebibyte() -> Iterator[None]:
    close_session()
    limit_session(Limits(cache_bytes=1 << 20))
    yield
    close_session()
    limit_session(Limits())


def read(node: Scan, splits: list[Split], folder: Path) -> tuple[list[tuple[object, ...]], int]:
    """The rows of a scan, and how many were in memory."""
    context, counted = Runner(folder).context(), stats()
    source = ScanSource(node, splits, inner_schema(node.schema), counted)
    found = rows_of([b for unit in source.units(context) for b in unit.batches(context)])
    return found, counted.rows_cached


def csv_table(path: Path, columns: dict[str, str]) -> ScanSpec:
    schema = tuple(Field(name, parse_type(t)) for name, t in columns.items())
    return ScanSpec("csv", schema, (data_file(path),), {"header": True, "columns": columns})


def cache(folder: Path) -> ColumnCache:
    return duck_session(Runner(folder).context()).columns


def load(node: Scan, splits: list[Split], folder: Path) -> None:
    time.sleep(SETTLE_NS / 1e9)
    for _ in range(HOT_READS):
        read(node, splits, folder)
    until(lambda: all(cache(folder).holds(node.spec, s, node.columns) for s in splits), 10)


def test_hot_columns_come_from_memory_in_the_order_of_the_file(tmp_path: Path) -> None:
    node = scan(parquet_table(tmp_path, "t", ROWS), ["i", "s", "d", "n"])
    first, cached = read(node, HALVES, tmp_path)
    assert cached == 0
    load(node, HALVES, tmp_path)
    assert read(node, HALVES, tmp_path) == (first, 10_000)
    assert read(node, HALVES[1:], tmp_path) == (first[4000:], 6000)
    assert read(scan(node.spec, []), HALVES, tmp_path)[1] == 10_000


def test_split_that_is_not_in_memory_is_read_from_its_file(tmp_path: Path) -> None:
    node = scan(parquet_table(tmp_path, "t", ROWS), ["i", "n"])
    load(node, HALVES[:1], tmp_path)
    found, cached = read(node, HALVES, tmp_path)
    assert ([row[0] for row in found], cached) == (list(range(10_000)), 4000)


def test_another_column_is_added(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", ROWS)
    load(scan(spec, ["i"]), HALVES, tmp_path)
    assert read(scan(spec, ["i", "d"]), HALVES, tmp_path)[1] == 0
    load(scan(spec, ["i", "d"]), HALVES, tmp_path)
    assert read(scan(spec, ["i"]), HALVES, tmp_path)[1] == 10_000


def test_replaced_file_of_the_same_size_and_time_is_read_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "t.csv", tmp_path / "other.csv"
    path.write_text("i\n1\n")
    other.write_text("i\n2\n")
    node = scan(csv_table(path, {"i": "BIGINT"}), ["i"])
    load(node, [Split(0)], tmp_path)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    time.sleep(SETTLE_NS / 1e9)
    assert read(node, [Split(0)], tmp_path) == ([(2,)], 0)


def test_csv_file_is_kept_but_not_what_a_session_reads_in_its_own_way(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("i,at\n1,2020-01-01 00:00:00\n2,2020-06-01 00:00:00\n")
    spec = csv_table(path, {"i": "BIGINT", "at": "TIMESTAMP WITH TIME ZONE"})
    load(scan(spec, ["i"]), [Split(0)], tmp_path)
    assert read(scan(spec, ["i"]), [Split(0)], tmp_path) == ([(1,), (2,)], 2)
    for _ in range(HOT_READS + 1):
        read(scan(spec, ["i", "at"]), [Split(0)], tmp_path)
    assert not cache(tmp_path).holds(spec, Split(0), ["at"])


def segments(folder: Path) -> set[Segment]:
    return {e.segment for e in cache(folder)._entries.values() if e.segment is not None}


@pytest.fixture
def room_for_merging() -> None:
    close_session()
    limit_session(Limits(cache_bytes=1 << 28))


@pytest.mark.usefixtures("room_for_merging")
def test_splits_are_put_together_into_one_table(tmp_path: Path) -> None:
    node = scan(parquet_table(tmp_path, "t", ROWS), ["i", "s", "d", "n"])
    pieces = [Split(0, first, 2500) for first in range(0, 10_000, 2500)]
    want = read(node, pieces, tmp_path)[0]
    load(node, pieces, tmp_path)
    until(lambda: len(segments(tmp_path)) == 1, 10)
    (whole,) = segments(tmp_path)
    assert len(whole.keys) == 4
    assert cache(tmp_path).used_bytes == whole.size_bytes
    assert read(node, pieces, tmp_path) == (want, 10_000)
    assert read(node, pieces[1:3], tmp_path) == (want[2500:7500], 5000)
    assert read(node, pieces[::-2], tmp_path) == (want[7500:] + want[2500:5000], 5000)


@pytest.mark.usefixtures("room_for_merging")
def test_column_is_added_to_splits_that_are_together(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", ROWS.replace("AS s", 'AS "Split"'))
    load(scan(spec, ["i"]), HALVES, tmp_path)
    until(lambda: len(segments(tmp_path)) == 1, 10)
    both = scan(spec, ["i", "Split"])
    want = read(both, HALVES, tmp_path)[0]
    load(both, HALVES, tmp_path)
    until(lambda: len(segments(tmp_path)) == 1, 10)
    assert read(both, HALVES[1:], tmp_path) == (want[4000:], 6000)
    kept = "SELECT count(*) FROM duckdb_databases() WHERE database_name LIKE 'hot_%'"
    until(lambda: cache(tmp_path)._run(kept) == [(1,)], 10)


@pytest.mark.usefixtures("room_for_merging")
def test_replaced_file_leaves_those_it_was_together_with(tmp_path: Path) -> None:
    files = []
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text(f"i\n{i}\n")
        files.append(data_file(tmp_path / f"{i}.csv"))
    schema = (Field("i", parse_type("BIGINT")),)
    spec = ScanSpec("csv", schema, tuple(files), {"header": True, "columns": {"i": "BIGINT"}})
    splits = [Split(i) for i in range(3)]
    load(scan(spec, ["i"]), splits, tmp_path)
    until(lambda: len(segments(tmp_path)) == 1, 10)
    (tmp_path / "1.csv").write_text("i\n100\n")
    spec = replace(spec, files=(files[0], data_file(tmp_path / "1.csv"), files[2]))
    time.sleep(SETTLE_NS / 1e9)
    assert read(scan(spec, ["i"]), splits, tmp_path) == ([(0,), (100,), (2,)], 2)
    load(scan(spec, ["i"]), splits, tmp_path)
    assert read(scan(spec, ["i"]), splits, tmp_path) == ([(0,), (100,), (2,)], 3)


@pytest.mark.usefixtures("room_for_merging")
def test_tables_alike_are_put_together_each_by_itself(tmp_path: Path) -> None:
    nodes = [scan(parquet_table(tmp_path, name, ROWS), ["i"]) for name in ("t", "u")]
    for node in nodes:
        load(node, HALVES, tmp_path)
    until(lambda: len(segments(tmp_path)) == 2, 10)
    assert [{key.path for key in s.keys} for s in segments(tmp_path)] in (
        [{p}, {q}] for p, q in permutations(map(path_of, nodes))
    )


def path_of(node: Scan) -> str:
    return node.spec.files[0].path


def test_splits_are_put_together_while_others_find_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_cache, "PAUSE_S", 0.001)
    close_session()
    limit_session(Limits(cache_bytes=16 << 20))
    node = scan(parquet_table(tmp_path, "t", "SELECT hash(i) AS h FROM range(1000000) t(i)"), ["h"])
    pieces = [Split(0, first, 10_000) for first in range(0, 1_000_000, 10_000)]  # a block of 256 KiB each
    time.sleep(SETTLE_NS / 1e9)
    end_s = time.monotonic() + 60
    while time.monotonic() < end_s and not any(len(s.keys) > 1 for s in segments(tmp_path)):
        read(node, pieces, tmp_path)
    assert any(len(s.keys) > 1 for s in segments(tmp_path))
    assert cache(tmp_path).used_bytes <= 16 << 20


@pytest.mark.parametrize(
    ("sizes", "together"),
    [([5, 5], [5, 5]), ([1, 9], []), ([1, 2, 3, 30], [1, 2, 3]), ([60, 60], []), ([10], [])],
    ids=["alike", "one much larger", "the smaller ones", "too large together", "alone"],
)
def test_which_tables_are_put_together(sizes: list[int], together: list[int]) -> None:
    found = column_cache.alike([SimpleNamespace(size_bytes=s) for s in sizes], most_bytes=100)  # type: ignore[list-item]
    assert [s.size_bytes for s in found] == together


def test_budget_holds_and_what_is_used_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [scan(parquet_table(tmp_path, f"t{i}", "SELECT hash(i) AS h FROM range(60000) t(i)"), ["h"]) for i in range(4)]
    for node in tables:
        for _ in range(HOT_READS):
            read(node, [Split(0)], tmp_path)
    kept = cache(tmp_path)
    until(lambda: not kept._hot and kept._loading is None and kept.used_bytes > 0, 10)
    held = [node for node in tables if kept.holds(node.spec, Split(0), ["h"])]
    assert 0 < len(held) < 4
    assert kept.used_bytes <= 1 << 20
    monkeypatch.setattr(column_cache, "UNUSED_S", 0.0)
    other = next(node for node in tables if node not in held)
    load(other, [Split(0)], tmp_path)
    assert kept.used_bytes <= 1 << 20


def test_scans_of_many_threads_read_while_columns_are_added(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", ROWS)
    wrong: list[object] = []

    def reader(columns: list[str]) -> None:
        want = read(scan(spec, columns), HALVES, tmp_path)[0]
        for _ in range(30):
            found, _ = read(scan(spec, columns), HALVES, tmp_path)
            wrong.extend(["differs"] if found != want else [])

    threads = [threading.Thread(target=reader, args=(c,)) for c in (["i"], ["i", "s"], ["d", "n"], ["n"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache(tmp_path).used_bytes > 0


def test_instance_is_closed_while_columns_are_loaded(tmp_path: Path) -> None:
    node = scan(parquet_table(tmp_path, "t", "SELECT i, hash(i)::VARCHAR AS s FROM range(1000000) t(i)"), ["i", "s"])
    limit_session(Limits(cache_bytes=1 << 30))
    close_session()
    for _ in range(20):  # loading may be over before it is seen
        for _ in range(HOT_READS):
            read(node, [Split(0)], tmp_path)
        end_s = time.monotonic() + 1
        while not (is_loading := cache(tmp_path)._loading is not None) and time.monotonic() < end_s:
            time.sleep(0.001)
        close_session()
        if is_loading:
            return
    pytest.fail("columns were never seen being loaded")
