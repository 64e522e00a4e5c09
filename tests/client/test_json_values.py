from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pytest

from sabot_sql.client.csv_rows import csv_text
from sabot_sql.client.json_values import dump_json, iso_interval, json_rows, json_values, ndjson_text

CASES = {
    "true": True,
    "42::TINYINT": 42,
    "9007199254740993::BIGINT": 9007199254740993,
    "18446744073709551615::UBIGINT": 18446744073709551615,
    "170141183460469231731687303715884105727::HUGEINT // 10": "17014118346046923173168730371588410572",
    "0.1::FLOAT": 0.1,
    "1.5::DOUBLE": 1.5,
    "'nan'::DOUBLE": "NaN",
    "'inf'::DOUBLE": "Infinity",
    "'-inf'::FLOAT": "-Infinity",
    "1.50::DECIMAL(10,2)": "1.50",
    "0.0000000001::DECIMAL(18,10)": "0.0000000001",
    "-0.5::DECIMAL(38,1)": "-0.5",
    "'Zoë \"„'": 'Zoë "„',
    "DATE '2026-01-02'": "2026-01-02",
    "DATE '12026-01-02'": "12026-01-02",
    "TIME '01:02:03.500'": "01:02:03.5",
    "TIMESTAMP '2026-01-02 03:04:05'": "2026-01-02T03:04:05",
    "TIMESTAMP '2026-01-02 03:04:05.678'": "2026-01-02T03:04:05.678",
    "TIMESTAMP_S '2026-01-02 03:04:05'": "2026-01-02T03:04:05",
    "TIMESTAMP_NS '2026-01-02 03:04:05.123456789'": "2026-01-02T03:04:05.123456789",
    "TIMESTAMPTZ '2026-01-02 03:04:05.5+02'": "2026-01-02T01:04:05.5Z",
    "'infinity'::TIMESTAMP": "infinity",
    "'-infinity'::DATE": "-infinity",
    "INTERVAL '14 months 3 days 3723.5 seconds'": "P1Y2M3DT1H2M3.5S",
    "INTERVAL '-1 month'": "P-1M",
    "'\\x00a'::BLOB": "AGE=",
    "'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "'b'::ENUM('a', 'b')": "b",
    "[1.5::DECIMAL(3,1), NULL]": ["1.5", None],
    "[1, 2]::INT[2]": [1, 2],
    "{'a': 1, 'b': ['x']}": {"a": 1, "b": ["x"]},
    "MAP {'k': DATE '2026-01-02', 'l': NULL}": [["k", "2026-01-02"], ["l", None]],
    "[[1], [], NULL]": [[1], [], None],
    "{'u': union_value(a := 1), 's': 'x'}": {"u": 1, "s": "x"},
    "[{'t': {'u': union_value(b := 'y')}}]": [{"t": {"u": "y"}}],
    "NULL": None,
}


@pytest.mark.parametrize("expression", CASES)
def test_value_is_encoded_as_the_contract_says(expression: str) -> None:
    table = duckdb.connect().sql(f"SELECT {expression} v").to_arrow_table()
    assert json.loads(dump_json(json_rows(table))) == [[CASES[expression]]]


@pytest.mark.parametrize("expression", [e for e in CASES if e != "NULL"])
def test_null_of_every_type_is_null(expression: str) -> None:
    sql = f"SELECT CASE WHEN k = 2 THEN {expression} END v FROM range(4) t(k)"
    table = duckdb.connect().sql(sql).to_arrow_table()
    rows = json.loads(dump_json(json_rows(table)))
    assert rows == [[None], [None], [CASES[expression]], [None]]


def test_slices_and_chunks_give_their_own_rows() -> None:
    sql = "SELECT i, [i, i + 1] l, {'a': i} s, MAP {i: 'v'} m FROM range(10) t(i)"
    table = duckdb.connect().sql(sql).to_arrow_table()
    parts = pa.concat_tables([table.slice(2, 2), table.slice(7, 1)])
    want = [[i, [i, i + 1], {"a": i}, [[i, "v"]]] for i in (2, 3, 7)]
    assert json.loads(dump_json(json_rows(parts))) == want


def test_int64_can_be_text_at_any_depth() -> None:
    table = duckdb.connect().sql("SELECT 1::BIGINT a, 2::INT b, [3::BIGINT] c, {'d': 4::UBIGINT} d").to_arrow_table()
    assert json_rows(table, int64_as_text=True) == [("1", 2, ["3"], {"d": "4"})]


def test_table_without_columns_keeps_its_rows() -> None:
    assert json_rows(pa.table({"a": [1, 2]}).select([])) == [(), ()]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0), "PT0S"),
        ((-14, 0, 0), "P-1Y-2M"),
        ((0, -3, -1_500_000_000), "P-3DT-1.5S"),
        ((0, 0, 3_600_000_000_000), "PT1H"),
        ((0, 0, 1), "PT0.000000001S"),
    ],
)
def test_interval_in_iso_8601(parts: tuple[int, int, int], text: str) -> None:
    assert iso_interval(*parts) == text


def test_ndjson_gives_repeated_names_a_number() -> None:
    table = pa.table([[1], [2], [3]], names=["a", "a", "b"])
    assert ndjson_text(table) == '{"a":1,"a_1":2,"b":3}\n'


def test_csv_tells_null_from_empty_and_quotes_what_needs_it() -> None:
    table = pa.table({"text": ["plain", "", None, 'a "b", c', "two\nlines"], "x": [1.5, float("nan"), None, 2.0, -1.0]})
    assert csv_text(table) == 'text,x\nplain,1.5\n"",NaN\n,\n"a ""b"", c",2.0\n"two\nlines",-1.0\n'


def test_csv_of_an_empty_table_is_its_header() -> None:
    assert csv_text(pa.table({"a,b": pa.array([], pa.int64())})) == '"a,b"\n'


def test_columns_of_ten_thousand_rows_match_row_by_row_values() -> None:
    table = duckdb.connect().sql("SELECT range i, range / 4 d, 's' || range s FROM range(10000)").to_arrow_table()
    assert json_values(table["d"])[9999] == 2499.75
    assert json_rows(table)[1234] == (1234, 308.5, "s1234")
