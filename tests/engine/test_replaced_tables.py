"""Tables that are replaced while queries run: each query has the rows and the columns of one of them."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest

import sabot_sql

ROWS = 10
ONE = pa.table({"a": pa.array([1] * ROWS, pa.int64()), "b": pa.array([2] * ROWS, pa.int64())})
OTHER = ONE.select(["b", "a"])


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_a_query_sees_one_version_of_a_table_that_is_replaced_again_and_again(route):
    with sabot_sql.connect("embedded:", data={"t": ONE}, num_local_agents=1) as db:
        db.execute_sql("select a, b from t", route=route)
        end = time.monotonic() + 3

        def replace() -> None:
            while time.monotonic() < end:
                for table in (OTHER, ONE):
                    db.register("t", table, replace=True)
                    time.sleep(0.01)

        replacing = threading.Thread(target=replace)
        replacing.start()
        asked = 0
        while time.monotonic() < end or asked == 0:
            assert db.execute_sql("select a, b from t", route=route).to_pylist() == [{"a": 1, "b": 2}] * ROWS
            asked += 1
        replacing.join()
