"""Recursive CTEs on agents that DuckDB with several threads does not always bring to an end; so the answers stand here."""

from __future__ import annotations

import pytest

import sabot_sql

FIB = "with recursive fib(n, a, b) as (select 1, 1::bigint, 1::bigint union all select n + 1, b, a + b from fib) "
ENDLESS = "with recursive t(n) as (select 1 union all select n + 1 from t) "


@pytest.fixture(scope="module")
def db():
    with sabot_sql.connect("embedded:", num_local_agents=1) as db:
        yield db


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        (FIB + "select n, a from fib limit 6", [(1, 1), (2, 1), (3, 2), (4, 3), (5, 5), (6, 8)]),
        (FIB + "select n from fib where a > 10 limit 2 offset 1", [(8,), (9,)]),
        (ENDLESS + "select n * 2 from t where n % 3 = 0 limit 3", [(6,), (12,), (18,)]),
        (ENDLESS + "select count(*) from (select n from t limit 4) a", [(4,)]),
        (
            "with recursive t(i, d) as (values (0::bigint, 0) union all select next.i, d + 1 from t cross join lateral "
            "range(case when d = 0 then 50000 else 1 end) next(i) where d = 0 or (d = 1 and t.i = 0)) "
            "select count(*), sum(i)::bigint, max(d) from t",
            [(50002, 1249975000, 2)],
        ),
        (
            "with recursive t(z) as (select 1 union all select z + 1 from (with recursive g(a) as (select t.z from t union all "
            "select g.a + 1 from g where g.a < 3) select * from g) as u(z) where z < 5) select sum(z)::bigint from t",
            [(45,)],
        ),
    ],
)
def test_recursion(db, sql, rows):
    found = db.execute_sql(sql, route="distributed", timeout_s=60)
    assert [tuple(row.values()) for row in found.to_pylist()] == rows
