"""Tables as CSV: RFC 4180 with `\\n`, NULL as nothing, the empty string as `""`."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from sabot_sql.client.json_values import dump_json, json_values

NEEDS_QUOTES = re.compile(r'[",\r\n]|^$|^\s|\s$')


def csv_text(table: pa.Table, header: bool = True) -> str:
    """`table` as CSV text; values are spelled as in JSON, nested ones as JSON text."""
    lines = [",".join(_quoted(name) for name in table.column_names)] if header else []
    columns = [_fields(column) for column in table.columns]
    lines += map(",".join, zip(*columns))
    return "\n".join(lines) + "\n" if lines else ""


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def _fields(column: pa.ChunkedArray) -> list[str]:
    values = json_values(column)
    kind = column.type
    if pt.is_integer(kind) or pt.is_decimal(kind) or pt.is_temporal(kind):
        return ["" if v is None else str(v) for v in values]
    if pt.is_nested(kind):
        return ["" if v is None else _quoted(dump_json(v)) for v in values]
    is_text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)
    if is_text and _need_no_quotes([v for v in values if v is not None]):
        return ["" if v is None else v for v in values]
    return [_field(v) for v in values]


def _need_no_quotes(texts: list[str]) -> bool:
    """Whether none of many texts needs quotes, as in most columns: two looks at all of them instead of one at each."""
    joined = "".join(texts)
    return not any(special in joined for special in '",\r\n') and all(text and text.strip() == text for text in texts)


def _field(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return _quoted(value)
        case bool():
            return "true" if value else "false"
        case float():
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text := str(value), text)
    return str(value)
