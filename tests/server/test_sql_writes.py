"""Statements that write, over HTTP: who may, what is answered, and what clients make of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

import sabot_sql
from sabot_sql import dbapi
from tests.server.live_server import LiveServer, clean_environment, live_server

ADA, EVE, WIM, MIA = (f"{name}-{'k' * 16}" for name in ("ada", "eve", "wim", "mia"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ada reads, Wim writes, Eve is an admin; Mia writes the tables whose names begin with mine, and reads people too."""
    folder = tmp_path_factory.mktemp("keys")
    add = [sys.executable, "-m", "sabot_sql.cli", "key", "create", "mia", "--role", "writer", "--file", str(folder / "keys")]
    made = subprocess.run([*add, "--tables", "mine*,people"], capture_output=True, text=True, check=True)
    (folder / "mia").write_text(made.stdout.split()[-1])
    with (folder / "keys").open("a") as file:
        file.write(f"ada:{ADA}\nwim:writer:{WIM}\neve:admin:{EVE}\n")
    return folder


@pytest.fixture(scope="module")
def server(data: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    state = tmp_path_factory.mktemp("state")
    options = ("--agents", "2", "--writable", "--state-dir", str(state), "--api-keys-file", str(keys / "keys"))
    with live_server(data, *options) as server:
        yield server


def ask(server: LiveServer, key: str, sql: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    answer = server.request("POST", "/v1/sql", {"sql": sql, "wait_ms": 60_000, **fields}, Authorization=f"Bearer {key}")
    return answer.status, answer.json()


def test_without_the_option_all_that_writes_is_read_only(data: Path) -> None:
    with live_server(data, "--agents", "0") as server:
        for sql in (
            "CREATE TABLE t AS SELECT 1",
            "INSERT INTO people SELECT 1",
            "DROP TABLE people",
            "CREATE VIEW v AS SELECT 1",
        ):
            answer = server.request("POST", "/v1/sql", {"sql": sql})
            assert (answer.status, answer.json()["code"], answer.json()["sqlstate"]) == (403, "READ_ONLY", "25006")


def test_answers_are_of_the_contract(server: LiveServer) -> None:
    status, made = ask(server, WIM, "CREATE TABLE answers AS SELECT i, name FROM numbers", route="distributed")
    assert status == 200
    assert made["columns"] == [{"name": "Count", "type": "int64", "sql_type": "BIGINT", "nullable": True}]
    assert (made["rows"], made["rows_affected"]) == ([[10_000]], 10_000)
    assert (made["statement_type"], made["route"]) == ("CREATE TABLE AS", "distributed")
    _, added = ask(server, WIM, "INSERT INTO answers VALUES (-1, 'x')")
    assert (added["rows"], added["rows_affected"], added["statement_type"]) == ([[1]], 1, "INSERT")
    _, viewed = ask(server, WIM, "CREATE VIEW seen AS SELECT count(*) AS n FROM answers")
    assert (viewed["rows"], viewed["rows_affected"], viewed["statement_type"]) == ([], None, "CREATE VIEW")
    assert ask(server, ADA, "FROM seen")[1]["rows"] == [[10_001]]
    listed = server.request("GET", "/v1/tables", Authorization=f"Bearer {ADA}").json()["tables"]
    kinds = {table["name"]: table["kind"] for table in listed}
    assert (kinds["answers"], kinds["seen"], kinds["people"]) == ("table", "view", "external")
    assert ask(server, WIM, "DROP VIEW seen")[1]["columns"][0]["name"] == "Success"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t AS SELECT 1", "INSERT INTO people SELECT 1, 'x'", "DROP TABLE people", "CREATE VIEW v AS SELECT 1",
        "COPY (SELECT 1) TO 'x.parquet'", "UPDATE people SET id = 1", "DELETE FROM people",
        "ALTER TABLE people ADD COLUMN b INT",
    ],
)  # fmt: skip
def test_a_reader_may_not_write(server: LiveServer, sql: str) -> None:
    status, problem = ask(server, ADA, sql)
    assert (status, problem["code"], problem["sqlstate"]) == (403, "PERMISSION_DENIED", "42501")


def test_what_a_writer_may_an_admin_may(server: LiveServer) -> None:
    assert ask(server, EVE, "CREATE OR REPLACE TABLE by_admin AS SELECT 1 AS a")[0] == 200
    assert ask(server, WIM, "DROP TABLE by_admin")[0] == 200


def test_a_key_for_some_tables_writes_those(server: LiveServer, keys: Path) -> None:
    mia = (keys / "mia").read_text()
    assert ask(server, mia, "CREATE OR REPLACE TABLE mine_1 AS FROM people")[1]["rows_affected"] == 3
    assert ask(server, mia, "CREATE TABLE other AS FROM people")[1]["code"] == "PERMISSION_DENIED"
    assert ask(server, mia, "CREATE TABLE mine_2 AS FROM numbers")[1]["code"] == "UNDEFINED_TABLE"
    assert ask(server, WIM, "CREATE OR REPLACE VIEW mine_v AS SELECT i FROM numbers")[0] == 200
    assert ask(server, mia, "FROM mine_v")[1]["code"] == "UNDEFINED_TABLE"  # it reads what the key may not


def test_a_link_writes_nothing(server: LiveServer) -> None:
    answer = server.request("GET", "/v1/sql?sql=DROP%20TABLE%20people", Authorization=f"Bearer {WIM}")
    assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH q AS (INSERT INTO people SELECT 1, 'x' RETURNING *) FROM q", "SET threads = 1", "ATTACH '/tmp/x.db'",
        "INSTALL httpfs", "LOAD httpfs", "COPY (SELECT 1) TO '/tmp/x.parquet'", "COPY (SELECT 1) TO '../x.parquet'",
        "COPY people FROM '/etc/passwd'",
        "CREATE TABLE x AS FROM read_text('/etc/passwd')", "CREATE VIEW x AS FROM '/etc/passwd'", "EXPORT DATABASE '/tmp/x'",
        "CREATE TABLE x AS SELECT getenv('HOME')", "PRAGMA database_list", "CALL duckdb_settings()", "VACUUM", "CHECKPOINT",
    ],
)  # fmt: skip
def test_the_sandbox_holds_for_writers(server: LiveServer, sql: str) -> None:
    status, problem = ask(server, WIM, sql)
    assert (status, problem["code"] in ("READ_ONLY", "PERMISSION_DENIED")) == (403, True), problem


def test_a_job_writes_and_its_key_writes_once(server: LiveServer) -> None:
    ask(server, WIM, "CREATE OR REPLACE TABLE jobs (i BIGINT)")
    for _ in range(2):
        body = {"sql": "INSERT INTO jobs SELECT i FROM numbers", "route": "distributed", "wait_ms": 60_000}
        answer = server.request("POST", "/v1/sql", body, Authorization=f"Bearer {WIM}", Idempotency_Key="jobs-1")
        assert (answer.status, answer.json()["rows_affected"]) == (200, 10_000)
    assert answer.headers["Idempotency-Replayed"] == "true"
    query_id = answer.json()["query_id"]
    assert ask(server, ADA, "SELECT count(*) FROM jobs")[1]["rows"] == [[10_000]]
    result = server.request("GET", f"/v1/queries/{query_id}/result", Authorization=f"Bearer {WIM}").json()
    assert (result["rows_affected"], result["statement_type"]) == (10_000, "INSERT")


def test_validate_and_explain_tell_and_do_nothing(server: LiveServer) -> None:
    sql = "CREATE TABLE never AS SELECT i FROM numbers"
    for path in ("/v1/validate", "/v1/explain"):
        answer = server.request("POST", path, {"sql": sql}, Authorization=f"Bearer {WIM}")
        assert (answer.status, answer.json()["statement_type"]) == (200, "CREATE TABLE AS")
        refused = server.request("POST", path, {"sql": sql}, Authorization=f"Bearer {ADA}")
        assert (refused.status, refused.json()["code"]) == (403, "PERMISSION_DENIED")
    assert ask(server, WIM, "FROM never")[1]["code"] == "UNDEFINED_TABLE"


def test_a_batch_writes(server: LiveServer) -> None:
    statements = [{"sql": "CREATE OR REPLACE TABLE batched (a INTEGER)"}, {"sql": "INSERT INTO batched VALUES (1), (2)"}]
    body = {"statements": statements, "order": "sequential", "wait_ms": 60_000}
    answer = server.request("POST", "/v1/batch", body, Authorization=f"Bearer {WIM}").json()
    assert [query["state"] for query in answer["queries"]] == ["finished", "finished"], answer
    assert ask(server, ADA, "SELECT count(*) FROM batched")[1]["rows"] == [[2]]


def test_tables_of_statements_are_put_and_dropped_over_http(server: LiveServer) -> None:
    ask(server, WIM, "CREATE OR REPLACE TABLE put_to AS SELECT 1::HUGEINT AS h, 'a'::ENUM('a', 'b') AS e")
    ask(server, WIM, "CREATE OR REPLACE VIEW dropped AS SELECT 1 AS a")
    path, wim = "/v1/tables/memory/main", f"Bearer {WIM}"
    put = server.request(
        "PUT", f"{path}/put_to/data?mode=append", b"h,e\n7,b\n", Content_Type="text/csv", Authorization=wim
    )  # fmt: skip
    assert put.status == 201, put.data
    assert ask(server, ADA, "SELECT h, e, typeof(h), typeof(e) FROM put_to ORDER BY h")[1]["rows"] == [
        ["1", "a", "HUGEINT", "ENUM('a', 'b')"], ["7", "b", "HUGEINT", "ENUM('a', 'b')"],
    ]  # fmt: skip
    assert server.request("PUT", f"{path}/dropped/data", b"a\n1\n", Content_Type="text/csv", Authorization=wim).status == 409
    assert server.request("DELETE", f"{path}/dropped", Authorization=wim).status == 204


def test_python_clients(server: LiveServer) -> None:
    with sabot_sql.connect(server.url, api_key=WIM) as db:
        assert db.execute_sql("CREATE OR REPLACE TABLE py AS SELECT 1 AS a").rows_affected == 1
        job = db.submit("INSERT INTO py SELECT i FROM numbers", route="distributed")
        assert job.wait().state == "finished"
        assert (job.result().rows_affected, job.result().statement_type) == (10_000, "INSERT")
        assert db.execute_sql("DROP TABLE py").rows_affected is None


def test_dbapi_counts_rows(server: LiveServer) -> None:
    with dbapi.connect(server.url, api_key=WIM) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE OR REPLACE TABLE pep (a INTEGER, b VARCHAR)")
        assert (cursor.rowcount, cursor.description) == (-1, None)
        cursor.executemany("INSERT INTO pep VALUES (?, ?)", [(1, "x"), (2, None)])
        assert (cursor.rowcount, cursor.description) == (2, None)
        with pytest.raises(dbapi.InterfaceError):
            cursor.fetchone()
        cursor.execute("SELECT * FROM pep ORDER BY a")
        assert (cursor.rowcount, cursor.fetchall()) == (2, [(1, "x"), (2, None)])
        with pytest.raises(dbapi.NotSupportedError):
            cursor.execute("DELETE FROM pep")


def test_pandas_writes_through_sqlalchemy(server: LiveServer) -> None:
    engine = sa.create_engine("sabot://", creator=lambda: dbapi.connect(server.url, api_key=WIM))
    frame = pd.DataFrame({"i": range(500), "s": ["ä"] * 500, "t": pd.to_datetime(["2020-01-01"] * 500)})
    assert frame.to_sql("frame", engine, index=False, if_exists="replace") == 500
    assert frame.to_sql("frame", engine, index=False, if_exists="append") == 500
    with engine.connect() as connection:
        table = sa.Table("frame", sa.MetaData(), autoload_with=connection)
        assert connection.execute(sa.select(sa.func.count(), sa.func.sum(table.c.i))).one() == (1000, 2 * sum(range(500)))
        assert connection.execute(table.insert().values(i=1)).rowcount == 1
        assert connection.execute(table.insert().from_select(["i"], sa.select(table.c.i))).rowcount == 1001
        table.drop(connection)
        assert not sa.inspect(connection).has_table("frame")
        strict = sa.Table("strict", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
        with pytest.raises(sa.exc.NotSupportedError, match="constraints"):
            strict.create(connection)
    engine.dispose()


def test_the_shell_shows_the_tags_of_psql(server: LiveServer, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    statements = """CREATE OR REPLACE TABLE sh AS SELECT 1 AS a
    INSERT INTO sh VALUES (2), (3)
    CREATE OR REPLACE VIEW shv AS FROM sh
    COPY sh TO 'sh2.parquet'
    DROP VIEW shv
    DROP TABLE sh
    CREATE TABLE sh3 (a INTEGER)
"""
    script.write_text(statements.replace("\n", ";\n"))
    command = [sys.executable, "-m", "sabot_sql.cli", "shell", server.url, "-f", str(script)]
    environment = clean_environment(SABOT_API_KEY=WIM, HOME=str(tmp_path))
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=True)
    tags = [line.partition("  route")[0] for line in ran.stdout.splitlines()]
    assert tags == ["SELECT 1", "INSERT 0 2", "CREATE VIEW", "COPY 3", "DROP VIEW", "DROP TABLE", "CREATE TABLE"]


def test_the_command_line_prints_the_count(server: LiveServer) -> None:
    sql = "CREATE OR REPLACE TABLE cli AS SELECT i FROM numbers"
    command = [sys.executable, "-m", "sabot_sql.cli", "query", "--url", server.url, "-c", sql, "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, env=clean_environment(SABOT_API_KEY=WIM), check=True)
    assert json.loads(ran.stdout) == [{"Count": 10_000}]
