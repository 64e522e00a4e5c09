"""Requests in the job database: JSON, with the values of parameters under their types' names."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any

from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import NotSupported

PLAIN = (str, int, bool, type(None))
TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    float: (float.hex, float.fromhex),
    dt.datetime: (dt.datetime.isoformat, dt.datetime.fromisoformat),
    dt.date: (dt.date.isoformat, dt.date.fromisoformat),
    dt.time: (dt.time.isoformat, dt.time.fromisoformat),
    dt.timedelta: (lambda v: f"{v.days} {v.seconds} {v.microseconds}", lambda t: dt.timedelta(*map(int, t.split()))),
    decimal.Decimal: (str, decimal.Decimal),
    uuid.UUID: (str, uuid.UUID),
    bytes: (bytes.hex, bytes.fromhex),
}
"""Types that are written as text, and how; each by its own name."""

NAMES = {kind.__name__: kind for kind in TEXTS}


def encode_request(request: QueryRequest) -> dict[str, Any]:
    """A request as JSON; without its key, under which it is known already.

    Raises:
        NotSupported: a parameter has a type that is not known here.
    """
    fields = {
        f.name: getattr(request, f.name) for f in dataclasses.fields(request) if f.name not in ("params", "idempotency_key")
    }
    return {**fields, "params": _encode(request.params)}


def decode_request(data: dict[str, Any], idempotency_key: str | None = None) -> QueryRequest:
    """The request that `encode_request` wrote."""
    readable = data.get("readable")
    fields = {**data, "params": _decode(data["params"]), "readable": None if readable is None else tuple(readable)}
    return QueryRequest(**fields, idempotency_key=idempotency_key)


def _encode(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_encode(v) for v in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": [[key, _encode(v)] for key, v in value.items()]}
    if type(value) in TEXTS:
        return {type(value).__name__: TEXTS[type(value)][0](value)}
    raise NotSupported(f"a parameter of type {type(value).__name__} cannot be written down with a query")


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "tuple":
            return tuple(_decode(v) for v in content)
        case "list":
            return [_decode(v) for v in content]
        case "dict":
            return {key: _decode(v) for key, v in content}
    return TEXTS[NAMES[kind]][1](content)
