from __future__ import annotations

import time

import duckdb
import jsonschema

from tests.server.live_server import LiveServer


def test_tables_are_listed_with_their_sizes(server: LiveServer) -> None:
    found = server.request("GET", "/v1/tables").json()
    assert [table["name"] for table in found["tables"]] == ["numbers", "people"]
    numbers = found["tables"][0]
    assert (numbers["rows"], numbers["row_count_kind"], numbers["files"], numbers["format"]) == (10_000, "exact", 2, "parquet")
    assert numbers["bytes"] > 0
    assert [table["name"] for table in server.request("GET", "/v1/tables?like=PEO%25").json()["tables"]] == ["people"]
    assert server.request("GET", "/v1/tables?catalog=other").json()["tables"] == []


def test_table_is_described(server: LiveServer) -> None:
    listed = server.request("GET", "/v1/tables?columns=1").json()["tables"][0]
    found = server.request("GET", f"/v1/tables/{listed['catalog']}/{listed['schema']}/NUMBERS").json()
    column = found["columns"][0]
    assert (column["name"], column["sql_type"], column["type"]) == ("i", "BIGINT", "int64")
    assert (column["min"], column["max"], column["null_count"]) == (0, 9_999, 0)
    values = ("most_common", "histogram")
    assert [{k: v for k, v in c.items() if k not in values} for c in found["columns"]] == listed["columns"]


def test_statistics_of_a_table_are_learnt_when_it_is_asked_for(server: LiveServer) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = server.request("GET", "/v1/tables/memory/main/numbers").json()
        if found["learnt_at"]:
            break
        time.sleep(0.1)
    column = found["columns"][0]
    assert (column["ndv"], column["ndv_from"], found["rows_sampled"]) == (10_000, "count", 10_000)
    assert (column["histogram"][0], column["histogram"][-1], column["most_common"]) == (0, 9_999, [])


def test_agents_come_alive(server: LiveServer) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = server.request("GET", "/v1/agents").json()["agents"]
        if [agent["state"] for agent in found] == ["alive", "alive"]:
            break
        time.sleep(0.1)
    assert len({agent["pid"] for agent in found}) == 2
    assert all(agent["flight_uri"].startswith("grpc") for agent in found)


def test_info_names_versions_formats_and_limits(server: LiveServer) -> None:
    found = server.request("GET", "/v1/info").json()
    assert (found["name"], found["api"], found["auth"]) == ("sabot-sql", "1", [])
    assert found["engines"]["duckdb"] == duckdb.__version__
    assert found["formats"] == ["json", "ndjson", "csv", "arrow", "parquet"]
    assert (found["limits"]["wait_ms"], found["limits"]["sql_bytes"], found["limits"]["result_bytes"]) == (
        60_000,
        256 << 10,
        2 << 30,
    )


def test_health_needs_no_key_and_no_host(server: LiveServer) -> None:
    assert server.request("GET", "/livez", Host="probe").json() == {"live": True}
    for path in ("/readyz", "/healthz"):
        answer = server.request("GET", path)
        assert (answer.status, answer.json()["ready"]) == (200, True)
        assert answer.json()["checks"]


def test_openapi_describes_errors_as_they_are(server: LiveServer) -> None:
    paths = server.request("GET", "/openapi.json").json()["paths"]
    problem = server.request("GET", "/v1/queries?limit=0")
    for path, methods in paths.items():
        for method in methods.values():
            described = method["responses"]["default"]["content"][problem.headers["Content-Type"]]["schema"]
            jsonschema.validate(problem.json(), described)
            assert problem.json().keys() == described["properties"].keys(), path
            assert "422" not in method["responses"]


def test_openapi_describes_every_route(server: LiveServer) -> None:
    found = server.request("GET", "/openapi.json").json()
    assert {
        "/v1/sql", "/v1/explain", "/v1/queries", "/v1/queries/{query_id}", "/v1/queries/{query_id}/result", "/v1/agents",
        "/v1/queries/{query_id}/cancel", "/v1/tables", "/v1/tables/{catalog}/{schema}/{table}", "/v1/info", "/livez", "/readyz",
    } <= found["paths"].keys()  # fmt: skip
    body = found["paths"]["/v1/sql"]["post"]["requestBody"]["content"]
    assert body.keys() == {"application/json", "application/sql"}
    assert {"sql", "wait_ms", "schema"} <= body["application/json"]["schema"]["properties"].keys()
    assert server.request("GET", "/docs").status == 200
