from __future__ import annotations

import io
import json
import zlib
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.server.compression import CODINGS, coding_of
from tests.server.live_server import LiveServer


def plain(coding: str | None, data: bytes) -> bytes:
    match coding:
        case "gzip":
            return zlib.decompress(data, wbits=zlib.MAX_WBITS | 16)
        case "zstd":
            return bytes(pa.CompressedInputStream(pa.py_buffer(data), "zstd").read())
    return data


def ask(server: LiveServer, path: str, body: Any = None, **headers: str) -> Any:
    """The answer as it came, not decoded."""
    method = "GET" if body is None else "POST"
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return server.http.request(
        method, server.url + path, body=None if body is None else json.dumps(body), headers=named, decode_content=False
    )


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("zstd;q=0, *;q=0.5", "gzip"),
        ("*", "zstd"),
        ("br", None),
        ("gzip;q=x", None),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
    ],
)
def test_the_encoding_is_one_that_the_client_takes(header: str, coding: str | None) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "arrow"])
def test_large_answers_come_compressed(server: LiveServer, coding: str, kind: str) -> None:
    body = {"sql": "SELECT i, name, half FROM numbers ORDER BY i", "format": kind, "row_limit": 10_000}
    want, got = ask(server, "/v1/sql", body), ask(server, "/v1/sql", body, Accept_Encoding=coding)
    assert "Content-Encoding" not in want.headers
    assert (got.headers["Content-Encoding"], got.headers["Vary"]) == (coding, "Accept-Encoding")
    assert len(got.data) < len(want.data) / 2
    decoded = plain(coding, got.data)
    if kind == "json":
        assert b'"rows":[[0,"n0",0.0],' in decoded
    elif kind == "arrow":
        assert pa.ipc.open_stream(io.BytesIO(decoded)).read_all().num_rows == 10_000
    else:
        assert decoded == want.data


def test_small_answers_and_stored_bytes_come_as_they_are(server: LiveServer) -> None:
    small = ask(server, "/v1/sql", {"sql": "SELECT 1", "format": "csv"}, Accept_Encoding="gzip")
    assert ("Content-Encoding" in small.headers, small.headers["Vary"], small.data) == (False, "Accept-Encoding", b"1\n1\n")
    query_id = server.sql("SELECT * FROM numbers", row_limit=1)["query_id"]
    for path in ("result/chunks/0", "result?format=parquet"):
        stored = ask(server, f"/v1/queries/{query_id}/{path}", Accept_Encoding="gzip")
        assert (stored.status, "Content-Encoding" in stored.headers) == (200, False)


def test_errors_and_descriptions_can_be_compressed(server: LiveServer) -> None:
    sql = "SELECT nothing FROM numbers WHERE '" + "x" * 5000 + "' = name"
    error = ask(server, "/v1/sql", {"sql": sql}, Accept_Encoding="zstd")
    assert error.status == 400
    assert b"UNDEFINED_COLUMN" in plain(error.headers.get("Content-Encoding"), error.data)
    described = ask(server, "/openapi.json", Accept_Encoding="gzip")
    assert b'"/v1/sql"' in plain("gzip", described.data)


def test_a_statement_in_the_address(server: LiveServer) -> None:
    answer = server.request("GET", "/v1/sql?format=csv&sql=SELECT%20count(*)%20AS%20n%20FROM%20numbers")
    assert (answer.status, answer.data) == (200, b"n\n10000\n")
    assert server.request("GET", "/v1/sql?sql=SELECT%201&route=local").json()["rows"] == [[1]]
    for query, said in (
        ("", "the field sql is missing"),
        ("?sql=SELECT%201&nonsense=1", "unknown field nonsense"),
        ("?sql=SELECT%201&sql=SELECT%202", "the field sql is given twice"),
    ):
        refused = server.request("GET", f"/v1/sql{query}")
        assert (refused.status, said in refused.json()["detail"]) == (400, True)
    written = server.request("GET", "/v1/sql?sql=CREATE%20TABLE%20x%20(i%20INT)")
    assert written.json()["code"] == "READ_ONLY"
