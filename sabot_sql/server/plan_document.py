"""The object of `GET /v1/queries/{id}/plan`."""

from __future__ import annotations

from typing import Any

from sabot_sql.client.contract import time_to_json
from sabot_sql.jobs.record import QueryRecord, as_datetime

NOT_KEPT = "an earlier process of the server ran the query; what its stages did went with it"
FIELDS = (
    "id", "name", "state", "inputs", "operators", "output", "tasks", "rows_in", "rows_out", "rows_expected", "bytes_out",
    "started_at", "elapsed_ms", "skew", "agents", "changes",
)  # fmt: skip
NOT_PLANNED = "the query is not planned yet"


def plan_to_json(record: QueryRecord) -> dict[str, Any]:
    """How a query runs or ran: its stages with what they did so far, which reads which, and all of it as text.

    `note` says why there are no stages, else it is null.
    """
    trace = record.trace
    note, text = None, ""
    if trace is not None:
        text = trace.text()
    elif record.route == "local":
        text = local_text(record)
        note = "the local route runs a query whole, in no stages"
    elif record.route is None:
        note = "the query ended before it was planned" if record.terminal else NOT_PLANNED
    elif record.durable and record.terminal:
        note = NOT_KEPT
    else:
        note = "the query ended before its stages began" if record.terminal else "no stage has begun"
    return {
        "query_id": record.query_id,
        "state": record.state,
        "route": record.route,
        "reason": record.reason,
        "stages": [stage_to_json(stage) for stage in trace.stages()] if trace is not None else [],
        "edges": trace.edges() if trace is not None else [],
        "text": text,
        "note": note,
    }


def local_text(record: QueryRecord) -> str:
    """What there is to say of a query that no agent ran."""
    stats = record.stats
    if "exec_ms" not in stats:
        return ""
    return f"ran in {stats['exec_ms']:.1f} ms on {stats.get('engine') or 'duckdb'}"


def stage_to_json(stage: dict[str, Any]) -> dict[str, Any]:
    """A stage of a `QueryTrace` as the contract writes it."""
    started_at = time_to_json(as_datetime(stage["started_s"]))
    return {
        name: started_at if name == "started_at" else stage[name] for name in FIELDS if name in stage or name == "started_at"
    }
