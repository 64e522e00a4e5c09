"""The query string of a request: only fields that the route knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from fastapi import Request
from fastapi.routing import APIRoute

from sabot_sql.errors import QueryError, SabotError

WITH_STATEMENT = ("/v1/sql", "/v1/explain", "/v1/validate")  # what they take depends on the type of their body


async def refuse_unknown_options(request: Request) -> None:
    """Raise for a field that the request's route does not have: it would otherwise be ignored in silence.

    Raises:
        QueryError: BAD_REQUEST, with the nearest name as the hint.
    """
    route = request.scope.get("route")
    if isinstance(route, APIRoute) and route.path not in WITH_STATEMENT:
        refuse_others(request, [field.alias for field in route.dependant.query_params])


def refuse_others(request: Request, known: Iterable[str]) -> None:
    """Raise for a field of the query string that is not `known`."""
    names = list(known)
    for name in request.query_params:
        if name not in names:
            raise unknown_field(name, names)


def unknown_field(name: str, known: Iterable[str]) -> SabotError:
    """BAD_REQUEST for a field that does not exist."""
    near = difflib.get_close_matches(name, list(known), 1)
    return QueryError(f"unknown field {name}", hint=f"did you mean {near[0]}?" if near else None)
