"""Routes of the service itself: agents, versions, health, metrics."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response

from sabot_sql.client.contract import agent_to_json
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.auth import Access, needs_admin
from sabot_sql.server.cluster import cluster_to_json
from sabot_sql.server.edge import Door
from sabot_sql.server.event_feed import EventFeeds
from sabot_sql.server.metrics import OPENMETRICS, PROMETHEUS, metrics_of, write_metrics
from sabot_sql.server.query_routes import RESULT_FORMATS
from sabot_sql.server.responses import json_response
from sabot_sql.server.sql_request import BODY_BYTES, INLINE_BYTES, INLINE_ROWS, MAX_WAIT_MS
from sabot_sql.server.threads import MAX_REQUESTS, Threads

log = logging.getLogger("sabot_sql.server")

MAX_AGENTS = 1024

Wanted = Annotated[int, Body(embed=True, alias="desired", ge=1, le=MAX_AGENTS)]


def add_service_routes(app: FastAPI, manager: JobManager, threads: Threads, door: Door, feeds: EventFeeds) -> None:
    """Adds agents, info, health and metrics. Health needs no key."""
    admin = [Depends(needs_admin)]

    @app.get("/v1/agents", tags=["service"])
    async def list_agents() -> Response:
        """The agents of the pool."""
        return await agents_now(200)

    @app.post("/v1/agents/{agent_id}/drain", tags=["service"], status_code=202, dependencies=admin)
    async def drain_agent(request: Request, agent_id: str) -> Response:
        """Give an agent no more tasks, let it finish and hand over, and end it."""
        await threads.start(manager.drain_agent, agent_id)
        tell(request, f"drains agent {agent_id}")
        return await agents_now(202)

    @app.post("/v1/agents/{agent_id}/resume", tags=["service"], dependencies=admin)
    async def resume_agent(request: Request, agent_id: str) -> Response:
        """Keep an agent that is being drained."""
        await threads.start(manager.resume_agent, agent_id)
        tell(request, f"keeps agent {agent_id}")
        return await agents_now(200)

    @app.delete("/v1/agents/{agent_id}", tags=["service"], status_code=202, dependencies=admin)
    async def remove_agent(request: Request, agent_id: str) -> Response:
        """Drain an agent and end it; of one that is being drained already nothing changes."""
        await threads.start(drain, agent_id)
        tell(request, f"ends agent {agent_id}")
        return await agents_now(202)

    @app.get("/v1/cluster", tags=["service"])
    async def get_cluster() -> Response:
        """Agents and queries summed up, and the limits."""
        return json_response(await threads.start(cluster))

    @app.put("/v1/cluster/agents", tags=["service"], status_code=202, dependencies=admin)
    async def scale_agents(request: Request, wanted: Wanted) -> Response:
        """Start agents, or drain some, until there are so many."""
        await threads.start(manager.scale_agents, wanted)
        tell(request, f"has {wanted} agents")
        return await agents_now(202)

    def drain(agent_id: str) -> None:
        if not any(agent.id == agent_id and agent.state == "draining" for agent in manager.agents()):
            manager.drain_agent(agent_id)

    def cluster() -> dict[str, Any]:
        return cluster_to_json(manager.agents(), manager.load(), manager.info()["limits"])

    def metrics(openmetrics: bool) -> str:
        return write_metrics(metrics_of(manager, feeds.clients, door.responses), openmetrics)

    async def agents_now(status: int) -> Response:
        agents = await threads.start(manager.agents)
        return json_response({"agents": [agent_to_json(agent) for agent in agents]}, status)

    @app.get("/v1/info", tags=["service"])
    async def info() -> Response:
        """Versions, formats and limits."""
        found = await threads.start(manager.info)
        return json_response(service_info(found, door.access, manager.settings.client_timeout_s, manager.settings.upload_bytes))

    texts: dict[str, Any] = {PROMETHEUS: {}, OPENMETRICS: {}}

    @app.get("/metrics", tags=["health"], response_class=Response, responses={200: {"content": texts}})
    async def get_metrics(request: Request) -> Response:
        """What the server does and did, as Prometheus reads it."""
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        text = await threads.start(metrics, openmetrics)
        return Response(text, headers={"Content-Type": OPENMETRICS if openmetrics else PROMETHEUS, "Cache-Control": "no-store"})

    @app.get("/livez", tags=["health"])
    async def livez() -> Response:
        """200 as long as the server answers at all."""
        return json_response({"live": True})

    @app.get("/readyz", tags=["health"])
    @app.get("/healthz", tags=["health"])
    async def readyz() -> Response:
        """200 when queries are taken, 503 otherwise."""
        found = readiness(await threads.start(manager.ready), door.closing)
        return json_response(found, 200 if found["ready"] else 503)


def tell(request: Request, what: str) -> None:
    """Say in the log who changes the agents."""
    user, request_id = request.state.principal.user, request.state.request_id
    log.info("%s %s", user, what, extra={"fields": {"user": user, "request_id": request_id}})


def readiness(engine: dict[str, Any], closing: bool) -> dict[str, Any]:
    """The object of `GET /readyz`: every check under `checks`, whoever made it."""
    own = {name: value for name, value in engine.items() if name not in ("ready", "checks")}
    checks = {**own, **engine.get("checks", {}), **({"server": "stopping"} if closing else {})}
    return {"ready": bool(engine.get("ready")) and not closing, "checks": checks}


def service_info(engine: dict[str, Any], access: Access, client_timeout_s: float, upload_bytes: int) -> dict[str, Any]:
    """The object of `GET /v1/info`: what an engine says of itself anywhere, and what the server adds."""
    limits = {
        "wait_ms": MAX_WAIT_MS,
        "inline_rows": INLINE_ROWS,
        "inline_bytes": INLINE_BYTES,
        "body_bytes": BODY_BYTES,
        "upload_bytes": upload_bytes,
        "requests": MAX_REQUESTS,
        "client_timeout_s": client_timeout_s,
    }
    auth = [name for name, there in (("api_key", bool(access.keys)), ("jwt", access.tokens is not None)) if there]
    own = {"formats": list(RESULT_FORMATS), "auth": auth}
    return {**engine, **own, "limits": engine["limits"] | limits}
