"""Spill files come back as they were written and go with their scope, whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.errors import Cancelled, OutOfMemory, ReadError
from sabot_sql.executor import spill_partitions
from sabot_sql.executor.duckdb_session import DuckSession, Limits
from sabot_sql.executor.operator import MemoryTracker
from sabot_sql.executor.spill import SpillArea, SpillFile
from sabot_sql.executor.spill_partitions import SpillPartitions
from tests.executor.spilling import files_in, short_task
from tests.executor.tables import VALUES, batch_of_rows, rows_of, schema_of, stats, task


def one_of_all() -> pa.RecordBatch:
    """A row with each value of each type, and NULLs."""
    length = max(map(len, VALUES.values()))
    rows = [tuple((v * length)[i] for v in VALUES.values()) for i in range(length)]
    return batch_of_rows(list(VALUES), [*rows, (None,) * len(VALUES)])


def file_of(area: SpillArea, *batches: pa.RecordBatch) -> SpillFile:
    file = area.scope("job").create(batches[0].schema, "a test", stats())
    for batch in batches:
        file.write(batch)
    file.finish()
    return file


def test_batches_come_back_to_the_bit(tmp_path: Path) -> None:
    batch = one_of_all()
    file = file_of(SpillArea(tmp_path), batch, batch.slice(3, 5))
    for _ in range(2):
        found = list(file.batches(task()))
        assert [b.schema for b in found] == [batch.schema] * 2
        assert list(map(repr, rows_of(found))) == list(map(repr, rows_of([batch, batch.slice(3, 5)])))
    assert (file.rows, file.size_bytes > 0) == (batch.num_rows + 5, True)


def test_rows_without_columns_come_back(tmp_path: Path) -> None:
    empty = batch_of_rows([], [(), (), ()])
    nothing = pa.RecordBatch.from_struct_array(pa.array([{}] * 3, pa.struct([])))
    assert [b.num_rows for b in file_of(SpillArea(tmp_path), nothing).batches(task())] == [3]
    assert empty.schema == nothing.schema


def test_a_scope_takes_its_files_with_it_and_leaves_those_of_others(tmp_path: Path) -> None:
    area = SpillArea(tmp_path)
    one, other = area.scope("job"), area.scope("job")
    for scope in (one, one, other):
        scope.create(one_of_all().schema, "a test", stats()).write(one_of_all())
    assert (len(files_in(tmp_path)), area.used_bytes > 0) == (4, True)
    one.close()
    assert len(files_in(tmp_path)) == 2
    other.close()
    other.close()
    assert (files_in(tmp_path), area.used_bytes) == ([], 0)


def test_a_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    file = file_of(SpillArea(tmp_path), one_of_all(), one_of_all())
    (path,) = [p for p in files_in(tmp_path) if p.is_file()]
    os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(ReadError, match="what a test spilled"):
        list(file.batches(task()))


def test_a_disk_that_is_full_is_told_with_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    area = SpillArea(tmp_path)
    monkeypatch.setattr(area, "next_path", lambda job: tmp_path / "full")
    scope = area.scope("job")
    file = scope.create(pa.schema({"n": pa.int64()}), "a test", stats())
    with pytest.raises(OutOfMemory, match="no space left in .* where a test spills") as caught:
        for seed in range(100):
            file.write(pa.record_batch({"n": np.random.default_rng(seed).integers(0, 1 << 60, 10_000)}))
    assert "agents.spill_dir" in caught.value.hint
    scope.close()
    assert files_in(tmp_path) == []


def test_a_folder_that_was_removed_means_that_the_job_was_dropped(tmp_path: Path) -> None:
    (tmp_path / "area").mkdir()
    scope = SpillArea(tmp_path / "area").scope("job")
    (tmp_path / "area").rmdir()
    with pytest.raises(Cancelled):
        scope.create(one_of_all().schema, "a test", stats()).write(one_of_all())


@pytest.mark.parametrize("level", range(spill_partitions.LEVELS))
def test_parts_have_all_rows_about_evenly_and_a_key_in_one_place(level: int, tmp_path: Path) -> None:
    context = short_task(tmp_path, 1 << 20)
    assert context.spill is not None
    schema = schema_of(["BIGINT", "BIGINT"])
    batch = batch_of_rows(["BIGINT", "BIGINT"], [(i % 3000, i) for i in range(6000)])
    parts = SpillPartitions(context.spill, batch.schema, [0], [schema[0].type], level, "a test", stats(), context)
    for at in range(0, 6000, 500):
        parts.add(batch.slice(at, 500))
    found = [rows_of(list(f.batches(context))) for f in parts.finish()]
    assert sorted(row for rows in found for row in rows) == sorted(rows_of([batch]))
    keys = [{k for k, _ in rows} for rows in found]
    assert sum(map(len, keys)) == 3000
    assert all(100 < len(k) < 300 for k in keys)


def test_rows_are_split_a_bounded_number_of_times(tmp_path: Path) -> None:
    context = short_task(tmp_path, 1 << 20)
    assert context.spill is not None
    with pytest.raises(OutOfMemory, match="a test has too many rows of the same keys") as caught:
        SpillPartitions(context.spill, pa.schema([]), [], [], spill_partitions.LEVELS, "a test", stats(), context)
    assert "agents.memory_bytes" in caught.value.hint


def test_operators_share_what_those_before_them_left() -> None:
    memory = MemoryTracker(80 << 20)
    memory.begin([None])
    assert memory.share_bytes == 35 << 20
    memory.reserve(30 << 20, "a table")
    assert memory.share_bytes == 35 << 20
    memory.begin([])
    assert memory.share_bytes == 40 << 20
    memory.unsettle(1)
    assert memory.share_bytes == 20 << 20
    memory.begin([None, 4 << 20, 1 << 30])
    assert memory.share_bytes == 9 << 20


def test_duckdb_spills_into_its_folder_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "duckdb"
    session = DuckSession(Limits(64 << 20, 0, str(folder), 4 << 30))
    assert not folder.exists()
    with session.cursor(task()) as cursor:
        sql = "SELECT a FROM (SELECT hash(i) AS a, i AS b, repeat('x', i % 50) AS c FROM range(3000000) r(i)) ORDER BY a, b, c"
        batches = cursor.batches(sql, 1 << 16)
        first = next(batches)
        assert files_in(folder)
        assert first.num_rows + sum(b.num_rows for b in batches) == 3_000_000
    session.close()
    assert not files_in(folder)


def test_duckdb_that_may_spill_no_more_names_the_setting(tmp_path: Path) -> None:
    session = DuckSession(Limits(64 << 20, 0, str(tmp_path / "duckdb"), 8 << 20))
    with session.cursor(task()) as cursor, pytest.raises(OutOfMemory) as caught:
        list(cursor.batches("SELECT hash(i) AS a, i FROM range(20000000) r(i) ORDER BY a", 1 << 16))
    session.close()
    assert "agents.spill_bytes" in caught.value.hint
