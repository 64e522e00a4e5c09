"""The comparison of answers: what is left of doubles that cancel out is no difference."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sabot_sql.client.difference import difference


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ([0.0, -0.65, 1.0], [1.0, -6.2e-16, -0.65], True),
        ([3e-17, -1e-15, float("nan")], [float("nan"), 0.0, -0.0], True),
        ([1.0, 2.0], [2.0 + 1e-12, 1.0], True),
        ([0.0, 1.0], [1.0, 1e-6], False),
        ([1.0, 1.0], [1.0, 2.0], False),
        ([None, 1.0], [1.0, 0.0], False),
    ],
)
def test_rows_are_compared_as_a_bag(want: list[float | None], got: list[float | None], same: bool) -> None:
    tables = [pa.table({"x": pa.array(values, pa.float64())}) for values in (want, got)]
    assert (difference(*tables) == "") == same
