"""Every aggregate that agents run in two steps gives the answer of DuckDB with one thread, whose rows come in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.client.difference import difference
from sabot_sql.planner.aggregate_states import BEST, EXTREMES, FIRST, OF_ONE, OF_TWO, QUANTILE

FILES, ROWS = 3, 4000

# k = 5: nothing but NULL in x; k = 6: NULL in everything; k = 7: one row; k = NULL: a group of its own; groups of other files
TABLE = """
    SELECT i, CASE WHEN i = 2 THEN 7 WHEN i % 11 = 9 THEN NULL WHEN i % 11 = 7 THEN 20 + i // 4000 ELSE i % 11 END k,
        CASE WHEN k = 6 OR k = 5 OR i % 13 = 0 THEN NULL ELSE (i * 7919 % 1000) / 7 END x,
        CASE WHEN k = 6 OR i % 7 = 3 THEN NULL ELSE (i * 31 % 977)::DOUBLE END y,
        CASE WHEN k = 6 THEN NULL WHEN i % 101 = 0 THEN 'nan'::DOUBLE WHEN i % 103 = 0 THEN '-inf'::DOUBLE ELSE i % 50 END odd,
        CASE WHEN k = 6 OR i % 5 = 0 THEN NULL ELSE i % 100 END::INTEGER n,
        CASE WHEN k = 6 THEN NULL ELSE (i % 17) * 500000000000000000 END::BIGINT big, (i % 9)::UTINYINT tiny, i::SMALLINT short,
        big::UBIGINT ubig, CASE WHEN k = 6 THEN NULL ELSE big END::HUGEINT huge, x::FLOAT f,
        x::DECIMAL(4, 1) small, x::DECIMAL(9, 2) middle, x::DECIMAL(18, 2) d, x::DECIMAL(38, 4) wide,
        CASE WHEN k = 6 OR i % 3 = 0 THEN NULL ELSE i % 23 < 22 END b,
        CASE WHEN k = 6 OR i % 8 = 5 THEN NULL ELSE 'é' || (i * 31 % 50) END s, encode(s) raw,
        DATE '2020-01-01' + (i % 100)::INTEGER AS day, TIMESTAMP '2020-01-01 01:02:03' + INTERVAL (i % 100) HOUR ts,
        ts::TIMESTAMPTZ tz, ts::TIME clock, ts::TIMESTAMP_NS ns, INTERVAL (n) DAY gap,
        CASE WHEN k = 6 THEN NULL ELSE ('00000000-0000-0000-0000-' || lpad((i % 40)::VARCHAR, 12, '0'))::UUID END u,
        CASE WHEN n IS NULL THEN NULL ELSE [n, NULL, i % 3] END l, CASE WHEN s IS NULL THEN NULL ELSE {'a b': n, 'c': s} END st,
        map {i % 3: s} m, [i % 4, 2]::INTEGER[2] pair
    FROM range({first}, {last}) r(i)
"""
VALUES = "x odd f n big tiny short ubig huge small middle d wide b s raw day ts tz clock ns gap u l st m pair".split()
NUMBERS = "x odd f n big tiny short ubig small middle d wide".split()
INTEGERS = "n big tiny short ubig".split()

CALLS = {
    **{name: [f"{name}({c})" for c in ("x", "n", "f", "d")] for name in OF_ONE},
    **{name: [f"{name}(x, y)", f"{name}(n, d)"] for name in OF_TWO},
    **{name: [f"{name}({c})" for c in VALUES if c not in ("m", "huge")] for name in sorted(FIRST)},
    **{name: [f"{name}({c})" for c in VALUES if c != "m"] + ["bit_or(n)"] for name in sorted(EXTREMES)},
    **{name: [f"{name}({c}, x)" for c in VALUES if c != "huge"] for name in sorted(BEST)},
    **{f"{name} by": [f"{name}(i, {c})" for c in VALUES if c not in ("m", "huge")] for name in ("arg_max", "arg_min_null")},
    **{name: [f"{name}({c})" for c in INTEGERS] + [f"{name}(DISTINCT n)"] for name in ("bit_and", "bit_or")},
    "bit_xor": [f"bit_xor({c})" for c in INTEGERS],
    "approx_count_distinct": [f"approx_count_distinct({c})" for c in VALUES if c not in ("m", "huge")],
    "sum, avg": [f"{name}({c})" for c in [*NUMBERS, "huge"] for name in ("sum", "avg")] + ["bit_or(n)"],
    "avg of times": ["avg(ts)", "avg(tz)", "avg(clock)", "avg(day)", "bit_or(n)"],
    "truth": ["bool_and(b)", "bool_or(b)", "bool_or(n > 98)", "count_if(b)", "countif(x > 100)", "bit_or(n)"],
    "counts": ["count(*)", "count(x)", "count(s)", "bit_or(n)", "max(huge)"],
    "filters": ["stddev(x) FILTER (WHERE b)", "arg_max(s, y) FILTER (WHERE n > 90)", "count(*) FILTER (WHERE b)"],
    "constants": ["stddev(3)", "arg_max(s, 'it''s {0}')", "arg_min(5, x)", "any_value('{c1}')"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("states") / "t"
    folder.mkdir()
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'").fetchall()
        for i in range(FILES):
            rows = TABLE.replace("{first}", str(i * ROWS)).replace("{last}", str((i + 1) * ROWS))
            con.execute(f"COPY ({rows}) TO '{folder}/{i}.parquet'").fetchall()
    return folder


@pytest.fixture(scope="module")
def oracle(files: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute(f"CREATE VIEW t AS FROM read_parquet('{files}/*.parquet')").fetchall()
        yield con


@pytest.fixture(scope="module", params=[2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def pool(request: pytest.FixtureRequest, files: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect(data={"t": str(files)}, num_local_agents=request.param) as db:
        yield db


def check(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, sql: str, is_partial: bool = True) -> None:
    want: pa.Table = oracle.sql(sql).to_arrow_table()
    got = pool.execute_sql(sql, route="distributed")
    assert difference(want, got.to_arrow(), [0] if "ORDER BY" in sql else []) == ""
    if is_partial:
        assert "Aggregate partial" in str(pool.explain(sql, route="distributed"))


@pytest.mark.parametrize("name", CALLS)
def test_groups_have_duckdbs_answer(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, name: str) -> None:
    check(pool, oracle, f"SELECT k, {', '.join(CALLS[name])} FROM t GROUP BY k ORDER BY k")


@pytest.mark.parametrize("name", CALLS)
def test_whole_table_has_duckdbs_answer(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, name: str) -> None:
    check(pool, oracle, f"SELECT {', '.join(CALLS[name])} FROM t WHERE y > 3")


@pytest.mark.parametrize("name", CALLS)
def test_no_rows_have_duckdbs_answer(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, name: str) -> None:
    check(pool, oracle, f"SELECT {', '.join(CALLS[name])} FROM t WHERE y > 1e6", is_partial=False)


@pytest.mark.parametrize("name", CALLS)
def test_rows_of_a_join_have_duckdbs_answer(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, name: str) -> None:
    dimension = "(SELECT DISTINCT n AS key FROM t WHERE n < 60)"
    check(pool, oracle, f"SELECT k, {', '.join(CALLS[name])} FROM t JOIN {dimension} ON n = key GROUP BY k ORDER BY k")


@pytest.mark.parametrize("name", [*OF_ONE, *OF_TWO])
def test_infinity_and_nan_end_as_in_duckdb(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection, name: str) -> None:
    for where in ("true", "isfinite(odd)", "NOT isnan(odd)"):
        args = "odd" if name in OF_ONE else "odd, y"
        sql = f"SELECT k, {name}({args}) FROM t WHERE {where} GROUP BY k ORDER BY k"
        try:
            oracle.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            with pytest.raises(sabot_sql.QueryError, match=str(error).split(": ", 1)[1][:20]):
                pool.execute_sql(sql, route="distributed")
        else:
            check(pool, oracle, sql)


@pytest.mark.parametrize("column", "x n tiny small d wide day ts clock".split())
def test_approximate_quantiles_are_near_the_exact_ones(pool: sabot_sql.Connection, column: str) -> None:
    quantiles = f"SELECT {QUANTILE}({column}, 0.5) q, {QUANTILE}({column}, [0.1, 0.9]) qs FROM t"
    below = ", ".join(f"avg(({column} <= {at})::INTEGER)" for at in ("q", "qs[1]", "qs[2]"))
    found = pool.execute_sql(f"SELECT {below} FROM t, ({quantiles}) s", route="distributed").to_pylist()[0]
    assert tuple(found.values()) == pytest.approx((0.5, 0.1, 0.9), abs=0.06 if column != "tiny" else 0.15)


def test_groups_of_nested_keys(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection) -> None:
    check(pool, oracle, "SELECT pair, stddev(x), first(s), sum(d) FROM t GROUP BY pair ORDER BY pair")
    check(pool, oracle, "SELECT st, max(x), count(*) FROM t GROUP BY st")


def test_a_key_given_twice(pool: sabot_sql.Connection, oracle: duckdb.DuckDBPyConnection) -> None:
    check(
        pool, oracle, "SELECT k, k AS again, n % 2 AS parity, stddev(x), first(s) FROM t GROUP BY k, again, parity ORDER BY k"
    )
