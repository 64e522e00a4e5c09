"""Aggregation agrees with DuckDB in every mode, with one worker and several."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sabot_sql.errors import Cancelled, OutOfMemory, QueryError
from sabot_sql.executor import partial_aggregate
from sabot_sql.executor.group_table import GroupTable
from sabot_sql.executor.hash_aggregate import HashAggregateSink
from sabot_sql.executor.operator import OperatorStats, TaskContext
from sabot_sql.executor.partial_aggregate import PartialAggregateOperator, is_streamed
from sabot_sql.planner.physical import AggregateCall, HashAggregate, Values, state_types, sum_type
from sabot_sql.types import BIGINT, DOUBLE, Field, Schema, SqlType, arrow_type, inner_arrow_type, inner_schema, parse_type
from tests.executor.tables import streamed, task, through

Spec = tuple[str, str | None, bool, str | None]  # function, argument, distinct, filter
Columns = dict[str, tuple[str, list[Any]]]  # name -> (SQL type, values)


def schema_of(columns: Columns) -> Schema:
    return tuple(Field(name, parse_type(t)) for name, (t, _) in columns.items())


def batches_of(columns: Columns, rows: int) -> list[pa.RecordBatch]:
    arrays = [pa.array(values, inner_arrow_type(parse_type(t))) for t, values in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, schema=inner_schema(schema_of(columns)))
    return [batch.slice(at, rows) for at in range(0, batch.num_rows, rows)]


def result_type(function: str, arg: SqlType | None) -> SqlType:
    if arg is None or function == "count":
        return BIGINT
    return {"sum": sum_type(arg), "avg": DOUBLE}.get(function, arg)


def calls_of(schema: Schema, specs: Sequence[Spec]) -> tuple[AggregateCall, ...]:
    at = {f.name: i for i, f in enumerate(schema)}
    calls = []
    for function, arg, distinct, where in specs:
        arg_type = None if arg is None else schema[at[arg]].type
        name: Any = "count_star" if arg is None else function
        position = None if arg is None else at[arg]
        calls.append(AggregateCall(name, position, arg_type, result_type(function, arg_type), distinct, where and at[where]))
    return tuple(calls)


def node_of(schema: Schema, mode: Any, groups: Sequence[int], calls: Sequence[AggregateCall]) -> HashAggregate:
    out = [schema[i] for i in groups]
    for call in calls:
        types = state_types(call) if mode == "partial" else (call.type,)
        out += [Field(f"a{len(out)}", t) for t in types]
    return HashAggregate(Values(0, schema), mode, tuple(groups), tuple(calls), tuple(out))


def run_node(
    node: HashAggregate, batches: Sequence[pa.RecordBatch], workers: int = 1, context: TaskContext | None = None
) -> list[pa.RecordBatch]:
    stats = OperatorStats(0, "aggregate", "numba")
    types, schema, context = node.input.schema, inner_schema(node.schema), context or task()
    if is_streamed(node):
        out = streamed(PartialAggregateOperator(node, types, schema, stats), batches, context, workers)
    else:
        out = through(HashAggregateSink(node, types, schema, stats), batches, context, workers)
    assert (stats.rows_in, stats.rows_out) == (sum(b.num_rows for b in batches), sum(b.num_rows for b in out))
    return out


def rows_of(schema: Schema, batches: Sequence[pa.RecordBatch]) -> list[tuple[Any, ...]]:
    for batch in batches:
        batch.validate(full=True)
    table = pa.Table.from_batches(batches, schema=inner_schema(schema))
    return list(zip(*(c.to_pylist() for c in table.columns))) if table.num_columns else []


def ours(
    columns: Columns,
    groups: Sequence[str],
    specs: Sequence[Spec],
    two_steps: bool = False,
    workers: int = 1,
    rows: int = 3,
    look_groups: int = partial_aggregate.LOOK_GROUPS,
) -> list[tuple[Any, ...]]:
    schema = schema_of(columns)
    names = list(columns)
    keys = [names.index(g) for g in groups]
    calls = calls_of(schema, specs)
    batches = batches_of(columns, rows)
    if not two_steps:
        node = node_of(schema, "single", keys, calls)
        return rows_of(node.schema, run_node(node, batches, workers))
    partial = node_of(schema, "partial", keys, calls)
    half = len(batches) // 2
    with patch.object(partial_aggregate, "LOOK_GROUPS", look_groups):
        states = [b for part in (batches[:half], batches[half:]) for b in run_node(partial, part, workers)]
    final = node_of(partial.schema, "final", range(len(keys)), calls)
    return rows_of(final.schema, run_node(final, states, workers))


def duckdbs(columns: Columns, groups: Sequence[str], specs: Sequence[Spec]) -> list[tuple[Any, ...]]:
    table = pa.table({n: pa.array(v, arrow_type(parse_type(t))) for n, (t, v) in columns.items()})
    out = list(groups)
    for function, arg, distinct, where in specs:
        call = "count(*)" if arg is None else f"{function}({'DISTINCT ' if distinct else ''}{arg})"
        out.append(call + (f" FILTER (WHERE {where})" if where else ""))
    by = f" GROUP BY {', '.join(groups)}" if groups else ""
    with duckdb.connect() as con:
        con.execute("SET threads = 1")
        con.register("t", table)
        answer = con.sql(f"SELECT {', '.join(out)} FROM t{by}").to_arrow_table()
    return list(zip(*(c.to_pylist() for c in answer.columns)))


def ordered(rows: list[tuple[Any, ...]], num_keys: int) -> list[tuple[Any, ...]]:
    def key(value: Any) -> tuple[Any, ...]:
        if value is None:
            return (2,)
        return (1,) if value != value else (0, value)

    return sorted(rows, key=lambda row: tuple(key(v) for v in row[:num_keys]))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or a == b or math.isclose(a, b, rel_tol=1e-15)
    return a == b and type(a) is type(b)


def assert_same(columns: Columns, groups: Sequence[str], specs: Sequence[Spec]) -> None:
    expected = ordered(duckdbs(columns, groups, specs), len(groups))
    ways: list[dict[str, Any]] = [{"workers": 1}, {"workers": 2}]
    if not any(distinct for _, _, distinct, _ in specs):
        ways += [{"two_steps": True, "workers": n, "look_groups": m} for n in (1, 2) for m in (1, 1000)]
    for way in ways:
        found = ordered(ours(columns, groups, specs, **way), len(groups))
        assert len(found) == len(expected), way
        for mine, theirs in zip(found, expected):
            assert all(map(same, mine, theirs)), (way, mine, theirs)


def every(*args: str, where: str | None = None) -> list[Spec]:
    return [(f, a, False, where) for a in args for f in ("count", "sum", "avg", "min", "max")]


WORDS = ["a", "", "ab", "exactly", "longer than a word", "longer than a wore", "žluťoučký kůň", "日本", "a\0", None]

EDGES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False, None],
    "TINYINT": [-128, 127, 0, None],
    "INTEGER": [-(2**31), 2**31 - 1, 7, None],
    "BIGINT": [-(2**63), 2**63 - 1, 0, -1, 5, None],
    "UTINYINT": [0, 255, None],
    "UBIGINT": [0, 2**64 - 1, 2**63, 9, None],
    "HUGEINT": [Decimal(10**36), Decimal(-(10**36)), Decimal(2**64), Decimal(-1), None],
    "DECIMAL(4,1)": [Decimal("999.9"), Decimal("-999.9"), Decimal("0.1"), None],
    "DECIMAL(15,2)": [Decimal("9999999999999.99"), Decimal("-0.01"), Decimal("33.33"), None],
    "DECIMAL(30,5)": [Decimal("9999999999999999999999999.99999"), Decimal("-1.00001"), Decimal(0), None],
    "FLOAT": [0.0, -0.0, 1.5, float("nan"), None],
    "DOUBLE": [0.0, -0.0, 1e300, -1.25, float("nan"), float("inf"), None],
    "DATE": [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29), None],
    "TIMESTAMP": [dt.datetime(1970, 1, 1), dt.datetime(2024, 2, 29, 23, 59, 59, 999999), None],
    "TIME": [dt.time(0), dt.time(23, 59, 59, 999999), None],
    "VARCHAR": WORDS,
    "BLOB": [b"", b"\xff\x00", b"\x00" * 20, None],
}

SUMMED = [t for t in EDGES if t not in ("BOOLEAN", "DATE", "TIMESTAMP", "TIME", "VARCHAR", "BLOB")]


def column(sql_type: str, size: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(EDGES[sql_type]), min_size=size, max_size=size)


@st.composite
def tables(draw: st.DrawFn) -> Columns:
    size = draw(st.sampled_from([0, 1, 2, 9, 40]))
    types = [draw(st.sampled_from(sorted(EDGES))) for _ in range(2)]
    kinds = {"k": types[0], "l": types[1], "x": draw(st.sampled_from(SUMMED)), "s": "VARCHAR", "b": "BOOLEAN"}
    return {name: (t, draw(column(t, size))) for name, t in kinds.items()}


@given(tables(), st.sampled_from([(), ("k",), ("k", "l"), ("l", "s", "k")]))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_tables_agree_with_duckdb(columns: Columns, groups: tuple[str, ...]) -> None:
    specs: list[Spec] = [("count", None, False, None), *every("x"), ("min", "s", False, None), ("max", "l", False, None)]
    assert_same(columns, groups, specs)


@given(tables(), st.sampled_from([(), ("k",), ("k", "l")]))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_filters_and_distinct_agree_with_duckdb(columns: Columns, groups: tuple[str, ...]) -> None:
    specs: list[Spec] = [
        ("count", None, False, "b"),
        ("count", "s", True, None),
        ("count", "l", True, "b"),
        ("min", "s", True, "b"),
        ("max", "x", False, "b"),
        ("count", "x", False, None),
        ("sum", "x", True, None),
        ("avg", "x", True, "b"),
        ("avg", "x", False, "b"),
    ]
    assert_same(columns, groups, specs)


@pytest.mark.parametrize("sql_type", sorted(EDGES))
def test_every_type_is_a_key_and_has_a_least_and_greatest(sql_type: str) -> None:
    values = EDGES[sql_type] * 3
    columns: Columns = {"k": (sql_type, values), "v": ("INTEGER", list(range(len(values))))}
    assert_same(columns, ["k"], [("count", None, False, None), *every("v"), ("min", "k", False, None)])
    assert_same(columns, [], [("min", "k", False, None), ("max", "k", False, None), ("count", "k", True, None)])


@pytest.mark.parametrize("sql_type", sorted(EDGES))
def test_no_rows_give_one_row_without_groups_and_none_with_them(sql_type: str) -> None:
    columns: Columns = {"k": (sql_type, [])}
    specs: list[Spec] = [("count", None, False, None), ("count", "k", True, None), ("min", "k", False, None)]
    assert ours(columns, [], specs) == [(0, 0, None)]
    assert ours(columns, [], specs[:1], two_steps=True) == [(0,)]
    assert ours(columns, ["k"], specs) == []


def test_sum_of_no_values_is_null() -> None:
    columns: Columns = {"x": ("BIGINT", [None, None]), "y": ("DOUBLE", [None, None])}
    assert ours(columns, [], every("x", "y"), two_steps=True) == [(0, None, None, None, None, 0, None, None, None, None)]


def test_groups_come_in_order_of_first_appearance() -> None:
    columns: Columns = {"k": ("VARCHAR", ["b", "a", None, "b", "c", None, "a"])}
    assert ours(columns, ["k"], [("count", None, False, None)]) == [("b", 2), ("a", 2), (None, 2), ("c", 1)]


def test_null_is_one_group_even_when_it_comes_late() -> None:
    keys = [*range(5000), None, 0, None]
    columns: Columns = {"k": ("BIGINT", keys)}
    found = dict(ours(columns, ["k"], [("count", None, False, None)], rows=1000))
    assert len(found) == 5001
    assert found[None] == 2
    assert found[0] == 2


def test_a_zero_key_keeps_the_sign_it_came_with_first() -> None:
    columns: Columns = {"k": ("DOUBLE", [-0.0, 0.0, 1.0])}
    found = ours(columns, ["k"], [("count", None, False, None)], two_steps=True)
    assert [math.copysign(1.0, k) for k, _ in found] == [-1.0, 1.0]


def test_groups_without_calls_are_distinct_rows() -> None:
    columns: Columns = {"k": ("INTEGER", [1, 2, 1, None, None]), "l": ("VARCHAR", ["a", "a", "a", None, None])}
    assert ours(columns, ["k", "l"], []) == [(1, "a"), (2, "a"), (None, None)]


def test_null_bits_reach_past_64_keys() -> None:
    columns: Columns = {f"k{i}": ("INTEGER", [1, None if i == 70 else 1, 1]) for i in range(80)}
    assert len(ours(columns, list(columns), [("count", None, False, None)])) == 2


def test_many_groups_agree_with_duckdb() -> None:
    size = 60_000
    keys = [(i * 7919) % 20_011 for i in range(size)]
    columns: Columns = {
        "k": ("BIGINT", keys),
        "s": ("VARCHAR", [f"customer number {k % 5003}" if k % 3 else str(k % 11) for k in keys]),
        "x": ("DECIMAL(15,2)", [Decimal(k) / 4 for k in keys]),
    }
    specs: list[Spec] = [("count", None, False, None), *every("x"), ("max", "s", False, None), ("min", "s", False, None)]
    for groups in (["k"], ["s"], ["k", "s"]):
        expected = ordered(duckdbs(columns, groups, specs), len(groups))
        assert ordered(ours(columns, groups, specs, two_steps=True, workers=2, rows=7000), len(groups)) == expected
        assert ordered(ours(columns, groups, specs, rows=7000), len(groups)) == expected


@pytest.mark.parametrize(("keys", "most"), [("every row", 60_000), ("half", 30_000), ("first rows", 50_001)])
def test_a_first_step_gives_up_where_nearly_every_row_is_a_group(keys: str, most: int) -> None:
    size = 60_000
    number = {"every row": lambda i: i, "half": lambda i: i // 2, "first rows": lambda i: min(i, 10_000)}[keys]
    columns: Columns = {"k": ("BIGINT", [number(i) for i in range(size)]), "x": ("INTEGER", [i % 9 for i in range(size)])}
    schema = schema_of(columns)
    node = node_of(schema, "partial", [0], calls_of(schema, every("x")))
    with patch.multiple(partial_aggregate, LOOK_GROUPS=10_000, PASSED_LOOKS=4):
        assert sum(b.num_rows for b in run_node(node, batches_of(columns, 1000))) == most
    expected = ordered(duckdbs(columns, ["k"], every("x")), 1)
    assert ordered(ours(columns, ["k"], every("x"), two_steps=True, rows=1000, look_groups=10_000), 1) == expected


RUNS: dict[str, Callable[[int], Any]] = {
    "BIGINT": lambda k: None if k % 50 == 7 else k,
    "VARCHAR": lambda k: None if k % 50 == 7 else f"key {k}" if k % 2 else f"a key that is long {k}",
    "DOUBLE": lambda k: [-math.inf, 0.0, math.inf, k / 3][min(k % 40, 3)],
    "HUGEINT": lambda k: Decimal(k * 10**30),
    "BOOLEAN": lambda k: k % 2 == 0,
}


@pytest.mark.parametrize("kind", list(RUNS))
def test_groups_that_lie_together_are_not_looked_up(kind: str) -> None:
    size = 60_000
    columns: Columns = {
        "k": (kind, [RUNS[kind](i // 4) for i in range(size)]),
        "j": ("INTEGER", [i // 4 // 4000 if kind != "BOOLEAN" else i // 4 for i in range(size)]),
        "x": ("BIGINT", [None if i % 9 == 0 else i for i in range(size)]),
        "b": ("BOOLEAN", [i % 3 == 0 for i in range(size)]),
    }
    specs = [*every("x"), ("count", None, False, None), ("sum", "x", False, "b")]
    schema = schema_of(columns)
    node = node_of(schema, "partial", [0, 1], calls_of(schema, specs))
    counted = patch.object(GroupTable, "rows", autospec=True, side_effect=GroupTable.rows)
    with patch.object(partial_aggregate, "LOOK_GROUPS", 1000), counted as looked_up:
        assert 14_000 < sum(b.num_rows for b in run_node(node, batches_of(columns, 1001))) < 15_200
    assert looked_up.call_count < 25  # of 60 batches
    expected = ordered(duckdbs(columns, ["k", "j"], specs), 2)
    assert ordered(ours(columns, ["k", "j"], specs, two_steps=True, workers=2, rows=1001, look_groups=1000), 2) == expected


def test_rows_that_do_not_lie_together_any_more_are_looked_up_again() -> None:
    size = 60_000
    keys = [i // 4 if i < size // 2 else i * 7919 % 300 for i in range(size)]
    columns: Columns = {"k": ("BIGINT", keys), "x": ("BIGINT", list(range(size)))}
    schema = schema_of(columns)
    node = node_of(schema, "partial", [0], calls_of(schema, every("x")))
    with patch.object(partial_aggregate, "LOOK_GROUPS", 1000):
        given = sum(b.num_rows for b in run_node(node, batches_of(columns, 1000)))
    assert given < 7500 + 2000 + 300
    expected = ordered(duckdbs(columns, ["k"], every("x")), 1)
    assert ordered(ours(columns, ["k"], every("x"), two_steps=True, rows=1000, look_groups=1000), 1) == expected


@pytest.mark.parametrize(
    ("sql_type", "values"),
    [
        ("HUGEINT", [Decimal(9 * 10**37)] * 2),
        ("HUGEINT", [Decimal(9 * 10**37)] * 200),
        ("DECIMAL(38,2)", [Decimal(-9 * 10**35)] * 4),
    ],
)
def test_a_sum_of_more_than_38_digits_is_an_error(sql_type: str, values: list[Any]) -> None:
    for two_steps in (False, True):
        with pytest.raises(QueryError, match="sum overflows") as caught:
            ours({"x": (sql_type, values)}, [], [("sum", "x", False, None)], two_steps=two_steps)
        assert caught.value.problem.code == "INVALID_VALUE"


def test_greatest_strings_that_keep_growing_do_not_keep_their_garbage() -> None:
    values = [f"{i:06}" + "x" * 200 for i in range(4000)]
    columns: Columns = {"s": ("VARCHAR", values), "k": ("INTEGER", [i % 3 for i in range(4000)])}
    schema = schema_of(columns)
    node = node_of(schema, "single", [1], calls_of(schema, [("max", "s", False, None), ("min", "s", False, None)]))
    context = task()
    rows = rows_of(node.schema, run_node(node, batches_of(columns, 100), context=context))
    assert [r[1:] for r in rows] == [(max(values[i::3]), values[i]) for i in range(3)]
    assert context.memory.peak_bytes < 150_000


def test_output_is_cut_into_morsels() -> None:
    columns: Columns = {"k": ("BIGINT", list(range(10_000)))}
    node = node_of(schema_of(columns), "single", [0], ())
    out = run_node(node, batches_of(columns, 3000), context=task(morsel_bytes=8000))
    assert [b.num_rows for b in out] == [1000] * 10


def test_memory_is_counted_and_limited() -> None:
    columns: Columns = {"k": ("BIGINT", list(range(100_000)))}
    node = node_of(schema_of(columns), "single", [0], ())
    with pytest.raises(OutOfMemory, match="aggregation .HashAggregate. needs"):
        run_node(node, batches_of(columns, 10_000), context=task(limit_bytes=1_000_000))


def test_a_cancelled_task_stops_at_the_next_morsel() -> None:
    columns: Columns = {"k": ("BIGINT", [1])}
    node = node_of(schema_of(columns), "single", [0], ())
    context = task()
    context.cancelled.set()
    with pytest.raises(Cancelled):
        run_node(node, batches_of(columns, 1), context=context)


def test_calls_over_one_column_share_its_sum() -> None:
    columns: Columns = {"x": ("INTEGER", [1, 2, None])}
    schema = schema_of(columns)
    node = node_of(schema, "single", [], calls_of(schema, every("x")))
    sink = HashAggregateSink(node, schema, inner_schema(node.schema), OperatorStats(0, "aggregate", "numba"))
    assert len(sink.aggregation.feeds) == 1
