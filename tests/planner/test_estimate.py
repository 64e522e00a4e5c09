import datetime as dt

import pytest

from sabot_sql.planner.estimate import estimate
from sabot_sql.planner.parse import parse
from tests.planner.tables import Tables, table

DAYS = (dt.date(2020, 1, 1), dt.date(2023, 12, 31))
CATALOG = Tables(
    table("t", dict(id="BIGINT", g="INTEGER", s="VARCHAR", d="DATE", x="DOUBLE"), 1_000_000, size=8_000_000, groups=100,
          id=(1, 1_000_000), g=(0, 9, 10), s=("a", "m"), d=DAYS, x=(0.0, 100.0)),
    table("u", {"id": "BIGINT", "name": "VARCHAR"}, 1_000, id=(1, 1_000, 1_000)),
    table("w", {"a": "INTEGER"}, 50),
    table("csv", {"a": "INTEGER"}, None, confidence="unknown"),
    table("sampled", {"a": "INTEGER"}, 5_000, confidence="statistics"),
    table("one", {"id": "BIGINT"}, 1_000, id=(1, 1_000), groups=1),
)  # fmt: skip


def of(sql: str, params=None):
    return estimate(parse(sql), CATALOG.resolve, params)


def test_whole_table_is_exact():
    found = of("select g, s from t")
    assert (found.rows_scanned, found.rows_out, found.confidence, found.bytes_scanned) == (
        1_000_000,
        1_000_000,
        "exact",
        8_000_000,
    )
    assert found.inputs == ("t: 1,000,000 rows (exact)",)


def test_statement_without_tables_is_exact_and_free():
    assert (of("select 1").work, of("select 1").confidence, of("values (1), (2)").rows_out) == (0, "exact", 2)


@pytest.mark.parametrize(
    ("predicate", "share"),
    [
        ("id <= 100000", 0.1),
        ("id < 100001", 0.1),
        ("100000 >= id", 0.1),
        ("id between 1 and 250000", 0.25),
        ("id > 250000 and id <= 500000", 0.25),
        ("id > 250000 and g > -1 and id <= 500000", 0.25),
        ("x >= 50.0", 0.5),
        ("d >= date '2022-01-01'", 0.5),
        ("d >= '2022-01-01'", 0.5),
        ("d >= cast('2022-01-01' as date) and d < date '2022-01-01' + interval 1 year", 0.25),
        ("d < date '2020-01-01' + interval '1' year", 0.25),
        ("g = 3", 0.1),
        ("g in (1, 2)", 0.2),
        ("id <= 100000 or id > 900000", 0.2),
        ("id <= -5", 0.0),
        ("id = 0", 0.0),
        ("id > 1000000", 0.0),
        ("s < 'A'", 0.0),
        ("s > 'zz'", 0.0),
        ("d > '2030-01-01'", 0.0),
        ("false", 1.0),
    ],
)
def test_bounds_reduce_what_is_scanned(predicate, share):
    assert of(f"select * from t where {predicate}").rows_scanned == pytest.approx(1_000_000 * share, rel=0.02)


@pytest.mark.parametrize("predicate", ["s like 'a%'", "id + 1 < 5", "s > 'b'", "not (id < 5)", "abs(id) = 3"])
def test_predicates_without_bounds_scan_everything(predicate):
    found = of(f"select * from t where {predicate}")
    assert found.rows_scanned == 1_000_000
    assert found.rows_out < 1_000_000


def test_is_null_over_a_column_without_nulls_reads_nothing():
    assert of("select * from t where x is null").rows_scanned == 0


def test_a_point_reads_a_row_group_not_a_row():
    found = of("select * from t where id = 17")
    assert (found.rows_scanned, found.rows_out) == (10_000, 1)


def test_one_row_group_is_read_whole():
    assert of("select * from one where id = 17").rows_scanned == 1_000


def test_parameters_are_read():
    assert of("select * from t where id <= $n", {"n": 100_000}).rows_scanned == 100_000
    assert of("select * from t where id <= ?", [100_000]).rows_scanned == 100_000
    assert of("select * from t where id <= $n").rows_scanned == 1_000_000


def test_limit_stops_a_bare_scan_only():
    assert of("select * from t limit 10 offset 5").rows_scanned == 15
    for blocked in ("where x > 1 limit 10", "order by id limit 10", "group by id limit 10"):
        assert of(f"select id from t {blocked}").rows_scanned >= 900_000
    assert of("select count(*) from t limit 10").rows_scanned == 1_000_000
    assert of("select distinct g from t limit 10").rows_scanned == 1_000_000


def test_groups_come_from_distinct_counts():
    assert of("select g, count(*) from t group by g").rows_out == 10
    assert of("select count(*) from t").rows_out == 1
    assert of("select distinct g from t").rows_out == 10


def test_window_functions_are_no_aggregates():
    assert of("select sum(x) over (order by id) from t").rows_out == 1_000_000


@pytest.mark.parametrize(
    "sql",
    [
        "select * from t join u on t.id = u.id",
        "select * from t join u using (id)",
        "select * from t, u where t.id = u.id",
        "select * from t, u where (t.id = u.id and name = 'x') or (t.id = u.id and name = 'y')",
        "select * from t natural join u",
    ],
)
def test_key_join_gives_the_longer_side_at_most(sql):
    found = of(sql)
    assert found.rows_scanned == 1_001_000
    assert found.rows_intermediate <= 1_000_000
    assert found.confidence == "statistics"


def test_cross_join_multiplies():
    for sql in ("select * from t, u", "select * from t cross join u", "select * from t join u on true"):
        assert of(sql).rows_intermediate == 10**9
    assert of("select * from t, u").work == 10**9


def test_inequality_join_multiplies_too():
    assert of("select * from t join u on t.id < u.id").rows_intermediate > 10**8


def test_tied_tables_are_joined_before_untied_ones():
    assert of("select * from t, w, u where t.id = u.id and w.a = t.g").rows_intermediate <= 1_000_000


def test_left_join_keeps_the_left_rows():
    assert of("select * from u left join w on u.id = w.a").rows_out >= 1_000


def test_subqueries_ctes_and_set_operations_are_counted():
    assert of("select * from (select * from t where id <= 100000) x").rows_scanned == 100_000
    assert of("with c as (select * from u) select * from c, c d where c.id = d.id").rows_scanned == 1_000
    assert of("select id from t union all select id from u").rows_out == 1_001_000
    assert of("select * from w where a in (select id from u)").rows_scanned == 1_050
    assert of("select (select max(id) from t) from w").rows_scanned == 1_000_050


def test_unknown_rows_are_said_to_be_unknown():
    assert of("select * from csv").confidence == "unknown"
    assert of("select * from t join csv on t.id = csv.a").confidence == "unknown"


def test_sampled_rows_are_statistics():
    assert of("select * from sampled").confidence == "statistics"


def test_recursion_is_unknown():
    assert of("with recursive r as (select 1 n union all select n + 1 from r where n < 9) from r").confidence == "unknown"


def test_what_sqlglot_cannot_read_is_unknown_with_the_reason():
    found = of("pivot t on g using sum(x)")
    assert found.confidence == "unknown"
    assert found.bytes_scanned == 8_000_000
    assert "not read" in found.inputs[-1]


def test_table_outside_the_catalog_is_unknown_not_an_error():
    assert of("select * from nosuch").confidence == "unknown"


def test_describe_is_free_and_summarize_reads():
    assert of("describe t").work == 0
    assert of("summarize t").work == 1_000_000
    assert of("explain select * from t").work == 1_000_000


def test_range_gives_its_rows():
    assert of("select * from range(5000)").rows_out == 5_000
    assert of("select * from range(10, 20), generate_series(1, 11)").rows_intermediate == 100


@pytest.mark.parametrize(
    "sql",
    [
        "from t tablesample 10%", "select * from t asof join u on t.id >= u.id", "select * from t positional join u",
        "select unnest([1, 2, 3])", "select * from t, lateral (select t.id + 1)",
        "select * exclude (g) from t qualify row_number() over () = 1",
        "select x from t order by all limit (select 5)", "from (values (1)) v(a) join t on v.a = t.id",
        "select * from t semi join u using (id)",
        "select list_transform([1], lambda q: q + 1) from t", "(select 1) union (select id from t) order by 1 limit 3",
        "select count(*) filter (where g > 1), sum(distinct x) from t group by rollup (g, s)", "from information_schema.tables",
        "select * from (t join u using (id))", "select * from t join u on t.id = u.id and t.x > (select avg(x) from t)",
    ],
)  # fmt: skip
def test_estimates_never_raise(sql):
    assert of(sql).work >= 0


def test_same_statement_and_version_is_not_estimated_again():
    assert of("select g, x from t where x > 3") is of("select g, x from t where x > 3")
