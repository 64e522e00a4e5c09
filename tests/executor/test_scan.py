"""Scans of real files: types, ranges, filters, and files that are not what they were."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from sabot_sql.catalog.table import ScanSpec, Split
from sabot_sql.errors import InternalError, QueryError, ReadError, SabotError
from sabot_sql.executor.scan import ScanSource, batch_rows, merged
from sabot_sql.planner.expressions import Call, Cast, Compare, Const, IsNull, Ref
from sabot_sql.planner.physical import Scan, Session
from sabot_sql.types import BIGINT, VARCHAR, Field, inner_schema, parse_type
from tests.executor.stage_runner import Runner, data_file, group_splits, parquet_table, scan
from tests.executor.tables import rows_of, stats

NUMBERS = "SELECT i, 'row ' || i AS s, (i % 7)::DECIMAL(15,2) AS d FROM range(10000) t(i)"


def read(
    node: Scan, splits: list[Split], folder: Path, timezone: str = "UTC", morsel_bytes: int = 2 << 20
) -> list[pa.RecordBatch]:
    context = Runner(folder, session=Session(timezone), morsel_bytes=morsel_bytes).context()
    source = ScanSource(node, splits, inner_schema(node.schema, timezone), stats())
    batches = [b for unit in source.units(context) for b in unit.batches(context)]
    assert all(b.schema == source.schema for b in batches)
    return batches


def file_table(path: Path, kind: Any, columns: dict[str, str], options: dict[str, Any] | None = None) -> ScanSpec:
    schema = tuple(Field(n, parse_type(t)) for n, t in columns.items())
    return ScanSpec(kind, schema, (data_file(path),), options or {})


def test_rows_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS, files=2)
    batches = read(scan(spec, ["i", "s"]), [Split(0), Split(1)], tmp_path, morsel_bytes=1 << 16)
    assert rows_of(batches) == [(i, f"row {i}") for i in range(10000)]
    assert len(batches) > 4


def test_each_range_of_rows_is_read_once(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS, files=2)
    splits = [Split(0, 0, 100), Split(0, 100, 2000), Split(0, 3000, 5), Split(1, 4990, None)]
    found = [row[0] for row in rows_of(read(scan(spec, ["i"]), splits, tmp_path))]
    assert found == [*range(2100), *range(3000, 3005), *range(9990, 10000)]


def test_neighbouring_splits_of_a_file_are_one_unit() -> None:
    splits = [Split(0, 0, 10, 1), Split(0, 10, 5, 2), Split(0, 20, 5), Split(1, 0, 5), Split(1, 5, None, 3), Split(2)]
    assert merged(splits) == [Split(0, 0, 15, 3), Split(0, 20, 5), Split(1, 0, None, 3), Split(2)]


def test_whole_files_that_follow_each_other_are_one_unit_of_one_worker(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS, files=4)
    splits = [Split(0, 0, 2500), Split(1, 0, 2500), Split(2, 0, 7), Split(3, 0, None)]
    source = ScanSource(scan(spec, ["i"]), splits, inner_schema((Field("i", BIGINT),)), stats())
    one, two = Runner(tmp_path).context(), Runner(tmp_path, threads=2).context()
    assert [len(unit.splits) for unit in source.units(one)] == [2, 1, 1]
    assert [len(unit.splits) for unit in source.units(two)] == [1, 1, 1, 1]
    found = [row[0] for row in rows_of([b for unit in source.units(one) for b in unit.batches(one)])]
    assert found == [*range(5007), *range(7500, 10000)]


def test_filters_and_expressions_run_inside_the_scan(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    number = Ref(0, BIGINT)
    node = Scan(
        0, "t", spec, ("i", "s"), (Compare("<", number, Const(3, BIGINT)), IsNull(Ref(1, VARCHAR), negated=True)),
        (Call("+", (number, Const(1, BIGINT)), BIGINT), Call("upper", (Ref(1, VARCHAR),), VARCHAR)),
        (Field("x", BIGINT), Field("y", VARCHAR)),
    )  # fmt: skip
    assert rows_of(read(node, [Split(0)], tmp_path)) == [(1, "ROW 0"), (2, "ROW 1"), (3, "ROW 2")]


def test_every_type_arrives_as_its_inner_arrow_type(tmp_path: Path) -> None:
    sql = """SELECT true AS a, 1::TINYINT AS b, 1::UBIGINT AS c, -5::HUGEINT AS d, 1.5::FLOAT AS e, 2.5::DOUBLE AS f,
        1.25::DECIMAL(4,2) AS g, 1.25::DECIMAL(15,2) AS h, 1.25::DECIMAL(38,2) AS i, DATE '0044-03-15 (BC)' AS j,
        TIME '10:11:12' AS k, TIMESTAMP '2020-01-01' AS l, TIMESTAMPTZ '2020-01-01 00:00+00' AS m,
        TIMESTAMP_NS '2020-01-01' AS n, 'ü' AS o, '\\xAB'::BLOB AS p,
        'c0ffee00-0000-4000-8000-000000000001'::UUID AS q, [1, 2] AS r, {'x': '\\x01'::BLOB} AS s,
        INTERVAL 3 DAY AS t, map(['k'], [1]) AS u"""
    path = tmp_path / "types.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS {sql}")
        relation = connection.sql(sql)
        schema = tuple(Field(n, parse_type(str(t))) for n, t in zip(relation.columns, relation.types))
    spec = ScanSpec("duckdb", schema, (data_file(path),), {"schema": "main", "table": "t"})
    (batch,) = read(scan(spec, [f.name for f in schema]), [Split(0)], tmp_path, "Europe/Berlin")
    row = {f.name: column[0] for f, column in zip(schema, batch.columns)}
    assert (row["d"].as_py(), row["g"].as_py(), row["q"].as_py()) == (
        -5,
        Decimal("1.25"),
        "c0ffee00-0000-4000-8000-000000000001",
    )
    assert (row["s"].as_py(), row["p"].as_py(), row["r"].as_py()) == ({"x": b"\x01"}, b"\xab", [1, 2])
    assert row["m"].as_py().isoformat() == "2020-01-01T01:00:00+01:00"


def test_scan_without_columns_counts_rows(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    batches = read(Scan(0, "t", spec, (), (), (), ()), group_splits(spec)[:3], tmp_path)
    assert [(b.num_rows, b.num_columns) for b in batches] == [(3 * 2048, 0)]


def test_scan_without_columns_counts_rows_that_pass_the_filter(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    node = Scan(0, "t", spec, ("i",), (Compare(">=", Ref(0, BIGINT), Const(9000, BIGINT)),), (), ())
    assert [b.num_rows for b in read(node, [Split(0)], tmp_path)] == [1000]


def test_hive_columns_come_from_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "day=2020-01-02"
    folder.mkdir()
    spec = parquet_table(folder, "t", "SELECT 1 AS i")
    spec = replace(spec, schema=(*spec.schema, Field("day", parse_type("DATE"))), hive=("day",))
    assert rows_of(read(scan(spec, ["day", "i"]), [Split(0)], tmp_path)) == [(dt.date(2020, 1, 2), 1)]


def test_csv_is_read_with_the_options_of_the_catalog(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1;x\n2;\n")
    options = {"delim": ";", "header": True, "columns": {"a": "BIGINT", "b": "VARCHAR"}, "auto_detect": False}
    spec = file_table(path, "csv", {"a": "BIGINT", "b": "VARCHAR"}, options)
    assert rows_of(read(scan(spec, ["b", "a"]), [Split(0)], tmp_path)) == [("x", 1), (None, 2)]


def test_json_is_read_with_the_options_of_the_catalog(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    spec = file_table(path, "json", {"a": "BIGINT"}, {"format": "newline_delimited", "columns": {"a": "BIGINT"}})
    assert rows_of(read(scan(spec, ["a"]), [Split(0)], tmp_path)) == [(1,), (2,)]


def test_piece_of_a_csv_file_is_our_bug(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    with pytest.raises(InternalError, match="in pieces"):
        read(scan(file_table(path, "csv", {"a": "BIGINT"}), ["a"]), [Split(0, 0, 5)], tmp_path)


def test_arrow_file_is_read_by_ranges_across_its_batches(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    table = pa.table({"a": pa.array(range(100), pa.int64()), "s": pa.array([f"{i}" for i in range(100)], pa.string_view())})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)
    spec = file_table(path, "ipc", {"a": "BIGINT", "s": "VARCHAR"})
    found = rows_of(
        read(scan(spec, ["s", "a"], [Compare("<>", Ref(1, BIGINT), Const(30, BIGINT))]), [Split(0, 25, 40)], tmp_path)
    )
    assert found == [(str(i), i) for i in range(25, 65) if i != 30]


def test_duckdb_file_is_read_by_rowid(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute('CREATE SCHEMA "a b"; CREATE TABLE "a b"."t""x" AS SELECT i FROM range(1000) t(i)')
    spec = file_table(path, "duckdb", {"i": "BIGINT"}, {"schema": "a b", "table": 't"x'})
    assert [r[0] for r in rows_of(read(scan(spec, ["i"]), [Split(0, 10, 5), Split(0, 995)], tmp_path))] == [
        *range(10, 15),
        *range(995, 1000),
    ]


def test_replaced_duckdb_file_is_attached_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    for value in (1, 2):
        path.unlink(missing_ok=True)
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"CREATE TABLE t AS SELECT {value} AS i")
        spec = file_table(path, "duckdb", {"i": "INTEGER"}, {"schema": "main", "table": "t"})
        assert rows_of(read(scan(spec, ["i"]), [Split(0)], tmp_path)) == [(value,)]


def test_missing_file_is_named(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    os.unlink(spec.files[0].path)
    with pytest.raises(ReadError, match=spec.files[0].path) as caught:
        read(scan(spec, ["i"]), [Split(0)], tmp_path)
    assert caught.value.problem.code == "FILE_MISSING"


def test_file_that_changed_since_planning_is_named(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    os.utime(spec.files[0].path, ns=(1, 1))
    with pytest.raises(ReadError, match=spec.files[0].path) as caught:
        read(scan(spec, ["i"]), [Split(0)], tmp_path)
    assert caught.value.problem.code == "FILE_CHANGED"


@pytest.mark.parametrize("where", ["start", "pages", "footer", "end", "cut"])
def test_corrupt_parquet_file_is_named(tmp_path: Path, where: str) -> None:
    spec = parquet_table(tmp_path, "t", "SELECT hash(i) AS i, md5(i::VARCHAR) AS s FROM range(20000) t(i)")
    path = Path(spec.files[0].path)
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    at = {"start": 0, "pages": 4, "footer": footer, "end": len(data) - 8, "cut": len(data) // 2}[where]
    path.write_bytes(data[:at] + (b"" if where == "cut" else b"\xff" * 8 + data[at + 8 :]))
    spec = replace(spec, files=(replace(data_file_like(path), rows=20000),))
    with pytest.raises(ReadError, match=str(path)) as caught:
        read(scan(spec, ["i", "s"]), [Split(0)], tmp_path)
    assert caught.value.problem.code == "FILE_CORRUPT"


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_corrupt_file_among_several_is_the_one_named(tmp_path: Path, broken: int) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS, files=3)
    path = Path(spec.files[broken].path)
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 8 + data[12:])
    files = [replace(f, mtime_ns=path.stat().st_mtime_ns) if i == broken else f for i, f in enumerate(spec.files)]
    with pytest.raises(ReadError, match=str(path)):
        read(scan(replace(spec, files=tuple(files)), ["i"]), [Split(0), Split(1), Split(2)], tmp_path)


def data_file_like(path: Path) -> Any:
    """The identity of a file that cannot be opened."""
    copy = path.with_suffix(".bytes")
    shutil.copy(path, copy)
    return replace(data_file(copy), path=str(path), mtime_ns=path.stat().st_mtime_ns)


def test_corrupt_arrow_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    path.write_bytes(b"ARROW1\0\0" + uuid.uuid4().bytes * 8)
    spec = ScanSpec("ipc", (Field("a", BIGINT),), (replace(data_file_like(path), row_groups=(5,)),))
    with pytest.raises(ReadError, match=str(path)):
        read(scan(spec, ["a"]), [Split(0)], tmp_path)


def test_arrow_file_that_is_cut_short_while_it_is_scanned_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    table = pa.table({"a": pa.array(range(1_000_000), pa.int64())})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50_000)
    node = scan(file_table(path, "ipc", {"a": "BIGINT"}), ["a"])
    context = Runner(tmp_path, morsel_bytes=1 << 16).context()
    (unit,) = ScanSource(node, [Split(0)], inner_schema(node.schema), stats()).units(context)
    batches = unit.batches(context)
    assert next(batches).num_rows > 0
    os.truncate(path, 1000)
    with pytest.raises(ReadError, match=f"file {path} has changed since the query was planned") as caught:
        list(batches)
    assert caught.value.problem.code == "FILE_CHANGED"
    assert context.memory.used_bytes == 0


def test_value_that_cannot_be_cast_is_the_users_error(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    node = replace(scan(spec, ["s"]), exprs=(Cast(Ref(0, VARCHAR), BIGINT),), schema=(Field("x", BIGINT),))
    with pytest.raises(QueryError, match="row 0") as caught:
        read(node, [Split(0)], tmp_path)
    assert caught.value.problem.code == "INVALID_VALUE"


def test_hugeint_of_39_digits_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 170141183460469231731687303715884105727::HUGEINT AS h")
    spec = file_table(path, "duckdb", {"h": "HUGEINT"}, {"schema": "main", "table": "t"})
    with pytest.raises(SabotError):
        read(scan(spec, ["h"]), [Split(0)], tmp_path)


def test_other_type_in_the_file_is_our_bug_and_names_the_column(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", "SELECT 1::INTEGER AS i")
    spec = replace(spec, schema=(Field("i", BIGINT),))
    with pytest.raises(InternalError, match="column c0"):
        read(scan(spec, ["i"]), [Split(0)], tmp_path)


def test_batches_are_whole_vectors_of_about_a_morsel() -> None:
    schema = pa.schema([pa.field("a", pa.decimal64(15, 2)), pa.field("b", pa.int64())])
    assert batch_rows(schema, 2 << 20) == 131072
    assert batch_rows(schema, 1) == 2048
    assert batch_rows(pa.schema([pa.field("a", pa.int8())]), 1 << 30) == 1 << 20


def test_counters_say_what_was_scanned_and_what_came_out(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", NUMBERS)
    node = scan(spec, ["i"], [Compare("<", Ref(0, BIGINT), Const(5, BIGINT))])
    counters, context = stats(), Runner(tmp_path).context()
    for unit in ScanSource(node, [Split(0, 0, 10000)], inner_schema(node.schema), counters).units(context):
        list(unit.batches(context))
    assert (counters.rows_in, counters.rows_out, counters.elapsed_ns > 0) == (10000, 5, True)
