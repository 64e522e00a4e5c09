"""Bound expressions: typed trees over the columns of one input, referred to by position.

They are made by the binder (from DuckDB's plan), rewritten by rules, rendered back to DuckDB SQL where DuckDB evaluates
them, and evaluated by kernels where `has_kernel` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sabot_sql.types import BOOLEAN, Lane, SqlType

CompareOp = Literal["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]

# Functions whose value differs from row to row or call to call; inlining a CTE that holds one would change its meaning.
VOLATILE = frozenset("random uuid gen_random_uuid uuidv4 uuidv7 nextval setseed".split())


@dataclass(frozen=True, slots=True)
class Ref:
    """The input's column at position `index`."""

    index: int
    type: SqlType


@dataclass(frozen=True, slots=True)
class Const:
    """A constant in physical form.

    value: None for NULL; bool for BOOLEAN; int for integers, DATE (days), TIME and TIMESTAMP (the type's own unit since the
    epoch) and DECIMAL (unscaled); float for FLOAT and DOUBLE; str for VARCHAR, JSON and UUID. Any other type keeps its SQL
    text in `sql`, which then stands for the value.
    """

    value: bool | int | float | str | None
    type: SqlType
    sql: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A scalar function or operator by DuckDB's name (`substring`, `+`, `~~`, ...), with its bound return type."""

    name: str
    args: tuple[Expr, ...]
    type: SqlType


@dataclass(frozen=True, slots=True)
class Cast:
    """CAST or, with `is_try`, TRY_CAST."""

    arg: Expr
    type: SqlType
    is_try: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two expressions of one type."""

    op: CompareOp
    left: Expr
    right: Expr

    @property
    def type(self) -> SqlType:
        return BOOLEAN


@dataclass(frozen=True, slots=True)
class Logic:
    """AND or OR of two or more conditions, three-valued."""

    op: Literal["AND", "OR"]
    args: tuple[Expr, ...]

    @property
    def type(self) -> SqlType:
        return BOOLEAN


@dataclass(frozen=True, slots=True)
class Not:
    """Three-valued NOT."""

    arg: Expr

    @property
    def type(self) -> SqlType:
        return BOOLEAN


@dataclass(frozen=True, slots=True)
class IsNull:
    """IS NULL or, with `negated`, IS NOT NULL."""

    arg: Expr
    negated: bool = False

    @property
    def type(self) -> SqlType:
        return BOOLEAN


@dataclass(frozen=True, slots=True)
class InList:
    """IN or NOT IN a list of expressions."""

    arg: Expr
    items: tuple[Expr, ...]
    negated: bool = False

    @property
    def type(self) -> SqlType:
        return BOOLEAN


@dataclass(frozen=True, slots=True)
class Case:
    """Searched CASE: `whens` are (condition, value) pairs."""

    whens: tuple[tuple[Expr, Expr], ...]
    otherwise: Expr
    type: SqlType


@dataclass(frozen=True, slots=True)
class Lambda:
    """A function given to another. For whoever walks the call it has no operands.

    Attributes:
        body: over its own parameters, the last first, then over what it reads of the row: the last operands of the call.
        reads: how many operands these are.
    """

    body: Expr
    parameters: int
    reads: int

    @property
    def type(self) -> SqlType:
        return self.body.type


Expr = Ref | Const | Call | Cast | Compare | Logic | Not | IsNull | InList | Case | Lambda


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct operands of `expr`, in order."""
    match expr:
        case Ref() | Const() | Lambda():
            return ()
        case Call(args=args) | Logic(args=args):
            return args
        case Cast(arg=arg) | Not(arg=arg) | IsNull(arg=arg):
            return (arg,)
        case Compare(left=left, right=right):
            return (left, right)
        case InList(arg=arg, items=items):
            return (arg, *items)
        case Case(whens=whens, otherwise=otherwise):
            return (*(e for pair in whens for e in pair), otherwise)


def with_children(expr: Expr, new: tuple[Expr, ...]) -> Expr:
    """`expr` over other operands; the same object when nothing changed."""
    if all(a is b for a, b in zip(children(expr), new)):
        return expr
    match expr:
        case Ref() | Const() | Lambda():
            return expr
        case Call() | Logic():
            return replace(expr, args=new)
        case Cast() | Not() | IsNull():
            return replace(expr, arg=new[0])
        case Compare():
            return replace(expr, left=new[0], right=new[1])
        case InList():
            return replace(expr, arg=new[0], items=new[1:])
        case Case():
            return replace(expr, whens=tuple(zip(new[0:-1:2], new[1:-1:2])), otherwise=new[-1])


def transform(expr: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """Rewrite bottom-up: operands first, then `function` on the node itself."""
    return function(with_children(expr, tuple(transform(c, function) for c in children(expr))))


def walk(expr: Expr) -> Iterator[Expr]:
    """`expr` and all that stands under it, parents first."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def references(expr: Expr) -> frozenset[int]:
    """The positions of all input columns that `expr` reads."""
    return frozenset(e.index for e in walk(expr) if isinstance(e, Ref))


def remap(expr: Expr, positions: dict[int, int]) -> Expr:
    """`expr` with every column position replaced by `positions[position]`."""
    return transform(expr, lambda e: replace(e, index=positions[e.index]) if isinstance(e, Ref) else e)


def conjuncts(expr: Expr) -> tuple[Expr, ...]:
    """The conditions that a top-level AND joins."""
    if isinstance(expr, Logic) and expr.op == "AND":
        return tuple(c for arg in expr.args for c in conjuncts(arg))
    return (expr,)


def conjunction(parts: tuple[Expr, ...]) -> Expr:
    """AND of `parts`; TRUE for none."""
    if not parts:
        return Const(True, BOOLEAN)
    return parts[0] if len(parts) == 1 else Logic("AND", parts)


def disjunction(parts: tuple[Expr, ...]) -> Expr:
    """OR of `parts`; FALSE for none."""
    if not parts:
        return Const(False, BOOLEAN)
    return parts[0] if len(parts) == 1 else Logic("OR", parts)


KERNEL_LANES = frozenset((Lane.INT, Lane.FLOAT))
DATE_PARTS = ("year", "month", "day")

# Bits of the integers that are one signed word to kernels, and the decimal digits they have at most.
SIGNED = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}
UNSIGNED = {"UTINYINT": 8, "USMALLINT": 16, "UINTEGER": 32}
DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}


def has_kernel(expr: Expr) -> bool:
    """Whether kernels evaluate `expr` (`[numba]`); otherwise DuckDB does (`[duckdb]`).

    Kernels know column references of any lane at the top, and below that comparisons, AND, OR, NOT, IS NULL, CASE, the
    arithmetic `+ - *` of DOUBLE, of DECIMAL and of integers that are one signed word, and year, month and day of a DATE, over
    one-word lanes and DECIMAL of two. An integer cast to a wider one is the same word, and so is a DECIMAL cast to one of more
    digits and the same scale; integers and DECIMAL are cast to any DECIMAL that has no fewer digits behind the point.
    """
    if isinstance(expr, Ref):
        return expr.type.lane is not None
    return _inner_kernel(expr)


def is_word(expr: Expr) -> bool:
    """Whether nothing in `expr` has two words a value."""
    return all(e.type.lane is not Lane.WIDE for e in walk(expr))


def word_range(t: SqlType) -> tuple[int, int]:
    """The least and the greatest value of an integer that is one signed word, or of a DECIMAL as its unscaled integer."""
    if t.id == "DECIMAL":
        return 1 - 10**t.width, 10**t.width - 1
    if t.id in UNSIGNED:
        return 0, (1 << UNSIGNED[t.id]) - 1
    return -(1 << SIGNED[t.id] - 1), (1 << SIGNED[t.id] - 1) - 1


def is_same_word(old: SqlType, new: SqlType) -> bool:
    """Whether every value of `old` is the same word as a value of `new`."""
    if new.id == "DECIMAL":
        return old.lane is new.lane is Lane.INT and old.scale == new.scale and always_fits(old, new)
    if old.id in UNSIGNED:
        return UNSIGNED[old.id] <= UNSIGNED.get(new.id, 0) or UNSIGNED[old.id] < SIGNED.get(new.id, 0)
    return old.id in SIGNED and SIGNED[old.id] <= SIGNED.get(new.id, 0)


def always_fits(old: SqlType, new: SqlType) -> bool:
    """Whether the DECIMAL `new` has a place for every digit before the point of `old`, an integer or a DECIMAL."""
    if old.id == "DECIMAL":
        return old.width - old.scale <= new.width - new.scale
    bits = SIGNED.get(old.id) or UNSIGNED.get(old.id)
    return bits is not None and DIGITS[bits] <= new.width - new.scale


def _inner_kernel(expr: Expr) -> bool:
    match expr:
        case Ref(type=t):
            return _is_computed(t)
        case Const(value=value, type=t, sql=None):
            return _is_computed(t) and not isinstance(value, str)
        case Compare(left=left, right=right):
            return left.type == right.type and _inner_kernel(left) and _inner_kernel(right)
        case Logic() | Not() | IsNull():
            return all(map(_inner_kernel, children(expr)))
        case Case(whens=whens, otherwise=otherwise, type=t):
            values = (*(value for _, value in whens), otherwise)
            return _is_computed(t) and all(v.type == t for v in values) and all(map(_inner_kernel, children(expr)))
        case Cast(arg=arg, type=t):
            return _is_cast(arg.type, t) and _inner_kernel(arg)
        case Call(name=name, args=(arg,), type=t) if name in DATE_PARTS:
            return arg.type.id == "DATE" and t.id == "BIGINT" and _inner_kernel(arg)
        case Call(name="-", args=(arg,), type=t):
            return arg.type == t and (t.id == "DECIMAL" or t.id in SIGNED or t.id in UNSIGNED) and _inner_kernel(arg)
        case Call(name="+" | "-" | "*" as name, args=(left, right), type=t):
            return _is_arithmetic(name, left.type, right.type, t) and _inner_kernel(left) and _inner_kernel(right)
    return False


def _is_computed(t: SqlType) -> bool:
    return t.lane in KERNEL_LANES or t.id == "DECIMAL"


def _is_cast(old: SqlType, new: SqlType) -> bool:
    if new.id != "DECIMAL":
        return is_same_word(old, new)
    if old.id == "DECIMAL":
        return old.scale <= new.scale and (old.lane is Lane.INT or new.lane is Lane.WIDE)
    return old.id in SIGNED or old.id in UNSIGNED


def _is_arithmetic(name: str, left: SqlType, right: SqlType, t: SqlType) -> bool:
    if t.id != "DECIMAL":
        return left == right == t and (t.id == "DOUBLE" or t.id in SIGNED or t.id in UNSIGNED)
    if not left.id == right.id == "DECIMAL" or (t.lane is Lane.INT and not left.lane is right.lane is Lane.INT):
        return False
    return left.scale + right.scale == t.scale if name == "*" else left.scale == right.scale == t.scale
