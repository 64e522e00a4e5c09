"""Parameters from NumPy, pandas, Polars and Arrow."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sabot_sql.client.parameters import normalize_params
from sabot_sql.errors import QueryError

DAY = dt.date(2026, 1, 2)
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (np.int64(3), 3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.float32(1.5), 1.5),
        (np.str_("x"), "x"),
        (np.array(5), 5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([np.int64(1), None], dtype=object), [1, None]),
        (np.datetime64("2026-01-02"), DAY),
        (np.array(["2026-01-02", "NaT"], "datetime64[D]"), [DAY, None]),
        (np.datetime64(MOMENT, "ns"), MOMENT),
        (np.timedelta64(5, "s"), dt.timedelta(seconds=5)),
        (pd.Timestamp(MOMENT), MOMENT),
        (pd.Timedelta(5, "s"), dt.timedelta(seconds=5)),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Series([1, 2]), [1, 2]),
        (pl.Series([1.5, None]), [1.5, None]),
        (pa.scalar(Decimal("1.50")), Decimal("1.50")),
        (pa.array(["a", None]), ["a", None]),
        ({"a": np.int64(1), "b": [np.int8(2)]}, {"a": 1, "b": [2]}),
    ],
    ids=repr,
)
def test_value_becomes_pythons_own(value: Any, want: Any) -> None:
    found = normalize_params({"x": value})
    assert found == {"x": want}
    assert isinstance(found, dict)
    assert type(found["x"]) is type(want)


@pytest.mark.parametrize("values", [np.array([1, 2]), pd.Series([1, 2]), pl.Series([1, 2]), pa.array([1, 2]), range(1, 3)])
def test_array_holds_positional_parameters(values: Any) -> None:
    assert normalize_params(values) == (1, 2)


@pytest.mark.parametrize(
    "value", [np.datetime64("2026-01-02T00:00:00.000000001"), pd.Timestamp(1), np.datetime64("12026-01-01")]
)
def test_moment_that_python_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(QueryError, match="parameter when is .*cannot hold") as caught:
        normalize_params({"when": value})
    assert caught.value.problem.code == "INVALID_PARAMETER"


@pytest.mark.parametrize("params", ["text", {1, 2}, iter([1])])
def test_what_has_no_order_is_no_list_of_parameters(params: Any) -> None:
    with pytest.raises(QueryError, match="give a mapping for"):
        normalize_params(params)
