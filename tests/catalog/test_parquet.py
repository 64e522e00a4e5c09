"""Parquet tables: DuckDB's types, Hive folders, columns by name, statistics from footers."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.sources import scan_sql
from sabot_sql.catalog.table import ColumnStatistics
from sabot_sql.errors import NotSupported, ReadError
from tests.catalog.conftest import columns_of

ALL_TYPES = """SELECT 1::TINYINT a, 200::UTINYINT b, 2::SMALLINT c, 3 d, 4::UINTEGER e, 5::BIGINT f, 6::UBIGINT g, 7::HUGEINT h,
    1.5::FLOAT i, 2.5::DOUBLE j, 1.23::DECIMAL(4,2) k, 123.45::DECIMAL(15,2) l, 1.5::DECIMAL(38,1) m, DATE '2024-01-02' n,
    TIMESTAMP '2024-01-02 03:04:05.678901' o, TIMESTAMPTZ '2024-01-02 03:04:05+00' p, TIMESTAMP_NS '2024-01-02 03:04:05.1234' q,
    TIME '10:11:12.5' r, true s, 'é' t, 'abc'::BLOB u, uuid() v, [1, 2] w, {'a': 1, 'b c': [{'d': 'x'}]} x, INTERVAL 1 DAY y,
    '{"a":1}'::JSON z, MAP {'k': 1.5::DECIMAL(5,2)} aa, TIMETZ '10:11:12+01' ab, NULL::INTEGER ac"""


def test_types_and_order_are_those_of_duckdb(tmp_path, oracle, open_catalog):
    path = oracle.write(tmp_path / "t.parquet", ALL_TYPES)
    table = open_catalog(tmp_path).table("t")
    assert oracle.columns(scan_sql(table.scan)) == oracle.columns(f"'{path}'")
    plain = [(name, text) for name, text in oracle.columns(f"'{path}'") if name != "x"]
    assert [pair for pair in columns_of(table) if pair[0] != "x"] == plain
    assert oracle.rows_of(table) == oracle.rows(f"'{path}'")


def test_folder_of_files_is_one_table_in_path_order(tmp_path, oracle, open_catalog):
    for i in (2, 10, 1):
        oracle.write(tmp_path / "t" / f"part-{i}.parquet", f"SELECT {i} AS a, 'x' AS b")
    table = open_catalog(tmp_path).table("t")
    assert oracle.rows_of(table) == oracle.rows(f"'{tmp_path}/t/*.parquet'")
    assert (table.statistics.rows, table.statistics.confidence) == (3, "exact")
    assert [file.rows for file in table.scan.files] == [1, 1, 1]


def test_uniform_files_are_scanned_without_uniting_schemas(tmp_path, oracle, open_catalog):
    for i in range(2):
        oracle.write(tmp_path / "t" / f"{i}.parquet", "SELECT 1 AS a")
    assert "union_by_name" not in scan_sql(open_catalog(tmp_path).table("t").scan)


@pytest.mark.parametrize(
    ("folders", "types"),
    [
        (["year=2024/month=01", "year=2024/month=02"], [("a", "INTEGER"), ("month", "VARCHAR"), ("year", "BIGINT")]),
        (["d=2024-01-01", "d=2024-02-01"], [("a", "INTEGER"), ("d", "DATE")]),
        (["y=1", "y=__HIVE_DEFAULT_PARTITION__", "y=null"], [("a", "INTEGER"), ("y", "BIGINT")]),
        (["x=a%20b", "x=ü+'"], [("a", "INTEGER"), ("x", "VARCHAR")]),
        (["it's=1"], [("a", "INTEGER"), ("it's", "BIGINT")]),
        (["a=7", "a=8"], [("a", "BIGINT")]),
        (["A=7", "A=8"], [("a", "BIGINT")]),
        (["y=1", "z=1"], [("a", "INTEGER")]),
        (["y=", "y=1"], [("a", "INTEGER"), ("y", "VARCHAR")]),
        (["Y=1/y=2"], [("a", "INTEGER"), ("Y", "BIGINT")]),
    ],
)
def test_hive_folders_give_the_columns_duckdb_finds(tmp_path, oracle, open_catalog, folders, types):
    for folder in folders:
        oracle.write(tmp_path / "t" / folder / "f.parquet", "SELECT 1 AS a")
    table = open_catalog({"t": tmp_path / "t"}).table("t")
    plain = "'" + f"{tmp_path}/t/**/*.parquet".replace("'", "''") + "'"
    assert columns_of(table) == types == oracle.columns(plain)
    assert oracle.rows_of(table) == oracle.rows(plain)


def test_partition_values_are_kept_with_each_file(tmp_path, oracle, open_catalog):
    for folder in ("y=1/x=a%2Fb", "y=NULL/x=ü"):
        oracle.write(tmp_path / "t" / folder / "f.parquet", "SELECT 1 AS a")
    scan = open_catalog(tmp_path).table("t").scan
    assert set(scan.hive) == {"x", "y"}
    assert [dict(file.partition) for file in scan.files] == [{"y": "1", "x": "a/b"}, {"y": None, "x": "ü"}]


def test_one_file_of_a_hive_table_has_the_partition_types_of_all(tmp_path, oracle, open_catalog):
    for folder in ("y=1", "y=x"):
        oracle.write(tmp_path / "t" / folder / "f.parquet", "SELECT 1 AS a")
    table = open_catalog(tmp_path).table("t")
    assert oracle.columns(scan_sql(table.scan, [0])) == [("a", "INTEGER"), ("y", "VARCHAR")]
    assert oracle.rows_of(table, [0]) == oracle.rows("(SELECT 1 AS a, '1' AS y)")


def test_a_root_that_is_partitioned_itself_is_one_table(tmp_path, oracle, open_catalog):
    for year in (2023, 2024):
        oracle.write(tmp_path / "sales" / f"year={year}" / "f.parquet", "SELECT 1 AS a")
    tables = open_catalog(tmp_path / "sales").tables()
    assert [(table.name, table.statistics.rows) for table in tables] == [("sales", 2)]


def test_columns_of_different_files_unite_by_name(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/0.parquet", "SELECT 1 AS a, 2 AS b")
    oracle.write(tmp_path / "t/1.parquet", "SELECT 3::BIGINT AS B, 4 AS c FROM range(2)")
    oracle.write(tmp_path / "t/2.parquet", "SELECT 'x' AS c")
    table = open_catalog(tmp_path).table("t")
    united = f"read_parquet('{tmp_path}/t/*.parquet', union_by_name=true)"
    assert columns_of(table) == oracle.columns(united) == [("a", "INTEGER"), ("b", "BIGINT"), ("c", "VARCHAR")]
    assert oracle.rows_of(table) == oracle.rows(united)
    assert table.statistics.columns["a"] == ColumnStatistics(
        1, 1, 3, None, True, group_bounds=((1, 1), None, None), counts_nulls=True
    )
    assert table.statistics.columns["b"].min is None  # of two types in two files


@pytest.mark.parametrize("files", [[0], [1], [2], [2, 0], [1, 2], []])
def test_some_files_of_a_united_table_still_have_all_its_columns(tmp_path, oracle, open_catalog, files):
    parts = ["SELECT 1 AS a, 2 AS b", "SELECT 3::BIGINT AS B, 4 AS c FROM range(2)", "SELECT 'x' AS c"]
    for i, sql in enumerate(parts):
        oracle.write(tmp_path / "t" / f"{i}.parquet", sql)
    table = open_catalog(tmp_path).table("t")
    whole = f"SELECT * FROM read_parquet('{tmp_path}/t/*.parquet', union_by_name=true) WHERE filename ="
    wanted = [row for i in files for row in oracle.rows(f"({whole} '{tmp_path}/t/{i}.parquet')")]
    assert oracle.rows_of(table, files) == wanted
    assert oracle.columns(scan_sql(table.scan, files))[:3] == columns_of(table)


def test_a_united_table_lets_a_scan_ask_for_row_numbers_of_one_file(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/0.parquet", "SELECT 1 AS a")
    oracle.write(tmp_path / "t/1.parquet", "SELECT range AS b FROM range(5)")
    table = open_catalog(tmp_path).table("t")
    for files in ([0], [1]):
        assert oracle.rows(f"(SELECT file_row_number FROM {scan_sql(table.scan, files)} WHERE file_row_number < 1)")


def test_types_that_cannot_be_united_are_described_as_duckdb_does(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/0.parquet", "SELECT 1 AS a")
    oracle.write(tmp_path / "t/1.parquet", "SELECT [1] AS a")
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == oracle.columns(f"read_parquet('{tmp_path}/t/*.parquet', union_by_name=true)")


def test_bounds_are_plain_python_values(tmp_path, oracle, open_catalog):
    oracle.write(
        tmp_path / "t.parquet",
        """SELECT i, i::DOUBLE AS f, (i / 4)::DECIMAL(15,2) AS d, DATE '2024-01-01' + i::INT AS day, 'r' || i AS s,
        TIMESTAMP '2024-01-01' + INTERVAL 1 HOUR * i AS ts, TIMESTAMPTZ '2024-01-01 00:00:00+00' + INTERVAL 1 HOUR * i AS tz,
        nullif(i, 3) AS n, [i] AS l, TIME '10:00:00' AS t FROM range(10) r(i)""",
    )
    found = open_catalog(tmp_path).table("t").statistics.columns
    assert found["i"] == ColumnStatistics(0, 9, 0, None, True, group_bounds=((0, 9),), counts_nulls=True)
    assert (found["f"].min, found["f"].max, found["f"].exact) == (0.0, 9.0, False)
    assert (found["d"].min, found["d"].max, found["d"].exact) == (Decimal("0.00"), Decimal("2.25"), True)
    assert found["day"].max == dt.date(2024, 1, 10)
    assert (found["s"].min, found["s"].max, found["s"].exact) == ("r0", "r9", False)
    assert found["ts"].max == dt.datetime(2024, 1, 1, 9)
    assert found["tz"].max == dt.datetime(2024, 1, 1, 9, tzinfo=dt.UTC)
    assert found["n"].null_count == 1
    assert (found["l"], found["t"]) == (ColumnStatistics(), ColumnStatistics(null_count=0, counts_nulls=True))


def test_bounds_merge_over_row_groups_and_files(tmp_path, open_catalog):
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": [5, None, 7, 9], "b": [None, None, 1.5, 2.5]}), tmp_path / "t/0.parquet", row_group_size=2)
    pq.write_table(pa.table({"a": [-3, 4], "b": pa.array([None, None], pa.float64())}), tmp_path / "t/1.parquet")
    table = open_catalog(tmp_path).table("t")
    assert [file.row_groups for file in table.scan.files] == [(2, 2), (2,)]
    assert table.statistics.columns["a"] == ColumnStatistics(
        -3, 9, 1, None, True, group_bounds=((5, 5), (7, 9), (-3, 4)), counts_nulls=True
    )
    assert table.statistics.columns["b"] == ColumnStatistics(
        1.5, 2.5, 4, None, False, group_bounds=(None, (1.5, 2.5), None), counts_nulls=True
    )


def test_a_row_group_without_statistics_leaves_bounds_unknown(tmp_path, open_catalog):
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t/0.parquet")
    pq.write_table(pa.table({"a": [9]}), tmp_path / "t/1.parquet", write_statistics=False)
    assert open_catalog(tmp_path).table("t").statistics.columns["a"] == ColumnStatistics()


def test_nanosecond_bounds_are_widened_to_microseconds(tmp_path, open_catalog):
    values = pa.array([1_500, 2_500], pa.timestamp("ns"))
    pq.write_table(pa.table({"a": values}), tmp_path / "t.parquet")
    found = open_catalog(tmp_path).table("t").statistics.columns["a"]
    assert (found.min, found.max) == (dt.datetime(1970, 1, 1, 0, 0, 0, 1), dt.datetime(1970, 1, 1, 0, 0, 0, 3))
    assert not found.exact


def test_partition_column_that_the_file_also_has_shows_no_bounds_of_the_file(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/a=7/f.parquet", "SELECT 1 AS a, 2 AS b")
    assert set(open_catalog(tmp_path).table("t").statistics.columns) == {"b"}


def test_file_without_rows_is_a_table_without_rows(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t.parquet", "SELECT 1 AS a WHERE false")
    table = open_catalog(tmp_path).table("t")
    assert (table.statistics.rows, columns_of(table), oracle.rows_of(table)) == (0, [("a", "INTEGER")], [])


def test_corrupt_file_is_named_and_leaves_the_other_tables_alone(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "good.parquet", "SELECT 1 AS a")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is not Parquet PAR1")
    (tmp_path / "empty.parquet").write_bytes(b"")
    catalog = open_catalog(tmp_path)
    assert catalog.table("good").statistics.rows == 1
    for name in ("bad", "empty"):
        with pytest.raises(ReadError, match=f"{name}.parquet") as caught:
            catalog.table(name)
        assert caught.value.problem.code == "FILE_CORRUPT"
    assert [(table.name, table.error is None) for table in catalog.tables()] == [
        ("bad", False),
        ("empty", False),
        ("good", True),
    ]


def test_truncated_file_of_several_is_named(tmp_path, oracle, open_catalog):
    for i in range(3):
        oracle.write(tmp_path / "t" / f"{i}.parquet", "SELECT range AS a FROM range(1000)")
    data = (tmp_path / "t/1.parquet").read_bytes()
    (tmp_path / "t/1.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match=r"t/1\.parquet cannot be read as Parquet"):
        open_catalog(tmp_path).table("t")


def test_names_beyond_ascii_and_with_quotes_work(tmp_path, oracle, open_catalog):
    folder = tmp_path / 'Größe\'s "Tabelle"'
    oracle.write(folder / "päth 'x'.parquet", 'SELECT 1 AS "Spalte ü", 2 AS "it\'s", 3 AS "q""q"')
    table = open_catalog(tmp_path).table('größe\'s "tabelle"')
    assert columns_of(table) == [("Spalte ü", "INTEGER"), ("it's", "INTEGER"), ('q"q', "INTEGER")]
    assert len(oracle.rows_of(table)) == 1


def test_columns_that_differ_in_case_only_are_named_as_duckdb_names_them(tmp_path, oracle, open_catalog):
    pq.write_table(pa.table({"a": [1], "A": [2]}), tmp_path / "t.parquet")
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == oracle.columns(f"'{tmp_path}/t.parquet'")
    assert table.statistics.columns["a"].max is None


def test_delta_table_is_not_read_as_a_folder_of_files(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "t/0.parquet", "SELECT 1 AS a")
    (tmp_path / "t/_delta_log").mkdir()
    with pytest.raises(NotSupported, match="Delta"):
        open_catalog(tmp_path).table("t")
