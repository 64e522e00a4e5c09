"""The 22 TPC-H plans, drawn; `make goldens` rewrites them after a change that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from sabot_sql.planner import logical
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.explain import draw_stages
from sabot_sql.planner.lower import lower
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.physical import DistributedPlan, Session
from sabot_sql.planner.stages import Cluster
from tests.planner.tpch import tpch_tables

QUERIES = sorted((Path(__file__).parents[2] / "bench" / "accept" / "tpch" / "queries").glob("*.sql"))
GOLDENS = Path(__file__).parent / "goldens"
TABLES = tpch_tables()


@pytest.fixture(scope="module")
def binder() -> Binder:
    return Binder()


def plan_of(binder: Binder, sql: str) -> tuple[logical.Plan, DistributedPlan]:
    bound = binder.bind(sql, TABLES.values(), TABLES.__getitem__, Session())
    plan = optimize(bound.plan)
    return plan, lower(plan, bound.schema, Cluster(slots=2), Session())


@pytest.mark.parametrize("path", QUERIES, ids=lambda p: p.stem)
def test_plan_is_the_golden_one(path: Path, binder: Binder, request: pytest.FixtureRequest) -> None:
    plan, stages = plan_of(binder, path.read_text())
    text = f"{logical.draw(plan)}\n\n{draw_stages(stages)}\n"
    golden = GOLDENS / f"{path.stem}.txt"
    if request.config.getoption("--goldens"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("path", QUERIES, ids=lambda p: p.stem)
def test_every_join_and_aggregate_runs_in_kernels(path: Path, binder: Binder) -> None:
    _, stages = plan_of(binder, path.read_text())
    lines = [line for line in draw_stages(stages).splitlines() if "HashJoin" in line or "HashAggregate" in line]
    assert lines
    assert all(line.endswith("[numba]") for line in lines)


def test_a_table_of_two_files_is_scanned_by_two_tasks(binder: Binder) -> None:
    _, stages = plan_of(binder, "select count(s_name) from supplier")
    assert len(stages.stages[0].tasks) == 2
