"""What kernels evaluate must be what DuckDB evaluates."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import InternalError, QueryError
from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.evaluate import DuckQuery, Evaluator, MorselView, Predicate, conform
from sabot_sql.planner.expressions import (
    Call,
    Case,
    Cast,
    Compare,
    Const,
    Expr,
    InList,
    IsNull,
    Logic,
    Not,
    Ref,
    has_kernel,
    is_same_word,
)
from sabot_sql.types import BIGINT, BOOLEAN, DOUBLE, VARCHAR, Field, SqlType, inner_arrow_type, parse_type
from tests.executor.tables import VALUES, batch_of_rows, rows_of, task

TYPES = ["BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "FLOAT", "DATE", "TIMESTAMP", "DECIMAL(9,2)", "DECIMAL(18,3)", "VARCHAR"]
SCHEMA = tuple(Field(f"c{i}", parse_type(t)) for i, t in enumerate(TYPES))
SMALL = {"DECIMAL(18,3)": [Decimal("0.000"), Decimal("-0.001"), Decimal("12345678.125")]}
PRICE, DISCOUNT = parse_type("DECIMAL(9,2)"), parse_type("DECIMAL(18,3)")

CONSTANTS: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "INTEGER": [0, 7, -(2**31)],
    "BIGINT": [0, 2**63 - 1, -(2**63)],
    "DOUBLE": [0.0, -0.0, 1.5, float("nan"), float("inf")],
    "FLOAT": [0.25, float("nan")],
    "DATE": [0, -1, 19782],
    "TIMESTAMP": [0, -1],
    "DECIMAL(9,2)": [0, -125, 999999999],
    "DECIMAL(18,3)": [0, -1],
}

rows = st.lists(st.tuples(*(st.sampled_from([None, *SMALL.get(t, VALUES[t])]) for t in TYPES)), max_size=12)
ops = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])


def atoms(text: str) -> st.SearchStrategy[Expr]:
    t = parse_type(text)
    refs = st.just(Ref(TYPES.index(text), t))
    return refs | st.sampled_from([None, *CONSTANTS[text]]).map(lambda v: Const(v, t))


def values(text: str, depth: int) -> st.SearchStrategy[Expr]:
    """Expressions of one type."""
    t = parse_type(text)
    if depth == 0:
        return atoms(text)
    choices = [atoms(text), cases(t, values(text, depth - 1), depth)]
    if text == "DOUBLE":
        pair = st.tuples(values(text, depth - 1), values(text, depth - 1))
        choices.append(st.builds(lambda op, args: Call(op, args, DOUBLE), st.sampled_from(["+", "-", "*"]), pair))
    return st.one_of(choices)


def dates() -> st.SearchStrategy[Expr]:
    """Parts of dates, and casts of integers."""
    parts = st.builds(lambda n, e: Call(n, (e,), BIGINT), st.sampled_from(["year", "month", "day"]), values("DATE", 1))
    wider = st.builds(lambda e: Cast(e, BIGINT), values("INTEGER", 1))
    return parts | wider


def decimals() -> st.SearchStrategy[Expr]:
    """Arithmetic of decimals, with the types that DuckDB binds it to."""
    pair = st.tuples(atoms("DECIMAL(9,2)"), atoms("DECIMAL(9,2)"))
    total = st.builds(lambda op, args: Call(op, args, SqlType("DECIMAL", 10, 2)), st.sampled_from("+-"), pair)
    return total | pair.map(lambda args: Call("*", args, SqlType("DECIMAL", 18, 4)))


def cases(t: SqlType, results: st.SearchStrategy[Expr], depth: int) -> st.SearchStrategy[Expr]:
    whens = st.lists(st.tuples(conditions(depth - 1), results), min_size=1, max_size=2).map(tuple)
    return st.builds(lambda w, other: Case(w, other, t), whens, results)


def conditions(depth: int) -> st.SearchStrategy[Expr]:
    """Expressions of type BOOLEAN."""
    compare = st.sampled_from(sorted(CONSTANTS)).flatmap(
        lambda text: st.builds(Compare, ops, values(text, max(0, depth - 1)), values(text, max(0, depth - 1)))
    )
    nulls = st.sampled_from(sorted(CONSTANTS)).flatmap(lambda text: st.builds(IsNull, atoms(text), st.booleans()))
    if depth <= 0:
        return compare | nulls | atoms("BOOLEAN")
    below = conditions(depth - 1)
    logic = st.builds(Logic, st.sampled_from(["AND", "OR"]), st.lists(below, min_size=2, max_size=3).map(tuple))
    return st.one_of(compare, nulls, logic, below.map(Not), below.map(IsNull), cases(BOOLEAN, below, depth))


def ours(expr: Expr, batch: pa.RecordBatch) -> pa.Array:
    schema = pa.schema([pa.field("r", inner_arrow_type(expr.type))])
    (found,) = Evaluator((expr,), SCHEMA, schema).evaluate(batch, task())
    found.validate(full=True)
    return found


def duckdbs(expr: Expr, batch: pa.RecordBatch) -> pa.Array:
    (found,) = DuckQuery((expr,)).run(batch, task())
    return conform(found, pa.field("r", inner_arrow_type(expr.type)))


def shown(array: pa.Array) -> list[str]:
    return [repr(v) for v in array.to_pylist()]


@given(rows, conditions(2))
@settings(max_examples=60, deadline=None)
def test_condition_in_kernels_is_what_duckdb_says(data: list[tuple[Any, ...]], expr: Expr) -> None:
    batch = batch_of_rows(TYPES, data)
    assert has_kernel(expr)
    assert shown(ours(expr, batch)) == shown(duckdbs(expr, batch))


@given(rows, st.one_of(decimals(), dates(), *(values(t, 2) for t in sorted(CONSTANTS) if t != "BOOLEAN")))
@settings(max_examples=60, deadline=None)
def test_value_in_kernels_is_what_duckdb_says(data: list[tuple[Any, ...]], expr: Expr) -> None:
    batch = batch_of_rows(TYPES, data)
    assert has_kernel(expr)
    assert shown(ours(expr, batch)) == shown(duckdbs(expr, batch))


@given(rows, conditions(2))
@settings(max_examples=60, deadline=None)
def test_mask_has_the_rows_where_the_condition_is_true(data: list[tuple[Any, ...]], expr: Expr) -> None:
    batch = batch_of_rows(TYPES, data)
    mask = Predicate(expr, SCHEMA).mask(batch, task())
    assert mask.dtype == np.uint8
    assert mask.tolist() == [int(v is True) for v in duckdbs(expr, batch).to_pylist()]


ROWS: list[tuple[Any, ...]] = [
    (True, 1, 10, 1.5, 0.25, dt.date(2024, 2, 29), dt.datetime(1970, 1, 1), Decimal("1.25"), Decimal("0.001"), "abc"),
    (False, 2, 20, float("nan"), None, None, None, Decimal("-1.00"), None, None),
    (None, None, None, None, None, None, None, None, Decimal("5.000"), "x"),
]
INT, TEXT = parse_type("INTEGER"), Ref(9, VARCHAR)
LONG = Call("//", (Ref(2, BIGINT), Const(2, BIGINT)), BIGINT)


def test_expressions_without_kernel_are_evaluated_by_duckdb_beside_those_with() -> None:
    upper = Call("upper", (TEXT,), VARCHAR)
    exprs = (TEXT, upper, Compare(">", Ref(1, INT), Const(1, INT)), LONG, Const("k", VARCHAR))
    schema = pa.schema([pa.field(f"c{i}", inner_arrow_type(e.type)) for i, e in enumerate(exprs)])
    evaluator = Evaluator(exprs, SCHEMA, schema)
    arrays = evaluator.evaluate(batch_of_rows(TYPES, ROWS), task())
    found = rows_of([pa.RecordBatch.from_arrays(arrays, schema=schema)])
    assert found == [("abc", "ABC", False, 5, "k"), (None, None, True, 10, "k"), ("x", "X", None, None, "k")]
    assert evaluator.engine == "duckdb"


def test_plain_columns_pass_through_uncopied() -> None:
    batch = batch_of_rows(TYPES, ROWS)
    evaluator = Evaluator((TEXT,), SCHEMA, pa.schema([pa.field("r", pa.large_string())]))
    assert evaluator.evaluate(batch, task())[0].buffers()[2].address == batch.column(9).buffers()[2].address
    assert evaluator.engine == "numba"


def test_slices_are_evaluated_at_their_offset() -> None:
    batch = batch_of_rows(TYPES, ROWS * 9).slice(7, 11)
    expr = Case(((IsNull(Ref(0, BOOLEAN)), Ref(1, INT)),), Const(5, INT), INT)
    assert shown(ours(expr, batch)) == shown(duckdbs(expr, batch))


def test_duckdb_sees_only_the_rows_that_kernels_left() -> None:
    number = Cast(TEXT, BIGINT)
    batch = batch_of_rows(TYPES, [(*ROWS[0][:9], "17"), (*ROWS[1][:9], "not a number"), (*ROWS[0][:9], "18")])
    condition = Logic("AND", (Compare("=", number, Const(17, BIGINT)), Compare("=", Ref(1, INT), Const(1, INT))))
    assert Predicate(condition, SCHEMA).mask(batch, task()).tolist() == [1, 0, 0]


def test_error_in_duckdb_is_the_users_error() -> None:
    with pytest.raises(QueryError, match="abc") as caught:
        ours(Cast(TEXT, BIGINT), batch_of_rows(TYPES, ROWS))
    assert caught.value.problem.code == "INVALID_VALUE"


DAYS = [2**31 - 1, 1 - 2**31, 2**31 - 2, 2 - 2**31, 0, -719162, -719163, -719528, -719529, 11016, 11017, 11322, 11323, 19782]


@given(st.lists(st.sampled_from(DAYS) | st.integers(2 - 2**31, 2**31 - 2), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_parts_of_any_date_are_duckdbs(days: list[int]) -> None:
    batch = pa.record_batch([pa.array(days, pa.int32()).view(pa.date32())], ["c0"])
    for name in ("year", "month", "day"):
        expr = Call(name, (Ref(0, parse_type("DATE")),), BIGINT)
        found = MorselView(batch, (Field("c0", parse_type("DATE")),)).array(expr, pa.int64())
        assert found.to_pylist() == DuckQuery((expr,)).run(batch, task())[0].to_pylist()


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("INTEGER", "BIGINT", True),
        ("BIGINT", "INTEGER", False),
        ("UINTEGER", "BIGINT", True),
        ("UINTEGER", "INTEGER", False),
        ("UTINYINT", "USMALLINT", True),
        ("TINYINT", "UINTEGER", False),
        ("INTEGER", "DECIMAL(10,0)", True),
        ("INTEGER", "DECIMAL(9,0)", False),
        ("INTEGER", "DECIMAL(18,1)", False),
        ("BIGINT", "DECIMAL(18,0)", False),
        ("INTEGER", "HUGEINT", False),
        ("UBIGINT", "BIGINT", False),
        ("DATE", "BIGINT", False),
        ("DECIMAL(9,2)", "DECIMAL(18,2)", True),
        ("DECIMAL(9,2)", "DECIMAL(18,3)", False),
        ("DECIMAL(9,2)", "DECIMAL(8,2)", False),
        ("DECIMAL(18,2)", "DECIMAL(19,2)", False),
    ],
)
def test_casts_that_change_no_word(old: str, new: str, is_same: bool) -> None:
    assert is_same_word(parse_type(old), parse_type(new)) == is_same
    assert not is_same or has_kernel(Cast(Ref(0, parse_type(old)), parse_type(new)))


WIDE, LARGE = SqlType("DECIMAL", 18, 0), 999_999_999_999_999_999
A, B = Ref(0, WIDE), Ref(1, WIDE)
PAIR = (Field("a", WIDE), Field("b", WIDE))
RESULT = pa.schema([pa.field("r", pa.decimal64(18, 0))])


def pairs(a: list[int | None], b: list[int | None]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(a, pa.decimal64(18, 0)), pa.array(b, pa.decimal64(18, 0))], ["a", "b"])


@pytest.mark.parametrize(
    ("op", "left", "right", "word"),
    [
        ("*", A, A, "multiplication"),
        ("+", A, A, "addition"),
        ("-", A, B, "subtraction"),
        ("*", A, Const(LARGE, WIDE), "multiplication"),
        ("+", Const(LARGE, WIDE), A, "addition"),
        ("-", Const(-LARGE, WIDE), A, "subtraction"),
    ],
)
def test_decimal_overflow_is_an_error_as_in_duckdb(op: str, left: Expr, right: Expr, word: str) -> None:
    evaluator = Evaluator((Call(op, (left, right), WIDE),), PAIR, RESULT)
    with pytest.raises(QueryError, match=f"Overflow in {word} of DECIMAL\\(18\\)") as caught:
        evaluator.evaluate(pairs([0, LARGE], [1, -LARGE]), task())
    assert caught.value.problem.code == "INVALID_VALUE"


def test_overflow_in_a_branch_not_taken_is_no_error() -> None:
    product, small = Call("*", (A, B), WIDE), Compare("<", A, Const(10, WIDE))
    batch = pairs([2, LARGE], [3, LARGE])
    (found,) = Evaluator((Case(((small, product),), Const(0, WIDE), WIDE),), PAIR, RESULT).evaluate(batch, task())
    assert found.to_pylist() == [6, 0]
    condition = Logic("AND", (small, Compare(">", product, Const(5, WIDE))))
    assert Predicate(condition, PAIR).mask(batch, task()).tolist() == [1, 0]


def test_overflow_under_null_is_no_error() -> None:
    batch = pairs([2, LARGE], [3, LARGE])
    null = pa.Array.from_buffers(batch.column(1).type, 2, [pa.py_buffer(b"\x01"), batch.column(1).buffers()[1]])
    batch = pa.RecordBatch.from_arrays([batch.column(0), null], schema=batch.schema)
    (found,) = Evaluator((Call("*", (A, B), WIDE),), PAIR, RESULT).evaluate(batch, task())
    assert found.to_pylist() == [6, None]


def test_result_of_another_type_is_our_bug_and_names_the_column() -> None:
    with pytest.raises(InternalError, match="column c3 came as int64, not as int32"):
        conform(pa.array([1]), pa.field("c3", pa.int32()))


def test_binary_views_become_offset_based() -> None:
    found = conform(pa.array([b"\0", None], pa.binary_view()), pa.field("c", pa.large_binary()))
    assert (found.type, found.to_pylist()) == (pa.large_binary(), [b"\0", None])


def test_batch_without_rows_gives_no_values() -> None:
    batch = batch_of_rows(TYPES, [])
    assert len(ours(LONG, batch)) == 0
    assert Predicate(InList(TEXT, (Const("x", VARCHAR),)), SCHEMA).mask(batch, task()).tolist() == []


def test_batch_without_columns_keeps_its_rows() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.StructArray.from_buffers(pa.struct([]), 3, [None]))
    schema = pa.schema([pa.field("a", pa.int64()), pa.field("b", pa.large_string())])
    arrays = Evaluator((Const(7, BIGINT), Const("x", VARCHAR)), (), schema).evaluate(batch, task())
    assert [a.to_pylist() for a in arrays] == [[7, 7, 7], ["x", "x", "x"]]


def test_json_and_uuid_are_read_as_their_sql_types() -> None:
    uuid, json = SqlType("UUID"), SqlType("JSON")
    texts = ["c0ffee00-0000-4000-8000-000000000001", None]
    batch = pa.record_batch([pa.array(texts, pa.large_string()), pa.array(['{"a": 1}', None], pa.large_string())], ["u", "j"])
    exprs = (
        Compare("=", Ref(0, uuid), Const("C0FFEE00-0000-4000-8000-000000000001", uuid)),
        Call("->>", (Ref(1, json), Const("a", VARCHAR)), VARCHAR),
    )
    schema = pa.schema([pa.field("a", pa.bool_()), pa.field("b", pa.large_string())])
    arrays = Evaluator(exprs, (Field("u", uuid), Field("j", json)), schema).evaluate(batch, task())
    assert [a.to_pylist() for a in arrays] == [[True, None], ["1", None]]


def test_column_of_decimals_keeps_its_width() -> None:
    batch = batch_of_rows(["DECIMAL(9,2)"], [(Decimal("1.25"),), (None,)])
    expr = Call("+", (Ref(0, PRICE), Const(100, PRICE)), SqlType("DECIMAL", 10, 2))
    found = Evaluator((expr,), (Field("c0", PRICE),), pa.schema([pa.field("r", pa.decimal64(10, 2))])).evaluate(batch, task())
    assert found[0].to_pylist() == [Decimal("2.25"), None]
    assert unwrap(found[0], expr.type).values is not None
