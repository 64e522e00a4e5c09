"""TPC-H over the agents: right answers, both agents at work, kernels that cannot be done without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql.client.difference import difference

QUERIES = sorted((Path(__file__).parents[2] / "bench" / "accept" / "tpch" / "queries").glob("*.sql"))
NINE = [p for p in QUERIES if p.stem in ("q01", "q03", "q05", "q06", "q10", "q12", "q14", "q18", "q19")]
BREAKS_KERNELS = """
import os

def break_kernels():
    from sabot_sql.executor.kernels.compile import Kernel

    def broken(self, *args):
        raise RuntimeError("this kernel was broken by a test")

    Kernel.__call__ = broken

os.register_at_fork(after_in_child=break_kernels)
"""


@pytest.fixture(scope="module")
def db(tpch: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data=str(tpch), num_local_agents=2) as db:
        yield db


@pytest.mark.parametrize("path", QUERIES, ids=lambda p: p.stem)
def test_two_agents_give_duckdbs_answer(path: Path, db: sabot_sql.Connection, tpch_oracle: duckdb.DuckDBPyConnection) -> None:
    result = db.execute_sql(path.read_text(), route="distributed", timeout_s=60)
    assert difference(tpch_oracle.sql(path.read_text()).to_arrow_table(), result.to_arrow()) == ""
    assert result.stats["agents"] == 2


@pytest.mark.parametrize("path", NINE, ids=lambda p: p.stem)
def test_explain_analyze_shows_both_agents_and_kernels(path: Path, db: sabot_sql.Connection) -> None:
    explanation = db.explain(path.read_text(), route="distributed", analyze=True)
    lines = explanation.text.splitlines()
    computing = [line for line in lines if "HashJoin" in line or "HashAggregate" in line]
    assert computing
    assert all("[numba]" in line for line in computing)
    scans = [s for s in explanation.stages if any("Scan lineitem" in o or "Scan orders" in o for o in s["operators"])]
    assert all(s["agents"] == ["agent-0", "agent-1"] for s in scans)


def test_with_broken_kernels_queries_fail_instead_of_falling_back(
    tpch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAKS_KERNELS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with sabot_sql.connect("embedded:", data=str(tpch), num_local_agents=2) as db:
        for path in NINE:
            with pytest.raises(sabot_sql.SabotError, match="broken by a test"):
                db.execute_sql(path.read_text(), route="distributed", timeout_s=60)
