"""`POST /v1/validate`: what it says is what running the statement shows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.live_server import LONG_QUERY, LiveServer

STATEMENTS = [
    "SELECT * FROM numbers",
    "SELECT i, half + 1 AS more, upper(name) FROM numbers WHERE i > 5",
    "SELECT name, count(*), avg(half) FROM numbers GROUP BY ALL",
    "SELECT {'a': 1}, [1, 2], 1.5, DATE '2026-01-01', INTERVAL 1 DAY, NULL",
    "FROM people",
    "VALUES (1, 'x')",
    "WITH a AS (SELECT 1 AS x) SELECT * FROM a, people",
    "DESCRIBE people",
    "EXPLAIN SELECT 1",
    "PIVOT people ON name IN ('Ada', 'Zoe') USING sum(id)",
    "SELECT state, count(*) FROM system.queries GROUP BY ALL",
]


def validated(server: LiveServer, sql: str, **fields: Any) -> dict[str, Any]:
    answer = server.request("POST", "/v1/validate", {"sql": sql, **fields})
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("sql", STATEMENTS)
def test_columns_are_those_of_the_answer(server: LiveServer, sql: str) -> None:
    found, answer = validated(server, sql), server.sql(sql)
    assert (found["valid"], found["statements"], found["statement_type"]) == (True, 1, answer["statement_type"])
    assert found["columns"] == answer["columns"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT nam FROM people",
        "SELECT * FROM number",
        "SELECT 1; SELECT 2",
        "DROP TABLE people",
        "SELECT abs(name) FROM people",
    ],
)
def test_errors_are_those_of_running_it(server: LiveServer, sql: str) -> None:
    told, ran = (server.request("POST", path, {"sql": sql}) for path in ("/v1/validate", "/v1/sql"))
    assert told.status == ran.status
    same = ("code", "detail", "position", "hint", "sqlstate")
    assert {name: told.json()[name] for name in same} == {name: ran.json()[name] for name in same}


def test_nothing_runs(server: LiveServer) -> None:
    before = len(server.request("GET", "/v1/queries?limit=1000").json()["queries"])
    assert validated(server, LONG_QUERY)["columns"][0]["sql_type"] == "HUGEINT"
    assert len(server.request("GET", "/v1/queries?limit=1000").json()["queries"]) == before


def test_parameters_need_no_values(server: LiveServer) -> None:
    sql = "SELECT name FROM people WHERE id > $least AND name LIKE $pattern LIMIT $n"
    found = validated(server, sql)
    assert (found["parameters"], found["tables"], found["columns"][0]["name"]) == (
        ["least", "pattern", "n"],
        ["people"],
        "name",
    )
    assert validated(server, sql, params={"least": 1})["valid"]
    assert validated(server, "SELECT ? + id FROM people")["parameters"] == ["1"]
    unknown = server.request("POST", "/v1/validate", {"sql": sql, "params": {"most": 1}})
    assert (unknown.status, unknown.json()["code"]) == (400, "INVALID_PARAMETER")


def test_columns_that_only_the_data_tell_are_left_out(server: LiveServer) -> None:
    found = validated(server, "PIVOT people ON name USING sum(id)")
    assert (found["columns"], len(found["warnings"])) == (None, 1)


def test_bare_statement_is_taken_too(server: LiveServer) -> None:
    answer = server.request("POST", "/v1/validate?timezone=UTC", "SELECT 1 AS one", Content_Type="application/sql")
    assert answer.json()["columns"][0]["name"] == "one"
    assert server.request("POST", "/v1/validate?zone=UTC", "SELECT 1", Content_Type="application/sql").status == 400
