"""Aggregates that begin below a join: DuckDB's answer, whatever the join drops, repeats or does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql.engine.plan_cache import PlanCache
from sabot_sql.planner.rules import push_aggregates

TABLES = {
    "facts": """select (i % 97)::int k, case when i % 11 = 0 then null else i % 13 end j, (i % 5)::tinyint g, 'n' || i % 3 s,
                       (i * 7 % 1000)::decimal(9, 2) d, case when i % 17 = 0 then null else i end v, i * 0.5 f
                from range(20000) t(i)""",
    "names": """select case when i = 7 then null else i % 60 end k, case when i % 4 = 0 then null else i % 13 end j,
                       chr((65 + i % 7)::int) n from range(90) t(i)""",
}
QUERIES = [
    "select n, sum(v), count(*), count(v), min(d), max(s) from facts join names using (k) group by n",
    "select n, g, sum(d), count(s) from facts f join names m on f.k = m.k and f.j is not distinct from m.j group by n, g",
    "select s, n, sum(f), max(f) from names m join facts f on m.k = f.k group by s, n",
    "select f.k, count(*) from facts f join names m on f.k = m.k group by f.k",
    "select m.k, n, count(*) c, sum(g) from facts f, names m where f.k = m.k and f.j = m.j group by all having c > 2",
    "select a.n, b.n, count(*), sum(v) from facts join names a using (k) join names b on facts.j = b.j group by a.n, b.n",
    "select upper(s) u, 1 one, sum(v) from facts join names using (k) group by all",
    "select n, min(f) from facts join names using (k) where v > 30000 group by n",
    "select n, count(*) over (), q from (select n, sum(v) q from facts join names using (k) group by n)",
    "select n, sum(v)::varchar, count(*)::varchar from facts join names using (k) group by n order by all limit 3",
]


@pytest.fixture(autouse=True)
def plans_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the planner decides by is changed between two runs of a statement."""
    monkeypatch.setattr(PlanCache, "get", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("below")
    for name, sql in TABLES.items():
        duckdb.sql(f"copy ({sql}) to '{found}/{name}.parquet'")
    return found


@pytest.fixture(scope="module")
def db(folder: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect(data=folder, num_local_agents=2) as found:
        yield found


@pytest.mark.parametrize("sql", QUERIES)
def test_an_aggregate_below_a_join_has_duckdbs_answer(
    db: sabot_sql.Connection, folder: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_aggregates, "_pays", lambda *_: True)
    plan = str(db.explain(sql, route="distributed"))
    assert "HashAggregate" in plan.partition("HashJoin")[2] or "StateAggregate" in plan.partition("HashJoin")[2], plan
    with duckdb.connect() as duck:
        for name in TABLES:
            duck.execute(f"create view {name} as from '{folder}/{name}.parquet'")
        expected = duck.sql(sql).to_arrow_table()
    found = db.execute_sql(sql, route="distributed").to_arrow()
    assert found.schema.types == expected.schema.types
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
