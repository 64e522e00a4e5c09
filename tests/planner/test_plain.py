"""Plain statements, and the most rows that they work on."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.planner import memory_functions, value_growth
from sabot_sql.planner.estimate import estimate, most
from sabot_sql.planner.parse import parse
from sabot_sql.planner.plain import WINDOWS, is_plain
from sabot_sql.planner.policy import DENIED_FUNCTIONS, DENIED_PATTERN, check

PLAIN = [
    "select 1",
    "select count(*), sum(b) from t where a < 5 % 1000",
    "with x(c) as (select a from t), y as (from x) select * from x, y where x.c = y.a order by all limit 3",
    "select t.a, case when b is null then 1 else -a end, b::varchar, a in (1, $p), coalesce(b, 2) from t join u using (a)",
    "select distinct on (a) a, row_number() over (partition by b order by a) from (select * from t) union all select 1, 2",
    "values (1, 'x')",
    "from t natural join u",
    "select * exclude (a) from t left join u on t.a = u.a where date_trunc('month', date '2020-01-01' + interval 1 day) > now",
    "select a, sum(b) filter (where a > 1) from t group by all having count(*) > 1 qualify true",
]

OTHER = [
    "select repeat('x', 3)",
    "select a || b from t",
    "select getenv('HOME')",
    "select main.sum(a) from t",
    "select [1, 2]",
    "select unnest([1])",
    "from range(3)",
    "from read_csv('x')",
    "from t tablesample 10%",
    "from t at (version => 1)",
    "from a.b.c.d",
    "select a from t group by rollup (a)",
    "select exists (from t)",
    "select (select 1)",
    "from t where a in (from u)",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 3) from r",
    "with x as materialized (select 1), y as (insert into t values (1)) from x",
    "from t positional join u",
    "from t asof join u on t.a >= u.a",
    "select columns('a.*') from t",
    "select list_transform([1], lambda x: x)",
    "describe t",
    "pivot t on a using sum(b)",
    "from t order by getenv('x')",
    "select sum(a order by getenv('x')) from t",
    "select cast(a as decimal(repeat('1', 1)::int, 0)) from t",
    "select 1 limit (select 1)",
    "values (getenv('x'))",
    "from t join u on getenv('x') = t.a",
    "select sum(a) filter (where getenv('x') = '') from t",
    "select * replace (getenv('x') as a) from t",
    "select sum(a) over (order by getenv('x')) from t",
]


@pytest.mark.parametrize("sql", PLAIN)
def test_what_is_named_is_plain(sql: str) -> None:
    assert is_plain(parse(sql))


@pytest.mark.parametrize("sql", OTHER)
def test_what_is_not_named_is_not_plain(sql: str) -> None:
    try:
        statement = parse(sql)
    except Exception:  # it is no statement that is taken at all
        return
    assert not is_plain(statement)


def test_no_function_of_the_list_is_denied_or_makes_values_larger() -> None:
    growing = {
        *memory_functions.SIZES, *memory_functions.COPYING, *value_growth.FACTORS, *value_growth.JOINING,
        *value_growth.HOLDING, *value_growth.GATHERING, *value_growth.MAPPING, *value_growth.REDUCING,
    }  # fmt: skip
    assert not WINDOWS & (DENIED_FUNCTIONS | growing)
    assert not [name for name in WINDOWS if DENIED_PATTERN.match(name)]


def test_the_functions_of_the_list_are_duckdbs_own() -> None:
    with duckdb.connect() as con:
        known = {name for (name,) in con.sql("select function_name from duckdb_functions()").fetchall()}
    assert known >= WINDOWS


@pytest.fixture(scope="module")
def catalog():
    keys = pa.table({"a": range(1_000), "b": [i % 7 for i in range(1_000)], "s": [str(i) for i in range(1_000)]})
    many = pa.table({"a": [i % 1_000 for i in range(5_000)], "f": [float(i) for i in range(5_000)]})
    with Catalog({"t": keys, "u": many}) as found:
        found.learn(found.tables())
        assert found.wait_learned()
        yield found


def bound(catalog: Catalog, sql: str):
    statement = parse(sql)
    return most(statement, check(statement, catalog.resolve), catalog.resolve)


@pytest.mark.parametrize(
    ("sql", "scanned", "peak", "out"),
    [
        ("select 1", 0, 0, 1),
        ("select count(*) from t where a = 3", 1_000, 0, 1_000),
        ("from t limit 3", 1_000, 0, 1_000),
        ("from t, u", 6_000, 5_000_000, 5_000_000),
        ("from t, u where t.a = u.a and u.f > 3", 6_000, 5_000, 5_000),
        ("from t join u using (a)", 6_000, 5_000, 5_000),
        ("from u join t on u.a = t.a join t as t2 on t2.a = t.a", 7_000, 5_000, 5_000),
        ("from t join u on t.b = u.a", 6_000, 5_000_000, 5_000_000),  # no key
        ("from t join u on t.s = u.a", 6_000, 5_000_000, 5_000_000),  # '1' and '01' are one number
        ("from t join u on t.a = u.f", 6_000, 5_000_000, 5_000_000),
        ("from t as x(c) join u on x.c = u.a", 6_000, 5_000_000, 5_000_000),
        ("from t join u on t.a = u.a or true", 6_000, 5_000_000, 5_000_000),
        ("from t full join u on t.a = u.a", 6_000, 5_006_000, 5_006_000),
        ("from t union all from t", 2_000, 2_000, 2_000),
        ("with x as (from t) from x, x as y", 2_000, 1_000_000, 1_000_000),
        ("with x as (from t) select 1", 0, 0, 1),
        ("with t as (select 1 as a) from t", 0, 0, 1),
    ],
)
def test_rows_at_most(catalog: Catalog, sql: str, scanned: int, peak: int, out: int) -> None:
    found = bound(catalog, sql)
    assert found is not None
    assert (found.rows_scanned, found.rows_intermediate, found.rows_out, found.at_most) == (scanned, peak, out, True)


def test_no_estimate_is_above_the_bound(catalog: Catalog) -> None:
    for sql in [*PLAIN, "from t join u using (a) where b > 3", "select a, count(*) from t, u where t.a = u.a group by a"]:
        if "$p" in sql or "now" in sql:
            continue
        found = bound(catalog, sql)
        assert found is not None, sql
        assert estimate(parse(sql), catalog.resolve).work <= found.work, sql


def test_tables_whose_rows_nobody_counted_have_no_bound(tmp_path) -> None:
    (tmp_path / "c.csv").write_text("a\n1\n2\n")
    with Catalog(str(tmp_path)) as catalog:
        assert bound(catalog, "select a from c") is None


def test_a_plain_statement_is_not_parsed_a_second_time() -> None:
    statement = parse("select 'no tree' from t where a = 3")
    assert "tree" not in vars(statement)
    assert statement.tree is not None
