from __future__ import annotations

import threading
import time
from pathlib import Path

import pyarrow as pa

from sabot_sql.engine.request import QueryResult
from sabot_sql.jobs.results import ResultStore, manifest_of
from sabot_sql.types import Field, parse_type

MIB = 1 << 20


def result(query_id: str, num_bytes: int = 80) -> QueryResult:
    table = pa.table({"a": pa.array(range(num_bytes // 8), pa.int64()), "b": pa.nulls(num_bytes // 8, pa.decimal128(38, 2))})
    columns = (Field("a", parse_type("BIGINT")), Field("b", parse_type("DECIMAL(38,2)")))
    return QueryResult(query_id, table.select(["a"]), columns[:1], "local", "small", {"rows": 1})


def test_result_is_kept_in_memory_and_given_back_as_it_was(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, 60)
    kept = result("q_1")
    store.keep(kept, fetched_later=True)
    assert store.get("q_1") == kept
    assert list(tmp_path.iterdir()) == []


def test_oldest_results_move_to_files_beyond_the_budget(tmp_path: Path) -> None:
    full = threading.Event()
    store = ResultStore(tmp_path, 60, full.set, memory_bytes=3 * MIB)
    for i in range(5):
        assert full.is_set() == (i > 3)
        store.keep(result(f"q_{i}", MIB), fetched_later=True)
    store.spill()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["q_0.arrow", "q_1.arrow"]
    assert all(store.get(f"q_{i}").table.equals(result("", MIB).table) for i in range(5))


def test_result_nobody_asked_to_fetch_goes_when_memory_is_short_or_its_query_is_forgotten(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, 60, memory_bytes=MIB)
    for i in range(3):
        store.keep(result(f"q_{i}", MIB // 2), fetched_later=False)
    store.spill()
    store.forget("q_1")
    assert [store.get(f"q_{i}") is None for i in range(3)] == [True, True, False]
    assert list(tmp_path.iterdir()) == []


def test_large_result_nobody_fetches_is_only_referred_to(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, 60)
    large = result("q_1", 2 * MIB)
    store.keep(large, fetched_later=False)
    assert store.get("q_1").table is large.table
    del large
    assert store.get("q_1") is None


def test_results_go_when_their_time_is_over(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, 0.05)
    store.keep(result("q_1"), fetched_later=True, save=True)
    store.keep(result("q_2"), fetched_later=True)
    assert store.sweep() == []
    time.sleep(0.1)
    assert store.get("q_1") is None
    assert sorted(store.sweep()) == ["q_1", "q_2"]
    assert list(tmp_path.iterdir()) == []


def test_saved_result_is_restored_from_its_manifest(tmp_path: Path) -> None:
    kept = result("q_1")
    manifest = manifest_of(kept, ResultStore(tmp_path, 60).keep(kept, fetched_later=True, save=True))
    later = ResultStore(tmp_path, 60)
    assert later.restore("q_1", manifest, time.time())
    assert later.get("q_1") == kept
    assert not later.restore("q_1", manifest, time.time() - 61)
    assert not later.restore("q_2", {**manifest, "file": None}, time.time())


def test_mapped_file_stays_readable_after_it_was_swept(tmp_path: Path) -> None:
    store = ResultStore(tmp_path, 60, memory_bytes=0)
    store.keep(result("q_1", MIB), fetched_later=True)
    store.spill()
    table = store.get("q_1").table
    (tmp_path / "q_1.arrow").unlink()
    assert table.equals(result("", MIB).table)
