"""Routes of the catalog."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from sabot_sql.catalog.table import Table
from sabot_sql.client.contract import CATALOG, SCHEMA, table_to_json
from sabot_sql.engine.readable import may_read
from sabot_sql.errors import PlanError, QueryError, SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.cursors import no_cursor, read_cursor, write_cursor
from sabot_sql.server.principal import Principal
from sabot_sql.server.responses import json_response
from sabot_sql.server.sql_request import INLINE_ROWS, FormatName, SqlBody, read_bytes
from sabot_sql.server.statements import Run, answer_directly, encoding_of
from sabot_sql.server.threads import Threads
from sabot_sql.types import quote_identifier

MAX_TABLES = 10_000
PREVIEW_ROWS = 100
PREVIEW_MS = 30_000

Limit = Annotated[int, Query(ge=1, le=MAX_TABLES)]
PreviewRows = Annotated[int, Query(ge=1, le=INLINE_ROWS, description="rows of the table")]


def add_catalog_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance) -> None:
    """Adds the routes of catalogs, schemas and tables."""

    def tables_of(principal: Principal) -> list[Table]:
        return [table for table in manager.tables() if may_read(principal.readable, table.name)]

    def page_of_tables(
        principal: Principal,
        catalog: str | None,
        schema: str | None,
        like: str | None,
        columns: bool,
        limit: int,
        after: str | None,
    ) -> dict[str, Any]:
        found: list[Table] = []
        if _named(catalog, CATALOG) and _named(schema, SCHEMA):
            pattern = like_pattern(like) if like is not None else None
            tables = sorted(tables_of(principal), key=lambda table: table.name)
            wanted = (t for t in tables if pattern is None or pattern.fullmatch(t.name))
            found = [t for t in wanted if after is None or t.name > after]
        page = [table_to_json(t, columns) for t in found[:limit]]
        next_cursor = write_cursor(found[limit - 1].name) if len(found) > limit else None
        skipped = sorted(manager.skipped()) if principal.readable is None else []  # paths tell of other tables
        return {"tables": page, "skipped": skipped, "next_cursor": next_cursor}

    def table_of(principal: Principal, catalog: str, schema: str, table: str) -> Table:
        if not _named(catalog, CATALOG) or not _named(schema, SCHEMA):
            raise _unknown(f"{catalog}.{schema}.{table}")
        try:
            found = manager.table(table)
        except PlanError as exc:
            raise _unknown(table, exc.hint if principal.readable is None else None) from exc
        if not may_read(principal.readable, found.name):
            raise _unknown(table)
        return found

    @app.get("/v1/catalogs", tags=["catalog"])
    async def list_catalogs(request: Request) -> Response:
        """The catalogs; there is one."""
        principal: Principal = request.state.principal
        return json_response([catalog_to_json(await threads.start(tables_of, principal), principal)])

    @app.get("/v1/catalogs/{catalog}/schemas", tags=["catalog"])
    async def list_schemas(request: Request, catalog: str) -> Response:
        """The schemas of a catalog that have tables; there is one."""
        if not _named(catalog, CATALOG):
            raise QueryError(f"there is no catalog {catalog}", code="NOT_FOUND", hint="GET /v1/catalogs lists them")
        tables = await threads.start(tables_of, request.state.principal)
        return json_response([{"catalog": CATALOG, "name": SCHEMA, "tables": len(tables)}])

    @app.get("/v1/tables", tags=["catalog"])
    async def list_tables(
        request: Request,
        catalog: str | None = None,
        schema: str | None = None,
        like: Annotated[str | None, Query(description="SQL LIKE pattern over names, in any case")] = None,
        limit: Limit = MAX_TABLES,
        cursor: Annotated[str | None, Query(description="the next_cursor of the page before")] = None,
        columns: bool = False,
    ) -> Response:
        """The tables by name, a page at a time."""
        after = name_after(cursor)
        asked = (request.state.principal, catalog, schema, like, columns, limit, after)
        return json_response(await threads.start(page_of_tables, *asked))

    @app.get("/v1/tables/{catalog}/{schema}/{table}", tags=["catalog"])
    async def describe_table(request: Request, catalog: str, schema: str, table: str) -> Response:
        """One table, with its columns and what is known of their values."""
        found = await threads.start(table_of, request.state.principal, catalog, schema, table)
        return json_response(table_to_json(found, values=True))

    @app.get("/v1/tables/{catalog}/{schema}/{table}/preview", tags=["catalog"], response_class=Response)
    async def preview_table(
        request: Request,
        catalog: str,
        schema: str,
        table: str,
        limit: PreviewRows = PREVIEW_ROWS,
        format: FormatName | None = None,
    ) -> Response:
        """The first rows of a table, as `POST /v1/sql` answers them."""
        await read_bytes(request)
        found = await threads.start(table_of, request.state.principal, catalog, schema, table)
        body = SqlBody(sql=first_rows(found.name, limit), route="local", format=format, timeout_ms=PREVIEW_MS)
        how = encoding_of(body, request.headers.get("accept"))
        run = Run(body.to_request(request.state.principal), how, PREVIEW_MS / 1000, cancel_after_wait=True, goes_on=False)
        return await answer_directly(request, manager, threads, attendance, run)


def catalog_to_json(tables: list[Table], principal: Principal) -> dict[str, Any]:
    """One row of `GET /v1/catalogs`: its `kind` is the format of its tables, where they have one; `read_only` is for those who
    may not put tables."""
    formats = {table.scan.kind for table in tables if table.error is None}
    kind = formats.pop() if len(formats) == 1 else "mixed" if formats else None
    return {"name": CATALOG, "kind": kind, "read_only": not principal.may_write, "tables": len(tables)}


def first_rows(table: str, limit: int) -> str:
    """The statement that reads the first rows of a table of the catalog.

    Example:
        >>> first_rows("main.my trips", 5)
        'SELECT * FROM "main"."my trips" LIMIT 5'
    """
    schema, _, name = table.rpartition(".")
    quoted = ".".join(quote_identifier(part) for part in (schema, name) if part)
    return f"SELECT * FROM {quoted} LIMIT {limit}"


def name_after(cursor: str | None) -> str | None:
    """The name with which the page before ended."""
    match read_cursor(cursor):
        case None:
            return None
        case [str(name)]:
            return name
    raise no_cursor()


def like_pattern(like: str) -> re.Pattern[str]:
    """A SQL LIKE pattern as a regular expression."""
    text = "".join({"%": ".*", "_": "."}.get(c) or re.escape(c) for c in like)
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def _named(given: str | None, name: str) -> bool:
    return given is None or given.lower() == name


def _unknown(table: str, hint: str | None = None) -> SabotError:
    # a missing resource (404), not a statement that names a missing table (400)
    return PlanError(f"there is no table {table}", code="NOT_FOUND", hint=hint or "GET /v1/tables lists them")
