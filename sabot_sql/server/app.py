"""The HTTP API: contract v1 over one engine."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException

from sabot_sql import __version__
from sabot_sql.client.contract import PROBLEM
from sabot_sql.errors import QueryError, SabotError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.auth import Access
from sabot_sql.server.batch_routes import add_batch_routes
from sabot_sql.server.catalog_routes import add_catalog_routes
from sabot_sql.server.chunk_routes import add_chunk_routes
from sabot_sql.server.completion_routes import add_completion_routes
from sabot_sql.server.edge import OPEN_PATHS, Door, Edge
from sabot_sql.server.event_feed import EventFeeds
from sabot_sql.server.event_routes import add_event_routes
from sabot_sql.server.plan_routes import add_plan_routes
from sabot_sql.server.problems import PROBLEM_SCHEMA, problem_response
from sabot_sql.server.query_routes import add_query_routes
from sabot_sql.server.query_string import refuse_unknown_options
from sabot_sql.server.service_routes import add_service_routes
from sabot_sql.server.sql_request import invalid_fields
from sabot_sql.server.statement_routes import add_statement_routes
from sabot_sql.server.statements import post_sql
from sabot_sql.server.table_routes import add_table_routes
from sabot_sql.server.threads import Threads

METHODS = ("GET", "POST", "PUT", "DELETE")


def create_app(manager: JobManager, access: Access | None = None) -> FastAPI:
    """The application over `manager`, which its caller starts and closes.

    Args:
        access: who may ask; by default everybody who reaches the server.
    """
    open_paths = OPEN_PATHS | {"/metrics"} if manager.settings.metrics_open else OPEN_PATHS
    access = access or Access()
    door, threads, feeds = Door(access, open_paths), Threads(), EventFeeds()
    attendance = Attendance(manager, threads, manager.settings.client_timeout_s)
    app = FastAPI(
        title="sabot-sql",
        version=__version__,
        summary="One SQL endpoint for the 1 ms query and the 1 h query.",
        dependencies=[Depends(refuse_unknown_options)],
        redirect_slashes=False,
        responses={"default": {"description": "a problem", "content": {PROBLEM: {"schema": PROBLEM_SCHEMA}}}},
    )
    app.state.door, app.state.threads, app.state.feeds = door, threads, feeds
    direct = {("POST", "/v1/sql"): lambda request: post_sql(request, manager, threads, attendance)}
    app.add_middleware(Edge, door=door, direct=direct)
    if access.origins:  # around the edge: a browser asks for leave without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(access.origins),
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=["*"],
        )
    add_problem_handlers(app)
    add_statement_routes(app, manager, threads, attendance)
    add_completion_routes(app, manager, threads)
    add_query_routes(app, manager, threads, attendance)
    add_batch_routes(app, manager, threads)
    add_chunk_routes(app, manager, threads, attendance)
    add_event_routes(app, manager, threads, attendance, feeds)
    add_plan_routes(app, manager, threads, attendance)
    add_catalog_routes(app, manager, threads, attendance)
    add_table_routes(app, manager, threads)
    add_service_routes(app, manager, threads, door, feeds)
    return app


def add_problem_handlers(app: FastAPI) -> None:
    """Every error of the framework leaves as a problem object."""

    @app.exception_handler(SabotError)
    async def on_sabot_error(request: Request, error: SabotError) -> Response:
        return problem_response(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_fields(request: Request, error: RequestValidationError) -> Response:
        return problem_response(invalid_fields(error.errors()), request.state.request_id)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        method, path = request.method, request.url.path[:200]
        match error.status_code:
            case 404:
                found: SabotError = QueryError(f"there is nothing at {path}", code="NOT_FOUND", hint="see /docs")
            case 405:
                found = QueryError(f"{method} is not possible at {path}")
            case _:
                found = QueryError(str(error.detail))
        response = problem_response(found, request.state.request_id, error.status_code)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response
