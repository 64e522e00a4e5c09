"""A key that reads some tables only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sabot_sql.catalog.database_views import ATTACHED_AS
from sabot_sql.server.keys import add_key, new_key
from tests.cli.in_process import sabot
from tests.server.live_server import LiveServer, live_server

ALL = "operator-" + "k" * 16


@pytest.fixture(scope="module")
def asked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    secret, kept = new_key("ada", "reader", tables=("PEOPLE", "sales_*"))
    add_key(file, kept)
    with live_server(data, "--agents", "1", "--api-keys-file", str(file), SABOT_API_KEY=ALL) as server:
        server.http.headers = {"Authorization": f"Bearer {secret}"}
        yield server


def sql(server: LiveServer, text: str, **fields: Any) -> Any:
    return server.request("POST", "/v1/sql", {"sql": text, **fields}, **server.http.headers).json()


def test_its_tables_can_be_read(asked: LiveServer) -> None:
    for route in ("local", "distributed"):
        assert sql(asked, 'SELECT count(*) FROM main."People"', route=route)["rows"] == [[3]]
    assert sql(asked, "DESCRIBE people")["row_count"] == 2
    assert sql(asked, "SELECT count(*) FROM system.queries")["rows"][0][0] > 0
    assert sql(asked, "SELECT 1")["rows"] == [[1]]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM numbers",
        "SELECT * FROM memory.main.numbers",
        'SELECT (SELECT max(i) FROM "NUMBERS")',
        "WITH x AS (FROM numbers) SELECT * FROM x",
        "SELECT * FROM people WHERE id IN (SELECT i FROM numbers)",
        "SELECT * FROM people, numbers",
        "EXPLAIN SELECT * FROM numbers",
        "EXPLAIN ANALYZE FROM numbers",
        "DESCRIBE numbers",
        "SUMMARIZE numbers",
        "PIVOT numbers ON half USING sum(i)",
        "TABLE numbers",
        "SELECT * FROM people UNION ALL SELECT i, name FROM numbers",
        "SELECT numbers.i FROM (SELECT * FROM numbers) AS numbers",
    ],
)
def test_another_table_does_not_exist(asked: LiveServer, text: str) -> None:
    for route in ("auto", "local", "distributed"):
        found = sql(asked, text, route=route)
        assert (found.get("code"), found.get("hint")) == ("UNDEFINED_TABLE", None), (route, found)
    of_nobody = sql(asked, text.lower().replace("numbers", "numbery"))
    assert of_nobody["detail"].replace("numbery", "numbers").lower() == sql(asked, text.lower())["detail"].lower()


@pytest.mark.parametrize(
    "text",
    [
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "DESCRIBE",
        "FROM information_schema.tables",
        "FROM information_schema.columns",
        "EXPLAIN FROM information_schema.tables",
    ],
)
def test_sql_that_lists_all_tables_is_refused(asked: LiveServer, text: str) -> None:
    assert sql(asked, text)["code"] == "PERMISSION_DENIED"


def test_lists_and_completions_have_its_tables_only(asked: LiveServer) -> None:
    def get(path: str) -> Any:
        return asked.request("GET", path, **asked.http.headers).json()

    listed = get("/v1/tables?columns=true")
    assert ([t["name"] for t in listed["tables"]], listed["skipped"]) == (["people"], [])
    assert get("/v1/catalogs")[0]["tables"] == get("/v1/catalogs/memory/schemas")[0]["tables"] == 1
    assert get("/v1/tables/memory/main/people")["name"] == "people"
    for path in ("numbers", "numbers/preview", "numbery"):
        found = get(f"/v1/tables/memory/main/{path}")
        assert (found["code"], "numbers" in str(found["hint"])) == ("NOT_FOUND", False)
    for prefix in ("SELECT * FROM ", "SELECT i FROM numbers WHERE "):
        offered = {c["text"] for c in get(f"/v1/completions?prefix={prefix.replace(' ', '%20')}&limit=1000")["completions"]}
        assert not offered & {"numbers", "half"}
    everything = asked.request("GET", "/v1/tables", Authorization=f"Bearer {ALL}").json()
    assert [t["name"] for t in everything["tables"]] == ["numbers", "people"]


def test_what_others_asked_before_is_of_no_help(asked: LiveServer) -> None:
    text = "SELECT max(i) FROM numbers"
    for route in ("local", "distributed"):
        body = {"sql": text, "route": route}
        assert asked.request("POST", "/v1/sql", body, Authorization=f"Bearer {ALL}").json()["rows"] == [[9999]]
        assert sql(asked, text, route=route)["code"] == "UNDEFINED_TABLE"


def test_batches_and_retries_read_no_more(asked: LiveServer) -> None:
    body = {"statements": [{"sql": "FROM people"}, {"sql": "FROM numbers"}], "wait_ms": 30_000}
    batch = asked.request("POST", "/v1/batch", body, **asked.http.headers).json()
    assert [q["state"] for q in batch["queries"]] == ["finished", "failed"]
    again = asked.request("POST", f"/v1/queries/{batch['queries'][1]['query_id']}/retry", **asked.http.headers)
    status = asked.request("GET", f"/v1/queries/{again.json()['query_id']}?wait_ms=30000", **asked.http.headers).json()
    assert (status["state"], status["error"]["code"]) == ("failed", "UNDEFINED_TABLE")


def test_a_retry_reads_what_its_caller_may(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    (wide, kept), (narrow, narrowed) = new_key("eve", "reader"), new_key("eve", "reader", tables=("people",))
    add_key(file, kept)
    add_key(file, narrowed)
    with live_server(data, "--agents", "0", "--api-keys-file", str(file)) as server:
        answer = server.request("POST", "/v1/sql", {"sql": "SELECT max(i) FROM numbers"}, Authorization=f"Bearer {wide}").json()
        again = server.request("POST", f"/v1/queries/{answer['query_id']}/retry", Authorization=f"Bearer {narrow}").json()
        path = f"/v1/queries/{again['query_id']}?wait_ms=30000"
        status = server.request("GET", path, Authorization=f"Bearer {narrow}").json()
        assert (status["state"], status["error"]["code"]) == ("failed", "UNDEFINED_TABLE")


def test_what_a_database_file_has_beside_tables_cannot_be_named(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE trips AS SELECT 1 AS id, 'pub' AS v")
        con.execute("CREATE TABLE salaries AS SELECT 'hidden' AS secret")
        con.execute("CREATE TYPE mood AS ENUM ('x', 'hidden')")
        con.execute("CREATE MACRO whole() AS (SELECT max(secret) FROM salaries)")
        con.execute("CREATE MACRO names() AS (SELECT string_agg(table_name) FROM duckdb_tables())")
    file = tmp_path / "keys"
    secret, kept = new_key("ada", "reader", tables=("trips",))
    add_key(file, kept)
    with live_server(path, "--agents", "0", "--api-keys-file", str(file)) as server:
        server.http.headers = {"Authorization": f"Bearer {secret}"}
        assert sql(server, "SELECT * FROM trips")["rows"] == [[1, "pub"]]
        for text in (
            "SELECT source0.whole()", "SELECT source0.names()", "SELECT data.names()", "SELECT names()",
            "SELECT null::source0.mood",
            "SELECT null::moo", "SELECT null::mood", "SELECT nam()", "FROM salarie", "FROM source0.salaries",
            f"SELECT {ATTACHED_AS}0.names()", f"SELECT null::{ATTACHED_AS}0.main.mood", f"FROM {ATTACHED_AS}0.names()",
            f"SELECT sum(1) OVER (), {ATTACHED_AS}0.main.names()",
        ):  # fmt: skip
            found = sql(server, text)
            assert found.get("status", 200) in (400, 403), (text, found)
            assert "hidden" not in str(found), text
            assert "salaries" not in str(found.get("hint")), text
            assert ATTACHED_AS not in str({**found, "detail": ""}) or ATTACHED_AS in text, text


def test_the_command_line_makes_and_lists_such_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert sabot("key", "create", "ada", "--tables", "a, main.b*", "--file", file).returncode == 0
    assert sabot("key", "ls", "--format", "csv", "--file", file).out.strip().endswith('"a,b*"')
    for options in (("--role", "admin", "--tables", "a"), ("--tables", " ,")):
        assert sabot("key", "create", "ada", *options, "--file", file).returncode == 2
