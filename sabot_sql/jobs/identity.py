"""Query ids, and what makes two requests under one idempotency key the same."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import QueryError

KEY_LENGTH = 128


def new_query_id() -> str:
    """A random id."""
    return "q_" + uuid.uuid4().hex


def keyed_query_id(secret: uuid.UUID, user: str, key: str) -> str:
    """The id that belongs to a user's idempotency key, for as long as the folder with `secret` lives."""
    if not 0 < len(key) <= KEY_LENGTH:
        raise QueryError(f"the idempotency key has {len(key)} characters; give 1 to {KEY_LENGTH}", code="INVALID_PARAMETER")
    return "q_" + uuid.uuid5(secret, f"{user}\0{key}").hex


def fingerprint(request: QueryRequest) -> str:
    """Hash of everything that decides the answer."""
    parts = (
        request.sql,
        request.params,
        request.dialect,
        request.catalog,
        request.schema,
        request.timezone,
        request.route,
    )
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_typed).encode()).hexdigest()


def _typed(value: Any) -> list[str]:
    return [type(value).__name__, repr(value)]
