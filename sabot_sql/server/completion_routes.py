"""`GET /v1/completions`, for shells and consoles."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.completions import Completer
from sabot_sql.server.responses import json_response
from sabot_sql.server.threads import Threads


def add_completion_routes(app: FastAPI, manager: JobManager, threads: Threads) -> None:
    """Adds the route of completions."""
    completer = Completer(manager)

    @app.get("/v1/completions", tags=["statements"])
    async def get_completions(
        request: Request,
        prefix: Annotated[str, Query(description="the statement, at least as far as the cursor")] = "",
        position: Annotated[int | None, Query(ge=0, description="characters before the cursor; all of them by default")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """What may stand at the cursor of a statement that is being written."""
        at = len(prefix) if position is None else position
        return json_response(await threads.start(completer.complete, prefix, at, limit, request.state.principal.readable))
