"""Mended from what a first user ran into."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from tests.agents.processes import until


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


def test_tables_that_give_a_column_of_one_file_other_types_keep_it_apart(tmp_path: Path) -> None:
    for name, k in (("a", "i::INTEGER"), ("b", "3000000000 + i"), ("c", "(i + 0.5)::DOUBLE")):
        duckdb.execute(f"COPY (SELECT {k} AS k FROM range(100) t(i)) TO '{tmp_path / name}.parquet'").fetchall()
    tables = {name: [str(tmp_path / f"{f}.parquet") for f in files] for name, files in (("whole", "ba"), ("halves", "ca"))}
    sql = "select count(*) n from {} where k::varchar like '%.0'"
    with sabot_sql.connect("embedded:", data=tables, num_local_agents=1) as db:

        def right(table: str, count: int) -> None:
            assert db.execute_sql(sql.format(table), route="distributed", timeout_s=60).scalar() == count

        def in_memory() -> bool:
            right("whole", 0)
            right("halves", 100)
            texts = [db.explain(sql.format(table), route="distributed", analyze=True).text for table in tables]
            return all("200 from memory" in text for text in texts)

        for _ in range(4):
            right("whole", 0)
            time.sleep(0.2)  # what was read twice is loaded
        until(in_memory, 20)
