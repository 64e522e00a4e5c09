"""Query parameters: checked against the statement, and written as constants of the type that DuckDB gives them."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sabot_sql.errors import QueryError
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import NOWHERE, walk

INTEGERS = (
    ("INTEGER", -(2**31), 2**31 - 1),
    ("BIGINT", -(2**63), 2**63 - 1),
    ("UBIGINT", 0, 2**64 - 1),
    ("HUGEINT", -(2**127), 2**127 - 1),
    ("UHUGEINT", 0, 2**128 - 1),
)


def bound_parameters(statement: Statement, params: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    """The values by name ("1", "2", ... for positions), for `cur.sql(sql, params=...)`.

    Raises:
        QueryError: INVALID_PARAMETER, naming a parameter that has no value, is not in the statement, or has a value that
            SQL has no type for.
    """
    wanted = statement.parameters
    if params is None:
        given: dict[str, Any] = {}
    elif isinstance(params, Mapping):
        given = {str(name).lstrip("$:"): value for name, value in params.items()}
    else:
        given = {str(i): value for i, value in enumerate(params, 1)}
    if not wanted and not given:
        return given
    folded = {name.lower(): name for name in wanted}
    found = {folded.get(name.lower(), name): plain_value(name, value) for name, value in given.items()}
    for name in wanted:
        if name not in found:
            ways = f'params={{"{name}": …}} in Python and over HTTP, -p {name}=… on the command line'
            raise _invalid(f"parameter ${name} has no value", f"give it one: {ways}")
    for name in found:
        if name not in wanted:
            have = ", ".join(f"${n}" for n in wanted) or "none"
            raise _invalid(f"the statement has no parameter ${name}", f"its parameters: {have}")
    return found


def inline_parameters(statement: Statement, params: Mapping[str, Any] | Sequence[Any] | None) -> str:
    """The statement's text with typed constants in place of its parameters.

    Raises:
        QueryError: INVALID_PARAMETER.
    """
    values = bound_parameters(statement, params)
    if not values or statement.nodes is None:
        return statement.sql
    data = statement.sql.encode()
    places = []
    for node in walk(statement.nodes):
        offset = node.get("query_location", NOWHERE)
        if node.get("class") == "PARAMETER" and offset < len(data):
            places.append((offset, node["query_location_length"], node["identifier"]))
    for offset, length, name in sorted(set(places), reverse=True):
        data = data[:offset] + sql_constant(values[name]).encode() + data[offset + length :]
    return data.decode()


def plain_value(name: str, value: Any) -> Any:
    """`value` as Python's own type; NumPy and pandas scalars are unwrapped.

    Raises:
        QueryError: INVALID_PARAMETER where SQL has no type for it.
    """
    match value:
        case None | bool() | int() | float() | str() | bytes() | Decimal() | uuid.UUID():
            _check_scalar(name, value)
            return value
        case dt.date() | dt.time() | dt.timedelta():
            return value
        case bytearray() | memoryview():
            return bytes(value)
        case list() | tuple():
            return [plain_value(name, item) for item in value]
        case dict():
            return {str(key): plain_value(name, item) for key, item in value.items()}
    if callable(getattr(value, "item", None)):  # a NumPy scalar
        return plain_value(name, value.item())
    raise _invalid(
        f"parameter ${name} is a {type(value).__name__}, which SQL has no type for",
        "pass bool, int, float, str, bytes, Decimal, date, time, datetime, timedelta, UUID, or a list or dict of these",
    )


def _check_scalar(name: str, value: Any) -> None:
    if isinstance(value, int) and not -(2**127) <= value < 2**128:
        raise _invalid(f"parameter ${name} does not fit in 128 bits", "pass it as text")
    if isinstance(value, str) and not _is_text(value):
        raise _invalid(f"parameter ${name} is not valid Unicode text", "it has half of a surrogate pair")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def sql_constant(value: Any) -> str:
    """`value` as SQL text of the type that DuckDB gives it as a parameter.

    Example:
        >>> sql_constant(1.5), sql_constant([1, None])
        ("CAST('1.5' AS DOUBLE)", '[CAST(1 AS INTEGER), NULL]')
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            kind = next(name for name, low, high in INTEGERS if low <= value <= high)
            return f"CAST({value} AS {kind})" if kind in ("INTEGER", "BIGINT") and value > -(2**31) else _cast(str(value), kind)
        case float():
            return _cast("NaN" if math.isnan(value) else repr(value), "DOUBLE")
        case str():
            return _text(value)
        case bytes():
            escaped = "".join(f"\\x{b:02X}" for b in value)
            return _cast(escaped, "BLOB")
        case Decimal():
            return _decimal(value)
        case dt.datetime():
            return _cast(value.isoformat(" "), "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP")
        case dt.date():
            return _cast(value.isoformat(), "DATE")
        case dt.time():
            return _cast(value.isoformat(), "TIMETZ" if value.tzinfo else "TIME")
        case dt.timedelta():
            microseconds = value.seconds * 10**6 + value.microseconds
            return f"(to_days(CAST({value.days} AS INTEGER)) + to_microseconds(CAST({microseconds} AS BIGINT)))"
        case uuid.UUID():
            return _cast(str(value), "UUID")
        case list():
            return f"[{', '.join(map(sql_constant, _one_width(value)))}]"
        case dict():
            return "{" + ", ".join(f"{_text(k)}: {sql_constant(v)}" for k, v in value.items()) + "}" if value else "MAP {}"
    raise _invalid(f"a {type(value).__name__} has no SQL constant", "")


def _one_width(values: list[Any]) -> list[Any]:
    """DuckDB types a list of mixed numbers by its widest; casts inside the list do the same."""
    if any(isinstance(v, str) for v in values):
        return [v if v is None or isinstance(v, str) else str(v) for v in values]
    return values


def _text(value: str) -> str:
    """A string constant; DuckDB's text has no NUL, so chr() stands for it."""
    parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
    return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"


def _cast(text: str, kind: str) -> str:
    return f"CAST('{text}' AS {kind})"


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        return _cast("NaN" if value.is_nan() else str(float(value)), "FLOAT")
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    width = max(len(digits) + max(0, exponent), scale + (1 if len(digits) <= scale else 0), 1)
    if width > 38:
        return _cast(repr(float(value)), "DOUBLE")
    return _cast(format(value, "f"), f"DECIMAL({width},{scale})")


def _invalid(detail: str, hint: str) -> QueryError:
    return QueryError(detail, code="INVALID_PARAMETER", hint=hint or None)
