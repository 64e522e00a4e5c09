"""The first invariant: the same answer, type for type, on every route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.client.difference import difference
from sabot_sql.planner import adapt, lower, small_work
from tests.corpus.data import make_tables
from tests.corpus.queries import Query, load

QUERIES = load()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_tables(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def answers(tables: dict[str, str]) -> dict[str, pa.Table]:
    """DuckDB's own answers."""
    con = duckdb.connect()
    for name, path in tables.items():
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM '{path}{'/*.parquet' if Path(path).is_dir() else ''}'")
    return {q.name: con.sql(q.sql).to_arrow_table() for q in QUERIES}


@pytest.fixture(scope="module", params=[1, 2, 3])
def pool(request: pytest.FixtureRequest, tables: dict[str, str]) -> Iterator[sabot_sql.Connection]:
    """Agents; two of them part even the little that the tables hold, as if it were much, three aggregate it in the scan."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == 2:
            patch.setattr(small_work, "SMALL_ROWS", -1)
            patch.setattr(adapt, "SMALL_BYTES", -1)
        if request.param == 3:
            patch.setattr(lower, "SCANNED_ROWS", 0)
        with sabot_sql.connect("embedded:", data=tables, num_local_agents=request.param) as db:
            yield db


@pytest.fixture(scope="module")
def local(tables: dict[str, str]) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect("embedded:", data=tables, num_local_agents=0) as db:
        yield db


def test_corpus_has_at_least_700_queries() -> None:
    assert len(QUERIES) >= 700


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.name)
def test_local_route_gives_duckdbs_answer(query: Query, local: sabot_sql.Connection, answers: dict[str, pa.Table]) -> None:
    result = local.execute_sql(query.sql, route="local")
    want = answers[query.name]
    assert difference(want, result.to_arrow(), query.ordered_by(want.schema.names)) == ""
    assert result.route == "local"


@pytest.mark.parametrize("query", QUERIES, ids=lambda q: q.name)
def test_distributed_route_gives_duckdbs_answer(query: Query, pool: sabot_sql.Connection, answers: dict[str, pa.Table]) -> None:
    if query.not_distributed:
        with pytest.raises(sabot_sql.NotSupported, match=query.not_distributed):
            pool.execute_sql(query.sql, route="distributed", timeout_s=60)
        return
    result = pool.execute_sql(query.sql, route="distributed", timeout_s=60)
    want = answers[query.name]
    assert difference(want, result.to_arrow(), query.ordered_by(want.schema.names)) == ""
    assert result.route == "distributed"
    assert result.stats["agents"] >= 1
