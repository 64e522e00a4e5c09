"""Routes of stored results in chunks: the manifest, and each chunk with `ETag` and `Range`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response

from sabot_sql.client.contract import ARROW_STREAM
from sabot_sql.errors import QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.ownership import own_record
from sabot_sql.server.principal import Principal
from sabot_sql.server.problems import problem_response
from sabot_sql.server.responses import json_response
from sabot_sql.server.result_chunks import ResultChunks, wanted_range
from sabot_sql.server.threads import Threads


def add_chunk_routes(app: FastAPI, manager: JobManager, threads: Threads, attendance: Attendance) -> None:
    """Adds the routes under `/v1/queries/{id}/result/`."""
    chunks = ResultChunks()

    def read_manifest(query_id: str, principal: Principal) -> dict[str, Any]:
        own_record(manager, query_id, principal)
        return chunks.manifest(manager.result(query_id))

    def read_chunk(query_id: str, principal: Principal, index: int) -> tuple[bytes, str]:
        own_record(manager, query_id, principal)
        return chunks.chunk(manager.result(query_id), index)

    @app.get("/v1/queries/{query_id}/result/manifest", tags=["queries"])
    async def get_manifest(request: Request, query_id: str) -> Response:
        """The chunks of a finished query's answer: rows, bytes, checksums and addresses."""
        with attendance.asking(query_id):
            found = await threads.start(read_manifest, query_id, request.state.principal)
        return json_response(found, headers={"X-Sabot-Query-Id": query_id, "X-Sabot-State": "finished"})

    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "the chunk", "content": {ARROW_STREAM: {}}},
        206: {"description": "a range of its bytes", "content": {ARROW_STREAM: {}}},
        304: {"description": "the client has it"},
        416: {"description": "the range begins past its end"},
    }

    @app.get("/v1/queries/{query_id}/result/chunks/{index}", tags=["queries"], response_class=Response, responses=answers)
    async def get_chunk(request: Request, query_id: str, index: Annotated[int, Path(ge=0, le=1 << 31)]) -> Response:
        """One chunk of the answer as an Arrow IPC stream, or a range of its bytes."""
        with attendance.asking(query_id):
            data, checksum = await threads.start(read_chunk, query_id, request.state.principal, index)
        return chunk_response(request, query_id, data, f'"{query_id}-{index}-{checksum}"')


def chunk_response(request: Request, query_id: str, data: bytes, tag: str) -> Response:
    """200 with all of `data`, 206 with a part, 304 where the client has it, 416 for a part that there is not."""
    headers = {
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Sabot-Query-Id": query_id,
        "X-Sabot-State": "finished",
    }
    if names_tag(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    asked = request.headers.get("range")
    if (condition := request.headers.get("if-range")) is not None and condition.strip() != tag:
        asked = None
    try:
        part = wanted_range(asked, len(data))
    except QueryError as error:
        response = problem_response(error, request.state.request_id)
        response.headers["Content-Range"] = f"bytes */{len(data)}"
        return response
    if part is None:
        return Response(data, 200, headers, ARROW_STREAM)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    return Response(data[part], 206, headers, ARROW_STREAM)


def names_tag(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names the tag."""
    return header is not None and any(given.strip().removeprefix("W/") in ("*", tag) for given in header.split(","))
