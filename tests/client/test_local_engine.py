"""The local engine is chosen for a server, a connection or a query, and the answer says which one ran."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from tests.server.live_server import live_server

SIMPLE = "select b, count(*) as n from t group by b order by b"
UNPROVEN = "select a // 2 as half from t"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("engines")
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "x"]}), found / "t.parquet")
    return found


@pytest.fixture(scope="module", params=["embedded", "server", "connection to a server"])
def db(request: pytest.FixtureRequest, folder: Path) -> Iterator[sabot_sql.Connection]:
    """Connections whose queries go to DataFusion unless they say otherwise."""
    if request.param == "embedded":
        with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0, engine="datafusion") as found:
            yield found
        return
    of_server = request.param == "server"
    options = ("--agents", "0", *(("--engine", "datafusion") if of_server else ()))
    with live_server(folder, *options) as server:
        with sabot_sql.connect(server.url, engine=None if of_server else "datafusion") as found:
            yield found


def test_proven_query_runs_on_datafusion(db: sabot_sql.Connection) -> None:
    found = db.execute_sql(SIMPLE)
    assert (found.stats["engine"], found.to_pylist()) == ("datafusion", [{"b": "x", "n": 2}, {"b": "y", "n": 1}])
    assert "engine_reason" not in found.stats


def test_unproven_query_runs_on_duckdb_and_says_why(db: sabot_sql.Connection) -> None:
    found = db.execute_sql(UNPROVEN)
    assert (found.stats["engine"], found.to_pylist()) == ("duckdb", [{"half": 0}, {"half": 1}, {"half": 1}])
    assert found.reason.endswith(found.stats["engine_reason"])
    assert found.stats["engine_reason"].startswith("DataFusion is not proven for ")


def test_query_may_ask_for_the_other_engine(db: sabot_sql.Connection) -> None:
    found = db.execute_sql(SIMPLE, engine="duckdb")
    assert (found.stats["engine"], "DataFusion" in found.reason) == ("duckdb", False)


def test_query_may_ask_for_datafusion(folder: Path) -> None:
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=0) as db:
        assert db.execute_sql(SIMPLE).stats["engine"] == "duckdb"
        assert db.execute_sql(SIMPLE, engine="datafusion").stats["engine"] == "datafusion"
