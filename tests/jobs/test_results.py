from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from sabot_sql.catalog import disk_room
from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import ExecutionError, QueryError
from sabot_sql.jobs import result_files
from sabot_sql.jobs.result_files import ResultFiles
from sabot_sql.jobs.results import ResultStore, manifest_of
from sabot_sql.types import Field, parse_type

MIB = 1 << 20


def result(query_id: str, num_bytes: int = 80) -> QueryResult:
    table = pa.table({"a": pa.array(range(num_bytes // 8), pa.int64()), "b": pa.nulls(num_bytes // 8, pa.decimal128(38, 2))})
    columns = (Field("a", parse_type("BIGINT")), Field("b", parse_type("DECIMAL(38,2)")))
    return QueryResult(query_id, table.select(["a"]), columns[:1], "local", "small", {"rows": 1})


def store_in(folder: Path, ttl_s: float = 60, on_full=lambda: None, on_gone=lambda ids: None, **settings: int) -> ResultStore:
    named = {f"result_{name}": value for name, value in settings.items()}
    return ResultStore(ResultFiles(folder), Settings(result_ttl_s=ttl_s, **named), on_full, on_gone)


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def test_result_is_kept_in_memory_and_given_back_as_it_was(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    kept = result("q_1")
    store.keep(kept, fetched_later=True)
    assert store.get("q_1") == kept
    assert names(tmp_path) == []


def test_oldest_results_move_to_files_beyond_the_budget(tmp_path: Path) -> None:
    full = threading.Event()
    store = store_in(tmp_path, on_full=full.set, memory_bytes=3 * MIB)
    for i in range(5):
        assert full.is_set() == (i > 3)
        store.keep(result(f"q_{i}", MIB), fetched_later=True)
    store.spill()
    assert names(tmp_path) == ["q_0", "q_1"]
    assert all(store.get(f"q_{i}").table.equals(result("", MIB).table) for i in range(5))


def test_result_nobody_asked_to_fetch_goes_when_memory_is_short_or_its_query_is_forgotten(tmp_path: Path) -> None:
    store = store_in(tmp_path, memory_bytes=MIB)
    for i in range(3):
        store.keep(result(f"q_{i}", MIB // 2), fetched_later=False)
    store.spill()
    store.forget("q_1")
    assert [store.get(f"q_{i}") is None for i in range(3)] == [True, True, False]
    assert names(tmp_path) == []


def test_large_result_nobody_fetches_is_only_referred_to(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    large = result("q_1", 2 * MIB)
    store.keep(large, fetched_later=False)
    assert store.get("q_1").table is large.table
    del large
    assert store.get("q_1") is None


def test_result_that_memory_has_no_room_for_is_written_at_once(tmp_path: Path) -> None:
    store = store_in(tmp_path, memory_bytes=MIB)
    store.keep(result("q_1", 2 * MIB), fetched_later=True)
    assert (names(tmp_path), store.held_bytes) == (["q_1"], 0)
    assert store.get("q_1").table.num_rows == 2 * MIB // 8


def test_answer_above_the_limit_is_refused_with_the_name_of_the_setting(tmp_path: Path) -> None:
    store = store_in(tmp_path, max_bytes=MIB)
    store.keep(result("q_1", MIB), fetched_later=True)
    for fetched_later in (True, False):
        with pytest.raises(QueryError, match=r"1\.0 MiB.*results\.max_bytes") as caught:
            store.keep(result("q_2", MIB + 8), fetched_later)
        assert caught.value.problem.code == "RESULT_TOO_LARGE"
    assert store.get("q_2") is None


def test_slice_of_a_large_table_counts_by_its_rows(tmp_path: Path) -> None:
    part = result("q_1", 4 * MIB)
    part.table = part.table.slice(0, 10)
    store_in(tmp_path, max_bytes=MIB).keep(part, fetched_later=False)


def test_files_stay_within_their_room_and_fetched_ones_go_first(tmp_path: Path) -> None:
    gone: list[str] = []
    store = store_in(tmp_path, on_gone=gone.extend, memory_bytes=0, disk_bytes=7 * MIB // 2)
    for name in ("q_1", "q_2", "q_3"):
        store.keep(result(name, MIB), fetched_later=True)
    assert store.get("q_2") is not None
    store.keep(result("q_4", MIB), fetched_later=True)
    store.keep(result("q_5", MIB), fetched_later=True)
    assert gone == ["q_2", "q_1"]
    assert names(tmp_path) == ["q_3", "q_4", "q_5"]
    assert [store.lacks(q) for q in ("q_1", "q_2", "q_3")] == [True, True, False]


def test_files_of_an_earlier_process_count_and_halves_are_removed(tmp_path: Path) -> None:
    gone: list[str] = []
    store_in(tmp_path, memory_bytes=0).keep(result("q_1", MIB), fetched_later=True)
    (tmp_path / "q_2.part").write_bytes(b"half")
    later = store_in(tmp_path, on_gone=gone.extend, memory_bytes=0, disk_bytes=3 * MIB // 2)
    assert names(tmp_path) == ["q_1"]
    later.keep(result("q_3", MIB), fetched_later=True)
    assert (gone, names(tmp_path)) == (["q_1"], ["q_3"])


def test_halves_of_servers_that_have_ended_are_removed_from_a_shared_folder(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    space, old_s = result_files.pid_space(), time.time() - result_files.ABANDONED_S - 1
    for name in (f"q_1.{space}.{ended.pid}.part", f"q_2.{space}.{os.getpid()}.part", "q_3.elsewhere.1.part", "q_4.part"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "q_5.elsewhere.1.part").write_bytes(b"half")
    os.utime(tmp_path / "q_5.elsewhere.1.part", (old_s, old_s))
    ResultFiles(tmp_path, shared=True)
    assert [path.name.partition(".")[0] for path in sorted(tmp_path.iterdir())] == ["q_2", "q_3", "q_4"]


def test_result_larger_than_all_files_may_be_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path, disk_bytes=MIB)
    with pytest.raises(QueryError, match="results.disk_bytes") as caught:
        store.keep(result("q_1", 2 * MIB), fetched_later=True, save=True)
    assert caught.value.problem.code == "RESULT_TOO_LARGE"
    assert names(tmp_path) == []


def test_full_disk_is_an_error_for_a_job_and_the_end_of_a_spilled_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    store = store_in(tmp_path, on_gone=gone.extend, memory_bytes=3 * MIB // 2)
    monkeypatch.setattr(disk_room, "RESERVE_BYTES", 1 << 60)
    monkeypatch.setattr(disk_room, "RESERVE_SHARE", 1)
    with pytest.raises(ExecutionError, match="no room"):
        store.keep(result("q_1", MIB), fetched_later=True, save=True)
    store.keep(result("q_2", MIB), fetched_later=True)
    store.keep(result("q_3", MIB), fetched_later=True)
    store.spill()
    assert (gone, store.held_bytes, names(tmp_path)) == (["q_2"], MIB, [])


def test_deleted_result_leaves_neither_memory_nor_file(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.keep(result("q_1", MIB), fetched_later=True, save=True)
    store.delete("q_1")
    store.delete("q_1")
    assert (store.get("q_1"), store.held_bytes, names(tmp_path)) == (None, 0, [])


def test_results_go_when_their_time_is_over(tmp_path: Path) -> None:
    store = store_in(tmp_path, 0.05)
    store.keep(result("q_1"), fetched_later=True, save=True)
    store.keep(result("q_2"), fetched_later=True)
    assert store.sweep() == []
    time.sleep(0.1)
    assert store.get("q_1") is None
    assert sorted(store.sweep()) == ["q_1", "q_2"]
    assert names(tmp_path) == []


def test_saved_result_is_restored_from_its_manifest(tmp_path: Path) -> None:
    kept = result("q_1")
    manifest = manifest_of(kept, store_in(tmp_path).keep(kept, fetched_later=True, save=True))
    later = store_in(tmp_path)
    assert later.restore("q_1", manifest, time.time())
    assert later.get("q_1") == kept
    assert not later.restore("q_1", manifest, time.time() - 61)
    assert not later.restore("q_2", {**manifest, "file": None}, time.time())


def test_mapped_file_stays_readable_after_it_was_swept(tmp_path: Path) -> None:
    store = store_in(tmp_path, memory_bytes=0)
    store.keep(result("q_1", MIB), fetched_later=True)
    table = store.get("q_1").table
    (tmp_path / "q_1.arrow").unlink()
    assert table.equals(result("", MIB).table)
