"""Table functions that are called for each row: DuckDB's rows on the agents, whatever the numbers; no long lists."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sabot_sql
from sabot_sql.client.connection import Connection
from sabot_sql.client.difference import difference
from sabot_sql.errors import NotSupported, QueryError

BOUNDS = [None, -5, -1, 0, 1, 7, 1023, 1024, 1025, 3000]
STEPS = [None, -3, -1, 1, 2, 1024, 5000]
LEAST, MOST = -(2**63), 2**63 - 1
EDGES = [
    (MOST - 9, MOST, 3),
    (MOST, MOST, 1),
    (LEAST, LEAST + 5, 2),
    (LEAST, MOST, 2**62),
    (MOST, LEAST, LEAST),
    (MOST, LEAST, -(2**62)),
    (LEAST, MOST, MOST),
]


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (id BIGINT, a BIGINT, b BIGINT, s BIGINT)")
        rows = [*itertools.product(BOUNDS, BOUNDS, STEPS), *EDGES]
        con.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", [(i, *row) for i, row in enumerate(rows)])
        yield con


@pytest.fixture(scope="module")
def agents(duck: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder = tmp_path_factory.mktemp("data")
    duck.table("t").write_parquet(str(folder / "t.parquet"))
    with sabot_sql.connect(data=str(folder), num_local_agents=2) as db:
        yield db


@pytest.mark.parametrize("name", ["range", "generate_series"])
@pytest.mark.parametrize(
    "select",
    [
        "SELECT id, count(*), min(x), max(x), sum(x), count(DISTINCT x) FROM t, {}(a, b, s) r(x) GROUP BY id",
        "SELECT id, count(*), max(o), sum(o * x) FROM t, {}(a, b, s) WITH ORDINALITY r(x, o) WHERE id < 700 GROUP BY id",
        "SELECT id, count(*), sum(x) FROM t, {}(a, b) r(x) WHERE abs(a::HUGEINT) < 9999 AND b < 9999 GROUP BY id",
        "SELECT id, x, o FROM t, {}(a) WITH ORDINALITY r(x, o) WHERE id BETWEEN 300 AND 500",
    ],
)
def test_numbers_of_each_row_are_duckdbs(name: str, select: str, duck: duckdb.DuckDBPyConnection, agents: Connection) -> None:
    sql = select.format(name)
    found = agents.execute_sql(sql, route="distributed").to_arrow()
    want = duck.sql(sql).to_arrow_table()
    assert want.num_rows > 100
    assert difference(want.cast(found.schema), found) == ""


TIMES = {
    "TIMESTAMP": "TIMESTAMP '2024-01-30 22:00:00' + to_hours((a % 1000) * 37) + to_microseconds(a)",
    "TIMESTAMPTZ": "TIMESTAMPTZ '2024-01-30 22:00:00+00' + to_hours((a % 1000) * 37)",
}
PARTS = ("to_hours(s)", "to_days(s)", "to_months(s)", "to_days(s) + to_hours(s)", "to_months(s) + to_seconds(s)")


@pytest.mark.parametrize("name", ["range", "generate_series"])
@pytest.mark.parametrize("step", PARTS)
@pytest.mark.parametrize("kind", TIMES)
def test_times_of_each_row_are_duckdbs(
    name: str, step: str, kind: str, duck: duckdb.DuckDBPyConnection, agents: Connection
) -> None:
    call = f"{name}({TIMES[kind]}, {TIMES[kind].replace('a', 'b')}, {step})"
    select = "SELECT id, count(*), min(x), max(x), sum(epoch_us(x) // 1000 * o), max(o)"
    few = "s BETWEEN -5 AND 5 AND a < 9999 AND b < 9999 AND id < 700 GROUP BY id"
    sql = wanted = f"{select} FROM t, {call} WITH ORDINALITY r(x, o) WHERE {few}"
    if (
        kind == "TIMESTAMPTZ"
    ):  # of each row DuckDB has these only as lists: as a table they end with the first row that has none
        wanted = f"{select} FROM (SELECT *, unnest({call}) AS x, unnest(range(1, 1 + len({call}))) AS o FROM t) WHERE {few}"
    duck.execute("SET TimeZone = 'Europe/Rome'").fetchall()
    want = duck.sql(wanted).to_arrow_table()
    found = agents.execute_sql(sql, route="distributed", timezone="Europe/Rome").to_arrow()
    assert want.num_rows > 50
    assert difference(want.cast(found.schema), found) == ""


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ("TIMESTAMP '2020-01-01', TIMESTAMP 'infinity', to_days(1 + id)", "infinite bounds"),
        ("TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', to_days(1 + id) - INTERVAL 1 HOUR", "mixed signs"),
        ("TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', to_months(1 + id::INT) - INTERVAL 1 HOUR", "mixed signs|mix of"),
    ],
)
def test_times_without_an_end_are_an_error(
    bounds: str, message: str, duck: duckdb.DuckDBPyConnection, agents: Connection
) -> None:
    sql = f"SELECT id, x FROM t, range({bounds}) r(x) WHERE id < 9"
    with pytest.raises(duckdb.Error, match=message):
        duck.sql(sql).fetchall()
    with pytest.raises(QueryError, match=message):
        agents.execute_sql(sql, route="distributed")


@pytest.mark.parametrize(
    "select",
    [
        "SELECT id, x FROM t, range(0, 5, s * 0) r(x)",
        "SELECT id, x FROM t LEFT JOIN generate_series(0, 5, a) r(x) ON true",
        "SELECT id, x FROM t, generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2020-01-02', to_hours(a)) r(x) WHERE a = 0",
    ],
)
def test_a_step_of_zero_is_an_error(select: str, duck: duckdb.DuckDBPyConnection, agents: Connection) -> None:
    with pytest.raises(duckdb.Error, match="interval cannot be 0"):
        duck.sql(select).fetchall()
    with pytest.raises(QueryError, match="interval cannot be 0"):
        agents.execute_sql(select, route="distributed")


def test_long_ranges_are_no_lists(agents: Connection) -> None:
    few = "SELECT x FROM t, range(id * 1000000000000) r(x) WHERE id = 1 LIMIT 3"
    assert [tuple(row) for row in agents.execute_sql(few, route="distributed")] == [(0,), (1,), (2,)]
    many = "SELECT count(*), max(x) FROM t, range(id * 30000000) r(x) WHERE id = 1"
    assert agents.execute_sql(many, route="distributed").one() == (30_000_000, 29_999_999)
    year = "TIMESTAMP '2000-01-01', TIMESTAMP '2001-01-01'"
    seconds = f"SELECT count(*), max(x) FROM t, range({year}, to_seconds(id)) r(x) WHERE id = 1"
    assert agents.execute_sql(seconds, route="distributed").one() == (366 * 86_400, dt.datetime(2000, 12, 31, 23, 59, 59))
    for pid in (agent["pid"] for agent in agents.agents()):
        peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 700_000, peak  # KB; a list of 30 million numbers takes 240 MB and twice that to unnest


def test_what_has_no_list_is_refused(agents: Connection) -> None:
    with pytest.raises(NotSupported, match="json_each of each row with a rowid"):
        agents.execute_sql("SELECT t.id, j.rowid FROM t, json_each('[' || id || ']') j", route="distributed")
