"""Writes the expressions of a filter or a projection as one function over a batch: a loop over its rows, all expressions in it.

    x > 5 AND price * (1 - discount) < 10   =>   for i in range(len(o0)):
                                                     x0 = int64(c0[i])
                                                     x1 = (x0 > k0)
                                                     ...
                                                     o0[i] = x9

The text is made of node classes, type names and widths, and of names that are counted here; constants are arguments, names of
columns and any other text of the user's do not enter it. Expressions that differ only in constants and in the places of their
columns therefore have one text, and one machine code.

NULL, floats and AND, OR and CASE are as in `evaluate`. Overflow is only noticed: the function then returns True, and who
called it has the interpreter look again, which names the values or finds that they do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numba
import numpy as np
from numba import types

from sabot_sql.errors import InternalError
from sabot_sql.executor.columns import word_dtype
from sabot_sql.executor.kernels.compile import F64, I64, U8
from sabot_sql.executor.kernels.expressions import INFINITE_DAYS
from sabot_sql.executor.kernels.generated import Generated
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
    is_same_word,
    walk,
    word_range,
)
from sabot_sql.types import Lane, SqlType, inner_arrow_type

MAX_NODES = 200
MAX_COLUMNS = 24
MAX_OUTPUTS = 16
PYTHON_OPS = {"=": "==", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}

# A product of two words whose magnitude in float64 is below this did not wrap.
NO_WRAP = "9.0e18"


@dataclass(frozen=True, slots=True)
class Program:
    """A written function and how to call it: `name(*columns, *flags, words, floats, *outputs, *known)`, which returns whether a
    number may have overflowed.

    Attributes:
        columns: positions of the input columns that are read, in the order of their arguments; each has the dtype of
            `column_dtypes`, and flags (uint8[n], 1 = not NULL) follow for each if `with_nulls`.
        words, floats: the constants.
        output_dtypes: of the arrays to be filled.
        output_flags: whether output i comes with flags to be filled, too (uint8[n]).
    """

    name: str
    source: str
    columns: tuple[int, ...]
    column_dtypes: tuple[np.dtype, ...]
    with_nulls: bool
    words: tuple[int, ...]
    floats: tuple[float, ...]
    output_dtypes: tuple[np.dtype, ...]
    output_flags: tuple[bool, ...]

    def generated(self) -> Generated:
        """The function with its numba signature."""
        columns = [_array(dtype, readonly=True) for dtype in self.column_dtypes]
        flags = [U8] * len(columns) if self.with_nulls else []
        outputs = [_array(dtype, readonly=False) for dtype in self.output_dtypes]
        known = [_array(np.dtype(np.uint8), readonly=False) for has in self.output_flags if has]
        return Generated(self.name, self.source, types.boolean(*columns, *flags, I64, F64, *outputs, *known))


def _array(dtype: np.dtype, readonly: bool) -> types.Array:
    return types.Array(numba.from_dtype(dtype), 1, "C", readonly=readonly)


def is_small_enough(exprs: tuple[Expr, ...]) -> bool:
    """Whether a function of `exprs` is compiled in reasonable time."""
    nodes = [e for expr in exprs for e in walk(expr)]
    columns = {e.index for e in nodes if isinstance(e, Ref)}
    return len(nodes) <= MAX_NODES and len(columns) <= MAX_COLUMNS and len(exprs) <= MAX_OUTPUTS


def write(exprs: tuple[Expr, ...], with_nulls: bool) -> Program:
    """The function that evaluates `exprs`, for all of which `has_kernel` and `is_word` hold.

    Args:
        with_nulls: whether columns may have NULLs; without, the function is shorter.
    """
    writer = _Writer(with_nulls)
    stores, output_flags = [], []
    for i, expr in enumerate(exprs):
        value, known = writer.output(expr)
        stores.append(f"o{i}[i] = {value}")
        if known is not None:
            stores.append(f"w{i}[i] = {known}")
        output_flags.append(known is not None)
    columns = [f"c{i}" for i in range(len(writer.columns))]
    flags = [f"v{i}" for i in range(len(columns))] if with_nulls else []
    outputs = [f"o{i}" for i in range(len(exprs))]
    known_names = [f"w{i}" for i, has in enumerate(output_flags) if has]
    constants = [f"    k{i} = words[{i}]" for i in range(len(writer.words))]
    constants += [f"    f{i} = floats[{i}]" for i in range(len(writer.floats))]
    lines = [
        f"({', '.join((*columns, *flags, 'words', 'floats', *outputs, *known_names))}):",
        *constants,
        "    bad = False",
        "    for i in range(len(o0)):",
        *(f"        {line}" for line in (*writer.lines, *stores)),
        "    return bad",
    ]
    body = "\n".join(lines) + "\n"
    column_dtypes = tuple(dtype_of(t) for t in writer.columns.values())
    output_dtypes = tuple(dtype_of(e.type) for e in exprs)
    shape = body + " ".join(d.str for d in (*column_dtypes, *output_dtypes))
    name = "fused_" + hashlib.blake2b(shape.encode(), digest_size=12).hexdigest()
    return Program(
        name,
        f"def {name}{body}",
        tuple(writer.columns),
        column_dtypes,
        with_nulls,
        tuple(writer.words),
        tuple(writer.floats),
        output_dtypes,
        tuple(output_flags),
    )


def dtype_of(t: SqlType) -> np.dtype:
    """How values of `t` lie in a batch; BOOLEAN as a byte."""
    return np.dtype(np.uint8) if t.id == "BOOLEAN" else word_dtype(inner_arrow_type(t))


@dataclass(slots=True)
class _Writer:
    """The lines of the loop so far. Equal texts are computed once.

    A word is (value, valid), a condition (true, false); valid is None for never NULL, false for the contrary of true.
    """

    with_nulls: bool
    lines: list[str] = field(default_factory=list)
    columns: dict[int, SqlType] = field(default_factory=dict)
    words: list[int] = field(default_factory=list)
    floats: list[float] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    _shared: dict[str, str] = field(default_factory=dict)

    def output(self, expr: Expr) -> tuple[str, str | None]:
        """Names of the value of `expr` and of whether it is known (None: always)."""
        if expr.type.id != "BOOLEAN":
            return self.word(expr, None)
        true, false = self.condition(expr, None)
        return true, None if false is None else self._let(f"{true} | {false}")

    def word(self, expr: Expr, wanted: str | None) -> tuple[str, str | None]:
        """`expr`, not a condition; overflow counts only where `wanted` is true (None: everywhere)."""
        kind = "float64" if expr.type.lane is Lane.FLOAT else "int64"
        match expr:
            case Ref(index=index, type=t):
                number = self._column(index, t)
                return self._let(f"{kind}(c{number}[i])"), self._valid(number)
            case Const(value=None):
                return f"{kind}(0)", "False"
            case Const():
                return self._constant(expr), None
            case Call(name="+" | "-" | "*" as name, args=(left, right), type=t):
                (a, a_valid), (b, b_valid) = self._operand(left, wanted), self._operand(right, wanted)
                text = f"{a} {name} {b}" if t.id == "DOUBLE" else f"int64(uint64({a}) {name} uint64({b}))"  # which may wrap
                result, valid = self._let(text), self._and(a_valid, b_valid)
                if t.id != "DOUBLE":
                    self._look_for_overflow(name, a, b, result, t, self._and(valid, wanted))
                return result, valid
            case Call(name="-", args=(arg,), type=t):
                value, valid = self.word(arg, wanted)
                result = self._let(f"-{value}")
                if t.id != "DECIMAL":
                    least, _ = word_range(t)
                    beyond = self._let(f"{value} == {least}" if least < 0 else f"{value} != 0")
                    self._mark(beyond, self._and(valid, wanted))
                return result, valid
            case Call(name="year" | "month" | "day" as name, args=(arg,)):
                return self._date_part(name, *self.word(arg, wanted))
            case Case():
                return self._case(expr, wanted)
            case Cast():
                return self._cast(expr, *self.word(expr.arg, wanted), wanted)
        raise InternalError(f"kernels do not evaluate {type(expr).__name__} of type {expr.type}")

    def condition(self, expr: Expr, wanted: str | None) -> tuple[str, str | None]:
        """`expr`, of type BOOLEAN."""
        match expr:
            case Compare():
                return self._compare(expr, wanted)
            case Logic(op=op, args=args):
                return self._logic(op, args, wanted)
            case Not(arg=arg):
                true, false = self.condition(arg, wanted)
                return (self._not(true), None) if false is None else (false, true)
            case IsNull(arg=arg, negated=negated):
                known = self._known(arg, wanted) or "True"
                return (known if negated else self._not(known)), None
            case Const(value=value):
                return str(value is True), None if value is not None else "False"
            case Case():
                return self._case_condition(expr, wanted)
            case Ref(index=index, type=t):
                number = self._column(index, t)
                valid, value = self._valid(number), self._let(f"c{number}[i] != 0")
                return self._masked(value, valid)
        raise InternalError(f"kernels do not evaluate the condition {type(expr).__name__}")

    def _let(self, text: str) -> str:
        """The name of the value of `text`."""
        if text not in self._names:
            self._names[text] = f"x{len(self._names)}"
            self.lines.append(f"{self._names[text]} = {text}")
        return self._names[text]

    def _and(self, left: str | None, right: str | None) -> str | None:
        if left is None or right is None:
            return right if left is None else left
        return self._let(f"{left} & {right}")

    def _not(self, name: str) -> str:
        return self._let(f"not {name}")

    def _false(self, condition: tuple[str, str | None]) -> str:
        true, false = condition
        return self._not(true) if false is None else false

    def _masked(self, true: str, valid: str | None) -> tuple[str, str | None]:
        if valid is None:
            return true, None
        return self._let(f"{true} & {valid}"), self._let(f"{self._not(true)} & {valid}")

    def _constant(self, const: Const) -> str:
        """The name of a constant: one of its own, or two that are equal would make another text than two that are not."""
        value, t = const.value, const.type
        assert value is not None
        assert not isinstance(value, str)
        if t.lane is Lane.FLOAT:
            self.floats.append(float(np.float32(value)) if t.id == "FLOAT" else float(value))
            return f"f{len(self.floats) - 1}"
        self.words.append(int(value))
        return f"k{len(self.words) - 1}"

    def _operand(self, expr: Expr, wanted: str | None) -> tuple[str, str | None]:
        """An operand of arithmetic. Equal constants share a name here: they seldom come from the user's parameters, and
        `price * (1 - discount)` in two expressions is computed once."""
        while isinstance(expr, Cast) and is_same_word(expr.arg.type, expr.type):
            expr = expr.arg
        if not isinstance(expr, Const) or expr.value is None:
            return self.word(expr, wanted)
        key = f"{expr.type.lane} {expr.value!r}"
        if key not in self._shared:
            self._shared[key] = self._constant(expr)
        return self._shared[key], None

    def _column(self, index: int, t: SqlType) -> int:
        self.columns.setdefault(index, t)
        return list(self.columns).index(index)

    def _valid(self, number: int) -> str | None:
        return self._let(f"v{number}[i] != 0") if self.with_nulls else None

    def _known(self, expr: Expr, wanted: str | None) -> str | None:
        if expr.type.id != "BOOLEAN":
            return self.word(expr, wanted)[1]
        true, false = self.condition(expr, wanted)
        return None if false is None else self._let(f"{true} | {false}")

    def _date_part(self, name: str, days: str, valid: str | None) -> tuple[str, str | None]:
        """As `kernels.expressions.date_parts` does it."""
        shifted = self._let(f"{days} + 719468")
        era = self._let(f"{shifted} // 146097")
        of_era = self._let(f"{shifted} - {era} * 146097")
        year = self._let(f"({of_era} - {of_era} // 1460 + {of_era} // 36524 - {of_era} // 146096) // 365")
        of_year = self._let(f"{of_era} - (365 * {year} + {year} // 4 - {year} // 100)")
        month = self._let(f"(5 * {of_year} + 2) // 153")
        text = {
            "year": f"{year} + {era} * 400 + {month} // 10",
            "month": f"{month} + 3 - 12 * ({month} // 10)",
            "day": f"{of_year} - (153 * {month} + 2) // 5 + 1",
        }[name]
        return self._let(text), self._and(self._let(f"abs({days}) != {INFINITE_DAYS}"), valid)

    def _cast(self, cast: Cast, value: str, valid: str | None, wanted: str | None) -> tuple[str, str | None]:
        old, new = cast.arg.type, cast.type
        if is_same_word(old, new):
            return value, valid
        digits = new.scale - old.scale
        limit = 10 ** (new.width - digits)
        fits = self._let(f"({value} < {limit}) & ({value} > {-limit})")
        if cast.is_try:
            valid = self._and(valid, fits)
        else:
            self._mark(self._not(fits), self._and(valid, wanted))
        return self._let(f"int64(uint64({value}) * uint64({10**digits}))"), valid

    def _look_for_overflow(self, name: str, a: str, b: str, result: str, t: SqlType, counted: str | None) -> None:
        least, most = word_range(t)
        tests = [] if t.id == "BIGINT" else [f"({result} > {most})", f"({result} < {least})"]
        if name == "*":
            tests.append(f"(abs(float64({a}) * float64({b})) >= {NO_WRAP})")
        elif t.id == "BIGINT":
            tests.append(f"((({a} ^ {result}) & ({b if name == '+' else a} ^ {result if name == '+' else b})) < 0)")
        self._mark(self._let(" | ".join(tests)), counted)

    def _mark(self, beyond: str, counted: str | None) -> None:
        self.lines.append(f"bad |= {self._and(beyond, counted)}")

    def _compare(self, expr: Compare, wanted: str | None) -> tuple[str, str | None]:
        if expr.left.type.id == "BOOLEAN":
            (a, a_valid), (b, b_valid) = (self._as_word(self.condition(e, wanted)) for e in (expr.left, expr.right))
        else:
            (a, a_valid), (b, b_valid) = self.word(expr.left, wanted), self.word(expr.right, wanted)
        op, is_float = expr.op, expr.left.type.lane is Lane.FLOAT
        if op not in ("IS DISTINCT FROM", "IS NOT DISTINCT FROM"):
            return self._masked(self._compared(op, a, b, is_float), self._and(a_valid, b_valid))
        same = self._compared("=", a, b, is_float)
        if a_valid is not None or b_valid is not None:
            left, right = a_valid or "True", b_valid or "True"
            same = self._let(f"({same} & {left} & {right}) | (not ({left} | {right}))")
        return (same if op == "IS NOT DISTINCT FROM" else self._not(same)), None

    def _compared(self, op: str, a: str, b: str, is_float: bool) -> str:
        """Floats compare as in DuckDB: NaN equals NaN and is greater than anything else."""
        if not is_float:
            return self._let(f"{a} {PYTHON_OPS[op]} {b}")
        match op:
            case "=" | "<>":
                same = self._let(f"({a} == {b}) | (({a} != {a}) & ({b} != {b}))")
                return same if op == "=" else self._not(same)
            case "<" | ">=":
                less = self._let(f"({a} < {b}) | (({a} == {a}) & ({b} != {b}))")
                return less if op == "<" else self._not(less)
        return self._compared("<" if op == ">" else ">=", b, a, is_float)

    def _as_word(self, condition: tuple[str, str | None]) -> tuple[str, str | None]:
        true, false = condition
        return self._let(f"int64({true})"), None if false is None else self._let(f"{true} | {false}")

    def _logic(self, op: str, args: tuple[Expr, ...], wanted: str | None) -> tuple[str, str | None]:
        """AND keeps the rows where all are true, OR is its mirror; a row that is decided needs no further condition."""
        first, *rest = args
        true, false = self.condition(first, wanted)
        for arg in rest:
            decided = self._false((true, false)) if op == "AND" else true
            found = self.condition(arg, self._and(self._not(decided), wanted))
            joined, other = ("&", "|") if op == "AND" else ("|", "&")
            if false is not None or found[1] is not None:
                false = self._let(f"{self._false((true, false))} {other} {self._false(found)}")
            true = self._let(f"{true} {joined} {found[0]}")
        return true, false

    def _case(self, case: Case, wanted: str | None) -> tuple[str, str | None]:
        choices, (result, valid) = self._choices(case, wanted, self.word)
        for test, (taken, known) in choices:
            result = self._let(f"{taken} if {test} else {result}")
            if known is not None or valid is not None:
                valid = self._let(f"{known or 'True'} if {test} else {valid or 'True'}")
        return result, valid

    def _case_condition(self, case: Case, wanted: str | None) -> tuple[str, str | None]:
        choices, (true, false) = self._choices(case, wanted, self.condition)
        for test, found in choices:
            if found[1] is not None or false is not None:
                false = self._let(f"{self._false(found)} if {test} else {self._false((true, false))}")
            true = self._let(f"{found[0]} if {test} else {true}")
        return true, false

    def _choices(
        self, case: Case, wanted: str | None, evaluate: Callable[[Expr, str | None], tuple[str, str | None]]
    ) -> tuple[list[tuple[str, tuple[str, str | None]]], tuple[str, str | None]]:
        """The tests of a CASE with what each of them chooses, the last first, and what is there when none is true."""
        found, left = [], wanted
        for when, value in case.whens:
            test, _ = self.condition(when, left)
            found.append((test, evaluate(value, self._and(test, left))))
            left = self._and(self._not(test), left)
        return found[::-1], evaluate(case.otherwise, left)
