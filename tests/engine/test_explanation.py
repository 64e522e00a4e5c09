"""What EXPLAIN says of the route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql import Connection
from sabot_sql.planner import plan_forms
from sabot_sql.planner.explain import draw_stages
from sabot_sql.planner.plan_json import plan_from_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "t").mkdir()
    pq.write_table(pa.table({"a": range(20_000), "b": [i % 7 for i in range(20_000)]}), folder / "t" / "x.parquet")
    return folder


@pytest.fixture(scope="module")
def db(folder: Path) -> Iterator[Connection]:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as db:
        yield db


def lines(text: str) -> dict[str, str]:
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in text.splitlines() if line[:1].isalpha()}


def test_threshold_says_where_it_is_from(db: Connection) -> None:
    asked = db.explain("select * from t", threshold=30_000).routing
    assert (asked["threshold"], asked["threshold_from"]) == (30_000, "asked for with the statement")
    automatic = db.explain("select * from t").routing
    assert automatic["threshold_from"].startswith("auto: the overhead is 10% of the local time")
    assert "rows/ms on each of" in automatic["threshold_from"]


def test_threshold_of_the_engine_is_said_to_be_its_own(folder: Path) -> None:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0, threshold=10_000) as db:
        assert lines(db.explain("select * from t").text)["threshold"] == "10,000 rows, set for this engine"


def test_it_says_what_would_change_the_route(db: Connection) -> None:
    assert lines(db.explain("select * from t", threshold=30_000).text)["otherwise"] == (
        "distributed from 30,000 rows; this is 20,000"
    )
    assert lines(db.explain("select * from t", threshold=10_000).text)["otherwise"] == "local below 10,000 rows; this is 20,000"
    forced = lines(db.explain("select * from t", route="local").text)
    assert forced["otherwise"] == 'nothing changes it: route="local" was asked for'


def test_the_whole_plan_is_there_where_there_is_one(db: Connection) -> None:
    found = db.explain("select b, sum(a) from t group by b", route="distributed").plan
    assert "sum(a)" in draw_stages(plan_from_json(json.dumps(found)))
    assert db.explain("select * from t", route="local").plan is None


def test_plan_over_a_limit_is_left_out_with_a_warning(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_forms, "MAX_NODES", 10)
    found = db.explain("select * from t", route="distributed")
    assert found.plan is None
    assert "the plan is left out: a plan has more than MAX_NODES (10) values" in found.warnings[0]


def test_without_agents_it_says_that_they_are_missing(folder: Path) -> None:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0, threshold=10) as db:
        found = lines(db.explain("select * from t").text)
    assert found["otherwise"] == "distributed if there were agents"
    assert found["costs"].endswith("unknown (no agents) distributed")


def test_costs_of_both_routes_are_said_and_become_measured(db: Connection) -> None:
    sql = "select b, count(*) from t group by b order by b"
    before = db.explain(sql).routing
    assert (before["local_from"], before["distributed_from"]) == ("estimated", "estimated")
    assert before["distributed_ms"] > before["local_ms"] > 0
    db.execute_sql(sql, route="local")
    after = db.explain(sql).routing
    assert (after["local_from"], after["distributed_from"]) == ("1 run before", "estimated")


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_analyze_adds_actual_rows(db: Connection, route: str) -> None:
    sql = "select a from t where a * 2 < 400"
    by_call = db.explain(sql, analyze=True, route=route)
    assert (by_call.estimate["actual_rows_scanned"], by_call.estimate["actual_rows_out"]) == (20_000, 200)
    by_statement = db.execute_sql(f"explain analyze {sql}", route=route).to_pylist()[0]["explain_value"]
    for text in (by_call.text, by_statement):
        assert lines(text)["actual"] == "20,000 rows scanned, 200 out"


def test_explain_alone_has_no_actual_rows(db: Connection) -> None:
    found = db.explain("select a from t where a * 3 < 400")
    assert "actual_rows_out" not in found.estimate
    assert "actual" not in lines(found.text)


def test_what_is_answered_from_the_catalog_was_not_routed(db: Connection) -> None:
    assert db.explain("describe t").routing == {}
