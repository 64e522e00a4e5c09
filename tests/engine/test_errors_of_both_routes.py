"""What is wrong with a statement is said in the same words and at the same place, wherever it was to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql import Connection
from sabot_sql.errors import Position

REFUSED: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    ("select g, id from a group by g", {}, (1, 11)),
    ("select * from a limit -1", {}, (1, 23)),
    ("select id from a where sum(id) > 3", {}, (1, 24)),
    ("select sum(sum(id)) from a", {}, (1, 12)),
    ("select row_number() from a", {}, (1, 8)),
    ("select id + s from a", {}, (1, 11)),
    ("select 'ä', explain from a", {}, (1, 13)),
    ("select 1,\n  'ä', sum(sum(id))\nfrom a", {}, (2, 12)),
    ("select $x, g,\n id from a group by g", {"x": "a longer text"}, (2, 2)),
    ("select id + $x from a where s = $y and nope = 1", {"x": 1, "y": "z"}, (1, 40)),
    ("select id from a where s like 'x'::json", {}, (1, 34)),
    ("select * from unnest([$x::json])", {"x": "x"}, (1, 25)),
]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder: Path = tmp_path_factory.mktemp("data")
    pq.write_table(pa.table({"id": [1, 2], "g": [1, 1], "s": ["x", "y"]}), folder / "a.parquet")
    with sabot_sql.connect("embedded:", data=str(folder), num_local_agents=1) as connection:
        yield connection


@pytest.mark.parametrize(("sql", "params", "place"), REFUSED, ids=[sql for sql, _, _ in REFUSED])
def test_statement_that_does_not_bind_is_refused_alike(
    db: Connection, sql: str, params: dict[str, Any], place: tuple[int, int]
) -> None:
    told = []
    for route in ("local", "distributed"):
        with pytest.raises(sabot_sql.SabotError) as caught:
            db.execute_sql(sql, params, route=route)  # type: ignore[arg-type]
        told.append((str(caught.value), caught.value.problem.code))
        assert isinstance(caught.value.position, Position)
        assert (caught.value.position.line, caught.value.position.column) == place
    assert told[0] == told[1]


def test_constant_that_duckdb_itself_refuses_is_told_alike(db: Connection) -> None:
    for route in ("local", "distributed"):
        with pytest.raises(sabot_sql.QueryError, match="bignum too large") as caught:
            db.execute_sql(f"select id from a where id = 1{'0' * 60}", route=route)  # type: ignore[arg-type]
        assert caught.value.problem.code == "INVALID_VALUE"


def test_constant_that_cannot_be_handed_over_is_named(db: Connection) -> None:
    with pytest.raises(sabot_sql.NotSupported, match="a constant of type BIT or BIGNUM"):
        db.execute_sql(f"select 1{'0' * 400}::double", route="distributed")
