"""Queries have the statistics of their tables learnt, and later queries see them."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.engine import Engine
from sabot_sql.engine.request import QueryRequest


@pytest.fixture
def open_engine(tmp_path, request):
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"a": [i % 7 for i in range(1000)]}), tmp_path / "data/t.parquet")

    def opened(**settings):
        engine = Engine(Settings(agents=AgentSettings(count=0), **settings), tmp_path / "data", tmp_path / "scratch")
        request.addfinalizer(engine.close)
        return engine

    return opened


def test_table_that_a_query_names_is_learnt(open_engine):
    engine = open_engine()
    prepared = engine.prepare(QueryRequest("SELECT count(*) FROM t WHERE a = 3"))
    assert engine.run_local(prepared, "q", threading.Event()).table.to_pylist() == [{"count_star()": 143}]
    assert prepared.tables[0].statistics.learnt is None
    assert engine.catalog.wait_learned(60)
    prepared = engine.prepare(QueryRequest("SELECT count(*) FROM t WHERE a = 4"))
    assert prepared.tables[0].statistics.columns["a"].distinct_count == 7
    assert engine.run_local(prepared, "q", threading.Event()).table.to_pylist() == [{"count_star()": 143}]


def test_learning_can_be_turned_off(open_engine):
    engine = open_engine(learn_statistics=False)
    engine.prepare(QueryRequest("SELECT count(*) FROM t"))
    assert engine.catalog.wait_learned(0)
    assert engine.catalog._learner._thread is None


def test_statistics_are_kept_in_the_state_folder(open_engine, tmp_path):
    engine = open_engine(state_dir=tmp_path / "state")
    engine.prepare(QueryRequest("SELECT count(*) FROM t"))
    assert engine.catalog.wait_learned(60)
    engine.close()
    assert (tmp_path / "state/statistics.db").exists()
    again = open_engine(state_dir=tmp_path / "state")
    assert again.catalog.table("t").statistics.columns["a"].distinct_count == 7
