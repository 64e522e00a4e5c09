"""Routes of the catalog."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response

from sabot_sql.client.contract import CATALOG, SCHEMA, table_to_json
from sabot_sql.errors import PlanError, SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.responses import json_response
from sabot_sql.server.threads import Threads

MAX_TABLES = 10_000


def add_catalog_routes(app: FastAPI, manager: JobManager, threads: Threads) -> None:
    """Adds the routes of tables."""

    def list_all(catalog: str | None, schema: str | None, like: str | None, columns: bool) -> list[dict[str, Any]]:
        if not _named(catalog, CATALOG) or not _named(schema, SCHEMA):
            return []
        pattern = like_pattern(like) if like is not None else None
        tables = sorted(manager.tables(), key=lambda table: table.name)
        return [table_to_json(t, columns) for t in tables if pattern is None or pattern.fullmatch(t.name)]

    @app.get("/v1/tables", tags=["catalog"])
    async def list_tables(
        catalog: str | None = None,
        schema: str | None = None,
        like: Annotated[str | None, Query(description="SQL LIKE pattern over names, in any case")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_TABLES)] = MAX_TABLES,
        columns: bool = False,
    ) -> Response:
        """The tables by name."""
        found = await threads.start(list_all, catalog, schema, like, columns)
        skipped = sorted(await threads.start(manager.skipped))
        return json_response({"tables": found[:limit], "skipped": skipped, "next_cursor": None})

    @app.get("/v1/tables/{catalog}/{schema}/{table}", tags=["catalog"])
    async def describe_table(catalog: str, schema: str, table: str) -> Response:
        """One table, with its columns and what is known of their values."""
        if not _named(catalog, CATALOG) or not _named(schema, SCHEMA):
            raise _unknown(f"{catalog}.{schema}.{table}")
        try:
            found = await threads.start(manager.table, table)
        except PlanError as exc:
            raise _unknown(table, exc.hint) from exc
        return json_response(table_to_json(found, values=True))


def like_pattern(like: str) -> re.Pattern[str]:
    """A SQL LIKE pattern as a regular expression."""
    text = "".join({"%": ".*", "_": "."}.get(c) or re.escape(c) for c in like)
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def _named(given: str | None, name: str) -> bool:
    return given is None or given.lower() == name


def _unknown(table: str, hint: str | None = None) -> SabotError:
    # a missing resource (404), not a statement that names a missing table (400)
    return PlanError(f"there is no table {table}", code="NOT_FOUND", hint=hint or "GET /v1/tables lists them")
