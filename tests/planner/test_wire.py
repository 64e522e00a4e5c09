"""Plans must come off the wire as they went on, and nothing else may come off it."""

from __future__ import annotations

import datetime as dt
import decimal
import pickle
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest

from sabot_sql.catalog.table import ColumnStatistics, DataFile, ScanSpec, Split, Table, TableStatistics
from sabot_sql.errors import InternalError
from sabot_sql.planner import physical as ph
from sabot_sql.planner.expressions import Call, Case, Cast, Compare, Const, Expr, InList, IsNull, Logic, Not, Ref
from sabot_sql.planner.wire import CLASSES, VERSION, from_wire, register, to_wire
from sabot_sql.types import BIGINT, DOUBLE, HUGEINT, VARCHAR, Field, SqlType, parse_type

PRICE = SqlType("DECIMAL", 15, 2)
SCHEMA = (Field("a", PRICE), Field("b", VARCHAR), Field("c", parse_type('STRUCT("x y" INTEGER[], z MAP(VARCHAR, DATE))')))


def expressions() -> tuple[Expr, ...]:
    a, b = Ref(0, PRICE), Ref(1, VARCHAR)
    return (
        Call("*", (a, Const(150, PRICE)), SqlType("DECIMAL", 18, 4)),
        Cast(b, BIGINT, is_try=True),
        Logic(
            "AND", (Compare("IS DISTINCT FROM", a, a), Not(IsNull(b, negated=True)), InList(b, (Const("x", VARCHAR),), True))
        ),
        Case(((IsNull(a), Const(None, PRICE)),), a, PRICE),
        Const(None, SqlType("INTERVAL"), "to_days(3)"),
    )


def stage() -> ph.Stage:
    files = (DataFile("/data/t/1.parquet", 10, 20, 30, (10, 20), (("day", None), ("k", "ü"))),)
    options = {"delim": ",", "columns": {"a": "BIGINT"}, "null": [None, True, 1.5], "n": 2**70}
    scan = ph.Scan(0, "t", ScanSpec("csv", SCHEMA, files, options, ("day",)), ("a", "b", "c"), (), expressions(), SCHEMA)
    join = ph.HashJoin(scan, ph.ExchangeRead(1, SCHEMA), "left", (0,), (0,), (True,), expressions()[2], (0, 3), SCHEMA[:2])
    calls = (ph.AggregateCall("sum", 0, PRICE, SqlType("DECIMAL", 38, 2), distinct=True, filter=1),)
    group = ph.HashAggregate(
        ph.Filter(ph.Project(join, expressions(), SCHEMA), expressions()[2]), "single", (1,), calls, SCHEMA
    )
    both = ph.Union((ph.Limit(ph.Sort(group, (ph.SortKey(0, True),), 5), 3), ph.Values(0, SCHEMA)), SCHEMA)
    task = ph.Task(0, {0: (Split(0, 0, 10, 5), Split(0))}, {1: (0, 7)})
    return ph.Stage(2, both, ph.Exchange("hash", (0,), 8), (1,), (task,))


def test_stage_comes_back_equal() -> None:
    assert from_wire(to_wire(stage()), ph.Stage) == stage()


def test_plan_with_session_comes_back_equal() -> None:
    plan = ph.DistributedPlan((stage(), stage()), ("a", "a"), SCHEMA, ph.Session("Europe/Berlin", 2**53 + 1))
    assert from_wire(to_wire(plan), ph.DistributedPlan) == plan


def test_table_with_statistics_comes_back_equal() -> None:
    bounds = {
        "a": ColumnStatistics(decimal.Decimal("-1.50"), decimal.Decimal("1E+3"), 0, None, True),
        "d": ColumnStatistics(dt.date(1, 1, 1), dt.date(9999, 12, 31)),
        "t": ColumnStatistics(dt.datetime(2020, 1, 1, 1, 2, 3, 4), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
    }
    table = Table("t", ScanSpec("ipc", SCHEMA, ()), TableStatistics(None, 5, "unknown", bounds), 3, "/data", ("x.txt",))
    assert from_wire(to_wire(table), Table) == table


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**127, -(2**127), 10**38 - 1])
def test_integers_of_any_width_survive(value: int) -> None:
    back = from_wire(to_wire(Const(value, HUGEINT)), Const)
    assert (back.value, type(back.value)) == (value, int)


@pytest.mark.parametrize("value", [True, 1, 1.0, -0.0, float("inf"), "", "\0'\U0001f600", None])
def test_atoms_keep_their_type(value: Any) -> None:
    back = from_wire(to_wire((Const(1, DOUBLE), Const(value, DOUBLE), Const(True, DOUBLE))), tuple)
    assert repr(back[1].value) == repr(value)


def test_nan_survives() -> None:
    back = from_wire(to_wire(Const(float("nan"), DOUBLE)), Const)
    assert repr(back.value) == "nan"


def test_path_that_is_not_unicode_survives() -> None:
    file = DataFile("/data/\udcff.parquet", 1, 2)
    assert from_wire(to_wire(file), DataFile) == file


def test_equal_schemas_are_sent_once() -> None:
    fields = tuple(Field(f"column_{i}", SqlType("DECIMAL", 15, 2)) for i in range(20))
    again = tuple(Field(f"column_{i}", SqlType("DECIMAL", 15, 2)) for i in range(20))
    one, two = (
        ph.ExchangeRead(1, fields),
        ph.Limit(ph.Union((ph.ExchangeRead(1, fields), ph.ExchangeRead(2, again)), fields), 5),
    )
    assert len(to_wire(two)) < 1.7 * len(to_wire(one))
    assert from_wire(to_wire(two), ph.Limit) == two


def test_repeated_object_comes_back_as_one_object() -> None:
    back = from_wire(to_wire((stage().root.schema, stage().root.schema)), tuple)
    assert back[0][0] is back[1][0]


@dataclass(frozen=True)
class Stranger:
    x: int = 1


def test_class_that_is_not_registered_is_not_sent() -> None:
    with pytest.raises(InternalError, match="Stranger"):
        to_wire((Stranger(),))


def test_second_class_of_one_name_is_refused() -> None:
    other = dataclass(type("Stage", (), {"__annotations__": {"x": "int"}}))
    with pytest.raises(InternalError, match="Stage"):
        register(other)
    assert CLASSES["Stage"] is ph.Stage


@pytest.mark.parametrize(
    ("classes", "root", "message"),
    [
        ([("os.system", ("x",))], [16, "true"], "os.system"),
        ([("Session", ("timezone", "now_us", "secret"))], [16, "UTC", 0, 1], "secret"),
        ([("Session", ("now_us", "timezone"))], [16, 0, "UTC"], "order"),
        ([("Session", ("timezone", "now_us"))], [16, "UTC", 0, 1], "damaged"),
        ([("Session", ("timezone", "now_us"))], [17, "UTC", 0], "damaged"),
        ([], [0, 5], "damaged"),
        ([], [9, 5], "kind 9"),
        ([], [1, 5], "got a tuple"),
        ([], [], "damaged"),
    ],
)
def test_message_that_does_not_fit_is_an_internal_error(classes: Any, root: Any, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        from_wire(msgpack.packb((VERSION, classes, root)), ph.Session)


def test_other_version_is_refused() -> None:
    with pytest.raises(InternalError, match="version 99"):
        from_wire(msgpack.packb((99, [], None)), ph.Session)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x00", pickle.dumps(ph.Session()), to_wire(ph.Session())[:-3]])
def test_damaged_bytes_are_an_internal_error(data: bytes) -> None:
    with pytest.raises(InternalError):
        from_wire(data, ph.Session)
