"""What is remembered of queries: learnt, trusted, forgotten, kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.engine.averages import Mean
from sabot_sql.engine.history import History, close_history, open_history
from sabot_sql.engine.history_file import HistoryFile
from sabot_sql.engine.shape_history import KEPT_RUNS, Run
from sabot_sql.errors import ConfigError
from sabot_sql.planner.parse import parse
from sabot_sql.planner.past import Past


def make_table(folder: Path, rows: int = 1_000, name: str = "t") -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    numbers = pa.array(range(rows))
    pq.write_table(pa.table({"a": numbers, "b": pc.bit_wise_and(numbers, 15)}), folder / name / "x.parquet")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    make_table(tmp_path / "data")
    return Catalog(str(tmp_path / "data"), scratch_dir=tmp_path / "scratch")


def expect(history: History, catalog: Catalog, sql: str, params: object = None) -> Past | None:
    return history.expect(parse(sql), (catalog.table("t"),), params)[0]  # type: ignore[arg-type]


def add(history: History, catalog: Catalog, sql: str, params: object = None, **figures: object) -> None:
    run = Run(**{"route": "local", "rows_out": 10, "elapsed_ms": 5.0, "rows_estimated": 99, **figures})  # type: ignore[arg-type]
    history.add(parse(sql), (catalog.table("t"),), params, run)  # type: ignore[arg-type]


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_same_statement_is_expected_to_do_the_same_again(catalog: Catalog) -> None:
    history = History()
    assert expect(history, catalog, "select a from t where b = 1") is None
    add(history, catalog, "select a from t where b = 1", rows_out=63, rows_scanned=1_000, work=1_000)
    found = expect(history, catalog, "select a from t where b = 1")
    assert found is not None
    assert (found.same, found.rows_out, found.work, found.local_ms) == (True, 63, 1_000, 5.0)


def test_other_literals_are_trusted_after_three_runs_that_agree(catalog: Catalog) -> None:
    history = History()
    for number, rows in enumerate((60, 65, 62)):
        found = expect(history, catalog, "select a from t where b = 9")
        assert found is None or found.rows_out is None
        add(history, catalog, f"select a from t where b = {number}", rows_out=rows)
    found = expect(history, catalog, "select a from t where b = 9")
    assert found is not None
    assert (found.same, 60 <= (found.rows_out or 0) <= 65) == (False, True)


def test_figures_that_differ_with_the_literal_are_not_trusted(catalog: Catalog) -> None:
    history = History()
    for number, rows in enumerate((1, 1_000_000, 20, 5_000)):
        add(history, catalog, f"select a from t where b < {number}", rows_out=rows)
    found = expect(history, catalog, "select a from t where b < 77")
    assert found is not None
    assert found.rows_out is None


def test_parameters_are_literals(catalog: Catalog) -> None:
    history = History()
    add(history, catalog, "select a from t where b = $x", {"x": 1}, rows_out=63)
    same, other = (expect(history, catalog, "select a from t where b = $x", {"x": x}) for x in (1, 2))
    assert same is not None
    assert other is not None
    assert (same.rows_out, other.rows_out) == (63, None)


def test_another_dataset_under_the_same_name_has_no_history(catalog: Catalog, tmp_path: Path) -> None:
    history = History()
    add(history, catalog, "select a from t")
    make_table(tmp_path / "other")
    other = Catalog(str(tmp_path / "other"), scratch_dir=tmp_path / "scratch2")
    assert expect(history, other, "select a from t") is None


def test_changed_files_are_no_repetition_and_a_table_of_another_size_no_history(catalog: Catalog, tmp_path: Path) -> None:
    history = History()
    for _ in range(3):
        add(history, catalog, "select a from t where b = 1", rows_out=63)
    make_table(tmp_path / "data", 1_100)
    found = expect(history, catalog, "select a from t where b = 1")
    assert found is not None
    assert (found.same, found.rows_out) == (False, 63)
    make_table(tmp_path / "data", 5_000)
    assert expect(history, catalog, "select a from t where b = 1") is None


def test_a_time_that_is_not_measured_again_is_forgotten(catalog: Catalog) -> None:
    history = History()
    add(history, catalog, "select a from t", route="distributed", elapsed_ms=900.0)
    known = []
    for _ in range(KEPT_RUNS):
        add(history, catalog, "select a from t")
        found = expect(history, catalog, "select a from t")
        assert found is not None
        known.append(found.distributed_ms)
    assert known == [900.0] * (KEPT_RUNS - 1) + [None]


def test_a_disturbed_run_does_not_make_a_repeated_statement_slow(catalog: Catalog) -> None:
    history = History()
    for elapsed_ms in (8.0, 500.0, 9.0):
        add(history, catalog, "select a from t", elapsed_ms=elapsed_ms)
    found = expect(history, catalog, "select a from t")
    assert found is not None
    assert found.local_ms == pytest.approx(8.0, rel=0.2)


def test_rows_are_counted_first_and_then_ever_more_seldom(catalog: Catalog) -> None:
    history, statement, tables = History(), parse("select a from t where b = 1"), (catalog.table("t"),)
    counted = []
    for run in range(40):
        if history.expect(statement, tables)[1]:
            counted.append(run)
        add(history, catalog, statement.sql, rows_scanned=1, work=1)
    assert counted == [0, 1, 2, 4, 8, 16, 32]


def test_a_mean_is_trusted_when_its_figures_lie_close() -> None:
    close, wide = Mean(), Mean()
    for figure in (100, 130, 90, 110):
        close.add(figure)
    for figure in (100, 1_000, 10, 100):
        wide.add(figure)
    assert close.trusted() == pytest.approx(108, rel=0.05)
    assert wide.trusted() is None


def test_history_outlives_the_process_that_wrote_it(catalog: Catalog, tmp_path: Path) -> None:
    history = open_history(tmp_path)
    add(history, catalog, "select a from t where b = 1", rows_out=63, rows_scanned=1_000, work=1_000)
    history.keep_speed("2 threads", 17_000.0, 12.0, 0.5)
    close_history(history)
    again = open_history(tmp_path)
    try:
        until(lambda: expect(again, catalog, "select a from t where b = 1"))
        found = expect(again, catalog, "select a from t where b = 1")
        assert found is not None
        assert (found.same, found.work, found.rows_out) == (True, 1_000, 63)
        assert again.speed("2 threads") == (17_000.0, 12.0, 0.5)
    finally:
        close_history(again)


def test_engines_of_one_process_share_the_history_of_a_folder(tmp_path: Path) -> None:
    first, second = open_history(tmp_path), open_history(tmp_path)
    assert first is second
    close_history(first)
    second.keep_speed("m", 1.0, 1.0)
    close_history(second)
    third = open_history(tmp_path)
    found = third.speed("m")
    close_history(third)
    assert third is not second
    assert found == (1.0, 1.0, 1.0)


def test_a_reset_by_another_process_is_noticed(catalog: Catalog, tmp_path: Path) -> None:
    history = open_history(tmp_path)
    try:
        add(history, catalog, "select a from t")
        other = HistoryFile(tmp_path / "history.db")
        until(lambda: len(other.rows()) == 1)
        assert other.reset() == 1
        other.close()
        until(lambda: not history.rows())
    finally:
        close_history(history)


def test_a_file_that_is_no_history_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match=r"history\.db cannot be used"):
        open_history(tmp_path)


def test_a_query_learns_from_its_runs(tmp_path: Path) -> None:
    make_table(tmp_path, 250_000)
    sql = "select a from t where b + a % 3 = 5"
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=0) as db:
        before = db.explain(sql).estimate
        rows = len(db.execute_sql(sql))
        after = db.explain(sql).estimate
    assert before["rows_out"] != rows
    assert (after["rows_out"], after["rows_scanned"]) == (rows, 250_000)
    assert after["inputs"][-1] == f"the same statement gave {rows:,} rows of 250,000"


def test_rows_are_not_counted_where_a_bound_decides(tmp_path: Path) -> None:
    make_table(tmp_path, 50_000)
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=0) as db:
        found = db.execute_sql("select a from t where b + a % 3 = 5")
        after = db.explain("select a from t where b + a % 3 = 5").estimate
    assert found.reason.startswith("at most 50,000 rows < threshold")
    assert (after["rows_out"], after["inputs"][-1]) == (len(found), f"the same statement gave {len(found):,} rows")


def test_failed_and_cancelled_queries_teach_nothing(tmp_path: Path) -> None:
    make_table(tmp_path, 100)
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=0) as db:
        with pytest.raises(sabot_sql.SabotError):
            db.execute_sql("select error(a::varchar) from t")
        assert db._service.manager._engine.learning.history.rows() == []  # type: ignore[attr-defined]
        db.execute_sql("select a from t")
        assert [r["runs"] for r in db._service.manager._engine.learning.history.rows()] == [1]  # type: ignore[attr-defined]
