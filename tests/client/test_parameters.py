from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sabot_sql.client.parameters import normalize_params, params_from_json, params_to_json
from sabot_sql.errors import QueryError

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.just(dt.UTC)),
    st.timedeltas(),
    st.uuids(),
    st.binary(),
)

UNHURRIED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@UNHURRIED
@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_named_parameters_survive_json(params: dict[str, Any]) -> None:
    values, types = json.loads(json.dumps(params_to_json(params)))
    assert params_from_json(values, types) == (params or None)


@UNHURRIED
@given(st.lists(VALUES))
def test_positional_parameters_survive_json(params: list[Any]) -> None:
    values, types = json.loads(json.dumps(params_to_json(tuple(params))))
    assert params_from_json(values, types) == (tuple(params) or None)


def test_nan_travels_as_a_typed_text() -> None:
    assert params_to_json({"x": float("nan")}) == ({"x": "nan"}, {"x": "double"})


@pytest.mark.parametrize(
    ("value", "sql_type", "want"),
    [
        ("2026-01-01", "DATE", dt.date(2026, 1, 1)),
        ("12.50", "decimal(10,2)", Decimal("12.50")),
        (5, "bigint", 5),
        ("2026-01-01T02:00:00+02:00", "timestamp", dt.datetime(2026, 1, 1)),
        ("true", "boolean", True),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "uuid", uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")),
        (None, "date", None),
    ],
)
def test_param_types_cast_values(value: Any, sql_type: str, want: Any) -> None:
    assert params_from_json({"p": value}, {"p": sql_type}) == {"p": want}


@pytest.mark.parametrize(
    ("value", "sql_type", "message"),
    [
        ("never", "date", "parameter p: 'never' is not of type date"),
        (1.5, "integer", "parameter p: 1.5 is not of type integer"),
        ("x", "point", "unknown type point"),
        ("%%", "blob", "is not of type blob"),
    ],
)
def test_value_that_is_not_of_its_type_is_refused(value: Any, sql_type: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        params_from_json({"p": value}, {"p": sql_type})
    assert caught.value.problem.code == "INVALID_PARAMETER"


def test_type_of_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(QueryError, match="param_types names q"):
        params_from_json({"p": 1}, {"q": "date"})


def test_value_without_a_sql_type_is_refused() -> None:
    with pytest.raises(QueryError, match="parameter x is a object"):
        params_to_json({"x": object()})


def test_names_may_carry_their_marks() -> None:
    assert normalize_params({"$lo": 1, ":hi": 2}) == {"lo": 1, "hi": 2}


def test_text_is_no_list_of_parameters() -> None:
    with pytest.raises(QueryError, match="params is a str"):
        normalize_params("abc")
