"""Each rule alone: the plan before and after, and the case where it must not fire. The corpus runs what they make."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from sabot_sql.planner import logical as lg
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.physical import Session
from sabot_sql.planner.rules.answer_counts import answer_counts
from sabot_sql.planner.rules.order_joins import order_joins
from sabot_sql.planner.rules.prune_columns import prune_columns
from sabot_sql.planner.rules.push_aggregates import push_aggregates
from sabot_sql.planner.rules.push_computations import push_computations
from sabot_sql.planner.rules.push_filters import push_filters
from sabot_sql.planner.rules.rewrite_distinct import rewrite_distinct
from sabot_sql.planner.rules.rewrite_joins import rewrite_joins
from sabot_sql.planner.rules.share_plans import optimize_shared
from sabot_sql.planner.whole_joins import duckdb_join
from tests.planner.tpch import tpch_tables

TABLES = tpch_tables()
Rule = Callable[[lg.Plan], lg.Plan]


@pytest.fixture(scope="module")
def bind() -> Callable[[str], lg.Plan]:
    binder = Binder()
    return lambda sql: binder.bind(sql, TABLES.values(), TABLES.__getitem__, Session()).plan


def drawn(plan: lg.Plan) -> str:
    return lg.draw(plan)


def expect(text: str) -> str:
    return dedent(text).strip()


def test_filters_move_into_both_scans_of_an_inner_join(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select n_name from nation, region where n_regionkey = r_regionkey and n_name > 'B' and r_name < 'M'")
    assert drawn(push_filters(plan)) == expect("""
        Compute [n_name]
          Join inner on =
            Get nation [n_regionkey, n_name] where 1 condition(s)
            Get region [r_regionkey, r_name] where 1 condition(s)""")


def test_cross_product_with_an_equality_becomes_a_join(bind: Callable[[str], lg.Plan]) -> None:
    left, right = lg.Get(TABLES["nation"], (0, 2)), lg.Get(TABLES["region"], (0,))
    from sabot_sql.planner import expressions as ex

    key = left.schema[1].type
    plan = lg.Select(lg.Join(left, right, "inner", ()), ex.Compare("=", ex.Ref(2, key), ex.Ref(1, key)))
    pushed = push_filters(plan)
    assert isinstance(pushed, lg.Join)
    assert pushed.conditions == (lg.Condition(ex.Ref(1, key), "=", ex.Ref(0, key)),)


def test_filter_on_the_padded_side_of_a_left_join_stays_above(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select n_name from nation left join region on n_regionkey = r_regionkey where r_name is null")
    assert "Select" in drawn(push_filters(plan))


def test_filter_does_not_pass_a_limit(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select * from (select n_nationkey k from nation order by 1 limit 5) where k > 2")
    assert drawn(push_filters(plan)).index("Select") < drawn(push_filters(plan)).index("Order")


def test_volatile_filter_stays_in_place(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select n_name from nation where random() < 2")
    assert "Select" in drawn(push_filters(plan))


def test_in_subquery_becomes_a_semi_join(bind: Callable[[str], lg.Plan]) -> None:
    plan = push_filters(bind("select n_name from nation where n_regionkey in (select r_regionkey from region)"))
    assert "Join semi" in drawn(rewrite_joins(plan))


def test_not_in_is_no_anti_join_because_of_nulls(bind: Callable[[str], lg.Plan]) -> None:
    plan = push_filters(bind("select n_name from nation where n_regionkey not in (select r_regionkey from region)"))
    after = drawn(rewrite_joins(plan))
    assert "Join anti" not in after
    assert after.count("Join left") == 2


def test_right_join_becomes_a_left_join_with_the_same_columns(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select * from nation right join region on n_regionkey = r_regionkey")
    after = rewrite_joins(plan)
    assert "Join right" not in drawn(after)
    assert after.schema == plan.schema


def test_full_join_is_run_by_duckdb_over_partitions_of_its_keys(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select * from nation full join region on n_regionkey = r_regionkey")
    (join,) = plan.inputs
    assert isinstance(join, lg.Join)
    whole = duckdb_join(join)
    assert "FULL JOIN in1 ON" in whole.sql
    assert whole.schema == join.schema
    assert whole.keys == ((0,), (0,))


@pytest.mark.parametrize("sql", ["select count(*) from nation full join region on n_regionkey = r_regionkey",
                                 "select r_name from nation positional join region"])  # fmt: skip
def test_joins_that_duckdb_runs_get_only_columns_that_are_read(bind: Callable[[str], lg.Plan], sql: str) -> None:
    assert "n_comment" not in drawn(prune_columns(bind(sql)))
    assert "rowid" not in drawn(prune_columns(bind(sql)))


def test_computations_stay_above_a_full_join(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select coalesce(n_name, 'none') from nation full join region on n_regionkey = r_regionkey")
    assert push_computations(plan) == plan


def test_count_distinct_becomes_two_aggregates(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select l_returnflag, count(distinct l_suppkey) from lineitem group by 1")
    assert drawn(rewrite_distinct(plan)).count("Aggregate") == 2


def test_distinct_beside_a_plain_aggregate_stays(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select l_returnflag, count(distinct l_suppkey), sum(l_tax) from lineitem group by 1")
    assert rewrite_distinct(plan) is plan


def test_count_of_a_whole_table_is_a_constant(bind: Callable[[str], lg.Plan]) -> None:
    assert drawn(answer_counts(bind("select count(*) n from lineitem"))) == expect("""
        Compute [n]
          Compute [c0]
            OneRow, counted by the files of lineitem""")


@pytest.mark.parametrize("sql", [
    "select count(*) from lineitem where l_tax > 0", "select count(*) from lineitem group by l_tax",
    "select count(*), sum(l_tax) from lineitem", "select count(l_tax) from lineitem", "select max(l_tax) from lineitem",
    "select count(*) filter (l_tax > 0) from lineitem", "select count(*) from (select * from lineitem limit 5)",
])  # fmt: skip
def test_count_of_what_no_file_has_counted_stays(bind: Callable[[str], lg.Plan], sql: str) -> None:
    plan = push_filters(bind(sql))
    assert answer_counts(plan) is plan


def test_joins_begin_with_the_smallest_result(bind: Callable[[str], lg.Plan]) -> None:
    sql = """select count(*) from lineitem, orders, customer, nation
             where l_orderkey = o_orderkey and o_custkey = c_custkey and c_nationkey = n_nationkey and n_name = 'PERU'"""
    lines = drawn(order_joins(push_filters(bind(sql)))).splitlines()
    depth = {line.split()[1]: len(line) - len(line.lstrip()) for line in lines if line.strip().startswith("Get")}
    assert depth["nation"] == depth["customer"] > depth["orders"] > depth["lineitem"]


def test_join_order_keeps_the_output_columns(bind: Callable[[str], lg.Plan]) -> None:
    plan = push_filters(
        bind("select * from region, nation, supplier where n_regionkey = r_regionkey and s_nationkey = n_nationkey")
    )
    assert order_joins(plan).schema == plan.schema


def test_like_is_computed_by_the_scan_below_the_join(bind: Callable[[str], lg.Plan]) -> None:
    sql = """select sum(case when p_type like 'PROMO%' then l_extendedprice else 0 end) from lineitem, part
             where l_partkey = p_partkey"""
    assert "computed0" in drawn(push_computations(push_filters(bind(sql))))


def test_a_cast_that_may_fail_is_not_moved_below_the_join(bind: Callable[[str], lg.Plan]) -> None:
    sql = "select sum(cast(p_type as integer) + l_linenumber) from lineitem, part where l_partkey = p_partkey"
    assert "computed0" not in drawn(push_computations(push_filters(bind(sql))))


def test_an_aggregate_of_few_join_keys_goes_below_the_join(bind: Callable[[str], lg.Plan]) -> None:
    plan = push_filters(
        bind("""select s_nationkey, sum(l_quantity) q, count(*) n, max(l_shipdate) from lineitem, supplier
                                where l_suppkey = s_suppkey group by 1""")
    )
    pushed = push_aggregates(plan)
    assert pushed.schema == plan.schema
    assert drawn(pushed) == expect("""
        Compute [0, q, n, max(l_shipdate)]
          Compute [s_nationkey, c1, c2, c3]
            Aggregate groups=1 [sum, sum, max]
              Join inner on =
                Aggregate groups=1 [sum, count_star, max]
                  Get lineitem [l_suppkey, l_quantity, l_shipdate]
                Get supplier [s_suppkey, s_nationkey]""")


@pytest.mark.parametrize("sql", [
    # too many groups below
    "select o_orderstatus, sum(l_quantity) from lineitem, orders where l_orderkey = o_orderkey group by 1",
    "select s_nationkey, l_partkey, sum(l_quantity) from lineitem, supplier where l_suppkey = s_suppkey group by 1, 2",
    # a group whose number of values nobody knows
    "select s_nationkey, l_comment, sum(l_quantity) from lineitem, supplier where l_suppkey = s_suppkey group by 1, 2",
    # the join drops most rows
    "select s_nationkey, sum(l_quantity) from lineitem, supplier where l_suppkey = s_suppkey and s_suppkey = 7 group by 1",
    # rows of both sides in one call, or in one group
    "select s_nationkey, sum(l_quantity * s_acctbal) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    "select s_nationkey, sum(l_quantity), sum(s_acctbal) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    "select l_suppkey + s_nationkey, sum(l_quantity) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    # what might fail on rows that the join drops
    "select s_nationkey, sum(l_comment::int) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    # calls that are not made of parts
    "select s_nationkey, avg(l_quantity) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    "select s_nationkey, count(distinct l_tax) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    "select s_nationkey, sum(l_tax) filter (l_tax > 1) from lineitem, supplier where l_suppkey = s_suppkey group by 1",
    # other joins, and no groups
    "select s_nationkey, sum(l_tax) from lineitem left join supplier on l_suppkey = s_suppkey group by 1",
    "select s_nationkey, sum(l_tax) from lineitem join supplier on l_suppkey < s_suppkey group by 1",
    "select sum(l_tax) from lineitem, supplier where l_suppkey = s_suppkey",
])  # fmt: skip
def test_an_aggregate_stays_above_the_join(bind: Callable[[str], lg.Plan], sql: str) -> None:
    plan = push_filters(bind(sql))
    assert push_aggregates(plan) == plan


def test_unread_columns_leave_scans_and_joins(bind: Callable[[str], lg.Plan]) -> None:
    plan = push_filters(bind("select n_name from nation, region where n_regionkey = r_regionkey"))
    assert drawn(prune_columns(plan)) == expect("""
        Compute [n_name]
          Join inner on =
            Get nation [n_regionkey, n_name]
            Get region [r_regionkey]""")


def test_count_star_reads_no_column(bind: Callable[[str], lg.Plan]) -> None:
    assert "Get nation []" in drawn(prune_columns(bind("select count(*) from nation")))


@pytest.mark.parametrize("rule", [push_filters, rewrite_joins, rewrite_distinct, order_joins, push_aggregates,
                                  push_computations, answer_counts, prune_columns])  # fmt: skip
def test_a_plan_with_nothing_to_do_keeps_its_shape(rule: Rule, bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("select n_name from nation")
    assert rule(plan) == plan


def test_a_cte_read_twice_is_planned_once_with_the_columns_of_both(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind("""
        with o as (select o_custkey, max(o_orderdate) d, sum(o_totalprice) t, count(*) n from orders group by o_custkey)
        select a.d, b.o_custkey from o a join o b on a.o_custkey = b.n""")
    assert drawn(optimize_shared(plan, prune_columns)) == expect("""
        Compute [d, o_custkey]
          Join inner on =
            Compute [o_custkey, d]
              Shared 1
            Compute [o_custkey, n]
              Shared 1
        Shared 1:
          Compute [o_custkey, d, n]
            Aggregate groups=1 [max, count_star]
              Get orders [o_custkey, o_orderdate]""")


def test_a_scan_read_twice_is_copied_and_so_is_what_is_read_once(bind: Callable[[str], lg.Plan]) -> None:
    plan = bind(
        "with r as materialized (select * from region where r_name < 'M') select count(*) from r a join r b using (r_name)"
    )
    assert "Shared" not in drawn(optimize_shared(plan, prune_columns))
    plan = bind("with r as materialized (select r_name, count(*) n from region group by 1) select sum(n) from r")
    assert "Shared" not in drawn(optimize_shared(plan, prune_columns))


def test_what_differs_from_copy_to_copy_is_shared(bind: Callable[[str], lg.Plan]) -> None:
    for definition in ("select random() x from region", "select r_name x from region limit 2"):
        plan = bind(f"with r as materialized ({definition}) select count(*) from r a join r b using (x)")
        assert drawn(optimize_shared(plan, prune_columns)).count("Shared 1:") == 1
