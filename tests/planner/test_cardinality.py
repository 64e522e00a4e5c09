import datetime as dt
from decimal import Decimal

import pytest

from sabot_sql.catalog.table import ColumnStatistics
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.cardinality import Estimator
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.physical import Session
from tests.planner.tables import learnt

CITIES = ("Aachen",) * 3 + ("Berlin",) * 6 + ("Zwickau",) * 2
HUNDREDTHS = tuple(Decimal(i).scaleb(-2) for i in range(0, 101, 10))
KNOWN = learnt(
    "known",
    10_000,
    amount=("INTEGER", ColumnStatistics(0, 1000, 500, 1000, True, (0, 0, 0, 3, 10, 100, 1000), ((0, 0.4),))),
    city=("VARCHAR", ColumnStatistics("Aachen", "Zwickau", 0, 3, True, CITIES, (("Berlin", 0.6), ("Aachen", 0.3)))),
    price=("DECIMAL(9,2)", ColumnStatistics(HUNDREDTHS[0], HUNDREDTHS[-1], 0, 101, True, HUNDREDTHS)),
    day=("DATE", ColumnStatistics(dt.date(2020, 1, 1), dt.date(2023, 12, 31), 0, 1461, True)),
    paid=("DATE", ColumnStatistics(dt.date(2020, 1, 1), dt.date(2023, 12, 31), 0, 1461, True)),
)


@pytest.fixture(scope="module")
def binder() -> Binder:
    return Binder()


@pytest.mark.parametrize(
    ("where", "share"),
    [
        ("amount = 0", 0.4),
        ("amount <> 0", 0.6),
        ("amount in (0, 7)", 0.4),
        ("amount is null", 0.05),
        ("amount > 10", 0.33 * 0.95),
        ("city = 'Berlin'", 0.6),
        ("city = 'Berlin' or city = 'Zwickau'", 0.64),
        ("city like 'Z%'", 0.1),
        ("city like '%er%'", 0.6),
        ("price < 0.25", 0.25),
        ("price >= 0.25 and price < 0.35", 0.1),
        ("day >= date '2023-01-01'", 0.25),
        ("day < paid", 0.5),
    ],
)
def test_learnt_statistics_say_what_filters_of_a_plan_keep(binder: Binder, where: str, share: float) -> None:
    bound = binder.bind(f"select price from known where {where}", (KNOWN,), lambda _: KNOWN, Session())
    assert Estimator().rows(optimize(bound.plan)) == pytest.approx(10_000 * share, rel=0.12)
