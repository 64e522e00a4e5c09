"""`sabot-sql jobs history`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

import sabot_sql
from tests.cli.in_process import sabot


def run_some(folder: Path) -> None:
    with sabot_sql.connect(f"embedded://{folder}", data={"t": pa.table({"a": [1, 2]})}, num_local_agents=0) as db:
        for number in (1, 2):
            db.execute_sql(f"select a from t where a >= {number}")


def test_history_lists_shapes_without_literals(tmp_path: Path) -> None:
    run_some(tmp_path)
    done = sabot("jobs", "history", "--state-dir", str(tmp_path), "--format", "json")
    (row,) = json.loads(done.out)
    assert (row["runs"], row["route"], row["shape"], row["tables"]) == (2, "local", "select a from t where a >= ?", "t")
    assert row["rows_out"] in (1, 2)
    assert row["local_ms"] > 0


def test_reset_forgets_it(tmp_path: Path) -> None:
    run_some(tmp_path)
    done = sabot("jobs", "history", "--reset", SABOT_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.out, done.err) == (0, "", "forgot 1 shapes of statements\n")
    assert json.loads(sabot("jobs", "history", "--state-dir", str(tmp_path), "--format", "json").out) == []


def test_a_folder_without_history_is_an_error_that_names_it(tmp_path: Path) -> None:
    done = sabot("jobs", "history", "--state-dir", str(tmp_path))
    assert done.returncode != 0
    assert f"there is no history in {tmp_path}" in done.err
    assert "which state folder?" in sabot("jobs", "history").err
