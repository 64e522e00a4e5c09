"""Routes of batches, and of a query that is to run once more."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sabot_sql.client.contract import batch_to_json
from sabot_sql.engine.request import TERMINAL_STATES, BatchRequest, BatchStatus, QueryStatus
from sabot_sql.errors import QueryError
from sabot_sql.jobs.batches import MAX_PARALLEL, MAX_STATEMENTS
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.ownership import own_record
from sabot_sql.server.principal import Principal
from sabot_sql.server.problems import NAME
from sabot_sql.server.responses import json_response, status_response
from sabot_sql.server.sql_request import MAX_WAIT_MS, StatementBody, idempotency_key, read_json_body
from sabot_sql.server.threads import Threads

WaitMs = Annotated[int, Query(ge=0, le=MAX_WAIT_MS, description="how long to wait for the batch's end")]


class BatchStatement(StatementBody):
    """One statement of a batch. Without a name it has its place, from 0 on."""

    name: str | None = Field(default=None, min_length=1, max_length=128)


class BatchBody(BaseModel):
    """The body of `POST /v1/batch`."""

    model_config = ConfigDict(extra="forbid")

    statements: list[BatchStatement] = Field(min_length=1, max_length=MAX_STATEMENTS)
    order: Literal["sequential", "parallel"] = "parallel"
    on_error: Literal["stop", "continue"] = "continue"
    max_parallel: int = Field(default=4, ge=1, le=MAX_PARALLEL)
    wait_ms: int = Field(default=0, ge=0, le=MAX_WAIT_MS)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=128)

    def to_request(self, principal: Principal, key: str | None) -> BatchRequest:
        """What the engine gets."""
        statements = [(each.name or str(i), each.to_request(principal)) for i, each in enumerate(self.statements)]
        key = key or self.idempotency_key
        return BatchRequest(statements, self.order, self.on_error, self.max_parallel, principal.user, key)


def add_batch_routes(app: FastAPI, manager: JobManager, threads: Threads) -> None:
    """Adds `/v1/batch`, `/v1/batches/{id}` and `/v1/queries/{id}/retry`. A caller sees only what is their own."""

    def submit(request: BatchRequest, wait_s: float) -> BatchStatus:
        return waited(manager.submit_batch(request), wait_s)

    def waited(status: BatchStatus, wait_s: float) -> BatchStatus:
        if not wait_s or is_over(status):
            return status
        return threads.wait_until(lambda piece_s: manager.batch_status(status.batch_id, piece_s), is_over, wait_s)

    def own(batch_id: str, principal: Principal, wait_s: float = 0.0) -> BatchStatus:
        if not NAME.fullmatch(batch_id):
            raise QueryError("there is no such batch", code="QUERY_NOT_FOUND")
        found = manager.batch_status(batch_id)
        if not principal.sees(found.user):
            # the same words as for an id that does not exist
            raise QueryError(f"there is no batch {batch_id[:64]}", code="QUERY_NOT_FOUND")
        return waited(found, wait_s)

    def cancel(batch_id: str, principal: Principal) -> BatchStatus:
        own(batch_id, principal)
        return manager.cancel_batch(batch_id)

    def retry(query_id: str, principal: Principal) -> QueryStatus:
        own_record(manager, query_id, principal)
        return manager.retry(query_id, principal.readable, principal.may_write)

    @app.post("/v1/batch", tags=["batches"], openapi_extra=takes(BatchBody))
    async def run_batch(request: Request) -> Response:
        """Starts up to 1,000 statements at once: 202, or 200 when all have ended within `wait_ms`."""
        body = await read_json_body(BatchBody, request)
        found = body.to_request(request.state.principal, idempotency_key(request))
        return batch_response(await threads.start(submit, found, body.wait_ms / 1000))

    @app.get("/v1/batches/{batch_id}", tags=["batches"])
    async def get_batch(request: Request, batch_id: str, wait_ms: WaitMs = 0) -> Response:
        """The states of a batch and of its statements."""
        found = await threads.start(own, batch_id, request.state.principal, wait_ms / 1000)
        return json_response(batch_to_json(found))

    @app.post("/v1/batches/{batch_id}/cancel", tags=["batches"])
    async def cancel_batch(request: Request, batch_id: str) -> Response:
        """Stops what runs of a batch; nothing more of it begins."""
        return batch_response(await threads.start(cancel, batch_id, request.state.principal))

    @app.post("/v1/queries/{query_id}/retry", tags=["queries"], status_code=202)
    async def retry_query(request: Request, query_id: str) -> Response:
        """Runs the statement of a query that has ended once more, as a new query."""
        return status_response(await threads.start(retry, query_id, request.state.principal), 202)


def is_over(status: BatchStatus) -> bool:
    """Whether all statements of a batch have ended."""
    return status.state in TERMINAL_STATES


def batch_response(status: BatchStatus) -> Response:
    """The answer that says where a batch is."""
    response = json_response(batch_to_json(status), 200 if is_over(status) else 202)
    response.headers["Location"] = f"/v1/batches/{status.batch_id}"
    return response


def takes(body: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of a JSON body."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
