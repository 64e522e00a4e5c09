"""Answers that are not rows."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from sabot_sql.client.contract import status_to_json
from sabot_sql.engine.request import QueryStatus

REPLAYED = "Idempotency-Replayed"
TIMINGS = (("parse", "parse_ms"), ("plan", "plan_ms"), ("queue", "queue_ms"), ("exec", "exec_ms"))


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def stats_headers(stats: dict[str, Any]) -> dict[str, str]:
    """The stats of a query, which a body of rows cannot tell, and its times as browsers draw them."""
    timing = ", ".join(f"{name};dur={stats[key]:.2f}" for name, key in TIMINGS if isinstance(stats.get(key), int | float))
    found = {"X-Sabot-Stats": json.dumps(stats, separators=(",", ":"))}
    return {**found, "Server-Timing": timing} if timing else found


def status_response(status: QueryStatus, code: int = 200) -> Response:
    """The status object, its gist in the headers."""
    headers = {"X-Sabot-Query-Id": status.query_id, "X-Sabot-State": status.state}
    if status.route:
        headers["X-Sabot-Route"] = status.route
    if status.stats:
        headers |= stats_headers(status.stats)
    if code == 202:
        headers |= {"Location": f"/v1/queries/{status.query_id}", "Retry-After": "1"}
    return json_response(status_to_json(status), code, headers)
