"""Arrow IPC files, and tables handed over in memory, which become such files."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from sabot_sql.catalog.sources_ipc import ipc_dataset
from sabot_sql.errors import ConfigError, NotSupported, ReadError
from tests.catalog.conftest import columns_of


def write(path, table, chunk=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)


def rows_of(oracle, table):
    """The rows of an IPC table as DuckDB reads its dataset."""
    oracle.connection.register("ipc", ipc_dataset(table.scan))
    return oracle.rows("ipc")


@pytest.mark.parametrize("suffix", ["arrow", "ipc", "feather"])
def test_ipc_files_give_rows_and_batches(tmp_path, oracle, open_catalog, suffix):
    data = pa.table({"a": range(1000), "s": [None if i % 7 == 0 else f"é{i}" for i in range(1000)]})
    write(tmp_path / f"t.{suffix}", data, 300)
    table = open_catalog(tmp_path).table("t")
    assert columns_of(table) == [("a", "BIGINT"), ("s", "VARCHAR")]
    assert table.scan.files[0].row_groups == (300, 300, 300, 100)
    assert (table.statistics.rows, table.statistics.confidence) == (1000, "exact")
    assert len(rows_of(oracle, table)) == 1000


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_compressed_batches_are_counted_without_reading_them(tmp_path, open_catalog, compression):
    feather.write_feather(pa.table({"a": range(1000)}), tmp_path / "t.feather", compression=compression, chunksize=400)
    assert open_catalog(tmp_path).table("t").scan.files[0].row_groups == (400, 400, 200)


def test_file_without_batches_and_batches_without_rows(tmp_path, open_catalog):
    data = pa.table({"a": pa.array([], pa.int8())})
    with pa.ipc.new_file(tmp_path / "none.arrow", data.schema):
        pass
    with pa.ipc.new_file(tmp_path / "empty.arrow", data.schema) as writer:
        writer.write_batch(pa.record_batch(data.columns and [pa.array([], pa.int8())], schema=data.schema))
    catalog = open_catalog(tmp_path)
    assert catalog.table("none").scan.files[0].row_groups == ()
    assert catalog.table("empty").scan.files[0].row_groups == (0,)
    assert catalog.table("none").statistics.rows == catalog.table("empty").statistics.rows == 0


def test_dictionary_batches_are_not_counted_as_rows(tmp_path, oracle, open_catalog):
    write(tmp_path / "t.arrow", pa.table({"s": pa.array(["u", "v"] * 50).dictionary_encode()}), 30)
    table = open_catalog(tmp_path).table("t")
    assert table.scan.files[0].row_groups == (30, 30, 30, 10)
    assert columns_of(table) == [("s", "VARCHAR")]


def test_several_ipc_files_are_one_table_if_their_schemas_agree(tmp_path, oracle, open_catalog):
    for i in range(2):
        write(tmp_path / f"t/{i}.arrow", pa.table({"a": [i]}))
    assert rows_of(oracle, open_catalog(tmp_path).table("t")) == oracle.rows("(VALUES (0), (1)) t(a)")
    write(tmp_path / "t/2.arrow", pa.table({"b": [1]}))
    with pytest.raises(NotSupported, match=r"2\.arrow has other columns"):
        open_catalog(tmp_path).table("t")


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0 and then nothing", b"x" * 100])
def test_file_that_is_no_ipc_file_is_named(tmp_path, open_catalog, content):
    (tmp_path / "bad.arrow").write_bytes(content)
    with pytest.raises(ReadError, match=r"bad\.arrow cannot be read as an Arrow IPC file") as caught:
        open_catalog(tmp_path).table("bad")
    assert caught.value.problem.code == "FILE_CORRUPT"


def test_stream_format_is_refused_by_name(tmp_path, open_catalog):
    data = pa.table({"a": [1]})
    with pa.ipc.new_stream(tmp_path / "t.arrow", data.schema) as writer:
        writer.write_table(data)
    with pytest.raises(ReadError, match="stream format"):
        open_catalog(tmp_path).table("t")


def test_column_of_a_type_duckdb_does_not_read_is_named(tmp_path, open_catalog):
    write(tmp_path / "t.arrow", pa.table({"a": [1], "wide": pa.array([Decimal(1)], pa.decimal256(50, 0))}))
    with pytest.raises(NotSupported, match='column "wide"'):
        open_catalog(tmp_path).table("t")


ARROW = pa.table(
    {
        "i": pa.array([1, None], pa.int32()),
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(15, 2)),
        "day": pa.array([dt.date(2024, 1, 2), None]),
        "ts": pa.array([dt.datetime(2024, 1, 2, 3), None], pa.timestamp("us")),
        "s": ["ü", None],
        "dict": pa.array(["u", None]).dictionary_encode(),
        "view": pa.array(["v", None], pa.string_view()),
        "nothing": pa.nulls(2),
        "half": pa.array([1.5, None], pa.float16()),
        "list": [[1, 2], None],
        "struct": [{"a": 1, "b": "x"}, None],
    }
)
TYPES = [
    ("i", "INTEGER"), ("d", "DECIMAL(15,2)"), ("day", "DATE"), ("ts", "TIMESTAMP"), ("s", "VARCHAR"), ("dict", "VARCHAR"),
    ("view", "VARCHAR"), ("nothing", "INTEGER"), ("half", "FLOAT"), ("list", "BIGINT[]"),
    ("struct", "STRUCT(a BIGINT, b VARCHAR)"),
]  # fmt: skip


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.to_reader(), lambda t: t.to_batches()[0]])
def test_arrow_in_memory_becomes_a_table(oracle, open_catalog, form):
    table = open_catalog({"t": form(ARROW)}).table("t")
    assert columns_of(table) == TYPES
    oracle.connection.register("wanted", ARROW.drop_columns(["half", "nothing", "dict"]))
    oracle.connection.register("ipc", ipc_dataset(table.scan))
    assert oracle.rows("(SELECT * EXCLUDE (half, nothing, dict) FROM ipc)") == oracle.rows("wanted")
    assert oracle.rows("(SELECT half, nothing, dict FROM ipc)") == oracle.rows(
        "(VALUES (1.5, NULL, 'u'), (NULL, NULL, NULL)) t(half, nothing, dict)"
    )


def test_in_memory_batches_have_122_880_rows(open_catalog):
    chunks = [pa.table({"a": range(50_000)}) for _ in range(6)]
    assert open_catalog({"t": pa.concat_tables(chunks)}).table("t").scan.files[0].row_groups == (122_880, 122_880, 54_240)


def test_dictionaries_that_differ_from_batch_to_batch_are_expanded(oracle, open_catalog):
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", None, "a"]).dictionary_encode()])
    table = open_catalog({"t": pa.table({"s": chunks})}).table("t")
    assert rows_of(oracle, table) == oracle.rows("(SELECT unnest(['a', 'b', 'c', NULL, 'a']) s)")


def test_empty_arrow_table_keeps_its_columns(open_catalog):
    table = open_catalog({"t": ARROW.slice(0, 0)}).table("t")
    assert (columns_of(table), table.statistics.rows) == (TYPES, 0)


def test_pandas_frame_has_duckdbs_types_and_no_index(oracle, open_catalog):
    days = pd.to_datetime(["2024-01-01", "2024-01-02"])
    frame = pd.DataFrame(
        {"a": [1, 2], "s": ["x", None], "t": days, "z": days.tz_localize("Europe/Oslo").as_unit("ns"), "o": [1.5, None]},
        index=[5, 6],
    )
    table = open_catalog({"t": frame}).table("t")
    oracle.connection.register("frame", frame)
    assert columns_of(table) == oracle.columns("frame")
    assert rows_of(oracle, table) == oracle.rows("frame")


def test_pandas_column_of_several_types_is_named(open_catalog):
    with pytest.raises(NotSupported, match="column mixed"):
        open_catalog({"t": pd.DataFrame({"mixed": [1, "x"]})})


def test_polars_frame_becomes_a_table(oracle, open_catalog):
    frame = pl.DataFrame(
        {
            "a": [1, 2],
            "s": ["x", None],
            "c": pl.Series(["u", "v"], dtype=pl.Categorical),
            "d": [Decimal("1.5"), None],
            "n": [None, None],
        }
    )
    table = open_catalog({"t": frame}).table("t")
    assert [text for _, text in columns_of(table)] == ["BIGINT", "VARCHAR", "VARCHAR", "DECIMAL(38,1)", "INTEGER"]
    assert rows_of(oracle, table) == oracle.rows(
        "(VALUES (1, 'x', 'u', 1.5, NULL), (2, NULL, 'v', NULL, NULL)) t(a, s, c, d, n)"
    )


def test_lazy_frame_is_refused_with_advice(open_catalog):
    with pytest.raises(ConfigError, match="collect"):
        open_catalog({"t": pl.LazyFrame({"a": [1]})})


def test_equal_column_names_are_told_apart_as_duckdb_does(oracle, open_catalog):
    data = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "A"])
    table = open_catalog({"t": data}).table("t")
    assert columns_of(table) == [("a", "BIGINT"), ("a_1", "BIGINT"), ("A_2", "BIGINT")]
    assert rows_of(oracle, table) == oracle.rows("(SELECT 1, 2, 3)".replace("1, 2, 3", '1 a, 2 a_1, 3 "A_2"'))


def test_uuid_and_json_extensions_survive(tmp_path, open_catalog):
    data = pa.table({"u": pa.array([b"0123456789abcdef"], pa.uuid()), "j": pa.array(['{"a":1}'], pa.json_())})
    assert columns_of(open_catalog({"t": data}).table("t")) == [("u", "UUID"), ("j", "JSON")]


def test_files_of_in_memory_tables_go_with_them(tmp_path, open_catalog):
    scratch = tmp_path / "scratch"
    catalog = open_catalog(scratch_dir=scratch)
    for name in ("a", "b", "c"):
        catalog.register(name, ARROW)
    catalog.unregister("a")
    catalog.register("b", ARROW, replace=True)
    catalog.sweep(lambda: ["q_1", "q_2"])
    catalog.sweep(lambda: ["q_2", "q_3"])
    assert len(list(scratch.iterdir())) == 4  # q_2 may read them
    catalog.sweep(lambda: ["q_3"])
    assert len(list(scratch.iterdir())) == 2
    catalog.close()
    assert list(scratch.iterdir()) == []


def test_failed_registration_leaves_no_file(tmp_path, open_catalog):
    catalog = open_catalog(scratch_dir=tmp_path)
    with pytest.raises(NotSupported):
        catalog.register("t", pa.table({"a": pa.array([Decimal(1)], pa.decimal256(50, 0))}))
    assert list(tmp_path.iterdir()) == []
