"""What commands do to statements and files, over a real server."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.in_process import Done, sabot
from tests.server.live_server import LONG_QUERY, LiveServer


def shell(server: LiveServer, script: str, *options: str, **environment: str) -> Done:
    return sabot("shell", server.url, "-q", *options, stdin=script, **environment)


def data_lines(server: LiveServer, script: str) -> list[str]:
    done = shell(server, script, "-A", "-t")
    assert (done.returncode, done.err) == (0, "")
    return done.out.splitlines()


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("select 1\n\\g\n", ["1"]),
        ("select 1 \\g\n\\g\n", ["1", "1"]),
        ("select 1; select 2 \\g\nselect 3;\n", ["1", "2", "3"]),
        ("select 1\n\\p\n+ 1;\n", ["select 1", "2"]),
        ("select nonsense\n\\r\nselect 2;\n", ["2"]),
        ("\\bind 41 \"x y\"\nselect $1 + 1, $2;\n", ["42|x y"]),
        ("select 5 as a, 'x' as b, null as c \\gset my_\nselect :my_a, :'my_b';\n", ["5|x"]),
        ("\\set t people\n\\set name Ada\nselect id from :t where name = :'name';\n", ["1"]),
        ("\\set n 5\n\\unset n\n\\echo n is :n\n", ["n is :n"]),
        ("\\set a 1\n\\set\n", ["a = '1'"]),
        ("\\pset fieldsep ';'\nselect 1, 2;\n", ["1;2"]),
        ("\\! echo outside\n", []),
        ("select 'a\\b' as s;\n", ["a\\b"]),
        ("/* a\n b; /* \\d */ */ select 1;\nselect 2 /* y\n ; \\d */;\n-- c \\d\nselect 3; /* end", ["1", "2", "3"]),
    ],
)  # fmt: skip
def test_statement_commands(server: LiveServer, script: str, lines: list[str]) -> None:
    assert data_lines(server, script) == lines


def test_bound_values_hold_for_one_statement(server: LiveServer) -> None:
    done = shell(server, "\\bind 1\nselect $1;\nselect $1;\n", "-A", "-t")
    assert (done.out, done.returncode) == ("1\n", 1)


def test_watch_runs_so_many_times(server: LiveServer) -> None:
    lines = data_lines(server, "select 7 \\watch 0.01 c=3\n")
    assert [line for line in lines if "every" not in line] == ["7", "7", "7"]


def test_expanded_for_one_statement(server: LiveServer) -> None:
    done = shell(server, "select 1 as a \\gx\nselect 2 as b;\n")
    assert done.out.splitlines()[:2] == ["─[ row 1 ]───", "a │ 1"]
    assert "┌───┐" in done.out


def test_answers_go_to_files_and_commands(server: LiveServer, tmp_path: Path) -> None:
    csv, arrow, other, upper = (tmp_path / name for name in ("a.csv", "a.arrow", "a.txt", "upper"))
    script = f"""select 1 as one \\g {csv}
select 2 as two \\g {arrow}
\\copy (select 3 as three) to {other}
\\copy people to '{tmp_path / "p.parquet"}'
select 'abc' as x \\g |tr a-z A-Z > {upper}
\\p
\\w {tmp_path / "w.sql"}
"""
    done = shell(server, script)
    assert done.returncode == 0, done.err
    assert csv.read_text() == "one\n1\n"
    assert pa.ipc.open_file(arrow).read_all().to_pylist() == [{"two": 2}]
    assert other.read_text() == "three\n3\n"
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 3
    assert "ABC" in upper.read_text()
    assert (tmp_path / "w.sql").read_text() == "select 'abc' as x\n"


def test_editor_gets_the_statement_and_gives_it_back(server: LiveServer, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/1/40 + 2/; s/$/;/' \"$1\"\n")
    editor.chmod(0o755)
    done = shell(server, "select 1\n\\e\n", "-A", "-t", EDITOR=str(editor))
    assert (done.out, done.returncode) == ("42\n", 0), done.err
    done = shell(server, "\\e\n", EDITOR="/nowhere/editor")
    assert "cannot edit" in done.err


def test_jobs_in_the_background(server: LiveServer) -> None:
    done = shell(server, "\\submit select 6 * 7 as answer\n\\attach\n\\job\n\\jobs finished\n\\cancel\n")
    assert done.returncode == 0, done.err
    assert "│     42 │" in done.out
    found = re.search(r"^(q_\w+): submitted", done.out, re.MULTILINE)
    assert found
    assert re.search(rf"^query_id +{found[1]}$", done.out, re.MULTILINE)
    assert f"{found[1]}: finished" in done.out


def test_submitted_query_is_cancelled(server: LiveServer) -> None:
    done = shell(server, f"\\submit {LONG_QUERY}\n\\cancel\n\\attach\n")
    assert "error: " in done.err
    assert "cancelled" in done.out + done.err


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\\dt n*", "numbers"),
        ("\\dt+", "learnt_at"),
        ("\\d+ people", "average_bytes"),
        ("\\dv", "row_count_kind"),
        ("\\dn", "main"),
        ("\\l+", "memory"),
        ("\\df upper", "VARCHAR"),
        ("\\df+ upper", "upper case"),
        ("\\agents+", "started_at"),
        ("\\threshold 10_000", "10,000 rows"),
        ("\\threshold", "that of the engine"),
        ("\\status", "alive of 2"),
        ("\\plan select count(*) from numbers", "route     local"),
        ("\\route distributed\n\\plan+ select count(*) from numbers", "stage 0"),
        ("\\h", "SUMMARIZE"),
        ("\\h values", "VALUES (expression"),
        ("\\pset", "maxrows"),
        ("\\?", "\\copy (QUERY) or TABLE to FILE"),
        ("\\jobs finished", "query_id"),
        ("\\connect", "connected to"),
    ],
)
def test_command_shows(server: LiveServer, line: str, shown: str) -> None:
    done = shell(server, line)
    assert shown in done.out, done.err
    assert done.returncode == 0


def test_a_file_becomes_a_table(server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "two words.csv").write_text("a,b\n1,x\n2,y\n")
    pq.write_table(pa.table({"v": [7]}), tmp_path / "v.parquet")
    script = f"""\\copy "from a file" from '{tmp_path / "two words.csv"}'
select a, b from "from a file" order by a desc;
\\copy copied FROM {tmp_path / "v.parquet"}
table copied;
\\copy copied from {tmp_path / "v.parquet"}
"""
    done = shell(server, script, "-A", "-t")
    assert (done.out, done.returncode, 'table "copied" exists' in done.err) == ("2|y\n1|x\n7\n", 1, True), done.err
    for name in ("from%20a%20file", "copied"):
        assert server.request("DELETE", f"/v1/tables/memory/main/{name}").status == 204


def test_a_file_becomes_a_table_of_an_engine_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    done = sabot("shell", "-X", "-Atq", stdin=f"\\copy t from {tmp_path / 'a.csv'}\ntable t;\n", SABOT_AGENTS__COUNT="0")
    assert (done.out, done.returncode) == ("1\n", 0), done.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\\g", "there is no statement"),
        ("\\gset", "there is no statement"),
        ("select i from numbers \\gset", "rows where one was expected"),
        ("select 1 \\watch soon", "write \\watch"),
        ("\\bind 'a", "not closed"),
        ("\\set 1a 5", "no name of a variable"),
        ("\\set ON_ERROR_STOP maybe", "neither on nor off"),
        ("\\copy people in x", "write \\copy"),
        ("\\copy fresh from /nowhere/x.csv", "there is no /nowhere/x.csv"),
        ("\\copy fresh from 'x", "not closed"),
        ("\\copy people to /nowhere/x.csv", "cannot be written"),
        ("\\o /nowhere/x.csv", "cannot be written"),
        ("\\w", "where to?"),
        ("\\dt nobody*", "no table matches"),
        ("\\df nobody*", "no function matches"),
        ("\\timing+", "there is no command \\timing+"),
        ("\\threshold few", "neither a number"),
        ("\\jobs sleeping", "is no state"),
        ("\\attach", "which query?"),
        ("\\h nothing", "no help for"),
        ("\\pset colour red", "no display option"),
        ("\\connect http://127.0.0.1:9", "127.0.0.1:9"),
        ("\\connect /nowhere/folder", "neither an address"),
        ("\\! exit 3", "ended with 3"),
        ("select nam from people;", "  select nam from people\n         ^^^"),
    ],
)
def test_command_that_fails_says_why(server: LiveServer, line: str, message: str) -> None:
    done = shell(server, line)
    assert message in done.err
    assert done.returncode != 0
    assert "Traceback" not in done.err


def test_script_goes_on_where_it_may(server: LiveServer) -> None:
    done = shell(server, "\\set ON_ERROR_STOP off\nselect nothing;\n\\nothing\nselect 2;\n", "-A", "-t")
    assert (done.out, done.returncode) == ("2\n", 1)
    assert shell(server, "select nothing;\nselect 2;\n", "-A", "-t").out == ""


def test_options_of_the_command_line(server: LiveServer, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("select :n + 1;\n")
    done = sabot("shell", server.url, "-qAtX", "-v", "n=4", "-c", "select :n", "-c", "\\echo :n!", "-f", script)
    assert (done.out, done.err, done.returncode) == ("4\n4!\n5\n", "", 0)
    done = sabot("shell", server.url, "-q", "--format", "parquet", "-o", tmp_path / "x", "-c", "select 1 as a")
    assert pq.read_table(tmp_path / "x").to_pylist() == [{"a": 1}]
    done = sabot("shell", server.url, "-A", "-F", "\\t", "-c", "select 1 as a, 2 as b")
    assert done.out == "a\tb\n1\t2\n"
    assert sabot("shell", server.url, "-x", "-c", "select 1 as a").out.startswith("─[ row 1 ]")
    assert sabot("shell", server.url, "--format", "arrow", "-c", "select 1").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("-c", "select 1"), 0), (("-c", "selec"), 1), (("-f", "/nowhere.sql"), 2), (("--timeout", "0.2", "-c", LONG_QUERY), 4),
     (("-v", "1=2"), 1), (("-c", "\\q", "-c", "selec"), 0)],
)  # fmt: skip
def test_exit_code(server: LiveServer, arguments: tuple[str, ...], code: int) -> None:
    assert sabot("shell", server.url, *arguments).returncode == code


def test_no_server_is_exit_code_3() -> None:
    assert sabot("shell", "http://127.0.0.1:9", "-c", "select 1").returncode == 3


def test_shell_goes_over_to_other_data(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as writer:
        writer.execute("CREATE TABLE goods (id INTEGER); CREATE VIEW few AS FROM goods")
        writer.execute("CREATE SCHEMA s; CREATE TABLE s.x (y INTEGER)")
    done = shell(server, f"\\connect {path}\n\\dt\n\\dv\n\\dn\nselect count(*) from goods;\n", SABOT_AGENTS__COUNT="0")
    assert done.returncode == 0, done.err
    assert "goods" in done.out
    assert "few" in done.out
    assert "│ s    │" in done.out
    assert "numbers" not in done.out
