import datetime as dt
import uuid
from decimal import Decimal

import duckdb
import numpy as np
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.planner.parameters import bound_parameters, inline_parameters
from sabot_sql.planner.parse import parse

VALUES = [
    None, True, False, 0, 1, -1, 2**31 - 1, -(2**31), 2**31, -(2**63), 2**63, 2**64 - 1, 2**100, -(2**127), 2**127,
    0.0, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"),
    "", "x", "it's", 'a"b', "-- $1 ?", "a\0b", "\0", "é😀", "\\x41", "line\nbreak",
    b"", b"ab\0", b"'\\x41", bytearray(b"x"),
    Decimal("1.50"), Decimal("1E+5"), Decimal("0.001"), Decimal("-0.05"), Decimal(0), Decimal("0.00"),
    Decimal("9" * 38), Decimal("1" * 39),
    dt.date(2020, 2, 29), dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.time(1, 2, 3, 4), dt.time(1, 2, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, 1, 2, 3, 4), dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    dt.timedelta(days=1, seconds=2, microseconds=3), dt.timedelta(days=-1, seconds=2), dt.timedelta(days=40, hours=30),
    uuid.UUID(int=7), [], [1, 2], [1, 2**40], [1, 2.5], [1, "a"], [None], [1.5, None], [[1], [2, 3]],
    [dt.date(2020, 1, 1)], (1, 2),
    {"a": 1}, {"a": {"b": [1]}}, {}, [{"a": 1}],
]  # fmt: skip


@pytest.fixture(scope="module")
def con():
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'").fetchall()
    yield con
    con.close()


@pytest.mark.parametrize("value", VALUES, ids=lambda v: repr(v)[:30])
def test_inlined_constant_has_the_type_and_value_of_the_bound_parameter(con, value):
    statement = parse("select typeof($a) t, $a::varchar v")
    bound = con.sql(statement.sql, params=bound_parameters(statement, {"a": value})).fetchall()
    assert con.sql(inline_parameters(statement, {"a": value})).fetchall() == bound


def test_positions_are_bytes_of_the_text(con):
    statement = parse("select 'é', ?, 'ü', ?")
    assert con.sql(inline_parameters(statement, [1, "ä"])).fetchall() == [("é", 1, "ü", "ä")]


def test_injection_text_comes_back_as_it_is(con):
    for text in ["'; drop table t; --", "$a", "?", "' || '", "\\' or 1=1", "/*", "\"'"]:
        assert con.sql(inline_parameters(parse("select $a"), {"a": text})).fetchall() == [(text,)]


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (None, "$a has no value"),
        ({"b": 1}, "$a has no value"),
        ({"a": 1, "b": 2}, "no parameter $b"),
        ({"a": object()}, "$a is a object"),
    ],
)
def test_wrong_parameters_are_named(params, named):
    with pytest.raises(QueryError, match=named.replace("$", r"\$")) as caught:
        bound_parameters(parse("select $a"), params)
    assert caught.value.problem.code == "INVALID_PARAMETER"


def test_too_many_positions_are_named():
    with pytest.raises(QueryError, match=r"\$2"):
        bound_parameters(parse("select ?"), [1, 2])


def test_too_large_integers_and_half_surrogates_are_refused():
    for value in (2**128, "\ud800"):
        with pytest.raises(QueryError, match=r"\$a"):
            bound_parameters(parse("select $a"), {"a": value})


def test_numpy_scalars_are_unwrapped():
    assert bound_parameters(parse("select $a"), {"a": np.int64(3)}) == {"a": 3}


def test_names_may_carry_their_dollar_and_any_case():
    assert bound_parameters(parse("select $Ab"), {"$aB": 3}) == {"Ab": 3}


def test_statement_without_parameters_takes_none():
    assert bound_parameters(parse("select 1"), None) == {}
    assert inline_parameters(parse("select 1"), ()) == "select 1"
