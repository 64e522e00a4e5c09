"""Mended from what a first user ran into."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql


@pytest.mark.parametrize("sql", ["select length(range(150000000))", "select repeat('x', 1500000000)"])
def test_values_that_eat_the_memory_are_refused_before_they_are_bound(sql: str) -> None:
    with sabot_sql.connect("embedded:", data={}, num_local_agents=1) as db:
        for route in ("local", "distributed"):
            with pytest.raises(sabot_sql.SabotError, match="1.0 GiB are allowed"):
                db.execute_sql(sql, route=route)


def test_a_column_without_a_type_does_not_stand_in_the_way_of_others(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": [1, 2], "n": pa.nulls(2)}), tmp_path / "t" / "x.parquet")
    with sabot_sql.connect("embedded:", data=str(tmp_path), num_local_agents=1) as db:
        assert db.execute_sql("select sum(a) s from t", route="distributed").scalar() == 3
        with pytest.raises(sabot_sql.NotSupported, match="column n"):
            db.execute_sql("select n from t", route="distributed")
        assert len(db.execute_sql("select n from t", threshold=0)) == 2


def test_columns_of_one_name_are_all_in_the_dictionaries() -> None:
    with sabot_sql.connect("embedded:", data={}, num_local_agents=0) as db:
        assert db.execute_sql("select 1 a, 2 a").to_pylist() == [{"a": 1, "a_1": 2}]
