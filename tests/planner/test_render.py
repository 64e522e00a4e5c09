"""Rendered expressions must bind to the type they had and give the value they had."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from sabot_sql.catalog.table import ScanSpec, Table, TableStatistics
from sabot_sql.errors import NotSupported
from sabot_sql.planner import logical as lg
from sabot_sql.planner.decode import decode_plan
from sabot_sql.planner.expressions import Call, Cast, Const, Expr, Ref
from sabot_sql.planner.physical import Session
from sabot_sql.planner.render import render, render_constant, render_output
from sabot_sql.types import BIGINT, HUGEINT, VARCHAR, Field, SqlType, inner_arrow_type, parse_type, quote_identifier

COLUMNS = {
    "b": "BOOLEAN", "t": "TINYINT", "i": "INTEGER", "l": "BIGINT", "h": "HUGEINT", "u": "UBIGINT", "f": "FLOAT", "d": "DOUBLE",
    "p": "DECIMAL(15,2)", "q": "DECIMAL(4,1)", "w": "DECIMAL(38,3)", "o": "DECIMAL(18,2)", "s": "VARCHAR", "x": "VARCHAR",
    "dt": "DATE", "tm": "TIME", "ts": "TIMESTAMP", "tz": "TIMESTAMPTZ", "id": "UUID", "j": "JSON", "bl": "BLOB",
}  # fmt: skip

ROWS = """
(true, 7, 70, 700, 123456789012345678901234567890, 18446744073709551615, 1.25, 2.5, 12345.67, 99.9, 12345678901234567890.123,
 1234.56, 'Straße', 'a%b_c', '1996-02-29', '10:11:12.131415', '1996-02-29 10:11:12.131415', '1996-02-29 10:11:12.131415+00',
 'c0ffee00-0000-4000-8000-000000000001', '{"k": [1, "zwei"]}', '\\x00\\xAB'),
(false, -7, -70, -700, -1, 0, 'nan', 'nan', -0.01, -99.9, -1.001, -1234.56, '', 'it''s', '0044-03-15 (BC)', '00:00:00',
 '290000-12-31 00:00:00', '2038-01-19 03:14:08+00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', ''),
(null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)
"""

EXPRESSIONS = """
i + 1; i - 70; i * 2; i // 3; i % 4; i / 4; -i; l + l; l // 7; abs(i); t + t; u // 2; h + 1; h // 7; h % 1000; h = 5; h * 2
p + p; p - 1; 1 - p; p * 2; p * 1.5; p * (1 - p); p * p; q * q; q + p; w + 1; w * 2; o + o; o * o
p / 3; p // 2; p % 7; -p; p * d
p * (1 - q) * (1 + q); round(p, 1); floor(p); ceil(w); abs(p); p::DECIMAL(10,1); p::INTEGER
p::DOUBLE; q::VARCHAR; w::DECIMAL(38,0)
d + 1; d * 2.5; d / 0; d ^ 2; d ** 2; sqrt(abs(d)); round(d, 1); d = d; d > 'nan'::DOUBLE; d < 3; f * 2; f + d; f = 1.25; -d
isnan(d); greatest(d, 1); least(i, l); coalesce(i, 5); coalesce(s, 'none'); nullif(i, 70); ifnull(p, 0)
i > 5 AND l < 800; i > 5 OR b; NOT b; i IS NULL; i IS NOT NULL; i IN (1, 70, NULL)
s NOT IN ('a', 'Straße'); i BETWEEN 1 AND 100
i IS DISTINCT FROM 70; i IS NOT DISTINCT FROM NULL; b IS TRUE; b IS NOT FALSE; (i > 5) = b
CASE WHEN i > 0 THEN 'pos' WHEN i < 0 THEN 'neg' ELSE 'none' END; CASE WHEN b THEN p ELSE 0 END; CASE WHEN b THEN 1 END
CASE i WHEN 70 THEN 1.5 WHEN -70 THEN 2 ELSE 3 END
s LIKE 'S%'; s LIKE '%ß%'; s NOT LIKE '%e'; s ILIKE 'STR%'; s NOT ILIKE 'x%'
x LIKE 'a\\%b%' ESCAPE '\\'; s LIKE x; s GLOB 'S*'
prefix(s, 'Str'); suffix(s, 'ße'); contains(s, 'ra'); starts_with(s, 'S'); s ^@ 'S'; regexp_matches(s, 'S.*e')
regexp_replace(s, 'a', 'o'); regexp_extract(s, '(S.)r', 1); s SIMILAR TO 'S.*'
s || 'x'; s || i; upper(s); lower(s); length(s); strlen(s); substring(s, 2, 3); substr(s, 1, 1)
s[1:2]; s[2]; left(s, 2); reverse(s)
trim(s); lpad(s, 10, '.'); replace(x, '''', '"'); position('r' IN s); concat(s, '-', x)
concat_ws(',', s, x); ascii(s); chr(65)
md5(s); printf('%d-%s', i, s); format('{}', i); string_split(x, '%'); split_part(x, '%', 1)
hash(i); bl || bl; octet_length(bl)
dt + 1; dt - 1; dt + INTERVAL 1 MONTH; dt - INTERVAL '3' YEAR; dt - DATE '1990-01-01'
dt < DATE '1998-12-01' - INTERVAL 90 DAY
date_part('year', dt); extract(month FROM ts); year(dt); date_trunc('month', ts)
date_diff('day', dt, DATE '2000-01-01'); dt::TIMESTAMP
ts + INTERVAL '1 day 2 hours'; ts::DATE; tz::TIMESTAMP; ts::TIMESTAMPTZ; hour(tz)
strftime(ts, '%Y-%m'); tm + INTERVAL 1 HOUR; tm < '12:00'
ts = TIMESTAMP '1996-02-29 10:11:12.131415'; tz > TIMESTAMPTZ '2000-01-01 00:00:00+02'
epoch_ms(ts); last_day(dt); dayname(dt)
ts::TIMESTAMP_S; ts::TIMESTAMP_MS; (ts::DATE - 5)::VARCHAR; make_date(2020, 2, abs(i) % 28 + 1)
TIME '23:59:59.999999'; dt = 'infinity'
id = 'c0ffee00-0000-4000-8000-000000000001'; id::VARCHAR; id < 'f0000000-0000-0000-0000-000000000000'::UUID
j->'k'; j->>'k'; j->>'$.k[0]'; json_extract(j, '$.k'); json_array_length(j); json_valid(s)
i & 6; i | 1; xor(i, 3); abs(i) << 2; i >> 1; ~i; bit_count(i); i::VARCHAR; x::BLOB
try_cast(s AS INTEGER); try_cast(i AS TINYINT)
[i, 1]; [i, 1][1]; {'a': i, 'b c': s}; {'a': i}.a; list_contains([1, i], 70); len([i, i])
map([1], [i]); greatest(dt, DATE '2000-01-01')
'it''s'; 1.50; 1e300; -5; 170141183460469231731687303715884105727; TRUE; DATE '0044-03-15 (BC)'
INTERVAL 3 MONTH; 'nan'::FLOAT
"""


def cases() -> list[str]:
    return [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split(";")]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    for name, folder in (("rows", f"VALUES {ROWS.strip()}"), ("empty", None)):
        con.execute(f"CREATE TABLE {name} (" + ", ".join(f"{n} {t}" for n, t in COLUMNS.items()) + ")")
        if folder:
            con.execute(f"INSERT INTO {name} {folder}")
    con.execute("SET arrow_output_version = '1.5'")
    con.execute("SET arrow_large_buffer_size = true")
    yield con
    con.close()


def bound(con: duckdb.DuckDBPyConnection, sql: str) -> tuple[Expr, list[int]]:
    """The expression as the binder reads it, and the positions of the columns that it refers to."""
    text = f"SELECT {sql} AS x FROM empty"
    query = "SELECT json_serialize_plan($s, skip_null := false, skip_empty := false, skip_default := false, optimize := false)"
    (answer,) = con.sql(query, params={"s": text}).fetchall()
    plan = json.loads(answer[0])
    assert not plan.get("error"), plan
    schema = tuple(Field(n, parse_type(t)) for n, t in COLUMNS.items())
    table = Table("empty", ScanSpec("parquet", schema, ()), TableStatistics(0, 0, "exact"), 1)
    top = decode_plan(plan["plans"][0], lambda name: table, Session())
    assert isinstance(top, lg.Compute)
    (expr,) = top.exprs
    positions = list(range(len(schema)))
    below = top.input
    while isinstance(below, lg.Compute):
        positions = [e.index for e in below.exprs if isinstance(e, Ref)]
        below = below.input
    if isinstance(below, lg.Get):
        positions = list(below.columns)
    return expr, positions


def same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize("sql", cases())
def test_rendered_expression_gives_the_value_and_type_of_the_original(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    names = list(COLUMNS)
    expr, positions = bound(con, sql)
    again = render(expr, [names[p] for p in positions])
    query = "SELECT (x)::VARCHAR, typeof(x) FROM (SELECT {} AS x FROM rows)"
    assert con.sql(query.format(again)).fetchall() == con.sql(query.format(sql)).fetchall(), again
    (bound_type,) = con.sql(f"SELECT {again} AS x FROM rows").types
    assert parse_type(str(bound_type)) == expr.type


@pytest.mark.parametrize("sql", [c for c in cases() if "bl" not in c])
def test_expression_over_arrow_input_gives_the_value_of_the_original(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    expr, positions = bound(con, sql)
    names = list(COLUMNS)
    types = [parse_type(t) for t in COLUMNS.values()]
    refs = [render_output(Ref(i, t), names) for i, t in enumerate(types)]
    batch = con.sql("SELECT " + ", ".join(f"{r} AS c{i}" for i, r in enumerate(refs)) + " FROM rows").to_arrow_table()
    con.register("batch", batch)
    again = render(expr, [f"c{p}" for p in positions])
    query = "SELECT (x)::VARCHAR, typeof(x) FROM (SELECT {} AS x FROM {})"
    assert con.sql(query.format(again, "batch")).fetchall() == con.sql(query.format(sql, "rows")).fetchall(), again


@pytest.mark.parametrize("name", [n for n in COLUMNS if n not in ("bl",)])
def test_column_leaves_duckdb_under_the_inner_arrow_type(con: duckdb.DuckDBPyConnection, name: str) -> None:
    t = parse_type(COLUMNS[name])
    (field,) = con.sql(f"SELECT {render_output(Ref(0, t), [quote_identifier(name)])} AS x FROM rows").to_arrow_table().schema
    assert field.type == inner_arrow_type(t, "Etc/UTC")


CONSTANTS = [
    (None, "DECIMAL(15,2)", None),
    (150, "DECIMAL(15,2)", "1.50"),
    (-5, "DECIMAL(4,3)", "-0.005"),
    (0, "DECIMAL(2,2)", ".00"),
    (10**38 - 1, "DECIMAL(38,0)", "9" * 38),
    (-(2**127), "HUGEINT", str(-(2**127))),
    (2**128 - 1, "UHUGEINT", str(2**128 - 1)),
    (2**64 - 1, "UBIGINT", str(2**64 - 1)),
    (-(2**63), "BIGINT", str(-(2**63))),
    (-128, "TINYINT", "-128"),
    (float("nan"), "DOUBLE", "nan"),
    (float("-inf"), "FLOAT", "-inf"),
    (-0.0, "DOUBLE", "-0.0"),
    (5e-324, "DOUBLE", "5e-324"),
    (0.1, "DOUBLE", "0.1"),
    ("", "VARCHAR", ""),
    ("it's \0 \\n \u2028 \U0001f600", "VARCHAR", "it's \0 \\n \u2028 \U0001f600"),
    ("c0ffee00-0000-4000-8000-000000000001", "UUID", "c0ffee00-0000-4000-8000-000000000001"),
    ('{"a": 1}', "JSON", '{"a": 1}'),
    (True, "BOOLEAN", "true"),
    (-719893, "DATE", "0002-01-01 (BC)"),
    (-719162, "DATE", "0001-01-01"),
    (2932896, "DATE", "9999-12-31"),
    (2932897, "DATE", "10000-01-01"),
    (2**31 - 1, "DATE", "infinity"),
    (-(2**31 - 1), "DATE", "-infinity"),
    (100_000_000, "DATE", "275760-09-13"),
    (86_399_999_999, "TIME", "23:59:59.999999"),
    (86_400_000_000, "TIME", "24:00:00"),
    (36_000_000_000_001, "TIME_NS", "10:00:00.000000001"),
    (-1, "TIMESTAMP", "1969-12-31 23:59:59.999999"),
    (-62135596800000000, "TIMESTAMP", "0001-01-01 00:00:00"),
    (-62135596800000001, "TIMESTAMP", "0001-12-31 (BC) 23:59:59.999999"),
    (253402300799999999, "TIMESTAMP", "9999-12-31 23:59:59.999999"),
    (253402300800000000, "TIMESTAMP", "10000-01-01 00:00:00"),
    (9_000_000_000_000_000_000, "TIMESTAMP", "287168-08-24 16:00:00"),
    (2**63 - 1, "TIMESTAMP", "infinity"),
    (-(2**63 - 1), "TIMESTAMP WITH TIME ZONE", "-infinity"),
    (7, "TIMESTAMP_S", "1970-01-01 00:00:07"),
    (7, "TIMESTAMP_MS", "1970-01-01 00:00:00.007"),
    (7, "TIMESTAMP_NS", "1970-01-01 00:00:00.000000007"),
    (0, "TIMESTAMP WITH TIME ZONE", "1970-01-01 01:00:00+01"),
]


@pytest.mark.parametrize(("value", "type_", "text"), CONSTANTS)
def test_constant_keeps_its_value_and_type(con: duckdb.DuckDBPyConnection, value: Any, type_: str, text: str | None) -> None:
    berlin = con.cursor()
    berlin.execute("SET TimeZone = 'Europe/Berlin'")
    sql = render_constant(Const(value, parse_type(type_)))
    assert berlin.sql(f"SELECT (x)::VARCHAR, typeof(x) FROM (SELECT {sql} AS x)").fetchall() == [(text, type_)]


def test_constant_that_only_has_text_is_cast_to_its_type(con: duckdb.DuckDBPyConnection) -> None:
    sql = render_constant(Const(None, SqlType("BLOB"), "'\\xAB'::BLOB"))
    assert con.sql(f"SELECT {sql}").fetchall() == [(b"\xab",)]


def test_widening_of_decimal_operands_is_left_to_the_binder() -> None:
    wide, narrow = SqlType("DECIMAL", 16, 2), SqlType("DECIMAL", 4, 1)
    call = Call("+", (Cast(Ref(0, narrow), wide), Ref(1, SqlType("DECIMAL", 15, 2))), wide)
    assert render(call, ["a", "b"]) == "(a + b)"


def test_clock_functions_are_refused() -> None:
    with pytest.raises(NotSupported, match="now"):
        render(Call("now", (), SqlType("TIMESTAMP WITH TIME ZONE")), [])


def test_hugeint_of_39_digits_is_an_error_on_its_way_out(con: duckdb.DuckDBPyConnection) -> None:
    sql = render_output(Const(2**127 - 1, HUGEINT), [])
    with pytest.raises(duckdb.ConversionException):
        con.sql(f"SELECT {sql}").to_arrow_table()


def test_quotes_in_names_and_strings_survive(con: duckdb.DuckDBPyConnection) -> None:
    name = "a \"b\" 'c'"
    expr = Call("||", (Ref(0, VARCHAR), Const("'\"", VARCHAR)), VARCHAR)
    sql = render(expr, [quote_identifier(name)])
    assert con.sql(f"SELECT {sql} FROM (SELECT 'x' AS {quote_identifier(name)})").fetchall() == [("x'\"",)]


def test_integer_arithmetic_is_not_wrapped() -> None:
    assert render(Call("+", (Ref(0, BIGINT), Const(1, BIGINT)), BIGINT), ["a"]) == "(a + CAST(1 AS BIGINT))"
