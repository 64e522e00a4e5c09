"""Arrow columns as the JSON values that the HTTP contract fixes.

Booleans, integers, finite floats and strings are themselves; NaN and infinities, decimals, dates, times, timestamps, intervals
and UUIDs are strings; binary is base64; lists are arrays, structs objects, maps arrays of `[key, value]`. Conversion goes a
column at a time, through Arrow's own casts, so that a row costs no Python call of its own.
"""

from __future__ import annotations

import base64
import json
import math
import re
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.types import struct_members

OUT_OF_RANGE = re.compile(r"<value out of range: (-?)\d+>")


def json_values(column: pa.ChunkedArray | pa.Array, int64_as_text: bool = False) -> list[Any]:
    """The values of `column` as objects that `json.dumps` writes; floats may still be NaN or infinite (see `dump_json`).

    Args:
        int64_as_text: 64-bit integers as strings, for readers whose numbers are doubles.
    """
    if isinstance(column, pa.ChunkedArray):
        chunks = [_values(chunk, int64_as_text) for chunk in column.chunks]
        return chunks[0] if len(chunks) == 1 else [value for chunk in chunks for value in chunk]
    return _values(column, int64_as_text)


def json_rows(table: pa.Table, int64_as_text: bool = False) -> list[tuple[Any, ...]]:
    """The rows of `table` as tuples of JSON values."""
    if not table.num_columns:
        return [()] * table.num_rows
    return list(zip(*(json_values(column, int64_as_text) for column in table.columns)))


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode  # `dumps` makes one a call


def dump_json(value: Any) -> str:
    """`value` as compact JSON, with NaN and infinities as the strings of the contract."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(_spell_floats(value))


def _spell_floats(value: Any) -> Any:
    match value:
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case list() | tuple():
            return [_spell_floats(v) for v in value]
        case dict():
            return {k: _spell_floats(v) for k, v in value.items()}
    return value


def _values(array: pa.Array, int64_as_text: bool) -> list[Any]:
    kind = array.type
    if pt.is_int64(kind) or pt.is_uint64(kind):
        return _text(array) if int64_as_text else array.to_pylist()
    if pt.is_integer(kind) or pt.is_boolean(kind) or pt.is_float64(kind) or pt.is_null(kind):
        return array.to_pylist()  # type: ignore[no-any-return]
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return array.to_pylist()  # type: ignore[no-any-return]
    if pt.is_floating(kind):
        # the shortest digits that give the same 32-bit float back
        return [None if v is None else float(v) for v in _text(array)]
    if pt.is_decimal(kind):
        return [format(Decimal(v), "f") if v is not None and "E" in v else v for v in _text(array)]
    if pt.is_temporal(kind):
        return _temporal(array)
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or pt.is_binary_view(kind):
        return [None if v is None else base64.b64encode(v).decode() for v in array.to_pylist()]
    if pt.is_dictionary(kind):
        return _values(array.dictionary_decode(), int64_as_text)
    if pt.is_nested(kind) and not pt.is_union(kind):
        return _nested(array, int64_as_text)
    return [v if v is None or isinstance(v, (bool, int, float, str)) else str(v) for v in array.to_pylist()]


def _text(array: pa.Array) -> list[str | None]:
    return array.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]


def _temporal(array: pa.Array) -> list[Any]:
    kind = array.type
    if pt.is_interval(kind):
        return [None if v is None else iso_interval(v.months, v.days, v.nanoseconds) for v in array.to_pylist()]
    if pt.is_duration(kind):
        per_unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
        return [None if v is None else iso_interval(0, 0, v * per_unit) for v in array.cast(pa.int64()).to_pylist()]
    if pt.is_date(kind):
        return [_moment(v) for v in _text(array)]
    if pt.is_time(kind):
        return [_moment(v) for v in _text(array)]
    zone = "Z" if kind.tz else ""
    instants = array.cast(pa.timestamp(kind.unit)) if kind.tz else array
    return [_moment(v, zone) for v in _text(instants)]


def _moment(text: str | None, zone: str = "") -> str | None:
    """Arrow's text of a date, time or timestamp in ISO 8601, without trailing zeros of the fraction."""
    if text is None:
        return None
    if text[0] == "<" and (found := OUT_OF_RANGE.match(text)):
        return f"{found[1]}infinity"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(" ", "T", 1) + zone


def iso_interval(months: int, days: int, nanoseconds: int) -> str:
    """An interval in ISO 8601, every part with its own sign.

    Example:
        >>> iso_interval(14, 3, 3_723_500_000_000)
        'P1Y2M3DT1H2M3.5S'
        >>> iso_interval(0, 0, 0)
        'PT0S'
    """
    years, months = divmod(abs(months), 12) if months >= 0 else (-(-months // 12), -(-months % 12))
    date = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    sign = "-" if nanoseconds < 0 else ""
    seconds, fraction = divmod(abs(nanoseconds), 10**9)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    digits = f".{fraction:09d}".rstrip("0") if fraction else ""
    time = "".join(f"{sign}{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n)
    if seconds or digits:
        time += f"{sign}{seconds}{digits}S"
    if not date and not time:
        return "PT0S"
    return f"P{date}" + (f"T{time}" if time else "")


def _nested(array: pa.Array, int64_as_text: bool) -> list[Any]:
    kind = array.type
    if pt.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        children = [_values(child, int64_as_text) for child in struct_members(array)]
        rows = zip(*children) if children else iter([()] * len(array))
        valid = array.is_valid().to_pylist()
        return [dict(zip(names, row)) if ok else None for row, ok in zip(rows, valid)]
    if pt.is_map(kind):
        return _maps(array, int64_as_text)
    entries = iter(_values(array.flatten(), int64_as_text))
    if pt.is_fixed_size_list(kind):
        lengths = [kind.list_size if ok else None for ok in array.is_valid().to_pylist()]
    else:
        lengths = array.value_lengths().to_pylist()
    return [None if n is None else list(islice(entries, n)) for n in lengths]


def _maps(array: pa.MapArray, int64_as_text: bool) -> list[Any]:
    offsets = array.offsets.to_pylist()
    start, end = offsets[0], offsets[-1]
    keys, items = (_values(a.slice(start, end - start), int64_as_text) for a in (array.keys, array.items))
    entries = [list(pair) for pair in zip(keys, items)]
    valid = array.is_valid().to_pylist()
    return [entries[a - start : b - start] if ok else None for a, b, ok in zip(offsets, offsets[1:], valid)]


def ndjson_text(table: pa.Table, int64_as_text: bool = False) -> str:
    """`table` as one JSON object a line; a name given again gets a number: `a`, `a_1`."""
    names = distinct_names(table.column_names)
    if not names:
        return "{}\n" * len(table)
    columns = [json_values(column, int64_as_text) for column in table.columns]
    return "".join([f"{dump_json(dict(zip(names, row)))}\n" for row in zip(*columns)])


def distinct_names(names: list[str]) -> list[str]:
    """`names` as keys of one object: a name given again gets a number, `a`, `a_1`."""
    unique: dict[str, None] = {}
    for name in names:
        candidate, number = name, 0
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique[candidate] = None
    return list(unique)
