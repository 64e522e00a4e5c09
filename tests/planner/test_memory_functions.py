from __future__ import annotations

import re
import time

import pytest

from sabot_sql.planner.guard import guarded_rows, guarded_values
from sabot_sql.planner.memory_functions import oversized
from sabot_sql.planner.parse import parse
from tests.planner.tables import table

LIMIT = 64 << 20

T = table("t", {"a": "INTEGER", "b": "VARCHAR", "l": "VARCHAR[]"}, 40_000)
U = table("u", {"a": "INTEGER"}, 40_000)

CONSTANT = [
    ("select repeat('x', 1500000000)", "repeat"),
    ("select length(repeat('x', 1500 * 1000000))", "repeat"),
    ("select repeat(repeat('x', 50000), 50000)", "repeat"),
    ("select repeat('x', (select 1500000000))", "repeat"),
    ("select repeat('x', 2 ** 31)", "repeat"),
    ("select repeat('x', '1500000000'::bigint)", "repeat"),
    ("select lpad('a', 1500000000, 'b')", "lpad"),
    ("select rpad('a', 1500000000, 'b')", "rpad"),
    ("select range(1000000000)", "range"),
    ("select generate_series(1, 1000000000)", "generate_series"),
    ("select generate_series(timestamp '2000-01-01', timestamp '2024-01-01', interval 1 second)", "generate_series"),
    ("select list_resize([1], 1000000000)", "list_resize"),
    ("select bitstring('1', 1000000000)", "bitstring"),
    ("select printf('%1000000000d', 1)", "printf"),
    ("select format('{:>1000000000}', 'x')", "format"),
    ("select approx_top_k(a, 999999) from t", "approx_top_k"),
    ("select reservoir_quantile(a, 0.5, 1000000000) from t", "reservoir_quantile"),
    ("select * from t where repeat('x', 1500000000) = b", "repeat"),
    ("summarize select repeat('x', 1500000000)", "repeat"),
]

UNKNOWN = [
    ("select repeat('x', a) from t", "function repeat"),
    ("select a.repeat(3) from t", "function repeat"),
    ("select range(a) from t", "function range"),
    ("select lpad(b, a, 'x') from t", "function lpad"),
    ("select lpad(b, 100000, 'x') from t", "function lpad"),
    ("select * from t, unnest(range(t.a))", "function range"),
    ("select format('{:{}}', b, a) from t", "function format"),
    ("select printf('%*d', a, a) from t", "function printf"),
    ("select format(b, a) from t", "function format"),
    ("select replace(b, 'x', b) from t", "function replace"),
    ("select replace(b, 'x', repeat('y', 1000)) from t", "function replace"),
    ("select regexp_replace(b, 'x', b, 'g') from t", "function regexp_replace"),
    ("select list_transform(l, lambda x: x || b) from t", "function list_transform"),
    ("select list_transform(range(2000), lambda x: range(2000))", "function list_transform"),
    ("select [[y for y in range(1000)] for x in range(1000)]", "function list_apply"),
    ("select list_reduce(l, lambda x, y: x || y) from t", "function list_reduce"),
    ("select list(b) over (order by a) from t", "window function list"),
    ("with recursive r(s) as (select 'x' union all select s || s from r) select s from r", "WITH RECURSIVE"),
    (f"select '{'x' * 20_000}' from t", "a value of 20,000 bytes"),
    (f"select b || '{'x' * 20_000}' from t", r"function \|\|"),
    ("select null::varchar || " + " || ".join(["b"] * 300) + " from t", r"function \|\|"),
]

SMALL = [
    "select repeat('x', 1000)",
    "select repeat(b, 50) from t",
    "select range(1000)",
    "select range(100000)",
    "select generate_series(date '2024-01-01', date '2024-12-31', interval 1 day)",
    "select generate_series(date '2024-01-01', date '2024-12-31', interval '1 day')",
    "select lpad(b, 20, ' ') from t",
    "select * from range(1000000000)",
    "select 1",
    "select b || ', ' || a from t",
    "select replace(replace(b, '&', '&amp;'), '<', '&lt;') from t",
    "select regexp_replace(b, '(.)(.)', '\\2\\1', 'g') from t",
    "select list_transform(l, lambda x: x || '!') from t",
    "select list_reduce([1, 2, 3], lambda x, y: x + y)",
    "select [x || 'a' for x in l if x > 'b'] from t",
    "select '[' || string_agg(b, ', ') || ']' from t",
    "select array_to_string(list(b), ', ') from t",
    "select sum(a) over (order by b), string_agg(b, ',') from t group by all",
    "select printf('%d %s', a, b), format('{{\"a\": {}}}', a) from t",
    "select {'a': a, 'b': [b, b]}, json_object('a', a, 'b', b) from t",
    "with recursive r(i) as (select 1 union all select i + 1 from r where i < 10) select * from r",
    f"select * from t where b in ({', '.join(repr('x' * 20) for _ in range(2000))})",
    "select t.b->>'$.a', t.b->'$.c' from t",
]


def doubled(levels: int) -> str:
    return "with " + ", ".join(
        [f"s{n} as (select s || s as s from {f's{n - 1}' if n else '(select b as s from t)'})" for n in range(levels)]
    )


@pytest.mark.parametrize(("sql", "name"), CONSTANT)
def test_multiplying_calls_of_constant_size_are_measured(sql, name):
    statement = parse(sql)
    found = oversized(statement.nodes, LIMIT)
    assert found is not None
    assert found[0] == name
    assert guarded_values(statement, {}).startswith(f"function {name}")


@pytest.mark.parametrize(("sql", "what"), UNKNOWN)
def test_what_is_not_known_to_be_small_is_named(sql, what):
    statement = parse(sql)
    assert oversized(statement.nodes, LIMIT) is None
    why = guarded_values(statement, {})
    assert why is not None
    assert re.match(what, why)


@pytest.mark.parametrize("sql", SMALL)
def test_what_stays_small_is_not_named(sql):
    assert guarded_values(parse(sql), {}) is None


def test_parameters_are_part_of_the_size():
    statement = parse("select repeat('x', $n)")
    assert oversized(statement.nodes, LIMIT, {"n": 1_500_000_000}) is not None
    assert oversized(statement.nodes, LIMIT, {"n": 10}) is None
    assert guarded_values(statement, {"n": 10}) is None
    assert guarded_values(statement, {"n": 100_000_000}) is not None
    assert guarded_values(statement, {}) is not None


def test_values_that_double_from_query_to_query_are_seen_however_the_columns_are_called():
    assert guarded_values(parse(f"{doubled(6)} select s from s5"), {}) is None
    assert guarded_values(parse(f"{doubled(12)} select s from s11"), {}) is not None
    nested = "select b as x1 from t"
    for n in range(2, 14):
        nested = f"select concat(p, q) as x{n} from (select x{n - 1} as p, x{n - 1} as q from ({nested}))"
    assert guarded_values(parse(nested), {}) is not None


def test_another_constant_is_another_size():
    assert guarded_values(parse("select replace(b, 'x', 'y') from t"), {}) is None
    assert guarded_values(parse(f"select replace(b, 'x', '{'y' * 5000}') from t"), {}) is not None
    assert guarded_values(parse("select repeat('x', 5) from t"), {}) is None
    assert guarded_values(parse("select repeat('x', 5000000) from t"), {}) is not None


@pytest.mark.parametrize(
    ("sql", "many"),
    [
        ("select * from range(1000000000)", True),
        ("select * from range(1000)", False),
        ("select * from range(1000000000) where range < 5", True),
        ("select * from t, range(t.a)", True),
        ("select * from range(date '2020-01-01', date '2024-01-01', interval 1 day)", False),
        ("select * from t, u", True),
        ("select * from t cross join u", True),
        ("select count(*) from t, u where t.a = u.a", False),
        ("select count(*) from t join u on t.a = u.a", False),
        ("select count(*) from t, (select 1)", False),
        ("select * from (select * from range(20000), range(20000))", True),
        ("with x as (select * from t, u) select 1 from x", True),
        ("select 1", False),
    ],
)
def test_rows_made_of_nothing_and_joins_without_a_condition_are_counted(sql, many):
    assert (guarded_rows(parse(sql), (T, U)) is not None) is many


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "repeat(" * 90 + "'x'" + ", 2)" * 90,
        "select " + "list_transform([1], lambda x: " * 8 + "1" + ")" * 8,
        "select " + "replace(" * 90 + "'x'" + ", 'x', 'y')" * 90,
        "select " + " || ".join(["'x'"] * 150),
        "with " + ", ".join(f"c{n} as (select 1 as a)" for n in range(500)) + " select * from c499",
    ],
)
def test_looking_takes_no_longer_than_the_statement_is_long(sql):
    statement, took_s = parse(sql), []
    for _ in range(3):  # the machine may be busy with something else
        begin = time.perf_counter()
        guarded_values(statement, {})
        guarded_rows(statement, ())
        took_s.append(time.perf_counter() - begin)
    assert min(took_s) < 0.5
