"""Errors as `application/problem+json`."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from sabot_sql.client.contract import PROBLEM
from sabot_sql.errors import SabotError

RETRY_AFTER_S = 1
NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
"""What an id of ours may look like: no other one becomes a header."""


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "sqlstate", "kind", "request_id")},
        **{name: {"type": ["string", "null"]} for name in ("hint", "query_id", "instance", "engine_message")},
        "status": {"type": "integer"},
        "retryable": {"type": "boolean"},
        "position": {"type": ["object", "null"]},
    },
}
"""What OpenAPI says of every error."""


def problem_of(error: SabotError, request_id: str) -> dict[str, Any]:
    """The problem object of `error` as a response to one request."""
    problem = error.to_problem()
    problem["instance"] = f"/v1/queries/{error.query_id}" if error.query_id else None
    problem["request_id"] = request_id
    return problem


# The state of the query that an error is about, where it did not fail.
STATES = {"CANCELLED": "cancelled", "QUERY_NOT_FINISHED": "running", "RESULT_EXPIRED": "expired"}


def problem_response(error: SabotError, request_id: str, status: int | None = None) -> Response:
    """The response that says what went wrong; `status` replaces that of the error's code."""
    problem = problem_of(error, request_id)
    if status is not None:
        problem["status"] = status
    headers = {"Cache-Control": "no-store"}
    if problem["status"] in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if problem["status"] == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.query_id and NAME.fullmatch(error.query_id):
        headers["X-Sabot-Query-Id"] = error.query_id
        headers["X-Sabot-State"] = STATES.get(error.problem.code, "failed")
    body = json.dumps(problem, ensure_ascii=False, separators=(",", ":"))
    return Response(body, problem["status"], headers, PROBLEM)
