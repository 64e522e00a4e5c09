"""HUGEINT and UHUGEINT above 38 digits are refused on both routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql import Connection
from sabot_sql.engine.request import Route

MOST = 2**127 - 1

ROUTES: tuple[Route, ...] = ("local", "distributed")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    path: Path = tmp_path_factory.mktemp("huge") / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT {MOST}::HUGEINT AS h, {2**128 - 1}::UHUGEINT AS u").fetchall()
    with sabot_sql.connect(data=path, num_local_agents=1) as found:
        yield found


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("column", ["h", "[h] AS l", "{'x': h} AS s"])
def test_value_of_more_than_38_digits_is_refused_with_a_cast(db: Connection, column: str, route: Route) -> None:
    with pytest.raises(sabot_sql.QueryError, match="has a value of more than 38 digits") as caught:
        db.execute_sql(f"SELECT {column} FROM t", route=route)
    assert caught.value.problem.code == "INVALID_VALUE"
    assert "VARCHAR" in (caught.value.hint or "")


def test_unsigned_value_is_never_negative(db: Connection) -> None:
    for route in ROUTES:
        with pytest.raises(sabot_sql.QueryError, match='column "u" has a value of more than 38 digits'):
            db.execute_sql("SELECT u FROM t", route=route)
        assert db.execute_sql("SELECT u::VARCHAR FROM t", route=route).scalar() == str(2**128 - 1)
