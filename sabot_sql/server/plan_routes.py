"""`GET /v1/queries/{id}/plan`: how a query runs or ran."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response

from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.ownership import own_record
from sabot_sql.server.plan_document import plan_to_json
from sabot_sql.server.principal import Principal
from sabot_sql.server.responses import json_response
from sabot_sql.server.threads import Threads


def add_plan_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance) -> None:
    """Adds the route of plans."""

    def read_plan(query_id: str, principal: Principal) -> dict[str, Any]:
        return plan_to_json(own_record(manager, query_id, principal))

    @app.get("/v1/queries/{query_id}/plan", tags=["queries"])
    async def get_plan(request: Request, query_id: str) -> Response:
        """The stages of a query with what they did so far, which reads which, and the plan as text."""
        with attendance.asking(query_id):
            return json_response(await threads.start(read_plan, query_id, request.state.principal))
