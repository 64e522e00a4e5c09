"""Bodies that make tables, and the requests that put them."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3

from tests.server.live_server import LiveServer

ARROW, PARQUET, CSV = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet", "text/csv"


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    """`table` as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    """`table` as a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def put(
    server: LiveServer, name: str, body: Any, mode: str | None = None, kind: str = ARROW, **headers: str
) -> urllib3.BaseHTTPResponse:
    """Puts a body, or an Arrow table as an Arrow stream; `name` as it stands in the address."""
    data = arrow(body) if isinstance(body, pa.Table) else body
    path = f"/v1/tables/memory/main/{name}/data" + (f"?mode={mode}" if mode else "")
    return server.request("PUT", path, data, Content_Type=kind, **headers)


def drop(server: LiveServer, name: str, **headers: str) -> int:
    """Drops a table; the status."""
    return server.request("DELETE", f"/v1/tables/memory/main/{name}", **headers).status


def problem(answer: urllib3.BaseHTTPResponse) -> tuple[int, str, str]:
    """Status, code and detail of an error."""
    found = answer.json()
    return answer.status, found["code"], found["detail"]
