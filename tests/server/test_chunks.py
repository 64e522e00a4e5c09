"""Results in chunks: the manifest agrees with the chunks, and stays the same over restarts."""

from __future__ import annotations

import base64
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import QueryError
from sabot_sql.server.result_chunks import ResultChunks, checksum_of, chunk_rows, value_bytes, wanted_range, write_chunk
from tests.server.live_server import LONG_QUERY, LiveServer, live_server, write_tables

ROWS = "SELECT (a.i * 10000 + b.i) AS n, a.name, b.half FROM numbers a, numbers b WHERE a.i < 20 ORDER BY n"


def stored(server: LiveServer, sql: str, **fields: Any) -> str:
    query_id = server.request("POST", "/v1/sql", {"sql": sql, "wait_ms": 0, **fields}).json()["query_id"]
    status = server.request("GET", f"/v1/queries/{query_id}?wait_ms=60000").json()
    assert status["state"] == "finished", status
    return str(query_id)


def manifest_of(server: LiveServer, query_id: str) -> dict[str, Any]:
    answer = server.request("GET", f"/v1/queries/{query_id}/result/manifest")
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


def test_chunks_together_are_the_result(server: LiveServer) -> None:
    query_id = stored(server, ROWS)
    manifest = manifest_of(server, query_id)
    chunks = [server.request("GET", chunk["url"]).data for chunk in manifest["chunks"]]
    assert [(len(c), checksum_of(c)) for c in chunks] == [(c["bytes"], c["crc32c"]) for c in manifest["chunks"]]
    assert (sum(map(len, chunks)), len(chunks)) == (manifest["total_bytes"], 4)
    tables = [pa.ipc.open_stream(chunk).read_all() for chunk in chunks]
    assert [t.num_rows for t in tables] == [c["rows"] for c in manifest["chunks"]] == [65536, 65536, 65536, 3392]
    whole = server.request("GET", f"/v1/queries/{query_id}/result?format=arrow").data
    assert pa.concat_tables(tables).equals(pa.ipc.open_stream(whole).read_all())
    assert pa.ipc.read_schema(pa.py_buffer(base64.b64decode(manifest["schema_b64"]))) == tables[0].schema
    assert [column["name"] for column in manifest["columns"]] == ["n", "name", "half"]


def test_empty_result_has_no_chunks(server: LiveServer) -> None:
    query_id = stored(server, "SELECT i FROM numbers WHERE i < 0")
    manifest = manifest_of(server, query_id)
    assert (manifest["chunks"], manifest["total_rows"], manifest["columns"][0]["sql_type"]) == ([], 0, "BIGINT")
    missing = server.request("GET", f"/v1/queries/{query_id}/result/chunks/0")
    assert (missing.status, missing.json()["code"]) == (404, "NOT_FOUND")


def test_a_part_of_a_chunk_is_fetched_by_range(server: LiveServer) -> None:
    chunk = manifest_of(server, stored(server, "SELECT * FROM numbers"))["chunks"][0]
    whole = server.request("GET", chunk["url"])
    part = server.request("GET", chunk["url"], Range="bytes=100-199")
    assert (part.status, part.data) == (206, whole.data[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{chunk['bytes']}"
    rest = server.request("GET", chunk["url"], Range="bytes=200-", If_Range=whole.headers["ETag"])
    assert (rest.status, rest.data) == (206, whole.data[200:])
    assert server.request("GET", chunk["url"], Range="bytes=200-", If_Range='"other"').status == 200
    assert server.request("GET", chunk["url"], Range="bytes=0-1,5-6").data == whole.data
    beyond = server.request("GET", chunk["url"], Range="bytes=99999999-")
    assert (beyond.status, beyond.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert beyond.headers["Content-Range"] == f"bytes */{chunk['bytes']}"


def test_chunk_that_the_client_has_is_not_sent_again(server: LiveServer) -> None:
    url = manifest_of(server, stored(server, "SELECT 1 AS one"))["chunks"][0]["url"]
    tag = server.request("GET", url).headers["ETag"]
    again = server.request("GET", url, If_None_Match=f'"old", W/{tag}')
    assert (again.status, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert server.request("GET", url, If_None_Match='"old"').status == 200


def test_manifest_of_a_query_that_has_no_result(server: LiveServer) -> None:
    running = server.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 0}).json()["query_id"]
    answer = server.request("GET", f"/v1/queries/{running}/result/manifest")
    assert (answer.status, answer.json()["code"]) == (409, "QUERY_NOT_FINISHED")
    server.request("DELETE", f"/v1/queries/{running}")
    gone = stored(server, "SELECT 1")
    server.request("DELETE", f"/v1/queries/{gone}")
    assert server.request("GET", f"/v1/queries/{gone}/result/chunks/0").status == 410


def test_manifest_is_the_same_after_a_restart(tmp_path: Path) -> None:
    data, state = write_tables(tmp_path / "data"), str(tmp_path / "state")
    sql = (
        "SELECT a.i, if(a.i % 3 = 0, NULL, a.name) AS name, a.i % 2 = 0 AS even, [a.i, NULL] AS list, "
        "{'h': a.half, 'n': if(a.i % 5 = 0, NULL, a.name)} AS s FROM numbers a ORDER BY a.i"
    )
    with live_server(data, "--agents", "2", "--state-dir", state) as server:
        query_id = stored(server, sql, route="distributed")
        before = manifest_of(server, query_id)
        assert before["total_rows"] == 10_000
    with live_server(data, "--agents", "2", "--state-dir", state) as server:
        assert manifest_of(server, query_id) == before


TABLE = pa.table(
    {
        "int": pa.array([1, None, 3] * 50),
        "flag": pa.array([True, None, False] * 50),
        "text": pa.array(["a", None, "ccc"] * 50),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.25")] * 50),
        "day": pa.array([dt.date(2026, 1, 1), None, dt.date(2026, 1, 3)] * 50),
        "list": pa.array([[1, None], None, [3]] * 50),
        "map": pa.array([[("k", 1)], None, []] * 50, pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"x": 1, "y": "z"}, None, {"x": None, "y": None}] * 50),
        "enum": pa.array(["x", None, "y"] * 50).dictionary_encode(),
        "nothing": pa.nulls(150),
    }
)


@pytest.mark.parametrize("name", TABLE.column_names)
def test_size_of_values_does_not_depend_on_how_they_lie(name: str) -> None:
    whole = TABLE[name].combine_chunks()
    cuts = [whole.slice(0, 7), whole.slice(7, 90), whole.slice(97)]
    assert sum(map(value_bytes, cuts)) in range(value_bytes(whole) - 3, value_bytes(whole) + 1)  # bits fill bytes


def test_chunk_does_not_depend_on_how_the_rows_lie() -> None:
    pieces = pa.concat_tables([TABLE.slice(0, 11), TABLE.slice(11, 60), TABLE.slice(71)])
    for index in range(3):
        assert write_chunk(pieces, index, 64) == write_chunk(TABLE, index, 64)


def test_chunks_of_wide_rows_have_fewer_rows() -> None:
    assert chunk_rows(pa.table({"a": ["x" * (1 << 20)] * 20})) == 4
    assert chunk_rows(pa.table({"a": ["x" * (20 << 20)]})) == 1
    assert chunk_rows(pa.table({"a": pa.array([], pa.string())})) == 1 << 16


def test_range_that_is_none_is_all_of_it() -> None:
    for header in (None, "", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "items=0-1", "bytes=0-1,2-3", "bytes=１-2"):
        assert wanted_range(header, 10) is None
    assert (wanted_range("bytes=0-99", 10), wanted_range("bytes=-99", 10)) == (slice(0, 10), slice(0, 10))
    for header in ("bytes=10-", "bytes=-0"):
        with pytest.raises(QueryError):
            wanted_range(header, 10)


def test_manifest_is_made_once_a_query() -> None:
    result = QueryResult("q_1", TABLE, (), "local", "", {})
    chunks = ResultChunks()
    assert chunks.manifest(result) == chunks.manifest(result)
    data, checksum = chunks.chunk(result, 0)
    assert checksum == checksum_of(data) == ResultChunks().chunk(result, 0)[1]
