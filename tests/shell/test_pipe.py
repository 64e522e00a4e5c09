"""The shell with statements piped in."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.in_process import Done, sabot
from tests.server.live_server import LiveServer


def shell(server: LiveServer, script: str) -> Done:
    return sabot("shell", server.url, stdin=script)


def test_statement_over_several_lines_gives_a_table(server: LiveServer) -> None:
    done = shell(server, "SELECT id,\n  name -- ; no end\nFROM people\nORDER BY id;\n")
    lines = done.out.splitlines()
    assert lines[0].startswith("┌")
    assert "│  2 │ NULL" in done.out
    assert lines[-1].startswith("(3 rows)  route local · ")
    assert (done.returncode, done.err) == (0, "")


def test_last_statement_needs_no_semicolon(server: LiveServer) -> None:
    assert "(1 row)" in shell(server, "SELECT 1").out


def test_script_stops_at_its_first_error(server: LiveServer) -> None:
    done = shell(server, "SELECT 1;\nSELECT nam\nFROM people;\nSELECT 3;\n")
    assert done.returncode == 1
    assert done.out.count("(1 row)") == 1
    assert "  SELECT nam\n         ^^^" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\\d", "numbers"),
        ("\\dt p*", "people"),
        ("\\d people", "VARCHAR"),
        ("\\explain SELECT count(*) FROM numbers", "route     local: "),
        ("\\jobs", "query_id"),
        ("\\agents", "flight_uri"),
        ("\\route distributed", "route is distributed"),
        ("\\mode", "route is auto"),
        ("\\timing", "timing is off"),
        ("\\timing on", "timing is on"),
        ("\\conninfo", "connected to http://127.0.0.1:"),
        ("\\?", "\\explain"),
        ("\\help", "Ctrl-C cancels"),
    ],
)
def test_command_shows(server: LiveServer, line: str, shown: str) -> None:
    done = shell(server, line)
    assert shown in done.out, done.err
    assert done.returncode == 0


def test_connection_info_of_an_embedded_engine(data: Path) -> None:
    done = sabot("shell", data, stdin="\\conninfo\n")
    assert done.out.startswith("connected to embedded: sabot-sql "), done.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\\nothing", "there is no command \\nothing"),
        ("\\d nobody", "nobody"),
        ("\\route nowhere", "'nowhere' is no route"),
        ("\\x maybe", "'maybe' is neither on nor off"),
        ("\\cancel q_0", "q_0"),
        ("\\cancel", "which query?"),
        ("\\i /nowhere.sql", "/nowhere.sql cannot be read"),
        ("\\explain", "nothing to explain"),
    ],
)
def test_command_that_fails_says_why(server: LiveServer, line: str, message: str) -> None:
    done = shell(server, line)
    assert message in done.err
    assert (done.returncode, "Traceback" in done.err) == (2 if "cannot be read" in message else 1, False)


def test_route_holds_for_the_statements_after_it(server: LiveServer) -> None:
    done = shell(server, "\\route distributed\nSELECT count(*) FROM numbers;\n\\explain\n")
    assert "route distributed · " in done.out
    assert "route     distributed" in done.out


def test_expanded_display_and_timing_off(server: LiveServer) -> None:
    done = shell(server, "\\x\n\\timing off\nSELECT 1 a, 'b' bb;\n")
    assert done.out.splitlines()[-4:] == ["─[ row 1 ]────", "a  │ 1", "bb │ b", "(1 row)"]


def test_output_file_has_the_format_of_its_name(server: LiveServer, tmp_path: Path) -> None:
    csv, parquet = tmp_path / "out.csv", tmp_path / "out.parquet"
    done = shell(server, f"\\o {csv}\nSELECT 1 a; SELECT 2 b;\n\\o {parquet}\nSELECT * FROM people;\n\\o\nSELECT 5 back;\n")
    assert csv.read_text() == "a\n1\nb\n2\n"
    assert pq.read_table(parquet).num_rows == 3
    assert "3 rows written to" in done.out
    assert "back" in done.out


def test_included_file_is_run_up_to_its_error(server: LiveServer, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text("SELECT 1\n  AS first;\n\\timing off\nSELEC;\nSELECT 3 AS third;\n")
    done = shell(server, f"\\i {script}\n")
    assert "first" in done.out
    assert "third" not in done.out
    assert "SELEC" in done.err


def test_leaving_words_end_the_script(server: LiveServer) -> None:
    for word in ("\\q", "quit", "exit;"):
        assert shell(server, f"{word}\nSELECT 1;\n").out == ""


def test_only_a_thousand_rows_are_shown(server: LiveServer) -> None:
    done = shell(server, "SELECT i FROM numbers;")
    assert "… 9,000 more rows" in done.out
    assert "(10,000 rows)" in done.out


def test_folder_is_opened_in_this_process(data: Path) -> None:
    done = sabot("shell", data, "--agents", "0", stdin="SELECT count(*) c FROM people;")
    assert "│ 3 │" in done.out, done.err
