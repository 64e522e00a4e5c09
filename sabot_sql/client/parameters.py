"""Query parameters as JSON: what JSON has no type for travels as text beside its SQL type."""

from __future__ import annotations

import base64
import datetime as dt
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sabot_sql.client.foreign_values import is_series, own_value
from sabot_sql.errors import QueryError

Params = dict[str, Any] | tuple[Any, ...] | None


def normalize_params(params: Mapping[str, Any] | Sequence[Any] | None) -> Params:
    """`params` as the request keeps them: a dict for named ones, a tuple for positional ones; values of NumPy, pandas, polars
    and Arrow as Python's own.

    Raises:
        QueryError: INVALID_PARAMETER.
    """
    if params is None:
        return None
    if isinstance(params, Mapping):
        named = {str(name).lstrip("$:"): value for name, value in params.items()}
        return {name: own_value(value, name) for name, value in named.items()}
    if isinstance(params, (str, bytes)) or not (isinstance(params, Sequence) or is_series(params)):
        raise QueryError(
            f"params is a {type(params).__name__}; give a mapping for $name or a list for $1 and ?", code="INVALID_PARAMETER"
        )
    return tuple(own_value(value, str(position)) for position, value in enumerate(params, 1))


def params_to_json(params: Params) -> tuple[Any, dict[str, str]]:
    """The `params` and `param_types` of a request; types of positional ones are kept under "1", "2", ..."""
    if params is None:
        return None, {}
    named = params.items() if isinstance(params, dict) else ((str(i), v) for i, v in enumerate(params, 1))
    values: dict[str, Any] = {}
    types: dict[str, str] = {}
    for name, value in named:
        values[name], sql_type = _to_json(value, name)
        if sql_type:
            types[name] = sql_type
    return (values if isinstance(params, dict) else list(values.values())), types


def _to_json(value: Any, name: str) -> tuple[Any, str | None]:
    match value:
        case float() if not math.isfinite(value):
            return str(value), "double"
        case None | bool() | int() | float() | str():
            return value, None
        case dt.datetime():
            return value.isoformat(), "timestamptz" if value.tzinfo else "timestamp"
        case dt.date():
            return value.isoformat(), "date"
        case dt.time():
            return value.isoformat(), "time"
        case dt.timedelta():
            return value // dt.timedelta(microseconds=1), "interval"
        case Decimal():
            return str(value), "decimal"
        case uuid.UUID():
            return str(value), "uuid"
        case bytes() | bytearray():
            return base64.b64encode(value).decode(), "blob"
        case list() | tuple():
            return [_plain(item, name) for item in value], None
        case dict():
            return {str(key): _plain(item, name) for key, item in value.items()}, None
    raise QueryError(f"parameter {name} is a {type(value).__name__}, which SQL has no type for", code="INVALID_PARAMETER")


def _plain(value: Any, name: str) -> Any:
    encoded, sql_type = _to_json(value, name)
    if sql_type:
        raise QueryError(
            f"parameter {name} holds a {type(value).__name__} inside a list; send it as text and cast it in the statement",
            code="INVALID_PARAMETER",
        )
    return encoded


def params_from_json(params: dict[str, Any] | list[Any] | None, types: Mapping[str, str]) -> Params:
    """The parameters that `params_to_json` wrote, cast to their types.

    Raises:
        QueryError: INVALID_PARAMETER for an unknown type, an unknown name or a value that is not of its type.
    """
    if params is None:
        params = {}
    named = params if isinstance(params, dict) else {str(i): v for i, v in enumerate(params, 1)}
    if unknown := [name for name in types if name not in named]:
        raise QueryError(f"param_types names {unknown[0]}, which is not in params", code="INVALID_PARAMETER")
    values = {name: _from_json(value, types.get(name), name) for name, value in named.items()}
    if not values:
        return None
    return values if isinstance(params, dict) else tuple(values.values())


def _from_json(value: Any, sql_type: str | None, name: str) -> Any:
    if sql_type is None or value is None:
        return value
    cast = CASTS.get(sql_type.strip().lower().partition("(")[0])
    if cast is None:
        raise QueryError(
            f"param_types of {name}: unknown type {sql_type}; known are {', '.join(CASTS)}", code="INVALID_PARAMETER"
        )
    try:
        return cast(value)
    except (ValueError, TypeError, InvalidOperation) as exc:
        raise QueryError(f"parameter {name}: {value!r} is not of type {sql_type}", code="INVALID_PARAMETER") from exc


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    spelled = {"true": True, "false": False, "1": True, "0": False}
    if (text := str(value).lower()) in spelled:
        return spelled[text]
    raise ValueError(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _naive(value: Any) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value)
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _aware(value: Any) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


CASTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("boolean", "bool"), _boolean),
    **dict.fromkeys(("tinyint", "smallint", "integer", "int", "bigint", "hugeint"), _integer),
    **dict.fromkeys(("double", "float", "real"), float),
    **dict.fromkeys(("varchar", "text", "string"), str),
    **dict.fromkeys(("decimal", "numeric"), lambda v: Decimal(str(v))),
    "date": lambda v: dt.date.fromisoformat(v),
    "time": lambda v: dt.time.fromisoformat(v),
    **dict.fromkeys(("timestamp", "datetime"), _naive),
    **dict.fromkeys(("timestamptz", "timestamp with time zone"), _aware),
    "interval": lambda v: dt.timedelta(microseconds=_integer(v)),
    "uuid": lambda v: uuid.UUID(v),
    **dict.fromkeys(("blob", "bytea", "binary"), lambda v: base64.b64decode(v, validate=True)),
}
