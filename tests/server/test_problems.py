"""Each error of the contract that a client can bring about, against its golden problem object."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.server.live_server import LONG_QUERY, LiveServer

GOLDENS = Path(__file__).parent / "goldens" / "problems.json"
VARYING = ("request_id", "query_id", "instance", "engine_message")

STATEMENTS: dict[str, dict[str, Any]] = {
    "empty": {"sql": " -- nothing\n"},
    "syntax": {"sql": "SELECT\n  count( FROM numbers"},
    "unknown table": {"sql": "SELECT * FROM number"},
    "unknown column": {"sql": "SELECT nam FROM people"},
    "unknown function": {"sql": "SELECT lenght(name) FROM people"},
    "ambiguous column": {"sql": "SELECT name FROM people JOIN numbers ON id = i"},
    "type mismatch": {"sql": "SELECT abs(DATE '2026-01-01')"},
    "invalid value": {"sql": "SELECT CAST(name AS INTEGER) FROM people"},
    "several statements": {"sql": "SELECT 1; SELECT 2"},
    "file function": {"sql": "SELECT * FROM read_csv('/etc/passwd')"},
    "file as table": {"sql": "SELECT * FROM '/etc/passwd'"},
    "copy": {"sql": "COPY people TO '/tmp/people.csv'"},
    "create table": {"sql": "CREATE TABLE x AS SELECT 1"},
    "insert": {"sql": "INSERT INTO people VALUES (4, 'x')"},
    "missing parameter": {"sql": "SELECT $a + 1"},
    "wrong parameter": {"sql": "SELECT $a", "params": {"a": "x"}, "param_types": {"a": "date"}},
    "unknown field": {"sql": "SELECT 1", "wait": 5},
    "catalog that is not there": {"sql": "SELECT 1", "catalog": "lake"},
    "field out of range": {"sql": "SELECT 1", "wait_ms": 60_001},
    "field of another type": {"sql": 5},
    "field not built": {"sql": "SELECT 1", "settings": {"threads": 1}},
    "no sql": {"route": "local"},
    "stored format only": {"sql": "SELECT 1", "format": "parquet"},
    "time is up": {"sql": LONG_QUERY, "route": "local", "timeout_ms": 200},
    "too large": {"sql": "SELECT " + "1 + " * 100_000 + "1"},
}


def brought_about(server: LiveServer) -> dict[str, Any]:
    found = {name: server.request("POST", "/v1/sql", body) for name, body in STATEMENTS.items()}
    found["not json"] = server.request("POST", "/v1/sql", "{", Content_Type="application/json")
    found["form"] = server.request("POST", "/v1/sql", "sql=1", Content_Type="application/x-www-form-urlencoded")
    found["not utf-8"] = server.request("POST", "/v1/sql", b"SELECT '\xff'", Content_Type="application/sql")
    found["format of nobody"] = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Accept="image/png")
    found["unknown option"] = server.request("POST", "/v1/sql?fromat=csv", "SELECT 1", Content_Type="application/sql")
    found["options beside json"] = server.request("POST", "/v1/sql?format=csv", {"sql": "SELECT 1"})
    found["unknown option of a list"] = server.request("GET", "/v1/queries?limits=5")
    found["long key"] = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Idempotency_Key="k" * 129)
    server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Idempotency_Key="golden")
    found["key used again"] = server.request("POST", "/v1/sql", {"sql": "SELECT 2"}, Idempotency_Key="golden")
    found["unknown query"] = server.request("GET", "/v1/queries/q_0")
    invalid = {
        "syntax": "SELECT\n  count( FROM numbers",
        "unknown column": "SELECT nam FROM people",
        "writing": "DROP TABLE people",
    }
    for name, sql in invalid.items():
        found[f"invalid: {name}"] = server.request("POST", "/v1/validate", {"sql": sql})
    found["unknown catalog"] = server.request("GET", "/v1/catalogs/lake/schemas")
    found["preview of no table"] = server.request("GET", "/v1/tables/memory/main/nothing/preview")
    found["preview of nothing"] = server.request("GET", "/v1/tables/memory/main/people/preview?limit=0")
    found |= brought_about_by_tables(server)
    found["no cursor"] = server.request("GET", "/v1/queries?cursor=!")
    found["cursor of another list"] = server.request("GET", "/v1/tables?cursor=WzEsInEiXQ")
    found["unknown query's plan"] = server.request("GET", "/v1/queries/q_0/plan")
    found["unknown query's events"] = server.request("GET", "/v1/queries/q_0/events")
    found["unknown query's manifest"] = server.request("GET", "/v1/queries/q_0/result/manifest")
    small = server.sql("SELECT 1", row_limit=0)["query_id"]
    found["chunk that is not there"] = server.request("GET", f"/v1/queries/{small}/result/chunks/7")
    chunk = f"/v1/queries/{small}/result/chunks/0"
    found["range past the end"] = server.request("GET", chunk, Range="bytes=9999999-")
    found["event of nobody"] = server.request("GET", "/v1/queries/q_0/events", Last_Event_ID="e5")
    found["unknown path"] = server.request("GET", "/v1/nothing")
    found["wrong method"] = server.request("PUT", "/v1/sql")
    found["unknown table path"] = server.request("GET", "/v1/tables/memory/main/nothing")
    found["strange host"] = server.request("GET", "/v1/info", Host="rebound.example")
    return found


def brought_about_by_tables(server: LiveServer) -> dict[str, Any]:
    arrow, csv = "application/vnd.apache.arrow.stream", "text/csv"
    puts = {
        "table that is there": ("people", csv, b"a\n1\n"),
        "table of the data replaced": ("people/data?mode=replace", csv, b"a\n1\n"),
        "append to no table": ("nothing/data?mode=append", csv, b"a\n1\n"),
        "no name of a table": ("a.b", csv, b"a\n1\n"),
        "table of json": ("golden", "application/json", b"{}"),
        "table of nothing": ("golden", csv, b""),
        "table of no arrow": ("golden", arrow, b"a,b\n" * 9),
        "table of equal columns": ("golden", csv, b"a,b,A\n1,2,3\n"),
    }
    found = {}
    for name, (table, kind, body) in puts.items():
        path = f"/v1/tables/memory/main/{table}" + ("" if "/data" in table else "/data")
        found[name] = server.request("PUT", path, body, Content_Type=kind)
    found["drop of no table"] = server.request("DELETE", "/v1/tables/memory/main/nothing")
    found["drop of a table of the data"] = server.request("DELETE", "/v1/tables/memory/main/people")
    source = {"type": "parquet", "uri": "/etc"}
    found["files that may not be registered"] = server.request("POST", "/v1/tables", {"name": "golden", "source": source})
    return found


def test_problems_are_those_of_the_goldens(server: LiveServer) -> None:
    problems = {}
    for name, answer in brought_about(server).items():
        assert answer.headers["Content-Type"] == "application/problem+json", (name, answer.status, answer.data[:300])
        problem = answer.json()
        assert problem["status"] == answer.status
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        problem["detail"] = re.sub(r"\d+\.\d+ s$", "… s", problem["detail"])
        for field in ("detail", "hint"):
            problem[field] = re.sub(r"q_[0-9a-f]{32}", "q_…", problem[field]) if problem[field] else problem[field]
        problems[name] = {key: value for key, value in problem.items() if key not in VARYING}
    if os.environ.get("WRITE_GOLDENS"):
        GOLDENS.write_text(json.dumps(problems, indent=1, ensure_ascii=False) + "\n")
    assert problems == json.loads(GOLDENS.read_text())


def test_body_over_the_limit_is_refused(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/sql", b"x" * ((64 << 20) + 1), Content_Type="application/sql")
    assert (answer.status, answer.json()["code"]) == (413, "BODY_TOO_LARGE")


def test_error_of_a_query_leads_to_its_status(server: LiveServer) -> None:
    problem = server.request("POST", "/v1/sql", {"sql": "SELECT nam FROM people"}).json()
    assert problem["instance"] == f"/v1/queries/{problem['query_id']}"
    status = server.request("GET", problem["instance"])
    assert (status.status, status.json()["state"]) == (200, "failed")
    assert status.json()["error"]["code"] == "UNDEFINED_COLUMN"


@pytest.mark.parametrize("path", ["/v1/queries?limit=0", "/v1/queries?state=lost", "/v1/queries/q_1?wait_ms=-1"])
def test_bad_query_string_is_a_bad_request(server: LiveServer, path: str) -> None:
    answer = server.request("GET", path)
    assert (answer.status, answer.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT CAST(name AS INTEGER) FROM people",
        "SELECT id + 9223372036854775807 FROM people",
        "SELECT id // (id - 1) FROM people",
        "SELECT timestamptz '2026-01-01' AT TIME ZONE name FROM people",
        "SELECT name FROM people LIMIT -1",
    ],
)
def test_error_is_the_same_on_every_route(server: LiveServer, sql: str) -> None:
    found = [server.request("POST", "/v1/sql", {"sql": sql, "route": route}).json() for route in ("local", "distributed")]
    told = [{key: problem[key] for key in ("code", "status", "title", "sqlstate", "kind", "retryable")} for problem in found]
    assert told[0] == told[1]


def test_unknown_time_zone_is_an_invalid_value_on_every_route(server: LiveServer) -> None:
    for route in ("local", "distributed"):
        body = {"sql": "SELECT count(*) FROM people", "timezone": "Mars/Base", "route": route}
        assert server.request("POST", "/v1/sql", body).json()["code"] == "INVALID_VALUE"


@pytest.mark.parametrize("path", ["/v1/info", "/livez", "/v1/queries?state=finished", "/v1/tables", "/v1/agents"])
def test_head_is_get_without_a_body(server: LiveServer, path: str) -> None:
    head, get = (server.request(method, path) for method in ("HEAD", "GET"))
    assert (head.status, head.data) == (200, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert server.request("HEAD", "/v1/nothing").status == 404
    assert server.request("HEAD", "/v1/explain").status == 405


@pytest.mark.parametrize("path", ["/v1/info?a=1", "/v1/tables/memory/main/people?column=1", "/v1/queries/q_1/result?form=csv"])
def test_unknown_field_of_the_query_string_is_named(server: LiveServer, path: str) -> None:
    problem = server.request("GET", path).json()
    assert (problem["status"], problem["code"]) == (400, "BAD_REQUEST")
    assert problem["detail"] == f"unknown field {path.partition('?')[2].partition('=')[0]}"
    if "form=" in path:
        assert problem["hint"] == "did you mean format?"


@pytest.mark.parametrize("name", ["%00", "%0a", "a%0d%0ab", "%E2%82%AC", "x" * 5000, "a%20b"])
def test_an_id_that_is_none_is_not_found(server: LiveServer, name: str) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "/plan"),
        ("GET", "/events"),
        ("GET", "/result"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ):
        answer = server.request(method, f"/v1/queries/{name}{path}")
        assert (answer.status, answer.json()["code"]) == (404, "QUERY_NOT_FOUND"), path
    assert server.request("GET", f"/v1/batches/{name}").json()["code"] == "QUERY_NOT_FOUND"
