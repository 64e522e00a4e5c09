"""Parts of dates against Python's own calendar; the other kernels of expressions are tested in `executor/test_evaluate.py`."""

from __future__ import annotations

import datetime as dt

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.kernels.expressions import DAY, INFINITE_DAYS, MONTH, YEAR, date_parts


@given(st.lists(st.dates(), max_size=20))
def test_parts_of_dates_are_pythons(dates: list[dt.date]) -> None:
    days = np.array([(d - dt.date(1970, 1, 1)).days for d in dates], np.int64)
    out, finite = np.empty(len(days), np.int64), np.empty(len(days), np.uint8)
    for part, name in ((YEAR, "year"), (MONTH, "month"), (DAY, "day")):
        date_parts(part, days, out, finite)
        assert out.tolist() == [getattr(d, name) for d in dates]
        assert finite.all()


def test_infinity_has_no_parts() -> None:
    finite = np.empty(4, np.uint8)
    days = np.array([INFINITE_DAYS, -INFINITE_DAYS, INFINITE_DAYS - 1, 1 - INFINITE_DAYS])
    date_parts(YEAR, days, np.empty(4, np.int64), finite)
    assert finite.tolist() == [0, 0, 1, 1]
