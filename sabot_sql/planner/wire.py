"""Plans on the wire: MessagePack of frozen dataclasses, each object once.

A message is `[version, classes, root]`; `classes` lists the name and the fields of each class used, and is checked against
the classes here: another version of the project is an error, never a misread plan. A value is an atom or a list that begins
with a code: a tuple, list, dict, integer beyond 64 bits, decimal, date or timestamp (below `FIRST_CLASS`), an instance of a
class (its number + `FIRST_CLASS`), or `[BACK, n]` for the n-th object that was completed before. Only registered classes are
made; nothing is ever pickled.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]

from sabot_sql.catalog import table
from sabot_sql.errors import InternalError
from sabot_sql.planner import expressions, physical
from sabot_sql.types import Field, SqlType

T = TypeVar("T")

VERSION = 1

BACK, TUPLE, LIST, DICT, INTEGER, DECIMAL, DATE, DATETIME = range(8)
FIRST_CLASS = 16

ATOMS = frozenset((type(None), bool, float, str, bytes, int))

# Classes whose equal instances become one: they are many, small and the same all over a plan.
INTERNED = frozenset((SqlType, Field))

CLASSES: dict[str, type] = {}
FIELDS: dict[type, tuple[str, ...]] = {}
_VALUES: dict[type, Callable[[Any], tuple[Any, ...]]] = {}


def register(*classes: type) -> None:
    """Let instances of dataclasses travel; their names must be unique."""
    for cls in classes:
        names = tuple(f.name for f in fields(cls))
        if CLASSES.setdefault(cls.__name__, cls) is not cls:
            raise InternalError(f"two classes named {cls.__name__} cannot both be sent")
        FIELDS[cls] = names
        _VALUES[cls] = _getter(names)


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*names) if names else lambda value: ()
    return get if len(names) != 1 else lambda value: (get(value),)


register(SqlType, Field)
register(table.DataFile, table.ScanSpec, table.Split, table.ColumnStatistics, table.TableStatistics, table.Table)
register(
    expressions.Ref,
    expressions.Const,
    expressions.Call,
    expressions.Cast,
    expressions.Compare,
    expressions.Logic,
    expressions.Not,
    expressions.IsNull,
    expressions.InList,
    expressions.Case,
    expressions.Lambda,
)
register(
    physical.SortKey,
    physical.AggregateCall,
    physical.Scan,
    physical.ExchangeRead,
    physical.Values,
    physical.Filter,
    physical.Project,
    physical.HashAggregate,
    physical.StateAggregate,
    physical.HashJoin,
    physical.Sort,
    physical.Limit,
    physical.Union,
    physical.Relational,
    physical.Exchange,
    physical.Task,
    physical.Stage,
    physical.Session,
    physical.DistributedPlan,
)


def to_wire(value: Any) -> bytes:
    """`value` as a message.

    Raises:
        InternalError: it holds an object of a class that is not registered.
    """
    try:
        return _pack(value, ATOMS)
    except OverflowError:  # an integer beyond 64 bits: rare enough not to look at every integer
        return _pack(value, ATOMS - {int})


def _pack(value: Any, atoms: frozenset[type]) -> bytes:
    encoder = _Encoder(atoms)
    root = encoder.encode(value)
    classes = [(cls.__name__, FIELDS[cls]) for cls in encoder.codes]
    packed: bytes = msgpack.packb((VERSION, classes, root), unicode_errors="surrogateescape")
    return packed


def from_wire(data: bytes, cls: type[T]) -> T:
    """The instance of `cls` that `to_wire` wrote.

    Raises:
        InternalError: the message is damaged, of another version, or holds something else.
    """
    try:
        version, classes, root = msgpack.unpackb(data, unicode_errors="surrogateescape", strict_map_key=False)
        if version != VERSION:
            raise InternalError(f"a plan of wire version {version} cannot be read here (version {VERSION})")
        found = _Decoder([_class(name, tuple(names)) for name, names in classes]).decode(root)
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, msgpack.exceptions.UnpackException) as error:
        raise InternalError(f"a {cls.__name__} on the wire is damaged: {error}") from error
    if not isinstance(found, cls):
        raise InternalError(f"expected a {cls.__name__} on the wire, got a {type(found).__name__}")
    return found


def _class(name: str, names: tuple[str, ...]) -> type:
    cls = CLASSES.get(name)
    if cls is None:
        raise InternalError(f"a class {name!r} on the wire is not known here")
    if FIELDS[cls] != names:
        unknown = set(names) ^ set(FIELDS[cls])
        raise InternalError(
            f"{name} on the wire and {name} here differ in their fields: {', '.join(sorted(unknown)) or 'order'}"
        )
    return cls


class _Encoder:
    """Encodes one value. `codes` numbers the classes met; `seen` are references to the objects completed, by identity, and
    `interned` by value."""

    def __init__(self, atoms: frozenset[type]) -> None:
        self.atoms = atoms
        self.codes: dict[type, int] = {}
        self.seen: dict[int, list[int]] = {}
        self.interned: dict[Any, list[int]] = {}
        self.count = 0

    def encode(self, value: Any) -> Any:
        cls, atoms, seen = type(value), self.atoms, self.seen
        if cls in atoms:
            return value
        if (back := seen.get(id(value))) is not None:
            return back
        if (get := _VALUES.get(cls)) is not None:
            if cls in INTERNED and (back := self.interned.get(value)) is not None:
                seen[id(value)] = back
                return back
            code = self.codes.get(cls) or self.codes.setdefault(cls, FIRST_CLASS + len(self.codes))
            out = [code, *[v if type(v) in atoms else self.encode(v) for v in get(value)]]
        elif cls is tuple:
            if not value:
                return [TUPLE]
            out = [TUPLE, *[v if type(v) in atoms else self.encode(v) for v in value]]
        else:
            return self._plain(value)
        seen[id(value)] = back = [BACK, self.count]
        self.count += 1
        if cls in INTERNED:
            self.interned[value] = back
        return out

    def _plain(self, value: Any) -> Any:
        match value:
            case int():
                return value if -(1 << 63) <= value < 1 << 64 else [INTEGER, str(value)]
            case list():
                return [LIST, *map(self.encode, value)]
            case dict():
                return [DICT, *(self.encode(part) for pair in value.items() for part in pair)]
            case decimal.Decimal():
                return [DECIMAL, str(value)]
            case dt.datetime():
                return [DATETIME, value.isoformat()]
            case dt.date():
                return [DATE, value.isoformat()]
        raise InternalError(f"an object of class {type(value).__name__} cannot be sent")


class _Decoder:
    """Decodes one value; `done` are the objects completed so far."""

    def __init__(self, classes: list[type]) -> None:
        self.classes = classes
        self.done: list[Any] = []

    def decode(self, value: Any) -> Any:
        if type(value) is not list:
            return value
        code = value[0]
        if code == BACK:
            return self.done[value[1]]
        if TUPLE < code < FIRST_CLASS:
            return self._plain(code, value[1:])
        decode = self.decode
        parts = [v if type(v) is not list else decode(v) for v in value[1:]]
        if code == TUPLE and not parts:
            return ()
        made: Any = tuple(parts) if code == TUPLE else self.classes[code - FIRST_CLASS](*parts)
        self.done.append(made)
        return made

    def _plain(self, code: int, values: list[Any]) -> Any:
        match code:
            case 2:  # LIST
                return list(map(self.decode, values))
            case 3:  # DICT
                return dict(zip(map(self.decode, values[::2]), map(self.decode, values[1::2])))
            case 4:  # INTEGER
                return int(values[0])
            case 5:  # DECIMAL
                return decimal.Decimal(values[0])
            case 6:  # DATE
                return dt.date.fromisoformat(values[0])
            case 7:  # DATETIME
                return dt.datetime.fromisoformat(values[0])
        raise InternalError(f"a value of kind {code} on the wire is not known here")
