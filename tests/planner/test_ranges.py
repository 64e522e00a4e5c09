"""Where sorts are cut: ranges of about equal size, whatever the values, and no cut where nothing is known."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.catalog.table import ColumnStatistics, Table
from sabot_sql.planner import expressions as ex
from sabot_sql.planner import logical as lg
from sabot_sql.planner.cardinality import Estimator
from sabot_sql.planner.explain import draw_stages
from sabot_sql.planner.lower import lower
from sabot_sql.planner.physical import Session
from sabot_sql.planner.ranges import cuts, physical, range_bounds, within
from sabot_sql.planner.stages import Cluster
from sabot_sql.types import BIGINT, parse_type
from tests.planner.tables import learnt

ROWS = 1_000_000
HISTOGRAM = tuple(range(0, 1010, 10))


def table(kind: str = "BIGINT", rows: int = ROWS, **known: Any) -> Table:
    stats = ColumnStatistics(0, 1000, known.pop("nulls", 0), 1000, True, **{"histogram": HISTOGRAM, **known})
    made = learnt("t", rows, a=(kind, stats), b=("BIGINT", ColumnStatistics()))
    half = replace(made.scan.files[0], row_groups=(rows // 2, rows // 2))
    return replace(made, scan=replace(made.scan, files=(half, replace(half, path="/data/t/2.parquet"))))


def sort(
    source: Table,
    key: ex.Expr | None = None,
    filters: tuple[ex.Expr, ...] = (),
    descending: bool = False,
    nulls_first: bool = False,
    **limits: Any,
) -> lg.Order:
    order = lg.OrderKey(key or ex.Ref(0, source.schema[0].type), descending, nulls_first)
    return lg.Order(lg.Get(source, (0, 1), filters), (order,), **limits)


def bounds(plan: lg.Order, partitions: int = 4) -> tuple[Any, ...]:
    return range_bounds(plan, Estimator(), partitions)


def compare(op: Any, value: int, turned: bool = False) -> ex.Expr:
    sides = (ex.Ref(0, BIGINT), ex.Const(value, BIGINT))
    return ex.Compare(op, *(reversed(sides) if turned else sides))


def test_large_sort_is_cut_where_the_histogram_says() -> None:
    assert bounds(sort(table())) == (250, 500, 750)
    assert bounds(sort(table(), descending=True), 2) == (500,)


@pytest.mark.parametrize(
    "plan",
    [
        sort(table(rows=1000)),
        sort(table(), limit=10),
        sort(table(), offset=10),
        sort(table(), key=ex.Ref(1, BIGINT)),
        sort(table(), key=ex.Call("+", (ex.Ref(0, BIGINT), ex.Ref(1, BIGINT)), BIGINT)),
        sort(table(histogram=None)),
        sort(table("HUGEINT")),
        sort(table("INTEGER[]")),
        sort(table("DATE")),
        sort(table(histogram=(0, 1, None, 2))),
        sort(table(histogram=(7,) * 101)),
    ],
)
def test_sort_that_has_no_cuts_is_gathered(plan: lg.Order) -> None:
    assert bounds(plan) == ()
    assert "range" not in draw_stages(lower(plan, plan.schema, Cluster(2), Session())) if plan.schema[0].type.lane else True


def test_one_slot_needs_no_ranges() -> None:
    assert bounds(sort(table()), 1) == ()


def test_conditions_of_the_scan_cut_what_is_left() -> None:
    kept = (compare(">=", 500), compare("<", 900, turned=True), compare("<=", 700))
    assert bounds(sort(table(), filters=kept[:1])) == (620, 750, 880)
    assert within(HISTOGRAM, lg.Get(table(), (0, 1), kept), 0) == []
    assert within(HISTOGRAM, lg.Get(table(), (0, 1), kept[::2]), 0) == list(range(500, 710, 10))
    assert within(HISTOGRAM, lg.Get(table(), (0, 1), (compare("=", 20), compare("<>", 5))), 0) == [20]
    assert within(HISTOGRAM, lg.Get(table(), (1, 0), kept), 1) == list(HISTOGRAM)


def test_nulls_are_a_share_at_their_end() -> None:
    half = table(nulls=ROWS // 2)
    assert bounds(sort(half)) == (500,)
    assert bounds(sort(half, nulls_first=True)) == (500,)
    assert bounds(sort(table(nulls=ROWS // 5), descending=True), 2) == (370,)


@given(st.lists(st.integers(0, 20)), st.integers(2, 9), st.floats(0, 1), st.booleans())
def test_cuts_rise_and_leave_no_range_below_the_first(values: list[int], partitions: int, nulls: float, below: bool) -> None:
    found = cuts(sorted(values), partitions, nulls, below)
    assert len(found) < partitions
    assert list(found) == sorted(set(found))
    assert all(bound in values and bound > min(values) for bound in found)


def test_value_that_fills_shares_is_a_range_of_its_own() -> None:
    assert cuts([0, *[5] * 90, *range(6, 16)], 4, 0.0, False) == (5, 6, 7)


@pytest.mark.parametrize(
    ("value", "kind", "want"),
    [
        (5, "BIGINT", 5),
        (2**64 - 1, "UBIGINT", 2**64 - 1),
        (2**64, "UBIGINT", None),
        (-1, "UBIGINT", None),
        (2**63, "BIGINT", None),
        (True, "BIGINT", None),
        (Decimal("-1.25"), "DECIMAL(15,2)", -125),
        (3, "DECIMAL(4,1)", 30),
        (1.5, "DOUBLE", 1.5),
        (3, "FLOAT", 3.0),
        (float("nan"), "DOUBLE", None),
        (float("inf"), "DOUBLE", None),
        (dt.date(1969, 12, 31), "DATE", -1),
        (dt.datetime(1970, 1, 2), "DATE", None),
        (dt.datetime(1970, 1, 1, 0, 0, 1, 5), "TIMESTAMP", 1_000_005),
        (dt.datetime(1970, 1, 1, 0, 0, 1, 5), "TIMESTAMP_NS", 1_000_005_000),
        (dt.datetime(1970, 1, 1, 0, 0, 1, 5), "TIMESTAMP_MS", 1000),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 1), "TIMESTAMP_S", -1),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "TIMESTAMP WITH TIME ZONE", 0),
        ("é", "VARCHAR", "é"),
        ("x", "BIGINT", None),
        (None, "BIGINT", None),
    ],
)
def test_statistics_in_physical_form(value: Any, kind: str, want: Any) -> None:
    found = physical(value, parse_type(kind))
    assert (found, type(found)) == (want, type(want))


def test_plan_of_a_large_sort() -> None:
    plan = sort(table(), descending=True)
    assert draw_stages(lower(plan, plan.schema, Cluster(2), Session())).splitlines() == [
        "┌─ stage 0 · 2 tasks · range of a desc into 2 → stage 1",
        "│ Scan t [a, b] [duckdb]",
        "└─",
        "┌─ stage 1 · 2 tasks · gather → result",
        "│ Sort a desc nulls last [numba]",
        "│   ExchangeRead stage 0 [numba]",
        "└─",
    ]
