"""How each type of a plan's fields looks as JSON: made from the dataclasses' own type hints.

A form writes values, reads them back and describes itself as JSON Schema, so the three cannot differ. An object of the plan
is a JSON object with `class` and its fields by name, those that have their default left out; a tuple is an array, a dict an
array of pairs. What JSON cannot hold exactly is an object `{"class": ..., "value": text}` too (`TEXTS`).
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, NoReturn, Protocol

from sabot_sql.errors import InternalError, PlanError

MAX_DEPTH = 400
MAX_NODES = 500_000
EXACT = 1 << 53
"""Integers from here on are not exact in readers whose numbers are doubles."""


class Walk:
    """Where one reading or writing is, and how much it has seen."""

    def __init__(self) -> None:
        self.path: list[str | int] = []
        self.nodes = 0

    @contextmanager
    def step(self, place: str | int) -> Iterator[None]:
        """One level deeper."""
        self.path.append(place)
        self.nodes += 1
        if len(self.path) > MAX_DEPTH:
            self.fail(f"a plan is nested deeper than MAX_DEPTH ({MAX_DEPTH} levels)")
        if self.nodes > MAX_NODES:
            self.fail(f"a plan has more than MAX_NODES ({MAX_NODES:,}) values")
        yield
        self.path.pop()

    def fail(self, what: str) -> NoReturn:
        """Raise what is wrong here."""
        at = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path[:12])
        more = "..." if len(self.path) > 12 else ""
        raise PlanError(f"{what}, at plan{at}{more}")


class Form(Protocol):
    """How values of one type look."""

    def write(self, value: Any, walk: Walk) -> Any: ...

    def read(self, data: Any, walk: Walk) -> Any: ...

    def schema(self) -> dict[str, Any]: ...


def float_of_text(text: str) -> float:
    """A double that JSON does not have: `nan`, `inf` or `-inf`."""
    if text not in ("nan", "inf", "-inf"):
        raise ValueError(text)
    return float(text)


def integer_of_text(text: str) -> int:
    """An integer of decimal digits, of any size that Python reads."""
    if not text.removeprefix("-").isdecimal() or not text.isascii():
        raise ValueError(text)
    return int(text)


def hex_of_text(text: str) -> str:
    """The bytes of text that is not Unicode, as hexadecimal digits."""
    return text.encode("utf-8", "surrogatepass").hex()


def text_of_hex(digits: str) -> str:
    """What `hex_of_text` wrote."""
    return bytes.fromhex(digits).decode("utf-8", "surrogatepass")


# class: how values of it become text and come back; `Text` is text that is not Unicode, as its bytes
TEXTS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "Integer": (int, str, integer_of_text),
    "Float": (float, repr, float_of_text),
    "Text": (
        str,
        lambda t: t.encode("utf-8", "surrogatepass").hex(),
        lambda t: bytes.fromhex(t).decode("utf-8", "surrogatepass"),
    ),
    "Bytes": (bytes, bytes.hex, bytes.fromhex),
    "Decimal": (decimal.Decimal, str, decimal.Decimal),
    "Date": (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "DateTime": (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
}
TEXT_OF_TYPE = {cls: (name, write) for name, (cls, write, _) in TEXTS.items()}
JSON_TYPES: dict[type, str] = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def is_plain(value: Any) -> bool:
    """Whether JSON holds a number or text exactly."""
    match value:
        case None | bool():
            return True
        case int():
            return -EXACT < value < EXACT
        case float():
            return math.isfinite(value)
        case str():
            return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    return False


class Scalar:
    """One of some plain types: numbers, text, booleans and None."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds

    def write(self, value: Any, walk: Walk) -> Any:
        if type(value) not in self.kinds:
            raise InternalError(f"an object of class {type(value).__name__} cannot be written into a plan")
        if is_plain(value):
            return value
        name, write = TEXT_OF_TYPE[type(value)]
        return {"class": name, "value": write(value)}

    def read(self, data: Any, walk: Walk) -> Any:
        value = read_text(data, walk) if type(data) is dict else data
        if type(value) is int and int not in self.kinds and float in self.kinds:
            value = float(value) if abs(value) <= EXACT else value
        if type(value) not in self.kinds:
            walk.fail(f"expected {' or '.join(JSON_TYPES.get(k, k.__name__) for k in self.kinds)}, found {sort_of(data)}")
        return value

    def schema(self) -> dict[str, Any]:
        plain = [JSON_TYPES[k] for k in self.kinds if k in JSON_TYPES]
        named = [{"$ref": f"#/$defs/{TEXT_OF_TYPE[k][0]}"} for k in self.kinds if k in TEXT_OF_TYPE]
        return {"anyOf": [{"type": plain[0] if len(plain) == 1 else plain}, *named]} if named else {"type": plain[0]}


class Choice:
    """One of some texts."""

    def __init__(self, values: tuple[str, ...]) -> None:
        self.values = values

    def write(self, value: Any, walk: Walk) -> Any:
        if value not in self.values:
            raise InternalError(f"{value!r} cannot be written into a plan; it is none of {', '.join(self.values)}")
        return value

    def read(self, data: Any, walk: Walk) -> Any:
        if not isinstance(data, str) or data not in self.values:
            walk.fail(f"expected one of {', '.join(self.values)}, found {sort_of(data)}")
        return data

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.values)}


class Row:
    """A tuple whose items are all of one form (`size` None), or one form a place."""

    def __init__(self, items: tuple[Form, ...], any_length: bool) -> None:
        self.items, self.any_length = items, any_length

    def write(self, value: Any, walk: Walk) -> Any:
        return self._over(value, walk, "write")

    def read(self, data: Any, walk: Walk) -> Any:
        if type(data) is not list:
            walk.fail(f"expected an array, found {sort_of(data)}")
        if not self.any_length and len(data) != len(self.items):
            walk.fail(f"expected an array of {len(self.items)}, found one of {len(data)}")
        return tuple(self._over(data, walk, "read"))

    def _over(self, values: Any, walk: Walk, way: str) -> list[Any]:
        found = []
        for place, value in enumerate(values):
            with walk.step(place):
                found.append(getattr(self.items[0 if self.any_length else place], way)(value, walk))
        return found

    def schema(self) -> dict[str, Any]:
        if self.any_length:
            return {"type": "array", "items": self.items[0].schema()}
        size = len(self.items)
        return {"type": "array", "prefixItems": [i.schema() for i in self.items], "minItems": size, "maxItems": size}


class Pairs:
    """A dict, as an array of pairs: JSON's objects have texts for keys only."""

    def __init__(self, key: Form, value: Form) -> None:
        self.pairs = Row((Row((key, value), any_length=False),), any_length=True)

    def write(self, value: Any, walk: Walk) -> Any:
        return self.pairs.write(value.items(), walk)

    def read(self, data: Any, walk: Walk) -> Any:
        pairs = self.pairs.read(data, walk)
        found = dict(pairs)
        if len(found) != len(pairs):
            walk.fail("a key stands there twice")
        return found

    def schema(self) -> dict[str, Any]:
        return self.pairs.schema()


class Anything:
    """What a reader of files was told: scalars, lists, tuples and dicts, in one another."""

    SCALAR = Scalar(type(None), bool, int, float, str, bytes, decimal.Decimal, dt.date, dt.datetime)
    HELD: typing.ClassVar[dict[str, type]] = {"Tuple": tuple, "Dict": dict}

    def write(self, value: Any, walk: Walk) -> Any:
        match value:
            case list():
                return Row((self,), any_length=True).write(value, walk)
            case tuple():
                return {"class": "Tuple", "items": Row((self,), any_length=True).write(value, walk)}
            case dict():
                return {"class": "Dict", "items": Pairs(Anything.SCALAR, self).write(value, walk)}
        return Anything.SCALAR.write(value, walk)

    def read(self, data: Any, walk: Walk) -> Any:
        if type(data) is list:
            return list(Row((self,), any_length=True).read(data, walk))
        if type(data) is dict and data.get("class") in ("Tuple", "Dict"):
            if data.keys() != {"class", "items"}:
                walk.fail(f"a {data['class']} has class and items, not {', '.join(map(repr, data))}")
            form = Row((self,), any_length=True) if data["class"] == "Tuple" else Pairs(Anything.SCALAR, self)
            return form.read(data["items"], walk)
        return Anything.SCALAR.read(data, walk)

    def schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/Anything"}

    def definition(self) -> dict[str, Any]:
        """What the reference leads to."""
        held = [
            {
                "type": "object",
                "properties": {"class": {"const": name}, "items": form.schema()},
                "required": ["class", "items"],
                "additionalProperties": False,
            }
            for name, form in (("Tuple", Row((self,), any_length=True)), ("Dict", Pairs(Anything.SCALAR, self)))
        ]
        return {"anyOf": [*Anything.SCALAR.schema()["anyOf"], Row((self,), any_length=True).schema(), *held]}


class Object:
    """An instance of one of some dataclasses, or None."""

    def __init__(self, forms: Forms, classes: tuple[type, ...], optional: bool) -> None:
        self.forms, self.optional = forms, optional
        self.classes = {cls.__name__: cls for cls in classes}

    def write(self, value: Any, walk: Walk) -> Any:
        if value is None and self.optional:
            return None
        if type(value).__name__ not in self.classes:
            raise InternalError(f"an object of class {type(value).__name__} cannot be written into a plan")
        written: dict[str, Any] = {"class": type(value).__name__}
        for name, (form, field) in self.forms.fields_of(type(value)).items():
            found = getattr(value, name)
            if not is_default(field, found):
                with walk.step(name):
                    written[name] = form.write(found, walk)
        return written

    def read(self, data: Any, walk: Walk) -> Any:
        if data is None and self.optional:
            return None
        if type(data) is not dict:
            walk.fail(f"expected {' or '.join(self.classes)}, found {sort_of(data)}")
        name = data.get("class")
        if not isinstance(name, str) or name not in self.classes:
            walk.fail(f"expected {' or '.join(self.classes)}, found the class {str(name)[:80]!r}")
        of_class = self.forms.fields_of(self.classes[name])
        if unknown := data.keys() - of_class.keys() - {"class"}:
            walk.fail(f"{name} has no field {min(unknown)[:80]!r}")
        if missing := [n for n, (_, f) in of_class.items() if is_required(f) and n not in data]:
            walk.fail(f"{name} lacks its field {missing[0]}")
        values = {}
        for key, (form, _) in of_class.items():
            if key in data:
                with walk.step(key):
                    values[key] = form.read(data[key], walk)
        return self.classes[name](**values)

    def schema(self) -> dict[str, Any]:
        named = [{"$ref": f"#/$defs/{name}"} for name in self.classes]
        named += [{"type": "null"}] if self.optional else []
        return named[0] if len(named) == 1 else {"anyOf": named}


class Forms:
    """The forms of the types that dataclasses have in their hints, made when they are first asked for."""

    def __init__(self) -> None:
        self.classes: dict[type, dict[str, tuple[Form, Field[Any]]]] = {}

    def fields_of(self, cls: type) -> dict[str, tuple[Form, Field[Any]]]:
        """The form of each field of a dataclass."""
        found = self.classes.get(cls)
        if found is None:
            hints = typing.get_type_hints(cls)
            found = self.classes[cls] = {f.name: (self.of(hints[f.name]), f) for f in fields(cls)}
        return found

    def of(self, hint: Any) -> Form:
        """The form of a type hint."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return Anything()
        if origin is Literal:
            return Choice(arguments)
        if origin is tuple:
            any_length = arguments[-1] is Ellipsis
            return Row(tuple(map(self.of, arguments[:1] if any_length else arguments)), any_length)
        if origin is dict:
            return Pairs(*map(self.of, arguments))
        members = arguments if origin in (typing.Union, types.UnionType) else (hint,)
        classes: tuple[type, ...] = tuple(m for m in members if isinstance(m, type) and is_dataclass(m))
        others = [m for m in members if m not in classes]
        if classes and set(others) <= {type(None)}:
            return Object(self, classes, optional=bool(others))
        if not classes and all(m in JSON_TYPES or m in TEXT_OF_TYPE for m in members):
            return Scalar(*members)
        if type(None) in members and len(members) == 2:
            return Optional(self.of(next(m for m in members if m is not type(None))))
        raise InternalError(f"fields of the type {hint} have no form in JSON")

    def definitions(self, root: type) -> dict[str, Any]:
        """What `root` and all that it holds look like, by name, as JSON Schema."""
        found: dict[str, Any] = {}
        pending, seen = [root], {root}
        while pending:
            cls = pending.pop()
            properties = {name: form.schema() for name, (form, _) in self.fields_of(cls).items()}
            required = [name for name, (_, field) in self.fields_of(cls).items() if is_required(field)]
            found[cls.__name__] = {
                "type": "object",
                "properties": {"class": {"const": cls.__name__}, **properties},
                "required": ["class", *required],
                "additionalProperties": False,
            }
            hints = typing.get_type_hints(cls).values()
            for other in (c for hint in hints for c in classes_in(hint)):
                if other not in seen:
                    seen.add(other)
                    pending.append(other)
        texts = {
            name: {
                "type": "object",
                "properties": {"class": {"const": name}, "value": {"type": "string"}},
                "required": ["class", "value"],
                "additionalProperties": False,
            }
            for name in TEXTS
        }
        return dict(sorted({**found, **texts, "Anything": Anything().definition()}.items()))


class Optional:
    """Another form, or None."""

    def __init__(self, form: Form) -> None:
        self.form = form

    def write(self, value: Any, walk: Walk) -> Any:
        return None if value is None else self.form.write(value, walk)

    def read(self, data: Any, walk: Walk) -> Any:
        return None if data is None else self.form.read(data, walk)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.form.schema(), {"type": "null"}]}


def classes_in(hint: Any) -> Iterator[type]:
    """The dataclasses that a type hint names."""
    if is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


def is_required(field: Field[Any]) -> bool:
    """Whether an object has no meaning without the field."""
    return field.default is MISSING and field.default_factory is MISSING


def is_default(field: Field[Any], value: Any) -> bool:
    """Whether `value` comes back when the field is left out."""
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return type(value) is type(default) and bool(value == default)


def read_text(data: dict[str, Any], walk: Walk) -> Any:
    """The value of `{"class": ..., "value": text}`."""
    name, text = data.get("class"), data.get("value")
    if not isinstance(name, str) or name not in TEXTS or not isinstance(text, str) or len(data) != 2:
        walk.fail(f"expected an object with class (one of {', '.join(TEXTS)}) and value")
    try:
        return TEXTS[name][2](text)
    except (ValueError, ArithmeticError):
        walk.fail(f"{text[:80]!r} is no value of {name}")


def sort_of(data: Any) -> str:
    """What `data` is, in JSON's words."""
    match data:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return repr(data if len(data) <= 80 else data[:77] + "...")
        case None | bool():
            return {None: "null", True: "true", False: "false"}[data]
    return str(data)[:80]
