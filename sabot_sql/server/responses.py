"""Answers that are not rows."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from sabot_sql.client.contract import status_to_json
from sabot_sql.engine.request import QueryStatus

REPLAYED = "Idempotency-Replayed"


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def status_response(status: QueryStatus, code: int = 200) -> Response:
    """The status object, its gist in the headers."""
    headers = {"X-Sabot-Query-Id": status.query_id, "X-Sabot-State": status.state}
    if status.route:
        headers["X-Sabot-Route"] = status.route
    if code == 202:
        headers |= {"Location": f"/v1/queries/{status.query_id}", "Retry-After": "1"}
    return json_response(status_to_json(status), code, headers)
