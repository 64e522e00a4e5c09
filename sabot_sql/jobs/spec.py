"""What a job's workflow starts from: all that is needed to run the job again in another process, as JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sabot_sql.engine.request import QueryRequest, StatementStatus
from sabot_sql.errors import Cancelled, InternalError, SabotError, ServiceError
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.jobs.recorded_plan import encode_plan
from sabot_sql.jobs.request_json import decode_request, encode_request
from sabot_sql.types import Field, Schema, parse_type

if TYPE_CHECKING:
    from sabot_sql.engine.engine import Prepared

ENDED = {"SUCCESS": "finished", "ERROR": "failed", "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed", "CANCELLED": "cancelled"}


def spec_of(record: QueryRecord, prepared: Prepared, temporary: bool) -> dict[str, Any]:
    """The spec of a job.

    Args:
        temporary: the job ends with this process.
    """
    plan = prepared.plan
    assert plan is not None
    request = record.request
    return {
        "sql": request.sql,
        "request": _request_of(request),
        "user": request.user,
        "tags": request.tags,
        "timeout_s": request.timeout_s,
        "fingerprint": record.fingerprint,
        "submitted_s": record.submitted_s,
        "reason": prepared.reason,
        "statement_type": prepared.statement_type,
        "write": None if prepared.write is None else prepared.write.sql,
        "columns": [[field.name, str(field.type)] for field in prepared.columns],
        "stats": plain(prepared.stats),
        **encode_plan(plan),
        "temporary": temporary,
    }


def _request_of(request: QueryRequest) -> dict[str, Any] | None:
    """The request as JSON, to run it again; None where it has parameters, which may be secrets and are not written down."""
    return encode_request(request) if request.params is None else None


def plain(stats: dict[str, Any]) -> dict[str, Any]:
    """The values of `stats` that JSON can carry."""
    return {key: value for key, value in stats.items() if isinstance(value, bool | int | float | str | None)}


def columns_of(spec: dict[str, Any]) -> Schema:
    """The columns of a spec's answer."""
    return tuple(Field(name, parse_type(text)) for name, text in spec["columns"])


def record_of_spec(query_id: str, spec: dict[str, Any]) -> QueryRecord:
    """The record of a job of an earlier process. Its time limit counts from now: the process was away."""
    written = spec.get("request")  # earlier releases wrote none
    if written is not None:
        request = decode_request(written)
    else:
        request = QueryRequest(
            spec["sql"], user=spec["user"], tags=spec["tags"], route="distributed", timeout_s=spec["timeout_s"]
        )
    record = QueryRecord(query_id, request, fingerprint=spec["fingerprint"])
    record.lacks_params = written is None
    record.submitted_s = spec["submitted_s"]
    record.route = "distributed"
    record.reason = spec["reason"]
    record.stats = spec["stats"]
    record.durable = True
    record.kept = True
    record.accepted = True
    return record


def record_of_statement(query_id: str, request: QueryRequest, status: StatementStatus) -> QueryRecord:
    """The record of a statement of a batch that has no query, yet or ever."""
    record = QueryRecord(query_id, request)
    if status.error is not None:
        record.fail(status.error)
    return record


def record_of_row(row: Any) -> QueryRecord:
    """The record of a job as the database has it (a `WorkflowStatus` of DBOS)."""
    spec = row.input["args"][0]
    record = record_of_spec(row.workflow_id, spec)
    state = ENDED.get(row.status)
    if state is None:
        return record
    record.started_s = (row.created_at or 0) / 1e3
    if state == "finished":
        record.finish(row.output["stats"])
    else:
        record.fail(error_of_row(row))
    record.finished_s = (row.completed_at or row.updated_at or time.time() * 1e3) / 1e3
    return record


def error_of_row(row: Any) -> SabotError:
    """Why a recorded job failed."""
    problem = getattr(row.error, "data", None)
    if isinstance(problem, dict):
        return SabotError.from_problem(problem)
    if row.status == "CANCELLED":
        return Cancelled("the job was cancelled in the job database", query_id=row.workflow_id)
    if row.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
        detail = "the job was given up: the process ended again and again while it ran"
        return ServiceError(detail, query_id=row.workflow_id)
    return InternalError(f"the job failed: {row.error}", query_id=row.workflow_id)
