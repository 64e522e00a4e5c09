"""Statistics that are learnt in the background: right, kept, forgotten with the files, and never in a query's way."""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog import learn_table
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.table import ColumnStatistics

ROWS = 600_000


def learnt(catalog, name="t"):
    """The statistics of a table once they are learnt."""
    catalog.learn([catalog.table(name)])
    assert catalog.wait_learned(60)
    return catalog.table(name).statistics


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(3)
    return {
        "few": rng.integers(0, 20, ROWS),
        "uniform": rng.integers(0, 50_000, ROWS),
        "zipf": rng.zipf(1.2, ROWS) % 1_000_000,
        "unique": rng.permutation(ROWS),
        "sorted": np.arange(ROWS) // 10,
        "text": np.char.add("v", rng.integers(0, 1_000, ROWS).astype(str)),
    }


@pytest.fixture(scope="module")
def large(columns, tmp_path_factory):
    """A table of several files and row groups that is too large to be sampled whole."""
    folder = tmp_path_factory.mktemp("large")
    table = pa.table(columns)
    for number in range(3):
        part = table.slice(number * ROWS // 3, ROWS // 3)
        (folder / "t").mkdir(exist_ok=True)
        pq.write_table(part, folder / f"t/{number}.parquet", row_group_size=50_000)
    return folder


@pytest.fixture
def no_budget(monkeypatch):
    monkeypatch.setattr(learn_table, "BUDGET_S", 0.0)


def ratio(found, values):
    true = len(np.unique(values))
    return max(found / true, true / found)


def test_distinct_counts_are_within_six_per_cent(large, columns, open_catalog):
    found = learnt(open_catalog(large)).columns
    assert {name: ratio(found[name].distinct_count, values) < 1.06 for name, values in columns.items()} == dict.fromkeys(
        columns, True
    )
    assert found["unique"].distinct_count == ROWS
    assert {found[name].distinct_from for name in ("zipf", "unique", "sorted")} == {"sketch"}


def test_distinct_counts_from_the_sample_alone_are_within_a_factor_of_two(large, columns, open_catalog, no_budget):
    found = learnt(open_catalog(large)).columns
    assert {c.distinct_from for c in found.values()} == {"sample"}
    assert {name: ratio(found[name].distinct_count, values) < 2 for name, values in columns.items()} == dict.fromkeys(
        columns, True
    )


def test_histogram_says_what_share_lies_below(large, columns, open_catalog):
    found = learnt(open_catalog(large)).columns
    for name in ("uniform", "unique", "sorted", "few"):
        bounds = found[name].histogram
        assert (len(bounds), bounds[0], bounds[-1]) == (101, columns[name].min(), columns[name].max())
        assert list(bounds) == sorted(bounds)
        for share in (10, 50, 90):
            below = np.mean(columns[name] < bounds[share]), np.mean(columns[name] <= bounds[share])
            assert below[0] - 0.03 <= share / 100 <= below[1] + 0.03, name


def test_common_values_have_their_share(large, columns, open_catalog):
    found = learnt(open_catalog(large)).columns
    assert len(found["few"].most_common) == found["few"].distinct_count == 20
    assert sum(share for _, share in found["few"].most_common) == pytest.approx(1)
    value, share = found["zipf"].most_common[0]
    assert (value, share) == (1, pytest.approx(np.mean(columns["zipf"] == 1), abs=0.01))
    for name in ("unique", "sorted", "uniform", "text"):
        assert found[name].most_common == ()


def test_learnt_statistics_keep_what_the_files_say(large, open_catalog):
    catalog = open_catalog(large)
    before = catalog.table("t")
    after = learnt(catalog)
    for name, column in before.statistics.columns.items():
        known = after.columns[name]
        assert (known.min, known.max, known.null_count) == (column.min, column.max, column.null_count)
        assert known.group_bounds == column.group_bounds
    assert (after.rows, after.confidence, after.size_bytes) == (ROWS, "exact", before.statistics.size_bytes)
    assert catalog.table("t").version > before.version
    assert catalog.table("t") is catalog.table("t")
    assert after.learnt.rows_sampled == pytest.approx(200_000, rel=0.01)


def write_every_type(oracle, path, options=""):
    return oracle.write(
        path,
        "SELECT i, i::DECIMAL(9, 2) / 4 AS d, i / 8 AS f, 'x' || i % 7 AS s, DATE '2020-01-01' + (i % 100)::INT AS day, "
        "TIMESTAMP '2020-01-01' + INTERVAL (i) MINUTE AS at, i % 2 = 0 AS b, CASE WHEN i % 4 > 0 THEN i END AS n "
        "FROM range(3000) t(i)",
        options,
    )


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.json", "t.arrow", "t.duckdb"])
def test_every_format_is_learnt_whole_where_it_is_small(tmp_path, oracle, open_catalog, name):
    write_every_type(oracle, tmp_path / "source.parquet")
    path = tmp_path / "data" / name
    path.parent.mkdir()
    if name == "t.arrow":
        with pa.ipc.new_file(path, (table := pq.read_table(tmp_path / "source.parquet")).schema) as writer:
            writer.write_table(table, 1000)
    elif name == "t.duckdb":
        oracle.connection.execute(f"ATTACH '{path}' AS d").fetchall()
        oracle.connection.execute(f"CREATE TABLE d.t AS FROM '{tmp_path}/source.parquet'").fetchall()
        oracle.connection.execute("DETACH d").fetchall()
    else:
        write_every_type(oracle, path)
    found = learnt(open_catalog(path if name == "t.duckdb" else path.parent))
    assert (found.rows, found.confidence) == (3000, "exact")
    i, s, day, at, b, n = (found.columns[column] for column in ("i", "s", "day", "at", "b", "n"))
    assert (i.min, i.max, i.null_count, i.distinct_count, i.distinct_from) == (0, 2999, 0, 3000, "count")
    assert (s.min, s.max, s.distinct_count, len(s.most_common), s.average_bytes) == ("x0", "x6", 7, 7, 2)
    assert (day.min, day.max, day.distinct_count) == (dt.date(2020, 1, 1), dt.date(2020, 4, 9), 100)
    assert (at.max, at.distinct_count) == (dt.datetime(2020, 1, 3, 1, 59), 3000)
    assert (dict(b.most_common), b.histogram) == ({True: 0.5, False: 0.5}, None)
    assert (n.null_count, n.distinct_count) == (750, 2250)


@pytest.mark.parametrize("suffix", ["csv", "arrow", "duckdb"])
def test_formats_without_statistics_of_their_own_are_read_through(tmp_path, oracle, open_catalog, suffix):
    path, sql = tmp_path / f"t.{suffix}", "SELECT i, i % 30000 AS k, -i AS low FROM range(250000) t(i)"
    if suffix == "csv":
        oracle.write(path, sql)
    elif suffix == "duckdb":
        oracle.connection.execute(f"ATTACH '{path}' AS d").fetchall()
        oracle.connection.execute(f"CREATE TABLE d.t AS {sql}").fetchall()
        oracle.connection.execute("DETACH d").fetchall()
    else:
        with pa.ipc.new_file(path, (table := oracle.connection.sql(sql).to_arrow_table()).schema) as writer:
            writer.write_table(table, 20_000)
    found = learnt(open_catalog(path))
    assert (found.rows, found.confidence) == (250_000, "exact")
    assert found.columns["i"].distinct_count == 250_000
    assert (found.columns["low"].min, found.columns["low"].max, found.columns["low"].exact) == (-249_999, 0, True)
    assert found.columns["k"].distinct_count == pytest.approx(30_000, rel=0.06)
    assert found.columns["i"].histogram[50] == pytest.approx(125_000, rel=0.05)
    assert found.learnt.rows_sampled <= 250_000


def test_rows_of_a_csv_beyond_the_budget_are_estimated(tmp_path, oracle, open_catalog, no_budget):
    oracle.write(tmp_path / "t.csv", "SELECT i, 'x' || i AS s FROM range(300000) t(i)")
    found = learnt(open_catalog(tmp_path))
    assert (found.rows, found.confidence) == (pytest.approx(300_000, rel=0.05), "statistics")
    assert (found.columns["i"].min, found.columns["i"].distinct_from) == (None, "sample")
    assert found.columns["i"].distinct_count > 200_000


def test_partition_columns_are_exact(tmp_path, oracle, open_catalog):
    for year, rows in ((2019, 100), (2020, 300)):
        oracle.write(tmp_path / f"t/year={year}/a.parquet", f"SELECT i FROM range({rows}) t(i)")
    oracle.write(tmp_path / "t/year=__HIVE_DEFAULT_PARTITION__/a.parquet", "SELECT 1 AS i FROM range(100)")
    found = learnt(open_catalog(tmp_path)).columns["year"]
    assert (found.min, found.max, found.null_count, found.distinct_count) == (2019, 2020, 100, 2)
    assert found.most_common == ((2020, 0.6), (2019, 0.2))
    assert found.histogram[24:27] == (2019, 2019, 2020)


def test_strange_values_have_no_bounds_and_harm_nothing(tmp_path, oracle, open_catalog):
    oracle.write(
        tmp_path / "t.parquet",
        "SELECT * FROM (VALUES ('nan'::DOUBLE, 'infinity'::DATE, '-infinity'::TIMESTAMP, [1], {'a': 1}, 'a'::BLOB, uuid(), "
        "repeat('y', 100), NULL, 5::HUGEINT, TIME '10:00', '2020-01-01'::TIMESTAMPTZ), (1.5, DATE '2020-01-01', "
        "TIMESTAMP '290000-01-01', [2], {'a': 2}, 'bb', uuid(), repeat('y', 99) || 'z', NULL, 6, TIME '11:00', 'infinity')) "
        't(f, d, ts, l, s, b, u, long, nothing, h, tm, "z""z")',
    )
    found = learnt(open_catalog(tmp_path)).columns
    assert {name: column.distinct_count for name, column in found.items()} == {**dict.fromkeys(found, 2), "nothing": 0}
    assert found["f"].most_common == ()
    assert found["long"].most_common == ()
    assert found["b"].average_bytes == 1.5
    assert found["nothing"].null_count == 2


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_table_without_rows_is_learnt(tmp_path, oracle, open_catalog, suffix):
    oracle.write(tmp_path / f"t.{suffix}", "SELECT 1 AS a, 'x' AS b WHERE false")
    found = learnt(open_catalog(tmp_path))
    assert found.rows == 0
    assert {column.distinct_count for column in found.columns.values()} == {0}


def test_files_of_several_shapes_are_learnt_as_one_table(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/0.parquet", "SELECT i::INTEGER AS a FROM range(150000) t(i)")
    oracle.write(tmp_path / "t/1.parquet", "SELECT i::BIGINT AS a, 'x' AS b FROM range(150000, 300000) t(i)")
    found = learnt(open_catalog(tmp_path))
    assert found.columns["a"].distinct_count == 300_000
    assert found.columns["b"].null_count == 150_000
    assert found.columns["b"].most_common == (("x", pytest.approx(0.5, abs=0.01)),)


def test_registered_table_is_learnt_and_not_kept(tmp_path, open_catalog):
    catalog = open_catalog({"t": pa.table({"a": [1, 1, 2]})}, statistics_file=tmp_path / "statistics.db")
    assert learnt(catalog).columns["a"] == ColumnStatistics(
        1, 2, 0, 2, True, (1,) * 67 + (2,) * 34, ((1, pytest.approx(2 / 3)), (2, pytest.approx(1 / 3))), 8, "count"
    )
    with sqlite3.connect(tmp_path / "statistics.db") as kept:
        assert kept.execute("SELECT count(*) FROM learnt").fetchone() == (0,)
    kept.close()


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def small(tmp_path):
    write(tmp_path / "data/t/0.parquet", a=[1, 2, 2], b=[Decimal("1.5"), None, Decimal("2.5")])
    time.sleep(0.03)
    return tmp_path / "data"


def test_learnt_statistics_are_read_back_without_a_scan(small, tmp_path):
    file = tmp_path / "statistics.db"
    with Catalog(small, statistics_file=file) as catalog:
        first = learnt(catalog)
    with Catalog(small, statistics_file=file) as catalog:
        assert catalog.table("t").statistics == first
        catalog.learn([catalog.table("t")])
        assert catalog._learner._thread is None


def test_values_of_all_types_are_read_back_as_they_were(tmp_path, oracle):
    write_every_type(oracle, tmp_path / "data/t.parquet")
    with Catalog(tmp_path / "data", statistics_file=tmp_path / "statistics.db") as catalog:
        first = learnt(catalog)
    with Catalog(tmp_path / "data", statistics_file=tmp_path / "statistics.db") as catalog:
        assert catalog.table("t").statistics == first


def test_replaced_file_is_learnt_anew(small, open_catalog, tmp_path):
    catalog = open_catalog(small, statistics_file=tmp_path / "statistics.db")
    assert learnt(catalog).columns["a"].distinct_count == 2
    write(small / "t/0.parquet", a=[5, 6, 7, 8])
    assert catalog.table("t").statistics.learnt is None
    assert catalog.table("t").statistics.columns["a"].distinct_count is None
    assert learnt(catalog).columns["a"].distinct_count == 4


def test_rewrite_of_the_same_size_and_time_forgets_too(small, open_catalog, tmp_path):
    write(small / "t/0.parquet", a=[1, 2, 3])
    time.sleep(0.03)
    catalog = open_catalog(small, statistics_file=tmp_path / "statistics.db")
    assert learnt(catalog).columns["a"].histogram[0] == 1
    path = small / "t/0.parquet"
    old = path.stat()
    write(path, a=[4, 5, 6])
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    assert catalog.table("t").statistics.learnt is None
    assert learnt(catalog).columns["a"].histogram[0] == 4


def test_file_changed_between_two_starts_is_not_believed(small, tmp_path):
    with Catalog(small, statistics_file=tmp_path / "statistics.db") as catalog:
        learnt(catalog)
    write(small / "t/0.parquet", a=[5, 6, 7, 8])
    with Catalog(small, statistics_file=tmp_path / "statistics.db") as catalog:
        assert catalog.table("t").statistics.learnt is None


@pytest.mark.parametrize("spoil", [b"no database at all, but long enough to be taken for a header of one", b""])
def test_spoilt_store_is_begun_anew(small, tmp_path, spoil):
    file = tmp_path / "statistics.db"
    file.write_bytes(spoil)
    for _ in range(2):
        with Catalog(small, statistics_file=file) as catalog:
            assert learnt(catalog).columns["a"].distinct_count == 2


def test_nothing_is_read_while_a_query_runs(small, open_catalog):
    catalog = open_catalog(small)
    with catalog.running:
        catalog.learn([catalog.table("t")])
        assert not catalog.wait_learned(0.5)
        assert catalog._learner._sampler is None
        assert catalog.table("t").statistics.learnt is None
    assert catalog.wait_learned(60)
    assert catalog.table("t").statistics.learnt is not None


def test_naming_a_table_neither_reads_nor_waits(large, open_catalog):
    catalog = open_catalog(large)
    table = catalog.table("t")
    assert catalog._learner._thread is None
    catalog.learn([table])
    assert catalog._learner._sampler is None
    assert catalog.table("t") is table


def test_server_that_is_never_quiet_learns_all_the_same(small, open_catalog):
    catalog = open_catalog(small)
    with catalog.running:
        catalog.learn([catalog.table("t")])
        assert catalog.wait_learned(60)
        assert catalog.table("t").statistics.learnt is not None


def test_closing_stops_in_the_middle_of_a_scan(large):
    for wait_s in (0.0, 0.15, 0.3):
        catalog = Catalog(large)
        catalog.learn([catalog.table("t")])
        time.sleep(wait_s)
        begin = time.monotonic()
        catalog.close()
        assert time.monotonic() - begin < 2
        assert not catalog._learner._thread.is_alive()


def test_table_that_cannot_be_read_leaves_the_others(tmp_path, open_catalog, caplog):
    caplog.set_level("INFO")
    write(tmp_path / "good/0.parquet", a=[1, 2])
    write(tmp_path / "bad/0.parquet", a=["x" * 1000] * 100)
    data = bytearray((tmp_path / "bad/0.parquet").read_bytes())
    data[8:40] = b"\xff" * 32
    (tmp_path / "bad/0.parquet").write_bytes(data)
    catalog = open_catalog(tmp_path)
    catalog.learn([catalog.table("bad"), catalog.table("good")])
    assert catalog.wait_learned(60)
    assert catalog.table("good").statistics.learnt is not None
    assert catalog.table("bad").statistics.learnt is None
    assert 'table "bad"' in caplog.text
    catalog.learn([catalog.table("bad")])
    assert not catalog._learner._queue


def test_file_replaced_while_it_is_read_is_not_believed(small, open_catalog):
    catalog = open_catalog(small)
    table = catalog.table("t")
    with catalog.running:
        catalog.learn([table])
        write(small / "t/0.parquet", a=[5, 6, 7, 8])
    assert catalog.wait_learned(60)
    assert catalog.table("t").statistics.learnt is None
    assert learnt(catalog).columns["a"].distinct_count == 4
