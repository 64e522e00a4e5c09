"""One statement on an engine of the command's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from sabot_sql.cli.config_file import is_configured
from sabot_sql.cli.settings import load_settings
from sabot_sql.config import Settings
from tests.cli.in_process import sabot
from tests.cli.test_commands import process
from tests.server.live_server import clean_environment

NOT_NEEDED = ("numba", "dbos", "sqlalchemy", "pandas", "datafusion", "pyarrow.flight", "pydantic", "fastapi", "urllib3")


def test_query_loads_neither_agents_nor_job_database_nor_pydantic(data: Path) -> None:
    arguments = ["query", "--data", str(data), "-c", "SELECT count(*) AS n FROM people"]
    code = f"""
import sys
from sabot_sql.cli.main import main
status = main({arguments!r})
print(status, *[name for name in {NOT_NEEDED!r} if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True, env=clean_environment())
    assert done.stdout == "n\n3\n0\n"


def test_defaults_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SABOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert not is_configured()
    assert load_settings({}).to_settings() == Settings()
    (tmp_path / "sabot.toml").write_text("")
    assert is_configured()


def test_mistyped_variable_is_refused_here_too(data: Path) -> None:
    done = sabot("query", "--data", data, "-c", "SELECT 1", SABOT_THRESHHOLD="1")
    assert (done.returncode, "SABOT_THRESHHOLD is no setting" in done.err) == (2, True)


def test_distributed_query_gets_its_agents(data: Path) -> None:
    done = process("query", "--data", str(data), "--agents", "1", "--threshold", "1", "-c", "SELECT count(*) AS n FROM numbers")
    assert (done.returncode, done.stdout) == (0, b"n\n10000\n")


def test_interval_in_parquet_is_refused_by_name_and_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    done = sabot("query", "-c", "SELECT INTERVAL 1 DAY AS i", "--format", "parquet", "-o", out)
    assert done.returncode == 1
    assert done.err == 'error: column "i" is of type INTERVAL, which Parquet cannot hold\nhint: cast it: "i"::VARCHAR\n'
    assert list(tmp_path.iterdir()) == []


def test_failed_query_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old\n")
    out.chmod(0o600)
    assert sabot("query", "-c", "SELECT 1 AS a; SELECT nothing", "-o", out).returncode == 1
    assert (out.read_text(), list(tmp_path.iterdir())) == ("old\n", [out])
    assert sabot("query", "-c", "SELECT 1 AS a", "-o", out).returncode == 0
    assert (out.read_text(), out.stat().st_mode & 0o777) == ("a\n1\n", 0o600)


def test_catalog_names_what_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "notes.txt").write_text("buy milk")
    (tmp_path / "broken.parquet").write_text("no")
    done = sabot("catalog", "ls", "--data", tmp_path, "--format", "csv")
    assert "cannot be read as Parquet" in next(line for line in done.out.splitlines() if line.startswith("broken,"))
    assert done.err == f"skipped: {tmp_path}/notes.txt\n"


def test_catalog_names_what_of_a_duckdb_file_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as connection:
        for sql in ("CREATE VIEW v AS SELECT 1 AS one", "CREATE VIEW w AS FROM duckdb_tables()", "CREATE MACRO m(x) AS x"):
            connection.execute(sql).fetchall()
    done = sabot("catalog", "ls", "--data", path)
    assert [line.split(",")[:2] for line in done.out.splitlines()[1:]] == [["v", "view"]]
    assert done.err.splitlines() == [
        f"skipped: {path}: macro m: macros of a DuckDB file are not known to statements",
        f"skipped: {path}: view w: it calls the table function duckdb_tables",
    ]
    assert sabot("query", "--data", path, "-c", "FROM v").out == "one\n1\n"


def test_json_of_a_text_with_other_ends_of_lines(data: Path) -> None:
    sql = "SELECT 'a' || chr(8232) || chr(133) || 'b' AS t"
    done = sabot("query", "--data", data, "--agents", "0", "--format", "json", "-c", sql)
    assert json.loads(done.out) == [{"t": "a\u2028\u0085b"}]
