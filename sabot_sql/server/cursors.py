"""Where the next page of a list begins, as text that nobody needs to understand."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from sabot_sql.errors import QueryError, SabotError


def write_cursor(*place: int | str) -> str:
    """A place in the order of a list, as a cursor.

    Example:
        >>> read_cursor(write_cursor("trips", 7))
        ['trips', 7]
    """
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> list[Any] | None:
    """The place that `write_cursor` wrote; None for the first page.

    Raises:
        QueryError: BAD_REQUEST for what is no cursor.
    """
    if not cursor:
        return None
    try:
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as exc:
        raise no_cursor() from exc
    if not isinstance(found, list):
        raise no_cursor()
    return found


def no_cursor() -> SabotError:
    """BAD_REQUEST for what is no cursor of the list."""
    return QueryError("the cursor is not one of this list", hint="send next_cursor of the page before, or leave it out")
