"""Routes that take a statement: run it, explain it, check it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from sabot_sql.client.contract import arrow_name_of, explanation_to_json
from sabot_sql.engine.validation import Validation
from sabot_sql.errors import QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.formats import MEDIA_TYPES
from sabot_sql.server.responses import json_response
from sabot_sql.server.sql_request import (
    ExplainBody,
    SqlBody,
    StatementBody,
    ValidateBody,
    read_explain_body,
    read_validate_body,
)
from sabot_sql.server.statements import INLINE_FORMATS, post_sql
from sabot_sql.server.threads import Threads

NOT_IN_A_QUERY = ("params", "param_types", "tags", "settings")
"""Fields of `SqlBody` that are objects."""


def add_statement_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance) -> None:
    """Adds `/v1/sql`, `POST /v1/explain` and `/v1/validate`. They read their bodies themselves: two media types, one path."""
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "finished within wait_ms", "content": {MEDIA_TYPES[name]: {} for name in INLINE_FORMATS}},
        202: {"description": "not finished yet: the status object, and Location"},
    }

    @app.post("/v1/sql", tags=["statements"], openapi_extra=takes(SqlBody), responses=answers, response_class=Response)
    async def run_sql(request: Request) -> Response:
        """Runs one statement."""
        # stands here for the description; requests are answered by `Edge` before they are routed
        return await post_sql(request, manager, threads, attendance)

    fields = {name: field for name, field in SqlBody.model_json_schema()["properties"].items() if name not in NOT_IN_A_QUERY}
    query = [{"name": name, "in": "query", "required": name == "sql", "schema": field} for name, field in fields.items()]

    @app.get("/v1/sql", tags=["statements"], openapi_extra={"parameters": query}, responses=answers, response_class=Response)
    async def get_sql(request: Request) -> Response:
        """Runs one statement that stands in the address, for what can only follow links."""
        return await post_sql(request, manager, threads, attendance)

    @app.post("/v1/explain", tags=["statements"], openapi_extra=takes(ExplainBody))
    async def explain_sql(request: Request) -> Response:
        """Says where a statement would run, why, and by which plan. Runs it only with `analyze`."""
        body = await read_explain_body(request)
        if body.format == "graph":
            raise QueryError("format graph is not available here; there are text, json", code="NOT_ACCEPTABLE")
        found = await threads.start(manager.explain, body.to_request(request.state.principal), body.analyze)
        return json_response(explanation_to_json(found))

    @app.post("/v1/validate", tags=["statements"], openapi_extra=takes(ValidateBody))
    async def validate_sql(request: Request) -> Response:
        """Parses and binds a statement; says which columns it would give. Runs nothing."""
        body = await read_validate_body(request)
        return json_response(
            validation_to_json(await threads.start(manager.validate, body.to_request(request.state.principal)))
        )


def validation_to_json(found: Validation) -> dict[str, Any]:
    """The answer of `POST /v1/validate`."""
    columns = None
    if found.columns is not None:
        columns = [
            {"name": c.name, "type": arrow_name_of(c.type), "sql_type": str(c.type), "nullable": True} for c in found.columns
        ]
    return {
        "valid": True,
        "statements": 1,
        "statement_type": found.statement_type,
        "columns": columns,
        "parameters": list(found.parameters),
        "tables": list(found.tables),
        "warnings": list(found.warnings),
    }


def takes(body: type[StatementBody]) -> dict[str, Any]:
    """The OpenAPI description of a body that is `body` as JSON, or the bare statement."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    content = {"application/json": {"schema": schema}, "application/sql": {"schema": {"type": "string"}}}
    return {"requestBody": {"required": True, "content": content}}
