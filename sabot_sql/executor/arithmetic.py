"""Arithmetic and casts of numbers over a batch, in kernels. They fail in DuckDB's words, and only where a row counts.

A row counts when it is wanted and none of its operands is NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sabot_sql.errors import QueryError
from sabot_sql.executor import kernel_cache as kernel_cache
from sabot_sql.executor.columns import NO_FLAGS, Array
from sabot_sql.executor.kernels import expressions as kernels
from sabot_sql.executor.kernels import wide_arithmetic as wide
from sabot_sql.planner.expressions import SIGNED, UNSIGNED, Call, Cast, Ref, always_fits, is_same_word, word_range
from sabot_sql.types import Lane, Schema, SqlType

NAMES = {"+": "addition", "-": "subtraction", "*": "multiplication"}
WIDE_NAMES = {**NAMES, "-": "subtract"}
LOWEST_WORD = -(2**63)
ONES = 2**64 - 1


@dataclass(slots=True)
class Words:
    """Values of a one-word lane: int64[n] or float64[n], or one constant (a Python number) for all rows.

    valid: uint8[n], None for no NULL. A NULL constant has valid all zero.
    """

    values: Array | int | float
    valid: Array | None


@dataclass(slots=True)
class Wides:
    """Decimals of two words: low uint64[n] and high int64[n]; valid as that of `Words`."""

    low: Array
    high: Array
    valid: Array | None


def full(values: Array | int | float, t: SqlType, length: int) -> Array:
    """`values` of type `t` as an array, also those of a constant."""
    if isinstance(values, np.ndarray):
        return values
    return np.full(length, values, np.float64 if t.lane is Lane.FLOAT else np.int64)


def both(left: Array | None, right: Array | None) -> Array | None:
    """Flags (uint8[n]; None: all) that are set where both are."""
    if left is None or right is None:
        return right if left is None else left
    return left & right


def arithmetic(call: Call, left: Words, right: Words, length: int, wanted: Array | None) -> Words:
    """`call`, one of `+ - *`, of one-word operands.

    Raises:
        QueryError: a result that counts does not fit the type.
    """
    valid = both(left.valid, right.valid)
    if call.type.id == "DOUBLE":
        function = {"+": np.add, "-": np.subtract, "*": np.multiply}[call.name]
        with np.errstate(all="ignore"):
            values = function(full(left.values, call.type, length), right.values)
        return Words(values, valid)
    least, most = word_range(call.type)
    out = np.empty(length, np.int64)
    if _fill(call, left, right, least, most, out):
        a, b = full(left.values, call.type, length), full(right.values, call.type, length)
        first = {"+": kernels.first_beyond_sum, "-": kernels.first_beyond_difference, "*": kernels.first_beyond_product}
        counted = both(valid, wanted)
        row = int(first[call.name](a, b, least, most, NO_FLAGS if counted is None else counted))
        if row >= 0:
            raise _overflow(call.name, call.type, int(a[row]), int(b[row]))
    return Words(out, valid)


def _fill(call: Call, left: Words, right: Words, least: int, most: int, out: Array) -> bool:
    """Fill `out`; whether any row, counted or not, may be beyond the limits."""
    a, b, name = left.values, right.values, call.name
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        a = full(a, call.type, len(out))
    if name == "-" and not isinstance(b, np.ndarray) and b == LOWEST_WORD:  # whose contrary is no word
        b = full(b, call.type, len(out))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        kernel = {"+": kernels.add_ints, "-": kernels.subtract_ints, "*": kernels.multiply_ints}[name]
        return bool(kernel(a, b, least, most, out))
    if isinstance(a, np.ndarray):
        factor, offset = (b, 0) if name == "*" else (1, b if name == "+" else -b)
        return bool(kernels.affine_ints(a, factor, offset, least, most, out))
    assert isinstance(b, np.ndarray)
    factor, offset = (a, 0) if name == "*" else (1 if name == "+" else -1, a)
    return bool(kernels.affine_ints(b, factor, offset, least, most, out))


def _overflow(name: str, t: SqlType, a: int, b: int) -> QueryError:
    if t.lane is Lane.WIDE:
        end = ";" if name != "*" else ". You might want to add an explicit cast to a decimal with a smaller scale."
        text = f"{WIDE_NAMES[name]} of DECIMAL({t.width}) ({a} {name} {b}){end}"
    elif t.id == "DECIMAL":
        end = "You might want to add an explicit cast to a bigger decimal."
        text = f"{NAMES[name]} of DECIMAL({t.width}) ({a} {name} {b}). {end}"
    else:
        kind = f"UINT{UNSIGNED[t.id]}" if t.id in UNSIGNED else f"INT{SIGNED[t.id]}"
        text = f"{NAMES[name]} of {kind} ({a} {name} {b})!"
    return QueryError(f"Overflow in {text}", code="INVALID_VALUE")


def negation(call: Call, arg: Words, length: int, wanted: Array | None) -> Words:
    """`-arg`.

    Raises:
        QueryError: as `arithmetic`.
    """
    least, most = word_range(call.type)
    values, out = full(arg.values, call.type, length), np.empty(length, np.int64)
    if kernels.affine_ints(values, -1, 0, least, most, out):
        wrong = values == least if least < 0 else values != 0
        if _first(wrong, both(arg.valid, wanted)) >= 0:
            raise QueryError("Overflow in negation of numeric value!", code="INVALID_VALUE")
    return Words(out, arg.valid)


def _first(wrong: Array, counted: Array | None) -> int:
    """The first row where `wrong` is set and `counted`, too (uint8[n]; None: all); -1 for none."""
    rows = np.flatnonzero(wrong if counted is None else wrong & counted)
    return int(rows[0]) if len(rows) else -1


def widened(words: Words, length: int) -> Wides:
    """Integers or decimals of one word as two words."""
    values = np.ascontiguousarray(
        words.values if isinstance(words.values, np.ndarray) else np.full(length, words.values, np.int64)
    )
    return Wides(values.view(np.uint64), values >> 63, words.valid)


def wide_arithmetic(call: Call, left: Wides, right: Wides, wanted: Array | None) -> Wides:
    """`call`, one of `+ - *`, of two-word operands.

    Raises:
        QueryError: a result that counts has more than 38 digits.
    """
    length, valid = len(left.low), both(left.valid, right.valid)
    out = Wides(np.empty(length, np.uint64), np.empty(length, np.int64), valid)
    beyond = np.empty(length, np.uint8)
    kernel = {"+": wide.add_wides, "-": wide.subtract_wides, "*": wide.multiply_wides}[call.name]
    if kernel(left.low, left.high, right.low, right.high, out.low, out.high, beyond):
        row = _first(beyond, both(valid, wanted))
        if row >= 0:
            raise _overflow(call.name, call.type, _integer(left, row), _integer(right, row))
    return out


def _integer(wides: Wides, row: int) -> int:
    return (int(wides.high[row]) << 64) + int(wides.low[row])


def wide_negation(arg: Wides) -> Wides:
    """`-arg`, which always fits."""
    out = Wides(np.empty_like(arg.low), np.empty_like(arg.high), arg.valid)
    wide.negate_wides(arg.low, arg.high, out.low, out.high)
    return out


def cast_words(cast: Cast, arg: Words, types: Schema, length: int, wanted: Array | None) -> Words:
    """`cast` from one word to one word.

    Args:
        types: the columns of the batch; their names are in errors.

    Raises:
        QueryError: a value that counts has too many digits, unless `cast.is_try`: then the result is NULL.
    """
    old, new = cast.arg.type, cast.type
    if is_same_word(old, new):
        return arg
    values, out = full(arg.values, old, length), np.empty(length, np.int64)
    digits, valid = new.scale - old.scale, arg.valid
    if kernels.affine_ints(values, 10**digits, 0, *word_range(new), out):
        limit = 10 ** (new.width - digits)
        wrong = ((values >= limit) | (values <= -limit)).view(np.uint8)
        valid = _without(wrong, cast, valid, types, wanted, lambda row: int(values[row]))
    return Words(out, valid)


def cast_wides(cast: Cast, arg: Wides, types: Schema, wanted: Array | None) -> Wides:
    """`cast` of an integer or decimal, widened, to a decimal of two words; the rest as `cast_words`."""
    old, new, length = cast.arg.type, cast.type, len(arg.low)
    digits, valid, wrong = new.scale - old.scale, arg.valid, np.empty(length, np.uint8)
    if not always_fits(old, new):
        limit = 10 ** (new.width - digits)
        if wide.reach_limit(arg.low, arg.high, limit & ONES, limit >> 64, wrong):
            valid = _without(wrong, cast, valid, types, wanted, lambda row: _integer(arg, row))
    if digits == 0:
        return Wides(arg.low, arg.high, valid)
    factor = 10**digits
    low, high = np.full(length, factor & ONES, np.uint64), np.full(length, factor >> 64, np.int64)
    out = Wides(np.empty(length, np.uint64), np.empty(length, np.int64), valid)
    wide.multiply_wides(arg.low, arg.high, low, high, out.low, out.high, wrong)
    return out


def _without(
    wrong: Array, cast: Cast, valid: Array | None, types: Schema, wanted: Array | None, value: Callable[[int], int]
) -> Array | None:
    """`valid` without the rows that do not fit; an error for the first of them that counts if `cast` is none that tries."""
    if cast.is_try:
        return both(valid, wrong ^ 1)
    row = _first(wrong, both(valid, wanted))
    if row >= 0:
        old, source = cast.arg.type, ""
        if isinstance(cast.arg, Ref):
            source = f" when casting from source column {types[cast.arg.index].name}"
        text = f"Could not cast value {value(row)} to {cast.type}"
        if old.id == "DECIMAL":
            shown = _decimal(value(row), old.scale)
            text = f'Casting value "{shown}" to type {cast.type} failed: value is out of range!'
        raise QueryError(text + source, code="INVALID_VALUE")
    return valid


def _decimal(value: int, scale: int) -> str:
    """An unscaled integer as DuckDB writes the decimal."""
    whole, part = divmod(abs(value), 10**scale)
    return f"{'-' if value < 0 else ''}{whole}" + (f".{part:0{scale}d}" if scale else "")
