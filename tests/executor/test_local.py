from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings, Settings
from sabot_sql.errors import PlanError, QueryError
from sabot_sql.executor.local import LocalEngines
from sabot_sql.planner.parse import parse
from sabot_sql.planner.physical import Session
from sabot_sql.planner.policy import check


@dataclass
class Request:
    params: Any = None
    engine: str | None = None
    timeout_s: float | None = None


@pytest.fixture
def engines(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("t", "u"):
        pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", None]}), tmp_path / "data" / f"{name}.parquet")
    with Catalog(str(tmp_path / "data")) as catalog:
        found = LocalEngines(catalog, Settings(local=LocalSettings(threads=1)))

        def run(sql, **request):
            statement = parse(sql)
            return found.run(statement, Request(**request), check(statement, catalog.resolve), Session())

        run.catalog = catalog
        yield run
        found.close()


def test_duckdb_is_the_default_and_stats_say_so(engines):
    table, stats = engines("select sum(a) s from t")
    assert (table.num_rows, stats["engine"]) == (1, "duckdb")
    assert stats["exec_ms"] > 0


def test_datafusion_runs_what_is_proven(engines):
    table, stats = engines("select a, count(*) n from t group by a order by a", engine="datafusion")
    assert (stats["engine"], table.to_pydict()) == ("datafusion", {"a": [1, 2, 3], "n": [1, 1, 1]})


def test_unproven_statement_goes_to_duckdb_with_the_reason(engines):
    table, stats = engines("select a // 2 x from t", engine="datafusion")
    assert (stats["engine"], table["x"].to_pylist()) == ("duckdb", [0, 1, 1])
    assert "not proven" in stats["engine_reason"]


def test_show_and_information_schema_list_every_table(engines):
    assert engines("show tables")[0].to_pydict() == {"name": ["t", "u"]}
    found, _ = engines("select table_name from information_schema.tables order by 1")
    assert found.to_pydict() == {"table_name": ["t", "u"]}
    engines.catalog.register("v", pa.table({"z": [1]}))
    assert "v" in engines("show tables")[0]["name"].to_pylist()
    engines.catalog.unregister("v")
    assert engines("show tables")[0].to_pydict() == {"name": ["t", "u"]}


def test_describe_and_summarize_are_duckdbs(engines):
    assert engines("describe t")[0]["column_name"].to_pylist() == ["a", "b"]
    assert engines("summarize t")[0].num_rows == 2


def test_memory_multiplying_call_is_refused_before_it_runs(engines):
    for sql, params in [("select repeat('x', 1500000000)", None), ("select length(repeat('x', $n))", {"n": 1_500_000_000})]:
        with pytest.raises(PlanError, match="repeat"):
            engines(sql, params=params)
    assert engines("select length(repeat('x', 1000)) n")[0].to_pydict() == {"n": [1000]}


def test_parameters_are_checked(engines):
    with pytest.raises(QueryError, match=r"\$a"):
        engines("select $a")
    assert engines("select $a x", params={"a": 3})[0].to_pydict() == {"x": [3]}
