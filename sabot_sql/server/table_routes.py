"""Routes that put tables and drop them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from sabot_sql.catalog.put_tables import Body
from sabot_sql.client.contract import CATALOG, SCHEMA
from sabot_sql.engine.readable import may_read
from sabot_sql.errors import Overloaded, QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.auth import needs_admin, needs_writer
from sabot_sql.server.principal import Principal
from sabot_sql.server.receiving import FORMATS, Uploads, format_of_body, receive, refuse_too_large
from sabot_sql.server.responses import json_response
from sabot_sql.server.sql_request import read_json_body
from sabot_sql.server.threads import Threads

log = logging.getLogger("sabot_sql.server")

ModeName = Annotated[Literal["create", "append", "replace"], Query(description="what becomes of a table that is there")]
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {media: {} for media in FORMATS}}}


class SourceBody(BaseModel):
    """Files that lie on the server."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["parquet", "csv", "json", "ipc"]
    uri: str
    hive_partitioning: Literal[True] = True


class RegisterBody(BaseModel):
    """The body of `POST /v1/tables`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    source: SourceBody
    replace: bool = False


REGISTER: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": RegisterBody.model_json_schema()}}}
}


def add_table_routes(app: FastAPI, manager: JobManager, threads: Threads) -> None:
    """Adds the routes that change tables. Those that the server was started with are not changed."""
    uploads = Uploads()
    settings = manager.settings

    @app.put(
        "/v1/tables/{catalog}/{schema}/{table}/data",
        tags=["catalog"],
        status_code=201,
        dependencies=[Depends(needs_writer)],
        openapi_extra=BODY,
    )
    async def put_table(request: Request, catalog: str, schema: str, table: str, mode: ModeName = "create") -> Response:
        """Makes the body a table, or appends it: an Arrow stream, a Parquet file or CSV. All of it, or nothing."""
        deadline_s = time.monotonic() + settings.upload_s
        principal: Principal = request.state.principal
        refuse_others_names(principal, catalog, schema, table)
        kind = format_of_body(request)
        refuse_too_large(request, settings.upload_bytes)
        with uploads.one_more():
            body = await threads.start(manager.begin_put, table, mode)
            try:
                await receive(request, body, threads, settings.upload_bytes, deadline_s - time.monotonic())
                rows = await threads.start(manager.put_table, table, body, kind, mode, deadline_s)
            except BaseException:
                await discard(body, threads)
                raise
        log.info("table %s: %s of %d rows by %s", table, mode, rows, principal.user, extra=told(request, table, mode))
        return json_response({"rows": rows}, 201, {"Location": f"/v1/tables/{CATALOG}/{SCHEMA}/{quoted(table)}"})

    @app.delete(
        "/v1/tables/{catalog}/{schema}/{table}", tags=["catalog"], status_code=204, dependencies=[Depends(needs_writer)]
    )
    async def drop_table(request: Request, catalog: str, schema: str, table: str) -> Response:
        """Drops a table that was put or registered; queries that read it go on."""
        refuse_others_names(request.state.principal, catalog, schema, table)
        await threads.start(manager.drop_table, table)
        log.info("table %s: dropped by %s", table, request.state.principal.user, extra=told(request, table, "drop"))
        return Response(status_code=204)

    @app.post("/v1/tables", tags=["catalog"], status_code=201, dependencies=[Depends(needs_admin)], openapi_extra=REGISTER)
    async def register_table(request: Request) -> Response:
        """Makes files a table that lie on the server, below the folders that its settings allow."""
        body = await read_json_body(RegisterBody, request)
        if not settings.table_folders:
            raise QueryError(
                "this server registers no files",
                code="PERMISSION_DENIED",
                hint="name the folders that they may lie in with the setting tables.folders",
            )
        await threads.start(manager.register_files, body.name, body.source.uri, body.source.type, body.replace)
        log.info(
            "table %s: registered by %s", body.name, request.state.principal.user, extra=told(request, body.name, "register")
        )
        place = {"catalog": CATALOG, "schema": SCHEMA, "name": body.name}
        return json_response(place, 201, {"Location": f"/v1/tables/{CATALOG}/{SCHEMA}/{quoted(body.name)}"})


def refuse_others_names(principal: Principal, catalog: str, schema: str, table: str) -> None:
    """Raise for a table in a catalog that there is not, or one that the key may not write.

    Raises:
        QueryError: NOT_FOUND, PERMISSION_DENIED.
    """
    if catalog.lower() != CATALOG or schema.lower() != SCHEMA:
        raise QueryError(
            f"there is no schema {catalog}.{schema}", code="NOT_FOUND", hint=f"tables are put into {CATALOG}.{SCHEMA}"
        )
    if not may_read(principal.readable, table):
        raise QueryError(
            f"this key may not write the table {table[:128]}",
            code="PERMISSION_DENIED",
            hint="it is for some tables only; use one whose --tables match",
        )


async def discard(body: Body, threads: Threads) -> None:
    """Remove what was received, off the event loop where that is possible."""
    try:
        await asyncio.shield(threads.start(body.discard, True))
    except Overloaded:
        body.discard(True)


def told(request: Request, table: str, what: str) -> dict[str, Any]:
    """What a line of the log says besides its text."""
    fields = {"request_id": request.state.request_id, "user": request.state.principal.user, "table": table, "change": what}
    return {"fields": fields}


def quoted(name: str) -> str:
    """A name in an address."""
    return quote(name, safe="")
