from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.planner.plan_json import plan_from_json
from tests.cli.in_process import sabot
from tests.server.live_server import LONG_QUERY, LiveServer, clean_environment

HEAVY = ("duckdb", "fastapi", "numba", "pydantic", "sqlglot", "rich", "prompt_toolkit")


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sabot_sql.cli", *arguments]
    return subprocess.run(command, capture_output=True, timeout=90, env=clean_environment(**environment))


def test_piped_answer_is_csv_and_nothing_else(server: LiveServer) -> None:
    done = process("query", "--url", server.url, "-c", "SELECT id, name FROM people ORDER BY id")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, 'id,name\n1,Ada\n2,\n3,"Zoë, „Z“"\n', b"")


@pytest.mark.parametrize("format_name", ["table", "csv", "json", "ndjson", "arrow", "parquet", None])
def test_output_file_is_what_stdout_would_have_been(server: LiveServer, tmp_path: Path, format_name: str | None) -> None:
    options = ["--format", format_name] if format_name else []
    arguments = ["query", "--url", server.url, "-c", "SELECT i, name, half FROM numbers WHERE i < 50 ORDER BY i", *options]
    piped, written = sabot(*arguments), sabot(*arguments, "-o", str(tmp_path / "out.parquet"))
    assert written.stdout == b""
    assert (tmp_path / "out.parquet").read_bytes() == piped.stdout != b""


def test_formats_hold_the_answer(server: LiveServer, tmp_path: Path) -> None:
    def answer(format_name: str) -> bytes:
        return sabot(
            "query", "--url", server.url, "-c", "SELECT id, name FROM people ORDER BY id", "--format", format_name
        ).stdout

    rows = [{"id": 1, "name": "Ada"}, {"id": 2, "name": None}, {"id": 3, "name": "Zoë, „Z“"}]
    assert json.loads(answer("json")) == rows
    assert [json.loads(line) for line in answer("ndjson").splitlines()] == rows
    assert pa.ipc.open_stream(answer("arrow")).read_all().to_pylist() == rows
    assert pq.read_table(pa.BufferReader(answer("parquet"))).to_pylist() == rows


def test_statements_come_from_arguments_files_and_stdin(server: LiveServer, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("SELECT 2 b;\nSELECT 3 c; -- end\n")
    url = ("--url", server.url)
    assert sabot("query", *url, "-c", "SELECT 1 a", "-f", str(script)).stdout == b"a\n1\nb\n2\nc\n3\n"
    assert sabot("query", *url, "-f", "-", stdin="SELECT 4 d").stdout == b"d\n4\n"
    assert sabot("query", *url, stdin="SELECT 5 e").stdout == b"e\n5\n"


def test_parameters_are_given_by_name(server: LiveServer) -> None:
    done = sabot("query", "--url", server.url, "-c", "SELECT $n + 1 n, $t t", "-p", "n=41", "-p", "t=it's")
    assert done.stdout == b"n,t\n42,it's\n"


def test_data_folder_is_queried_in_this_process(data: Path) -> None:
    done = process("query", "--data", str(data), "--agents", "0", "-c", "SELECT count(*) n FROM numbers")
    assert (done.stdout, done.stderr, done.returncode) == (b"n\n10000\n", b"", 0)


def test_server_comes_from_the_environment(server: LiveServer) -> None:
    assert sabot("query", "-c", "SELECT 1 a", SABOT_URL=server.url).stdout == b"a\n1\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["-c", "SELEC 1"], 1, "SELEC 1\n"),
        (["-c", "SELECT * FROM number"], 1, "numbers"),
        (["-c", LONG_QUERY, "--route", "local", "--timeout", "0.3"], 4, "time limit"),
        (["-c", "SELECT 1", "--format", "xml"], 2, "Invalid value for '--format'"),
        (["-c", "SELECT 1", "--threshold", "some"], 2, "neither a number of rows nor auto"),
        (["-f", "/nowhere.sql"], 2, "/nowhere.sql cannot be read"),
        (["-c", "SELECT 1", "-o", "/nowhere/out.csv"], 2, "/nowhere/out.csv cannot be written"),
        (["-c", "SELECT 1; SELECT 2", "--format", "arrow"], 2, "arrow holds one answer"),
        (["-c", "SELECT 1", "--data", "x"], 2, "exclude each other"),
        (["-c", "SELECT $a", "-p", "a"], 2, "write name=value"),
        (["-c", "SELECT 1", "--api-key-file", "/nowhere"], 2, "/nowhere cannot be read"),
    ],
)
def test_mistake_has_its_exit_status_and_no_traceback(
    server: LiveServer, arguments: list[str], status: int, message: str
) -> None:
    done = sabot("query", "--url", server.url, *arguments)
    assert message in done.stderr.decode()
    assert (done.returncode, done.stdout, b"Traceback" in done.stderr) == (status, b"", False)


def test_no_server_is_exit_3() -> None:
    done = sabot("query", "--url", "http://127.0.0.1:1", "-c", "SELECT 1")
    assert done.returncode == 3
    assert b"cannot connect to http://127.0.0.1:1" in done.stderr
    assert b"sabot-sql serve" in done.stderr


def test_missing_folder_is_exit_2() -> None:
    done = sabot("query", "--data", "/nowhere", "-c", "SELECT 1")
    assert (done.returncode, b"/nowhere" in done.stderr, b"Traceback" in done.stderr) == (2, True, False)


def test_reader_that_leaves_is_no_error(server: LiveServer) -> None:
    command = f"{sys.executable} -m sabot_sql.cli query --url {server.url} -c 'SELECT * FROM range(300000)' | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=60, env=clean_environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"range\n", b"")


def test_terminal_gets_a_table(server: LiveServer) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "sabot_sql.cli", "query", "--url", server.url, "-c", "SELECT 1 one"]
    done = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=clean_environment())
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "┌─────┐" in shown
    assert done.stderr.decode().startswith("(1 row)  route local · ")


def test_explain_prints_the_decision(server: LiveServer) -> None:
    arguments = ("explain", "--url", server.url, "--route", "distributed", "-c", "SELECT count(*) FROM numbers")
    assert sabot(*arguments).stdout.decode().startswith("route     distributed: ")
    found = json.loads(sabot(*arguments, "--format", "json").stdout)
    assert (found["route"], found["tables"]) == ("distributed", ["numbers"])
    assert [s.stage_id for s in plan_from_json(json.dumps(found["plan"])).stages] == [s["id"] for s in found["stages"]]
    assert b"1 task on 1 agent" in sabot(*arguments, "--analyze").stdout


def test_catalog_lists_and_describes(server: LiveServer, data: Path) -> None:
    lines = sabot("catalog", "ls", "--url", server.url).stdout.decode().splitlines()
    assert lines[0] == "name,format,rows,row_count_kind,bytes,files,location,error"
    assert lines[1].startswith("numbers,parquet,10000,exact,")
    described = sabot("catalog", "describe", "numbers", "--data", str(data), "--agents", "0").stdout.decode()
    assert "i,BIGINT,True,0," in described
    arguments = ("catalog", "describe", "numbers", "--data", str(data), "--agents", "0", "--learn", "--format", "json")
    (column, *_) = json.loads(sabot(*arguments).stdout)
    assert (column["ndv"], column["ndv_from"], len(column["histogram"])) == (10_000, "count", 101)
    assert sabot("catalog", "describe", "nobody", "--url", server.url).returncode == 1


def test_agents_are_listed(server: LiveServer) -> None:
    sabot("query", "--url", server.url, "--route", "distributed", "-c", "SELECT count(*) FROM numbers")
    agents = json.loads(sabot("agents", "ls", "--url", server.url, "--format", "json").stdout)
    assert [agent["state"] for agent in agents] == ["alive", "alive"]


def test_jobs_are_listed_shown_and_cancelled(server: LiveServer) -> None:
    with sabot_sql.connect(server.url) as db:
        job = db.submit(LONG_QUERY, route="local")
        listed = json.loads(sabot("jobs", "ls", "--url", server.url, "--format", "json", "--limit", "1").stdout)
        assert [row["query_id"] for row in listed] == [job.query_id]
        assert json.loads(sabot("jobs", "show", job.query_id, "--url", server.url).stdout)["sql"] == LONG_QUERY
        assert sabot("jobs", "cancel", job.query_id, "--url", server.url).returncode == 0
        assert job.wait(10).state == "cancelled"
    assert sabot("jobs", "show", "q_0", "--url", server.url).returncode == 1
    assert b"which server?" in sabot("jobs", "ls").stderr


def test_version_is_printed() -> None:
    assert sabot("version").stdout.decode() == f"sabot-sql {sabot_sql.__version__}\n"
    assert sabot("--version").stdout == sabot("version").stdout


@pytest.mark.parametrize(
    "command", ["serve", "query", "explain", "shell", "catalog", "agents", "jobs", "config", "demo", "version"]
)
def test_help_is_there_without_the_engine(command: str) -> None:
    check = f"import sys; from sabot_sql.cli.main import main; s = main([{command!r}, '--help']); "
    check += "sys.exit(s or any(m in sys.modules for m in ('duckdb', 'fastapi', 'numba', 'pydantic', 'pyarrow')))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=clean_environment())
    assert (done.returncode, done.stdout.startswith("Usage: sabot-sql")) == (0, True), done.stderr


def test_query_over_http_loads_only_the_client(server: LiveServer) -> None:
    check = f"import sys; from sabot_sql.cli.main import main; main(['query', '--url', {server.url!r}, '-c', 'SELECT 1']); "
    check += f"print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=clean_environment())
    assert done.stdout == "1\n1\n\n"
