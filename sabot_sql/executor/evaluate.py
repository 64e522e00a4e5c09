"""Evaluates bound expressions over a batch: in kernels where there are some, in one DuckDB query for all the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sabot_sql.errors import InternalError
from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.arithmetic import (
    Wides,
    Words,
    arithmetic,
    both,
    cast_wides,
    cast_words,
    full,
    negation,
    wide_arithmetic,
    wide_negation,
    widened,
)
from sabot_sql.executor.columns import Array, Column, unwrap, wrap_fixed, wrap_wide
from sabot_sql.executor.duckdb_session import duck_session
from sabot_sql.executor.fused import Fused
from sabot_sql.executor.gather import select
from sabot_sql.executor.kernels import expressions as kernels
from sabot_sql.executor.kernels.wide_arithmetic import compare_wides
from sabot_sql.executor.operator import TaskContext
from sabot_sql.planner.expressions import (
    Call,
    Case,
    Cast,
    Compare,
    Const,
    Expr,
    IsNull,
    Logic,
    Not,
    Ref,
    conjunction,
    conjuncts,
    has_kernel,
    is_word,
    references,
    remap,
)
from sabot_sql.planner.render import render_output
from sabot_sql.types import BOOLEAN, Lane, Schema, SqlType

OPS = {"=": kernels.EQ, "<>": kernels.NE, "<": kernels.LT, "<=": kernels.LE, ">": kernels.GT, ">=": kernels.GE}
FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
PARTS = {"year": kernels.YEAR, "month": kernels.MONTH, "day": kernels.DAY}


class Evaluator:
    """Evaluates `exprs`. Immutable and thread-safe.

    Args:
        input_types: the columns of the batches that come.
        output: Arrow schema of the results, a column an expression.
    """

    def __init__(self, exprs: tuple[Expr, ...], input_types: Schema, output: pa.Schema) -> None:
        if len(exprs) != len(output):
            raise InternalError(f"{len(exprs)} expressions cannot fill {len(output)} columns")
        self.exprs = exprs
        self.input_types = input_types
        self.output = output
        self.in_duckdb = tuple(i for i, e in enumerate(exprs) if not has_kernel(e))
        self.in_kernels = tuple(i for i, e in enumerate(exprs) if has_kernel(e) and not isinstance(e, Ref))
        self.in_function = tuple(i for i in self.in_kernels if is_word(exprs[i]))
        self.fused = Fused([exprs[i] for i in self.in_function])
        self.query = DuckQuery(tuple(exprs[i] for i in self.in_duckdb)) if self.in_duckdb else None

    @property
    def engine(self) -> str:
        """Who evaluates: `duckdb` as soon as it has to do part of it."""
        return "duckdb" if self.in_duckdb else "numba"

    def evaluate(self, batch: pa.RecordBatch, context: TaskContext) -> list[pa.Array]:
        """The value of each expression for each row of `batch`.

        Raises:
            QueryError: a value has no result, such as a decimal sum that is too large.
        """
        results: dict[int, pa.Array] = {}
        if self.query is not None:
            results = dict(zip(self.in_duckdb, self.query.run(batch, context)))
        fields = list(self.output)
        if (found := self.fused.run(batch)) is not None:
            for i, (values, valid) in zip(self.in_function, found):
                results[i] = wrap_fixed(values, valid, fields[i].type)
        morsel = MorselView(batch, self.input_types)
        for i, expr in enumerate(self.exprs):
            if isinstance(expr, Ref) and i not in results:
                results[i] = batch.column(expr.index)
            elif i not in results:
                results[i] = morsel.array(expr, fields[i].type)
        return [conform(results[i], field) for i, field in enumerate(fields)]


class Predicate:
    """Evaluates a condition to a mask. Immutable and thread-safe.

    Conditions that kernels evaluate come first; DuckDB then sees only the rows that are left.
    """

    def __init__(self, expr: Expr, input_types: Schema) -> None:
        parts = conjuncts(expr)
        fast = tuple(p for p in parts if has_kernel(p))
        slow = tuple(p for p in parts if not has_kernel(p))
        self.input_types = input_types
        self.fast = conjunction(fast) if fast else None
        self.fused = Fused([_is_true(self.fast)] if self.fast is not None and is_word(self.fast) else [])
        # as the condition of a CASE, and of WHERE, but not as a column, DuckDB evaluates AND and OR for undecided rows only
        self.query = DuckQuery((_is_true(conjunction(slow)),)) if slow else None

    @property
    def engine(self) -> str:
        """Who evaluates: `duckdb` as soon as it has to do part of it."""
        return "duckdb" if self.query is not None else "numba"

    def mask(self, batch: pa.RecordBatch, context: TaskContext) -> Array:
        """uint8[n], 1 where the condition is true."""
        mask = np.ones(batch.num_rows, np.uint8)
        if (found := self.fused.run(batch)) is not None:
            mask = found[0][0]
        elif self.fast is not None:
            mask = MorselView(batch, self.input_types).condition(self.fast, None).true
        if self.query is None or not mask.any():
            return mask
        left = select(batch, mask)
        (found,) = self.query.run(left, context)
        column = unwrap(found, BOOLEAN)
        assert column.values is not None
        true = column.values.astype(np.uint8)
        if column.valid is not None:
            true &= column.valid
        if left.num_rows == batch.num_rows:
            return true
        out = mask.copy()
        out[np.flatnonzero(mask)] = true
        return out


def _is_true(condition: Expr) -> Expr:
    """`condition` with FALSE for NULL."""
    return Case(((condition, Const(True, BOOLEAN)),), Const(False, BOOLEAN), BOOLEAN)


class DuckQuery:
    """Expressions that DuckDB evaluates over a batch, in one query."""

    def __init__(self, exprs: tuple[Expr, ...]) -> None:
        self.columns = tuple(sorted({i for e in exprs for i in references(e)}))
        names = [f"c{i}" for i in range(len(self.columns))]
        moved = {old: new for new, old in enumerate(self.columns)}
        texts = [f"{render_output(remap(e, moved), names)} AS r{i}" for i, e in enumerate(exprs)]
        self.select = f"SELECT {', '.join(texts)} FROM "

    def run(self, batch: pa.RecordBatch, context: TaskContext) -> list[pa.Array]:
        """The value of each expression, for each row."""
        with duck_session(context).cursor(context) as cursor:
            if self.columns:
                names = [f"c{i}" for i in range(len(self.columns))]
                table = cursor.over(self.select, pa.RecordBatch.from_arrays([batch.column(i) for i in self.columns], names))
            else:
                table = cursor.table(f"{self.select}range({batch.num_rows})")
        if table.num_rows != batch.num_rows:
            raise InternalError(f"DuckDB gave {table.num_rows} values for {batch.num_rows} rows")
        return [_one_array(column) for column in table.columns]


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def conform(array: pa.Array, field: pa.Field) -> pa.Array:
    """`array` under the type of `field`: as it is, or from another layout of the same values.

    Raises:
        InternalError: the types differ in more than layout.
    """
    if array.type == field.type:
        return array
    if not _same_values(array.type, field.type):
        raise InternalError(f"column {field.name} came as {array.type}, not as {field.type}")
    return array.cast(field.type)


def _same_values(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether two types hold the same values in different layouts."""
    kinds = (
        (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
        (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
        (pa.types.is_struct,),
        (pa.types.is_map,),
    )
    if found == wanted or (pa.types.is_null(found) and pa.types.is_int32(wanted)):
        return True
    if not any(any(k(found) for k in same) and any(k(wanted) for k in same) for same in kinds):
        return False
    children = [(found.field(i), wanted.field(i)) for i in range(min(found.num_fields, wanted.num_fields))]
    return found.num_fields == wanted.num_fields and all(_same_values(a.type, b.type) for a, b in children)


@dataclass(slots=True)
class Condition:
    """A three-valued condition: true and false, uint8[n] of 0 and 1; NULL where neither."""

    true: Array
    false: Array


class MorselView:
    """One batch as kernels evaluate expressions over it; columns are unwrapped once."""

    def __init__(self, batch: pa.RecordBatch, types: Schema) -> None:
        self.batch = batch
        self.types = types
        self.length: int = batch.num_rows
        self._columns: dict[int, Column] = {}

    def array(self, expr: Expr, arrow_type: pa.DataType) -> pa.Array:
        """`expr` as an Arrow array."""
        if expr.type.id == "BOOLEAN":
            condition = self.condition(expr, None)
            known = condition.true | condition.false
            return wrap_fixed(condition.true, known, arrow_type)
        if expr.type.lane is Lane.WIDE:
            wides = self.wides(expr, None)
            return wrap_wide(wides.low, wides.high, wides.valid, arrow_type)
        words = self.words(expr, None)
        return wrap_fixed(full(words.values, expr.type, self.length), words.valid, arrow_type)

    def words(self, expr: Expr, wanted: Array | None) -> Words:
        """`expr`, of one word and not a condition, for all rows; errors count only in rows where `wanted` (uint8[n]; None: all)
        is 1."""
        match expr:
            case Ref(index=index):
                column = self._column(index)
                assert column.values is not None
                return Words(column.values, column.valid)
            case Const(value=value, type=t):
                if value is None:
                    return Words(0.0 if t.lane is Lane.FLOAT else 0, np.zeros(self.length, np.uint8))
                assert not isinstance(value, str)
                return Words(_float(value, t) if t.lane is Lane.FLOAT else int(value), None)
            case Call(name="-", args=(arg,)):
                return negation(expr, self.words(arg, wanted), self.length, wanted)
            case Call(name=name, args=(arg,)):
                return self._date_part(name, self.words(arg, wanted))
            case Call(args=(left, right)):
                return arithmetic(expr, self.words(left, wanted), self.words(right, wanted), self.length, wanted)
            case Case():
                return self._case(expr, wanted)
            case Cast(arg=arg):
                return cast_words(expr, self.words(arg, wanted), self.types, self.length, wanted)
        raise InternalError(f"kernels do not evaluate {type(expr).__name__} of type {expr.type}")

    def wides(self, expr: Expr, wanted: Array | None) -> Wides:
        """`expr`, a decimal of one word or two, as two words; the rest as `words`."""
        if expr.type.lane is not Lane.WIDE:
            return widened(self.words(expr, wanted), self.length)
        match expr:
            case Ref(index=index):
                column = self._column(index)
                assert column.values is not None
                assert column.high is not None
                return Wides(column.values, column.high, column.valid)
            case Const(value=value):
                assert not isinstance(value, str)
                number, valid = int(value or 0), np.zeros(self.length, np.uint8) if value is None else None
                low = np.full(self.length, number & 0xFFFFFFFFFFFFFFFF, np.uint64)
                return Wides(low, np.full(self.length, number >> 64, np.int64), valid)
            case Call(args=(arg,)):
                return wide_negation(self.wides(arg, wanted))
            case Call(args=(left, right)):
                return wide_arithmetic(expr, self.wides(left, wanted), self.wides(right, wanted), wanted)
            case Case():
                return self._wide_case(expr, wanted)
            case Cast(arg=arg):
                return cast_wides(expr, self.wides(arg, wanted), self.types, wanted)
        raise InternalError(f"kernels do not evaluate {type(expr).__name__} of type {expr.type}")

    def condition(self, expr: Expr, wanted: Array | None) -> Condition:
        """`expr`, of type BOOLEAN, for all rows."""
        match expr:
            case Compare():
                return self._compare(expr, wanted)
            case Logic(op=op, args=args):
                return self._logic(op, args, wanted)
            case Not(arg=arg):
                inner = self.condition(arg, wanted)
                return Condition(inner.false, inner.true)
            case IsNull(arg=arg, negated=negated):
                known = self._known(arg, wanted)
                return Condition(known, known ^ 1) if negated else Condition(known ^ 1, known)
            case Const(value=value):
                ones, zeros = np.ones(self.length, np.uint8), np.zeros(self.length, np.uint8)
                return Condition(ones if value is True else zeros, ones if value is False else zeros)
            case Case():
                return self._case_condition(expr, wanted)
            case Ref(index=index):
                column = self._column(index)
                assert column.values is not None
                true = column.values.astype(np.uint8)
                return _masked(true, column.valid)
        raise InternalError(f"kernels do not evaluate the condition {type(expr).__name__}")

    def _column(self, index: int) -> Column:
        if index not in self._columns:
            self._columns[index] = unwrap(self.batch.column(index), self.types[index].type)
        return self._columns[index]

    def _known(self, expr: Expr, wanted: Array | None) -> Array:
        """uint8[n], 1 where `expr` is not NULL."""
        if expr.type.id == "BOOLEAN":
            condition = self.condition(expr, wanted)
            return condition.true | condition.false
        valid = (self.wides if expr.type.lane is Lane.WIDE else self.words)(expr, wanted).valid
        return np.ones(self.length, np.uint8) if valid is None else valid

    def _compare(self, expr: Compare, wanted: Array | None) -> Condition:
        op: str = expr.op
        distinct = op in ("IS DISTINCT FROM", "IS NOT DISTINCT FROM")
        out, left, right = self._compared("=" if distinct else op, expr.left, expr.right, wanted)
        if not distinct:
            return _masked(out, both(left, right))
        lefts, rights = (np.ones(self.length, np.uint8) if v is None else v for v in (left, right))
        same = (out & lefts & rights) | ((lefts | rights) ^ 1)
        return Condition(same ^ 1, same) if op == "IS DISTINCT FROM" else Condition(same, same ^ 1)

    def _compared(self, op: str, first: Expr, second: Expr, wanted: Array | None) -> tuple[Array, Array | None, Array | None]:
        """first op second, uint8[n], as if there were no NULL, and the flags of both."""
        out = np.empty(self.length, np.uint8)
        if first.type.lane is Lane.WIDE:
            a, b = self.wides(first, wanted), self.wides(second, wanted)
            compare_wides(OPS[op], a.low, a.high, b.low, b.high, out)
            return out, a.valid, b.valid
        if first.type.id == "BOOLEAN":
            left, right = (self._as_words(self.condition(e, wanted)) for e in (first, second))
        else:
            left, right = self.words(first, wanted), self.words(second, wanted)
        valid = left.valid, right.valid
        if not isinstance(left.values, np.ndarray) and isinstance(right.values, np.ndarray):
            left, right, op = right, left, FLIPPED[op]
        values = full(left.values, first.type, self.length)
        is_float = first.type.lane is Lane.FLOAT
        if isinstance(right.values, np.ndarray):
            (kernels.compare_floats if is_float else kernels.compare_ints)(OPS[op], values, right.values, out)
        else:
            (kernels.compare_floats_to if is_float else kernels.compare_ints_to)(OPS[op], values, right.values, out)
        return out, *valid

    def _as_words(self, condition: Condition) -> Words:
        known = condition.true | condition.false
        return Words(condition.true.astype(np.int64), known)

    def _logic(self, op: str, args: tuple[Expr, ...], wanted: Array | None) -> Condition:
        """AND keeps the rows where all are true, OR is its mirror; a row that is decided needs no further condition."""
        first, *rest = args
        found = self.condition(first, wanted)
        true, false = found.true, found.false
        for arg in rest:
            undecided = (false if op == "AND" else true) ^ 1
            found = self.condition(arg, undecided if wanted is None else undecided & wanted)
            if op == "AND":
                true, false = true & found.true, false | found.false
            else:
                true, false = true | found.true, false & found.false
        return Condition(true, false)

    def _date_part(self, name: str, days: Words) -> Words:
        out, finite = np.empty(self.length, np.int64), np.empty(self.length, np.uint8)
        values = days.values if isinstance(days.values, np.ndarray) else np.full(self.length, days.values, np.int64)
        kernels.date_parts(PARTS[name], values, out, finite)
        return Words(out, both(days.valid, None if finite.all() else finite))

    def _case(self, case: Case, wanted: Array | None) -> Words:
        out = np.zeros(self.length, np.float64 if case.type.lane is Lane.FLOAT else np.int64)
        known = np.zeros(self.length, np.uint8)

        def put(value: Expr, taken: Array) -> None:
            words = self.words(value, taken)
            bits = out.view(np.int64)
            if isinstance(words.values, np.ndarray):
                kernels.put_words(taken, words.values.view(np.int64), bits)
            else:
                kernels.put_word(taken, int(np.asarray(words.values, out.dtype).view(np.int64)), bits)
            kernels.put_flags(taken, taken if words.valid is None else words.valid, known)

        self._branches(case, wanted, put)
        return Words(out, None if known.all() else known)

    def _wide_case(self, case: Case, wanted: Array | None) -> Wides:
        low, high, known = np.zeros(self.length, np.uint64), np.zeros(self.length, np.int64), np.zeros(self.length, np.uint8)

        def put(value: Expr, taken: Array) -> None:
            wides = self.wides(value, taken)
            kernels.put_words(taken, wides.low.view(np.int64), low.view(np.int64))
            kernels.put_words(taken, wides.high, high)
            kernels.put_flags(taken, taken if wides.valid is None else wides.valid, known)

        self._branches(case, wanted, put)
        return Wides(low, high, None if known.all() else known)

    def _case_condition(self, case: Case, wanted: Array | None) -> Condition:
        found = Condition(np.zeros(self.length, np.uint8), np.zeros(self.length, np.uint8))

        def put(value: Expr, taken: Array) -> None:
            condition = self.condition(value, taken)
            kernels.put_flags(taken, condition.true, found.true)
            kernels.put_flags(taken, condition.false, found.false)

        self._branches(case, wanted, put)
        return found

    def _branches(self, case: Case, wanted: Array | None, put: Callable[[Expr, Array], None]) -> None:
        """Call `put` for each value that some wanted row takes, with the mask of those rows; each takes exactly one."""
        left = np.ones(self.length, np.uint8) if wanted is None else wanted.copy()
        for when, value in case.whens:
            taken = self.condition(when, left).true & left
            left ^= taken
            if taken.any():
                put(value, taken)
        if left.any():
            put(case.otherwise, left)


def _float(value: bool | int | float, t: SqlType) -> float:
    return float(np.float32(value)) if t.id == "FLOAT" else float(value)


def _masked(true: Array, valid: Array | None) -> Condition:
    if valid is None:
        return Condition(true, true ^ 1)
    return Condition(true & valid, (true ^ 1) & valid)
