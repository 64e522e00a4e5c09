from __future__ import annotations

import json
import re
import time
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.client.contract import ARROW_STREAM
from tests.server.live_server import LONG_QUERY, LiveServer


def test_answer_has_the_fields_of_the_contract(server: LiveServer) -> None:
    found = server.sql("SELECT i, name FROM numbers WHERE i < 2 ORDER BY i")
    assert found["rows"] == [[0, "n0"], [1, "n1"]]
    assert found["columns"] == [
        {"name": "i", "type": "int64", "sql_type": "BIGINT", "nullable": True},
        {"name": "name", "type": "string", "sql_type": "VARCHAR", "nullable": True},
    ]
    assert (found["state"], found["route"], found["row_count"], found["truncated"]) == ("finished", "local", 2, False)
    assert (found["rows_affected"], found["statement_type"], found["warnings"]) == (None, "SELECT", [])
    assert found["reason"]
    expected = {"elapsed_ms", "parse_ms", "plan_ms", "queue_ms", "exec_ms", "engine", "estimated_rows", "rows_scanned",
                "bytes_scanned", "stages", "tasks", "agents", "retries"}  # fmt: skip
    assert expected <= found["stats"].keys()


def test_headers_tell_what_rows_alone_cannot(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/sql", {"sql": "SELECT 1 a", "format": "csv"}, X_Request_Id="mine-1")
    assert answer.data == b"a\n1\n"
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.headers["X-Sabot-Route"] == "local"
    assert answer.headers["X-Sabot-State"] == "finished"
    assert answer.headers["X-Sabot-Query-Id"].startswith("q_")
    assert json.loads(answer.headers["X-Sabot-Stats"])["elapsed_ms"] > 0
    assert "exec;dur=" in answer.headers["Server-Timing"]


def test_body_may_come_in_pieces(server: LiveServer) -> None:
    pieces = iter([b'{"sql": "SELECT ', b"length('", b"x" * 100_000, b"')\"}"])
    headers = {"Content-Type": "application/json"}
    answer = server.http.request("POST", f"{server.url}/v1/sql", body=pieces, headers=headers, retries=False)
    assert answer.json()["rows"] == [[100_000]]


@pytest.mark.parametrize("path", ["/v1/sql", "/v1/validate", "/v1/nowhere"])
def test_request_id_comes_back_once(server: LiveServer, path: str) -> None:
    for given in ("my-id.1", "not an id"):
        ids = server.request("POST", path, {"sql": "SELECT 1"}, X_Request_Id=given).headers.getlist("X-Request-Id")
        assert len(ids) == 1
        assert (ids == [given]) == (given == "my-id.1")
        assert ids[0] == given or re.fullmatch("r_[0-9a-f]{32}", ids[0])


def test_bare_statement_with_options_in_the_query_string(server: LiveServer) -> None:
    path = "/v1/sql?format=ndjson&route=local"
    answer = server.request("POST", path, "SELECT 1 a, NULL b; -- done", Content_Type="application/sql")
    assert (answer.status, answer.data) == (200, b'{"a":1,"b":null}\n')


def test_arrow_stream_carries_the_query_in_its_metadata(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/sql", {"sql": "SELECT i FROM numbers ORDER BY i"}, Accept=ARROW_STREAM)
    table = pa.ipc.open_stream(answer.data).read_all()
    meta = json.loads(table.schema.metadata[b"sabot.query"])
    assert (answer.headers["Content-Type"], table.num_rows, meta["row_count"]) == (ARROW_STREAM, 10_000, 10_000)
    assert meta["columns"][0]["sql_type"] == "BIGINT"
    assert table["i"][9_999].as_py() == 9_999


def test_large_arrow_answer_is_streamed_whole(server: LiveServer) -> None:
    sql = "SELECT i, i * 2 b, i * 3 c FROM range(1000000) t(i)"
    answer = server.request("POST", "/v1/sql", {"sql": sql}, Accept=ARROW_STREAM)
    assert "Content-Length" not in answer.headers
    assert pa.ipc.open_stream(answer.data).read_all().num_rows == 1_000_000


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/html, application/x-ndjson;q=0.5, text/csv;q=0.1", "application/x-ndjson"),
        ("application/*", "application/json"),
    ],
)
def test_accept_chooses_the_format(server: LiveServer, accept: str, media: str) -> None:
    assert server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Accept=accept).headers["Content-Type"] == media


def test_parameters_are_named_positional_and_typed(server: LiveServer) -> None:
    assert server.sql("SELECT $a + 1, $b", params={"a": 41, "b": "x"})["rows"] == [[42, "x"]]
    assert server.sql("SELECT ? || $2", params=["a", "b"])["rows"] == [["ab"]]
    found = server.sql("SELECT $d - 1 d", params={"d": "2026-01-01"}, param_types={"d": "date"})
    assert found["rows"] == [["2025-12-31"]]


def test_row_limit_truncates_and_links_to_the_whole(server: LiveServer) -> None:
    found = server.sql("SELECT i FROM numbers ORDER BY i", row_limit=3)
    assert (found["rows"], found["truncated"], found["row_count"], found["total_rows"]) == ([[0], [1], [2]], True, 3, 10_000)
    whole = server.request("GET", found["links"]["result"]).json()
    assert (len(whole["rows"]), whole["truncated"]) == (10_000, False)


def test_byte_limit_cuts_between_rows(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/sql", {"sql": "SELECT i FROM numbers ORDER BY i", "byte_limit": 1000, "format": "csv"})
    lines = answer.data.decode().splitlines()
    assert answer.headers["X-Sabot-Truncated"] == "true"
    assert 900 < len(answer.data) <= 1000
    assert lines == ["i", *map(str, range(len(lines) - 1))]


def test_ten_thousand_rows_are_the_default_limit(server: LiveServer) -> None:
    found = server.sql("SELECT * FROM range(10001)")
    assert (found["row_count"], found["truncated"]) == (10_000, True)


def test_64_bit_integers_as_text(server: LiveServer) -> None:
    assert server.sql("SELECT 9007199254740993 a, 1::INT b", json_int64="string")["rows"] == [["9007199254740993", 1]]


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_query_past_its_wait_is_answered_later(server: LiveServer, route: str) -> None:
    body = {"sql": "SELECT count(*) n FROM numbers WHERE i % 7 = 3", "route": route, "wait_ms": 0}
    first = server.request("POST", "/v1/sql", body)
    status = first.json()
    if first.status == 202:
        assert first.headers["Location"] == status["links"]["self"] == f"/v1/queries/{status['query_id']}"
        assert first.headers["Retry-After"] == "1"
        status = server.request("GET", f"{first.headers['Location']}?wait_ms=60000").json()
    assert (status["state"], status["route"]) == ("finished", route)
    assert server.request("GET", f"/v1/queries/{status['query_id']}/result").json()["rows"] == [[1429]]


def test_prefer_header_stands_for_wait(server: LiveServer) -> None:
    assert server.request("POST", "/v1/sql", {"sql": LONG_QUERY, "timeout_ms": 500}, Prefer="respond-async").status == 202


def test_wait_that_ends_can_cancel(server: LiveServer) -> None:
    answer = server.request(
        "POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 200, "on_wait_timeout": "cancel"}
    )
    query_id = answer.headers["X-Sabot-Query-Id"]
    assert answer.status in (202, 409)
    assert server.request("GET", f"/v1/queries/{query_id}?wait_ms=10000").json()["state"] == "cancelled"


def test_client_that_leaves_cancels_its_query(server: LiveServer) -> None:
    tag = f"left-{time.time()}"
    with pytest.raises(Exception, match="timed out|Read timed out"):
        server.http.request(
            "POST", f"{server.url}/v1/sql", body=json.dumps({"sql": LONG_QUERY, "route": "local", "tags": {"t": tag}}),
            headers={"Content-Type": "application/json"}, timeout=0.5, retries=False,
        )  # fmt: skip
    deadline = time.monotonic() + 10
    while (found := tagged(server, tag))["state"] not in ("cancelled", "failed") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found["state"] == "cancelled"


def tagged(server: LiveServer, tag: str) -> dict[str, Any]:
    queries = server.request("GET", "/v1/queries").json()["queries"]
    return next(query for query in queries if query["tags"].get("t") == tag)


@pytest.mark.parametrize("fields", [{"sql": "SELECT nam FROM people"}, {"sql": "SELECT 1 +"}, {"sql": "SELECT * FROM nowhere"}])
@pytest.mark.parametrize("route", ["local", "distributed"])
@pytest.mark.parametrize("wait_ms", [0, 200, 10_000])
def test_query_that_cannot_be_planned_is_answered_with_its_error(
    server: LiveServer, fields: dict[str, Any], route: str, wait_ms: int
) -> None:
    for headers in ({}, {"Idempotency_Key": f"{fields}{route}{wait_ms}"}):
        answer = server.request("POST", "/v1/sql", {**fields, "route": route, "wait_ms": wait_ms}, **headers)
        assert (answer.status, answer.headers["X-Sabot-State"]) == (400, "failed")


def test_repeated_key_says_that_it_is_a_replay(server: LiveServer) -> None:
    for body in (
        {"sql": "SELECT 1 a"},
        {"sql": "SELECT nam FROM people"},
        {"sql": LONG_QUERY, "wait_ms": 0, "timeout_ms": 2000},
    ):
        key = f"replay-{body['sql']}"
        first, second = (server.request("POST", "/v1/sql", body, Idempotency_Key=key) for _ in range(2))
        assert first.status == second.status
        assert [a.headers.get("Idempotency-Replayed") for a in (first, second)] == [None, "true"]


def test_names_are_looked_up_in_the_only_catalog_and_schema(server: LiveServer) -> None:
    assert server.sql("SELECT count(*) FROM people", catalog="Memory", schema="main")["rows"] == [[3]]
    for fields in ({"catalog": "lake"}, {"schema": "public"}):
        for path in ("/v1/sql", "/v1/explain"):
            problem = server.request("POST", path, {"sql": "SELECT 1", **fields}).json()
            assert problem["code"] == "NOT_SUPPORTED"
            assert all(word in problem["detail"] for word in next(iter(fields.items())))


def test_idempotency_key_gives_one_query(server: LiveServer) -> None:
    body = {"sql": "SELECT uuid() u"}
    first, second = (server.request("POST", "/v1/sql", body, Idempotency_Key="once").json() for _ in range(2))
    assert first["query_id"] == second["query_id"]
    assert first["rows"] == second["rows"]


def test_distributed_route_gives_the_same_rows(server: LiveServer) -> None:
    sql = "SELECT i % 3 k, count(*) n, sum(half) s, avg(half) a FROM numbers GROUP BY k ORDER BY k"
    local, distributed = (server.sql(sql, route=route, wait_ms=60_000) for route in ("local", "distributed"))
    assert distributed["rows"] == local["rows"]
    assert distributed["columns"] == local["columns"]
    assert (distributed["route"], distributed["stats"]["agents"]) == ("distributed", 2)


def test_explain_gives_route_reason_and_plan_without_running(server: LiveServer) -> None:
    found = server.request("POST", "/v1/explain", {"sql": "SELECT count(*) FROM numbers", "route": "distributed"}).json()
    assert found["route"] == "distributed"
    assert found["reason"]
    assert found["statement_type"] == "SELECT"
    assert found["tables"] == ["numbers"]
    assert "numbers" in found["text"]
    assert found["estimate"]["confidence"] == "exact"


def test_explain_analyze_runs(server: LiveServer) -> None:
    body = {"sql": "SELECT count(*) FROM numbers", "route": "local", "analyze": True}
    assert server.request("POST", "/v1/explain", body).status == 200
