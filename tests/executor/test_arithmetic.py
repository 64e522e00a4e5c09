"""Arithmetic and casts of numbers in kernels: DuckDB's values, types and errors, at the limits too."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.errors import QueryError
from sabot_sql.executor.columns import unwrap, wrap_fixed, wrap_wide
from sabot_sql.executor.evaluate import DuckQuery, Evaluator, MorselView, Predicate
from sabot_sql.executor.fused import call
from sabot_sql.executor.fused_source import write
from sabot_sql.planner.expressions import Call, Case, Cast, Compare, Const, Expr, IsNull, Logic, Not, Ref, has_kernel, is_word
from sabot_sql.planner.expressions import word_range as limits
from sabot_sql.types import BIGINT, HUGEINT, INTEGER, Field, Lane, SqlType, inner_arrow_type, parse_type
from tests.executor.tables import ask_duckdb, task
from tests.executor.test_fused import in_python

INTEGERS = ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"]
DECIMALS = [
    *("DECIMAL(4,1)", "DECIMAL(9,2)", "DECIMAL(15,2)", "DECIMAL(18,0)", "DECIMAL(18,18)"),
    *("DECIMAL(19,0)", "DECIMAL(20,4)", "DECIMAL(37,2)", "DECIMAL(38,0)", "DECIMAL(38,2)", "DECIMAL(38,38)"),
]
EXACT = Context(prec=76)

Rows = list[tuple[int | None, ...]]


def numbers(t: SqlType) -> st.SearchStrategy[int]:
    """Values of `t`, unscaled, many of them near its limits or near those of words."""
    least, most = limits(t)
    near = st.integers(0, 38).flatmap(lambda n: st.integers(10**n - 2, 10**n + 2)) | st.sampled_from([0, 1, 2, most, most - 1])
    signed = (near | near.map(lambda v: -v)).map(lambda v: max(least, min(v, most)))
    return st.one_of(signed, st.integers(least, most), st.sampled_from([least, most]), st.integers(max(-9, least), 9))


def rows_of(*types: SqlType) -> st.SearchStrategy[Rows]:
    return st.lists(st.tuples(*(st.none() | numbers(t) for t in types)), min_size=1, max_size=8)


def array(values: list[int | None], t: SqlType) -> pa.Array:
    if t.id == "DECIMAL":
        return pa.array([None if v is None else Decimal(v).scaleb(-t.scale, EXACT) for v in values], inner_arrow_type(t))
    return pa.array(values, inner_arrow_type(t))


def batch_of(rows: Rows, types: tuple[SqlType, ...]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [array([r[i] for r in rows], t) for i, t in enumerate(types)], [f"c{i}" for i in range(len(types))]
    )


def outcome(evaluate: Callable[[], pa.Array]) -> tuple[str, object]:
    """What is evaluated, or the error."""
    try:
        found = evaluate()
    except QueryError as error:
        return error.problem.code, str(error)
    found.validate(full=True)
    return str(found.type), found.to_pylist()


def check(expr: Expr, rows: Rows, *types: SqlType) -> None:
    """`expr` is in all ways of evaluating it what DuckDB says."""
    assert has_kernel(expr)
    batch, schema = batch_of(rows, types), tuple(Field(f"c{i}", t) for i, t in enumerate(types))
    expected = outcome(lambda: DuckQuery((expr,)).run(batch, task())[0])
    output = pa.schema([pa.field("r", inner_arrow_type(expr.type))])
    assert outcome(lambda: Evaluator((expr,), schema, output).evaluate(batch, task())[0]) == expected
    if not is_word(expr):
        return
    program = write((expr,), any(column.null_count for column in batch.columns))
    found = call(in_python(program), program, batch)
    if found is not None:
        assert outcome(lambda: wrap_fixed(*found[0], output.field(0).type)) == expected
    assert found is None or expected[0] != "INVALID_VALUE"


def bound(op: str, left: Expr, right: Expr) -> Call:
    """`left op right` as DuckDB binds it, with the casts that its plans have."""
    a, b = left.type, right.type
    if op == "*":
        scale, width = a.scale + b.scale, a.width + b.width
        width = 18 if width > 18 and max(a.width, b.width) <= 18 and scale < 18 else min(width, 38)
    else:
        scale = max(a.scale, b.scale)
        width = min(max(a.width - a.scale, b.width - b.scale) + scale + 1, 38)
    t = SqlType("DECIMAL", width, scale)

    def operand(expr: Expr) -> Expr:
        if op == "*":
            return expr if expr.type.lane is t.lane else Cast(expr, SqlType("DECIMAL", width, expr.type.scale))
        return expr if expr.type.lane is t.lane and expr.type.scale == scale else Cast(expr, t)

    return Call(op, (operand(left), operand(right)), t)


@given(st.data(), st.sampled_from("+-*"), st.sampled_from(DECIMALS), st.sampled_from(DECIMALS))
@settings(max_examples=250, deadline=None)
def test_arithmetic_of_decimals_is_duckdbs(data: st.DataObject, op: str, left: str, right: str) -> None:
    a, b = parse_type(left), parse_type(right)
    if op == "*" and a.scale + b.scale > 38:
        return
    expr = bound(op, Ref(0, a), Ref(1, b))
    (found,) = ask_duckdb(f"SELECT typeof(a {op} b) FROM (SELECT NULL::{left} AS a, NULL::{right} AS b)")
    assert found == (str(expr.type),)
    check(expr, data.draw(rows_of(a, b)), a, b)


@given(st.data(), st.sampled_from("+-*"), st.sampled_from(DECIMALS))
@settings(max_examples=80, deadline=None)
def test_arithmetic_with_constants_is_duckdbs(data: st.DataObject, op: str, text: str) -> None:
    t = parse_type(text)
    constant = Const(data.draw(st.none() | numbers(t)), t)
    if op == "*" and 2 * t.scale > 38:
        return
    left, right = (Ref(0, t), constant) if op != "-" else data.draw(st.permutations((Ref(0, t), constant)))
    check(bound(op, left, right), data.draw(rows_of(t)), t)


@given(st.data(), st.sampled_from("+-*"), st.sampled_from(INTEGERS))
@settings(max_examples=150, deadline=None)
def test_arithmetic_of_integers_is_duckdbs(data: st.DataObject, op: str, text: str) -> None:
    t = parse_type(text)
    sides: list[Expr] = [Ref(0, t), Ref(1, t), Const(data.draw(st.none() | numbers(t)), t)]
    left, right = data.draw(st.sampled_from(sides)), data.draw(st.sampled_from(sides))
    if isinstance(left, Const) and op != "-":
        left, right = right, left  # as DuckDB itself writes it
    (found,) = ask_duckdb(f"SELECT typeof(a {op} a) FROM (SELECT NULL::{text} AS a)")
    assert found == (text,)
    check(Call(op, (left, right), t), data.draw(rows_of(t, t)), t, t)


@given(st.data(), st.sampled_from([*INTEGERS, *DECIMALS]))
@settings(max_examples=100, deadline=None)
def test_contraries_are_duckdbs(data: st.DataObject, text: str) -> None:
    t = parse_type(text)
    check(Call("-", (Ref(0, t),), t), data.draw(rows_of(t)), t)


@given(st.data(), st.sampled_from([*INTEGERS, *DECIMALS]), st.sampled_from(DECIMALS), st.booleans())
@settings(max_examples=250, deadline=None)
def test_casts_to_decimals_are_duckdbs(data: st.DataObject, text: str, wanted: str, is_try: bool) -> None:
    old, new = parse_type(text), parse_type(wanted)
    expr = Cast(Ref(0, old), new, is_try)
    if old.scale > new.scale or (old.lane is Lane.WIDE and new.lane is Lane.INT):
        assert not has_kernel(expr)
    else:
        check(expr, data.draw(rows_of(old)), old)


W, N = parse_type("DECIMAL(38,2)"), parse_type("DECIMAL(15,2)")


def conditions(depth: int) -> st.SearchStrategy[Expr]:
    """Conditions over two columns of two words, sums that may overflow among them."""
    sides = values(depth)
    ops = st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"])
    atoms = st.builds(Compare, ops, sides, sides) | st.builds(IsNull, sides, st.booleans())
    if depth == 0:
        return atoms
    below = conditions(depth - 1)
    both = st.builds(lambda op, a, b: Logic(op, (a, b)), st.sampled_from(["AND", "OR"]), below, below)
    return st.one_of(atoms, below.map(Not), both)


def values(depth: int) -> st.SearchStrategy[Expr]:
    constants = numbers(W).map(lambda v: Const(v, W))
    atoms = st.sampled_from([Ref(0, W), Ref(1, W), Cast(Ref(2, N), W)]) | constants
    if depth == 0:
        return atoms
    below = values(depth - 1)
    sums = st.builds(lambda op, a, b: Call(op, (a, b), W), st.sampled_from("+-"), below, below)
    case = st.builds(lambda when, a, b: Case(((when, a),), b, W), conditions(depth - 1), below, below)
    return st.one_of(atoms, sums, case, below.map(lambda e: Call("-", (e,), W)))


def is_failed(found: tuple[str, object]) -> bool:
    return found[0] == "INVALID_VALUE"


@given(rows_of(W, W, N), values(2))
@settings(max_examples=150, deadline=None)
def test_two_words_in_case_are_duckdbs(rows: Rows, expr: Expr) -> None:
    batch = batch_of(rows, (W, W, N))
    schema = tuple(Field(f"c{i}", t) for i, t in enumerate((W, W, N)))
    assert has_kernel(expr)
    expected = outcome(lambda: DuckQuery((expr,)).run(batch, task())[0])
    found = outcome(lambda: MorselView(batch, schema).array(expr, inner_arrow_type(W)))
    assert found == expected or (is_failed(found) and is_failed(expected))  # of several errors any may come first


@given(rows_of(W, W, N), conditions(1))
@settings(max_examples=150, deadline=None)
def test_two_words_in_conditions_are_duckdbs(rows: Rows, expr: Expr) -> None:
    batch = batch_of(rows, (W, W, N))
    schema = tuple(Field(f"c{i}", t) for i, t in enumerate((W, W, N)))
    predicate = Predicate(expr, schema)
    assert predicate.engine == "numba"
    expected = outcome(
        lambda: DuckQuery((Case(((expr, Const(True, expr.type)),), Const(False, expr.type), expr.type),)).run(batch, task())[0]
    )
    found = outcome(lambda: pa.array(predicate.mask(batch, task()).astype(bool)))
    assert found == expected or (is_failed(found) and is_failed(expected))


def test_expressions_of_one_word_have_a_function_beside_those_of_two() -> None:
    product = Call("*", (Ref(2, N), Ref(2, N)), parse_type("DECIMAL(18,4)"))
    exprs = (Cast(product, parse_type("DECIMAL(20,4)")), product, Ref(0, W))
    evaluator = Evaluator(exprs, (), pa.schema([pa.field(f"r{i}", inner_arrow_type(e.type)) for i, e in enumerate(exprs)]))
    assert (evaluator.fused.exprs, evaluator.in_function, evaluator.engine) == ((product,), (1,), "numba")


def test_overflow_under_null_or_in_a_branch_not_taken_is_no_error() -> None:
    most = limits(W)[1]
    rows: Rows = [(most, 1, 0), (None, most, 0), (5, None, 0)]
    total = Call("+", (Ref(0, W), Ref(1, W)), W)
    check(Case(((Compare("<", Ref(0, W), Const(10, W)), total),), Const(7, W), W), rows, W, W, N)
    batch = batch_of(rows, (W, W, N)).slice(1)
    low, high = unwrap(batch.column(0), W).values, unwrap(batch.column(0), W).high
    assert low is not None
    assert high is not None
    low[0], high[0] = (most & (2**64 - 1)), most >> 64  # under the NULL
    valid = unwrap(batch.column(0), W).valid
    batch = pa.record_batch([wrap_wide(low, high, valid, batch.column(0).type), batch.column(1)], ["c0", "c1"])
    found = MorselView(batch, (Field("c0", W), Field("c1", W))).array(total, inner_arrow_type(W))
    assert found.to_pylist() == [None, None]


def test_failed_cast_names_the_users_column() -> None:
    batch = batch_of([(1,), (10**9,)], (INTEGER,))
    expr = Cast(Ref(0, INTEGER), parse_type("DECIMAL(9,2)"))
    evaluator = Evaluator((expr,), (Field("price", INTEGER),), pa.schema([pa.field("r", inner_arrow_type(expr.type))]))
    with pytest.raises(QueryError) as caught:
        evaluator.evaluate(batch, task())
    message = "Could not cast value 1000000000 to DECIMAL(9,2) when casting from source column price"
    assert str(caught.value) == message
    with pytest.raises(Exception, match="Could not cast value") as duckdbs:
        ask_duckdb("SELECT CAST(price AS DECIMAL(9,2)) FROM t", t=pa.table({"price": batch.column(0)}))
    assert message in str(duckdbs.value)


@pytest.mark.parametrize(
    "expr",
    [
        Call("+", (Ref(0, HUGEINT), Ref(0, HUGEINT)), HUGEINT),
        Compare("<", Ref(0, HUGEINT), Const(1, HUGEINT)),
        Call("+", (Ref(0, parse_type("UBIGINT")), Ref(0, parse_type("UBIGINT"))), parse_type("UBIGINT")),
        Call("+", (Ref(0, parse_type("DATE")), Ref(1, INTEGER)), parse_type("DATE")),
        Call("-", (Ref(0, parse_type("DATE")), Ref(1, parse_type("DATE"))), BIGINT),
        Call("+", (Ref(0, INTEGER), Ref(1, BIGINT)), BIGINT),
        Call("*", (Ref(0, N), Ref(1, N)), N),
        Cast(Ref(0, W), N),
        Cast(Ref(0, W), parse_type("DECIMAL(38,1)")),
        Cast(Ref(0, HUGEINT), W),
        Cast(Ref(0, parse_type("BOOLEAN")), N),
    ],
)
def test_what_has_no_kernel(expr: Expr) -> None:
    assert not has_kernel(expr)
