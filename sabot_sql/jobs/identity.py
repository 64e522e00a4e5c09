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
    return "q_" + _keyed(secret, user, key)


def batch_id_of(secret: uuid.UUID, user: str, key: str | None) -> str:
    """The id of the batch under a user's idempotency key; a random one without a key."""
    return "b_" + (uuid.uuid4().hex if key is None else _keyed(secret, f"{user}\0batch", key))


def statement_ids(secret: uuid.UUID, user: str, batch_id: str, count: int) -> list[str]:
    """The ids of the queries of a batch."""
    return [keyed_query_id(secret, user, statement_key(batch_id, index)) for index in range(count)]


def statement_key(batch_id: str, index: int) -> str:
    """The idempotency key of a statement of a batch."""
    return f"{batch_id}:{index}"


def _keyed(secret: uuid.UUID, owner: str, key: str) -> str:
    if not 0 < len(key) <= KEY_LENGTH:
        raise QueryError(f"the idempotency key has {len(key)} characters; give 1 to {KEY_LENGTH}", code="INVALID_PARAMETER")
    return uuid.uuid5(secret, f"{owner}\0{key}").hex


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
