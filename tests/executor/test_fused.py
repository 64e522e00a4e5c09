"""Fused expressions mean what the interpreter and DuckDB mean; their code is compiled elsewhere, once, and loaded by others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sabot_sql.errors import QueryError
from sabot_sql.executor import fused_code, fused_compiler
from sabot_sql.executor.columns import wrap_fixed
from sabot_sql.executor.evaluate import Evaluator, MorselView, Predicate
from sabot_sql.executor.fused import Fused, call
from sabot_sql.executor.fused_code import LOAD_ROWS, FusedCode, Wanted, without_constants
from sabot_sql.executor.fused_source import MAX_NODES, Program, is_small_enough, write
from sabot_sql.executor.kernels.compile import JIT
from sabot_sql.planner.expressions import Call, Case, Cast, Compare, Const, Expr, IsNull, Logic, Not, Ref, walk, word_range
from sabot_sql.planner.wire import to_wire
from sabot_sql.types import BIGINT, DOUBLE, Field, SqlType, inner_arrow_type, parse_type
from tests.executor.tables import batch_of_rows, task
from tests.executor.test_evaluate import (
    CONSTANTS,
    LARGE,
    PAIR,
    SCHEMA,
    TYPES,
    WIDE,
    A,
    B,
    conditions,
    dates,
    decimals,
    duckdbs,
    pairs,
    rows,
    shown,
    values,
)

needs_jit = pytest.mark.skipif(not JIT, reason="there is no machine code without a compiler")
exprs_of_all_kinds = st.one_of(conditions(2), decimals(), dates(), *(values(t, 2) for t in sorted(CONSTANTS) if t != "BOOLEAN"))


def in_python(program: Program) -> Callable[..., Any]:
    """The function before it is compiled; what it stores is cut to the width of its place, as machine code does it."""
    function = program.generated().function

    def run(*args: Any) -> Any:
        first, count = len(args) - len(program.output_dtypes) - sum(program.output_flags), len(program.output_dtypes)
        outputs = args[first : first + count]
        words = [np.empty(len(o), np.float64 if o.dtype.kind == "f" else np.int64) for o in outputs]
        with np.errstate(all="ignore"):
            bad = function(*args[:first], *words, *args[first + count :])
        for place, found in zip(outputs, words):
            place[:] = found.astype(place.dtype)
        return bad

    return run


def fused(
    exprs: tuple[Expr, ...], batch: pa.RecordBatch, make: Callable[[Program], Callable[..., Any]] = in_python
) -> list[pa.Array] | None:
    """What the function of `exprs` gives; None for an overflow."""
    with_nulls = any(column.null_count for column in batch.columns)
    program = write(exprs, with_nulls)
    found = call(make(program), program, batch)
    return found and [wrap_fixed(*pair, inner_arrow_type(e.type)) for pair, e in zip(found, exprs)]


def interpreted(expr: Expr, batch: pa.RecordBatch) -> pa.Array:
    return MorselView(batch, SCHEMA).array(expr, inner_arrow_type(expr.type))


@given(rows, st.lists(exprs_of_all_kinds, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_function_is_what_interpreter_and_duckdb_say(data: list[tuple[Any, ...]], exprs: list[Expr]) -> None:
    batch = batch_of_rows(TYPES, data)
    found = fused(tuple(exprs), batch)
    assert found is not None
    for expr, array in zip(exprs, found):
        array.validate(full=True)
        assert shown(array) == shown(interpreted(expr, batch)) == shown(duckdbs(expr, batch))


@given(rows, conditions(2))
@settings(max_examples=40, deadline=None)
def test_constants_and_places_of_columns_are_not_part_of_the_shape(data: list[tuple[Any, ...]], expr: Expr) -> None:
    batch, (blank,) = batch_of_rows(TYPES, data), without_constants((expr,))
    program, other = write((expr,), True), write((blank,), True)
    assert (program.name, program.source) == (other.name, other.source)
    assert {e.value for e in walk(blank) if isinstance(e, Const)} <= {None, True, False, *range(len(list(walk(blank))))}
    reference = call(in_python(other), program, batch)
    assert reference is not None
    assert np.array_equal(reference[0][0], MorselView(batch, SCHEMA).condition(expr, None).true)


EDGES = [0, 1, -1, 3, 10**9, -(10**9), 10**17, LARGE, -LARGE]
integers = st.lists(st.tuples(st.sampled_from([None, *EDGES]), st.sampled_from([None, *EDGES])), min_size=1, max_size=8)
sides = st.sampled_from([A, B, *(Const(v, WIDE) for v in (None, *EDGES))])


def sums(depth: int) -> st.SearchStrategy[Expr]:
    """Arithmetic that overflows often, also inside CASE, AND and OR."""
    if depth == 0:
        return sides
    below = sums(depth - 1)
    tests = st.builds(Compare, st.sampled_from(["<", "=", ">="]), below, below)
    both = st.builds(lambda op, a, b: Logic(op, (a, b)), st.sampled_from(["AND", "OR"]), tests, tests)
    case = st.builds(lambda when, a, b: Case(((when, a),), b, WIDE), tests | both, below, below)
    return st.builds(lambda op, a, b: Call(op, (a, b), WIDE), st.sampled_from("+-*"), below, below) | case


@given(integers, sums(2))
@settings(max_examples=200, deadline=None)
def test_what_the_interpreter_refuses_is_noticed(data: list[tuple[int | None, int | None]], expr: Expr) -> None:
    batch = pairs([a for a, _ in data], [b for _, b in data])
    found = fused((expr,), batch)
    try:
        expected = MorselView(batch, PAIR).array(expr, pa.decimal64(18, 0))
    except QueryError:
        assert found is None
    else:
        assert found is None or found[0].equals(expected)


def integers_of(t: SqlType) -> st.SearchStrategy[int]:
    least, most = word_range(t)
    return st.sampled_from(
        [v for v in (least, least + 1, -2, -1, 0, 1, 2, 3037000500, most // 2, most - 1, most) if least <= v <= most]
    )


def integer_sums(t: SqlType, depth: int) -> st.SearchStrategy[Expr]:
    """As `sums`, of integers, with negation and casts to DECIMAL that may fail or give NULL."""
    if depth == 0:
        return st.sampled_from([Ref(0, t), Ref(1, t)]) | integers_of(t).map(lambda v: Const(v, t))
    below = integer_sums(t, depth - 1)
    few = SqlType("DECIMAL", 3, 1)
    casts = st.builds(lambda e, is_try: Cast(e, few, is_try), below, st.booleans())
    tests = st.builds(Compare, st.sampled_from(["<", "=", ">="]), below, below) | casts.map(IsNull)
    tests |= st.builds(Compare, st.sampled_from(["<", "="]), casts, st.just(Const(5, few)))
    case = st.builds(lambda when, a, b: Case(((when, a),), b, t), tests, below, below)
    arithmetic = st.builds(lambda op, a, b: Call(op, (a, b), t), st.sampled_from("+-*"), below, below)
    return arithmetic | case | below.map(lambda e: Call("-", (e,), t))


@given(st.data(), st.sampled_from(["TINYINT", "UTINYINT", "INTEGER", "UINTEGER", "BIGINT"]))
@settings(max_examples=200, deadline=None)
def test_what_the_interpreter_refuses_of_integers_is_noticed(data: st.DataObject, text: str) -> None:
    t = parse_type(text)
    expr = data.draw(integer_sums(t, 2))
    column = st.lists(st.none() | integers_of(t), min_size=4, max_size=4)
    batch = pa.record_batch([pa.array(data.draw(column), inner_arrow_type(t)) for _ in range(2)], ["a", "b"])
    found = fused((expr,), batch)
    try:
        expected = MorselView(batch, (Field("a", t), Field("b", t))).array(expr, inner_arrow_type(t))
    except QueryError:
        assert found is None
    else:
        assert found is None or found[0].equals(expected)
    event("served" if found else "refused")


@pytest.mark.parametrize("value", [2, LARGE])
def test_overflow_where_it_does_not_count_is_not_noticed(value: int) -> None:
    product, small = Call("*", (A, B), WIDE), Compare("<", A, Const(10, WIDE))
    batch = pairs([2, value, None], [3, value, LARGE])
    found = fused((Case(((small, product),), Const(0, WIDE), WIDE),), batch)
    assert found is not None
    assert found[0].to_pylist() == [6, 4 if value == 2 else 0, 0]
    assert (fused((product,), batch) is None) == (value == LARGE)


PRICE, PART = parse_type("DECIMAL(9,2)"), SqlType("DECIMAL", 18, 4)
REVENUE = Call("*", (Ref(7, PRICE), Cast(Call("-", (Const(100, PRICE), Ref(7, PRICE)), PRICE), PRICE)), PART)


def test_what_expressions_have_in_common_is_computed_once() -> None:
    together = write((REVENUE, Case(((Compare("<", REVENUE, Const(7, PART)), REVENUE),), Const(0, PART), PART)), True)
    assert together.source.count("*") == write((REVENUE,), True).source.count("*") == 2
    assert together.words == (100, 7, 0)


def test_text_of_the_user_does_not_enter_the_source() -> None:
    program = write((Compare("<", Ref(3, DOUBLE), Const(float("nan"), DOUBLE)), REVENUE), True)
    names = set("".join(c if c.isalnum() or c == "_" else " " for c in program.source).split())
    known = {
        "def",
        "for",
        "in",
        "range",
        "len",
        "return",
        "not",
        "abs",
        "int64",
        "uint64",
        "float64",
        "False",
        "words",
        "floats",
        "bad",
        "i",
    }
    rest = {n for n in names - known if not (n[0] in "cvkfowx" and n[1:].isdigit()) and not n.isdigit()}
    assert rest == {program.name, "0e18"}


def test_large_expressions_stay_with_the_interpreter() -> None:
    total: Expr = Ref(3, DOUBLE)
    while is_small_enough((total,)):
        total = Call("+", (total, Ref(3, DOUBLE)), DOUBLE)
    assert MAX_NODES < len(list(walk(total))) <= MAX_NODES + 2
    big = batch_of_rows(TYPES, [(None, None, None, 1.0, *[None] * 6)]).slice(0, 1)
    assert Fused((total,), refusing()).run(pa.concat_batches([big] * (1 << 15))) is None


def refusing() -> FusedCode:
    class Refusing(FusedCode):
        def get(self, program: Program, exprs: tuple[Expr, ...], rows: int) -> None:
            raise AssertionError("nobody may ask")

    return Refusing(Path("nowhere"))


# with machine code

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fused_code.__file__).parents[2])}
PROGRAM = "import sys; from pathlib import Path; from sabot_sql.executor.{} import {}; print({})"
SERVE = PROGRAM.format("fused_compiler", "serve", "serve(Path(sys.argv[1]), 1.0)")
START = PROGRAM.format("fused_code", "start_compiler", "start_compiler(Path(sys.argv[1])).pid")
IS_LARGE = Logic("AND", (Compare(">", Ref(3, DOUBLE), Const(1.0, DOUBLE)), Not(IsNull(Ref(2, BIGINT)))))


def compiled_in(folder: Path) -> Callable[[Program], Callable[..., Any]]:
    def make(program: Program) -> Callable[..., Any]:
        generated = program.generated()
        if generated.load(folder) is None:
            generated.compile(folder)
        found = generated.load(folder)
        assert found is not None
        return found

    return make


@needs_jit
@given(data=rows, exprs=st.lists(exprs_of_all_kinds, min_size=3, max_size=5))
@settings(max_examples=6, deadline=None)
def test_machine_code_is_what_the_interpreter_says(
    data: list[tuple[Any, ...]], exprs: list[Expr], tmp_path_factory: pytest.TempPathFactory
) -> None:
    batch = batch_of_rows(TYPES, data)
    found = fused(tuple(exprs), batch, compiled_in(tmp_path_factory.getbasetemp()))
    assert found is not None
    for expr, array in zip(exprs, found):
        assert shown(array) == shown(interpreted(expr, batch))


@needs_jit
def test_machine_code_notices_overflow(tmp_path: Path) -> None:
    make = compiled_in(tmp_path)
    for op, other in (("*", A), ("+", A), ("-", Const(-LARGE, WIDE))):
        expr = Call(op, (A, other), WIDE)
        assert fused((expr,), pairs([1, LARGE], [0, 0]), make) is None
        found = fused((expr,), pairs([1, 2], [0, 0]), make)
        assert (found is None) == (op == "-")


@needs_jit
@pytest.mark.parametrize("text", ["UTINYINT", "INTEGER", "BIGINT"])
def test_machine_code_notices_overflow_of_integers(text: str, tmp_path: Path) -> None:
    t, make = parse_type(text), compiled_in(tmp_path)
    least, most = word_range(t)
    a, b, few = Ref(0, t), Ref(1, t), SqlType("DECIMAL", 4, 2)

    def run(expr: Expr, *values: int) -> list[Any] | None:
        row = pa.record_batch([pa.array([v], inner_arrow_type(t)) for v in values], ["a", "b"])
        found = fused((expr,), row, make)
        return found and found[0].to_pylist()

    total, rest, product = (Call(op, (a, b), t) for op in "+-*")
    assert (run(total, most, 1), run(total, most - 1, 1)) == (None, [most])
    assert (run(rest, least, 1), run(rest, least + 1, 1)) == (None, [least])
    assert (run(product, most, 2), run(product, most // 4, 2)) == (None, [most // 4 * 2])
    assert (run(Call("-", (a,), t), least or 1, 0), run(Call("-", (a,), t), 0, 0)) == (None, [0])
    assert (run(Cast(a, few), 100, 0), run(Cast(a, few), 99, 0)) == (None, [99])
    assert (run(Cast(a, few, True), 100, 0), run(Cast(a, few, True), 99, 0)) == ([None], [99])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "fused"
    path.mkdir(mode=0o700)
    return path


def ask(folder: Path, *exprs: Expr, with_nulls: bool = True) -> Program:
    """Put the file there that asks for a function."""
    program = write(exprs, with_nulls)
    (folder / f"{program.name}.wanted").write_bytes(to_wire(Wanted(without_constants(exprs), with_nulls)))
    return program


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


@needs_jit
def test_hot_expressions_are_compiled_by_a_process_that_nobody_waits_for(folder: Path) -> None:
    code, batch = FusedCode(folder), batch_of_rows(TYPES, [(None, 1, 10, 2.0, *[None] * 6)] * (1 << 19))
    function = Fused((IS_LARGE,), code)
    began = time.perf_counter()
    assert [function.run(batch) for _ in range(2)] == [None, None]
    time.sleep(fused_code.LOOK_AGAIN_S)
    assert function.run(batch) is None  # which asks for it
    assert time.perf_counter() - began < fused_code.LOOK_AGAIN_S + 1.0
    compiler = code._compiler
    assert compiler is not None
    wait_for(lambda: list(folder.glob("*.ready")) != [])
    time.sleep(fused_code.LOOK_AGAIN_S)
    found = function.run(batch)
    assert found is not None
    assert found[0][0].all()
    assert (list(folder.glob("*.wanted")), list(folder.glob("*.failed"))) == ([], [])
    assert compiler.stdin is not None
    compiler.stdin.close()  # as when this process ends
    assert compiler.wait(20) == 0


@needs_jit
def test_few_rows_are_not_worth_a_compilation(folder: Path) -> None:
    batch = batch_of_rows(TYPES, [(None, 1, 10, 2.0, *[None] * 6)] * (1 << 15))
    assert Fused((IS_LARGE,), FusedCode(folder)).run(batch) is None
    assert list(folder.iterdir()) == []


@needs_jit
def test_four_processes_that_compile_at_once_agree(folder: Path) -> None:
    condition = IS_LARGE
    programs = [ask(folder, condition, with_nulls=n) for n in (True, False)] + [ask(folder, REVENUE)]
    command = [sys.executable, "-c", SERVE, str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) for _ in range(4)]
    counts = sorted(int(process.communicate()[0]) for process in running)
    assert ([process.returncode for process in running], sum(counts)) == ([0] * 4, 3)
    assert all(p.generated().load(folder) is not None for p in programs)


@needs_jit
def test_code_that_was_not_used_for_longest_goes(folder: Path) -> None:
    programs = [write((Compare(op, Ref(2, BIGINT), Const(1, BIGINT)),), False) for op in ("<", "=", ">")]
    for age, program in enumerate(programs):
        program.generated().compile(folder)
        ready = folder / f"{program.name}.ready"
        ready.touch()
        os.utime(ready, (1e9 - age, 1e9 - age))
    size = sum(p.stat().st_size for p in folder.rglob("*.nb?"))
    fused_compiler.keep_within(folder, 2, size)
    assert [p.generated().load(folder) is not None for p in programs] == [True, True, False]
    fused_compiler.keep_within(folder, 2, size // 2)
    assert [p.generated().load(folder) is not None for p in programs] == [True, False, False]
    assert [(folder / f"{p.name}.ready").exists() for p in programs] == [True, False, False]


def test_what_does_not_ask_for_its_name_is_refused(folder: Path) -> None:
    (folder / "fused_0.wanted").write_bytes(to_wire(Wanted((IS_LARGE,), True)))
    (folder / "fused_1.wanted").write_bytes(b"not a message")
    assert fused_compiler.serve(folder, 0.2) == 0
    assert sorted(p.name for p in folder.iterdir()) == ["compiler.lock", "fused_0.failed", "fused_1.failed"]


@needs_jit
def test_damaged_code_is_the_interpreters_work(folder: Path) -> None:
    program = write((IS_LARGE,), True)
    program.generated().compile(folder)
    (folder / f"{program.name}.ready").touch()
    for path in folder.rglob("*.nb?"):
        path.write_bytes(b"\0damaged")
    assert FusedCode(folder).get(program, (IS_LARGE,), LOAD_ROWS) is None


@needs_jit
def test_loaded_functions_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_code, "MAX_LOADED", 1)
    code = FusedCode(folder)
    for op in ("<", "="):
        expr = Compare(op, Ref(2, BIGINT), Const(1, BIGINT))
        program = write((expr,), False)
        program.generated().compile(folder)
        (folder / f"{program.name}.ready").touch()
        assert code.get(program, (expr,), LOAD_ROWS - 1) is None
        assert code.get(program, (expr,), 1) is not None
    assert list(code._loaded) == [program.name]


@needs_jit
def test_operators_use_a_function_as_soon_as_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_code, "LOAD_ROWS", 0)
    code, batch = FusedCode(folder), batch_of_rows(TYPES, [(True, 1, 10, 2.0, *[None] * 6), (None,) * 10] * (1 << 14))
    schema = pa.schema([pa.field("a", pa.bool_()), pa.field("b", pa.int32())])
    exprs = (Compare("<", Ref(3, DOUBLE), Const(2.5, DOUBLE)), Ref(1, parse_type("INTEGER")))
    evaluator, predicate = Evaluator(exprs, SCHEMA, schema), Predicate(IS_LARGE, SCHEMA)
    plain = evaluator.evaluate(batch, task()), predicate.mask(batch, task())
    for part in (evaluator.fused, predicate.fused):
        part.code = code
        program = write(part.exprs, True)
        program.generated().compile(folder)
        (folder / f"{program.name}.ready").touch()
    with monkeypatch.context() as patched:
        patched.delattr(MorselView, "array")
        patched.delattr(MorselView, "condition")
        fast = evaluator.evaluate(batch, task()), predicate.mask(batch, task())
    assert fast[0] == plain[0]
    assert np.array_equal(fast[1], plain[1])
    assert (evaluator.fused.rows_done, predicate.fused.rows_done) == (batch.num_rows, batch.num_rows)


@needs_jit
def test_compiler_ends_with_who_started_it(folder: Path) -> None:
    command = [sys.executable, "-c", START, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    pid = int(done.stdout)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 20)
