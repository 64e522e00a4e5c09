"""Arrow files of a user are read, checked and never mapped: nothing that happens to one can end the process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sabot_sql.catalog import ipc_files
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.ipc_dataset import ipc_dataset
from sabot_sql.catalog.ipc_files import IpcFile, IpcStream, check_batch, is_owned, ready_table
from sabot_sql.catalog.table import DataFile, ScanSpec, Table
from sabot_sql.errors import ReadError, SabotError
from sabot_sql.planner.duckdb_errors import translate

NUM_BATCHES, BATCH_ROWS = 8, 100_000


def rows(first: int = 0) -> pa.RecordBatch:
    numbers = np.arange(first, first + BATCH_ROWS)
    return pa.record_batch({"n": numbers, "s": pa.array(numbers).cast(pa.string()), "half": numbers / 2})


def write(path: Path, batches: list[pa.RecordBatch] | None = None, **options: Any) -> Path:
    batches = batches or [rows(number * BATCH_ROWS) for number in range(NUM_BATCHES)]
    with pa.ipc.new_file(path, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return path


def spec_of(path: Path, num_batches: int = NUM_BATCHES, owned: bool = False) -> ScanSpec:
    status = path.stat()
    lengths = (BATCH_ROWS,) * num_batches
    file = DataFile(str(path), status.st_size, status.st_mtime_ns, sum(lengths), lengths)
    return ScanSpec("ipc", (), (file,), {"owned": True} if owned else {})


def stream(spec: ScanSpec, columns: list[str] | None = None) -> IpcStream:
    return IpcStream(spec, [(i, 0, None) for i in range(len(spec.files))], columns)


SOURCES: dict[str, Callable[[ScanSpec], Any]] = {"stream": stream, "dataset": ipc_dataset}


def query(source: Any, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.register("t", source)
        try:
            found: list[tuple[Any, ...]] = connection.sql(sql).fetchall()
            return found
        except duckdb.Error as error:
            raise translate(error, sql) from error


@pytest.mark.parametrize("source", SOURCES)
def test_rows_come_whole_and_in_order_at_every_scan(tmp_path: Path, source: str) -> None:
    table = SOURCES[source](spec_of(write(tmp_path / "t.arrow")))
    total = NUM_BATCHES * BATCH_ROWS
    for _ in range(2):
        assert query(table, "SELECT count(*), sum(n), max(s), sum(half) FROM t") == [
            (total, total * (total - 1) // 2, "99999", total * (total - 1) / 4)
        ]
    assert query(table, "SELECT n FROM t LIMIT 3 OFFSET 250000") == [(250000,), (250001,), (250002,)]
    assert query(table, "SELECT count(*) FROM t a JOIN t b USING (n) WHERE b.s LIKE '1%'") == [(111111,)]


@pytest.mark.parametrize("how", ["half", "tail", "nothing"])
@pytest.mark.parametrize("source", SOURCES)
def test_file_cut_short_while_it_is_read_is_an_error_that_names_it(tmp_path: Path, source: str, how: str) -> None:
    path = write(tmp_path / "t.arrow")
    table = SOURCES[source](spec_of(path))
    os.truncate(path, {"half": path.stat().st_size // 2, "tail": path.stat().st_size - 1, "nothing": 0}[how])
    with pytest.raises(ReadError, match=f"file {path} has changed") as caught:
        query(table, "SELECT sum(n), max(s) FROM t WHERE half > 1")
    assert caught.value.problem.code == "FILE_CHANGED"


def test_file_cut_short_between_two_batches_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrow")
    batches = stream(spec_of(path)).batches()
    assert next(batches).equals(rows())
    os.truncate(path, path.stat().st_size // 3)
    with pytest.raises(ReadError, match="has changed since the query was planned"):
        list(batches)


def test_file_written_over_with_rows_of_the_same_length_is_an_error_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrow")
    batches = stream(spec_of(path)).batches()
    next(batches)
    data = path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(ReadError, match="has changed"):
        list(batches)


def damaged(path: Path, column: pa.Array) -> ScanSpec:
    batch = pa.record_batch({"n": np.arange(len(column)), "s": column})
    write(path, [batch])
    spec = spec_of(path, 1)
    return replace(spec, files=(replace(spec.files[0], row_groups=(len(column),)),))


def bad_offsets(step: int) -> pa.Array:
    offsets = np.arange(0, 1001 * 4, 4, dtype=np.int32)
    offsets[500] = step
    return pa.StringArray.from_buffers(1000, pa.py_buffer(offsets), pa.py_buffer(b"abcd" * 1000))


BAD = {
    "far": lambda: bad_offsets(2_000_000_000),
    "negative": lambda: bad_offsets(-8),
    "falling": lambda: bad_offsets(4000),
    "list": lambda: pa.ListArray.from_buffers(
        pa.list_(pa.int64()), 2, [None, pa.py_buffer(np.array([0, 1 << 20, 3], np.int32))], children=[pa.array([1, 2, 3])]
    ),
    "index": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 7_000_000], pa.int32()), pa.array(["a"]), safe=False),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("source", SOURCES)
def test_offsets_that_point_nowhere_are_a_corrupt_file(tmp_path: Path, source: str, bad: str) -> None:
    path = tmp_path / "t.arrow"
    spec = damaged(path, BAD[bad]())
    with pytest.raises(ReadError, match=f"file {path} cannot be read as an Arrow IPC file") as caught:
        query(SOURCES[source](spec), "SELECT max(s), count(*) FROM t WHERE n >= 0")
    assert caught.value.problem.code == "FILE_CORRUPT"
    with pytest.raises(ReadError, match=str(path)):
        ready_table(spec)


def test_text_that_is_not_utf8_is_an_error_of_the_engine(tmp_path: Path) -> None:
    spec = damaged(tmp_path / "t.arrow", pa.array([b"\xff\xfe", b"b"]).view(pa.string()))
    with pytest.raises(SabotError):
        query(stream(spec), "SELECT max(s) FROM t")


def test_sound_data_of_every_layout_passes_the_check() -> None:
    arrays = [
        pa.array(["a", None, ""]), pa.array(["a", None, ""], pa.large_string()), pa.array([b"\xff", None, b""]),
        pa.array([[1], None, []]), pa.array([{"x": "a"}, None, {"x": None}]), pa.array(["a", None, "b"]).dictionary_encode(),
        pa.array([True, None, False]), pa.nulls(3), pa.array([1, None, 2]), pa.array(["a" * 40, None, ""], pa.string_view()),
        pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    ]  # fmt: skip
    for array in arrays:
        check_batch(pa.record_batch({"c": array}))
        check_batch(pa.record_batch({"c": array}).slice(1, 2))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_only_the_columns_asked_for_are_read(tmp_path: Path, compression: str | None) -> None:
    spec = spec_of(write(tmp_path / "t.arrow", compression=compression))
    assert [b.schema.names for b in stream(spec, ["half", "n"]).batches()] == [["n", "half"]] * NUM_BATCHES
    assert query(stream(spec, []), "SELECT count(*) FROM t") == [(NUM_BATCHES * BATCH_ROWS,)]


def test_ranges_cut_across_batches(tmp_path: Path) -> None:
    with IpcFile(spec_of(write(tmp_path / "t.arrow")).files[0]) as file:
        found = [n for b in file.batches(BATCH_ROWS - 2, BATCH_ROWS + 4) for n in b.column("n").to_pylist()]
    assert found == list(range(BATCH_ROWS - 2, 2 * BATCH_ROWS + 2))


def test_filters_on_columns_of_any_name_are_kept(tmp_path: Path) -> None:
    names = ["n", 'a "b"', "x and (y", "ü.z", " "]
    batch = pa.record_batch({name: [1, 2, 3] for name in names})
    path = write(tmp_path / "t.arrow", [batch])
    spec = spec_of(path, 1)
    spec = replace(spec, files=(replace(spec.files[0], row_groups=(3,)),))
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        assert query(ipc_dataset(spec), f"SELECT n FROM t WHERE {quoted} > 2") == [(3,)]
    assert ipc_dataset(spec).scanner(columns=["n"], filter=pc.field("ü.z") > 1).to_table().num_rows == 2


def test_only_files_of_tables_in_memory_are_mapped(tmp_path: Path) -> None:
    table = pa.Table.from_batches([rows()])
    write(tmp_path / "file.arrow")
    with Catalog({"mine": table, "file": str(tmp_path / "file.arrow")}, scratch_dir=tmp_path / "tables") as catalog:
        assert is_owned(catalog.table("mine").scan)
        assert not is_owned(catalog.table("file").scan)
        held_before = pa.total_allocated_bytes()
        mapped = ready_table(catalog.table("mine").scan)
        assert (mapped is not None, pa.total_allocated_bytes() - held_before < 1 << 20) == (True, True)
        read = ready_table(catalog.table("file").scan)
        assert read is not None
        assert pa.total_allocated_bytes() - held_before >= read.nbytes
        assert ready_table(catalog.table("file").scan) is read


def test_tables_held_in_memory_keep_to_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [spec_of(write(tmp_path / f"{number}.arrow")) for number in range(3)]
    size_bytes = specs[0].files[0].size_bytes
    monkeypatch.setattr(ipc_files, "ALL_HELD_BYTES", 2 * size_bytes + 1000)
    held = [ready_table(spec) for spec in specs]
    assert [table is None for table in held] == [False, False, True]
    held.pop(0)
    assert ready_table(specs[2]) is not None


def test_a_look_at_a_file_that_is_cut_short_meanwhile_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrow")
    whole = path.read_bytes()
    with Catalog({"t": str(path)}) as catalog:
        assert table_of(catalog).statistics.rows == NUM_BATCHES * BATCH_ROWS
        for size in (0, 5, 20, len(whole) // 2, len(whole) - 5):
            path.write_bytes(whole[:size])
            with pytest.raises(ReadError, match="t.arrow cannot be read as an Arrow IPC file"):
                table_of(catalog)


def table_of(catalog: Catalog) -> Table:
    return catalog.table("t")


def test_footers_that_lie_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "t.arrow")
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    with Catalog({"t": str(path)}) as catalog:
        for _ in range(60):
            data = bytearray(whole)
            at = len(data) - 1 - int(rng.integers(0, 1500))
            data[at] = int(rng.integers(0, 256))
            path.write_bytes(data)
            try:
                table_of(catalog)
            except SabotError:
                continue
