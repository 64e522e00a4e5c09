"""Somebody at a real terminal: every command, keys, editor, pager."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql.shell.commands import COMMANDS
from tests.server.live_server import LONG_QUERY, LiveServer
from tests.shell.terminal import Terminal

# Each line that is typed, and what must then be on the screen; the first word of each that begins with a backslash counts.
SESSION = [
    ("\\?", ("\\unset", "forget a variable")),
    ("\\help", ("leave",)),
    ("\\d people", ("VARCHAR", "name")),
    ("\\dt n*", ("numbers", "parquet")),
    ("\\dv", ("row_count_kind",)),
    ("\\dn", ("main",)),
    ("\\l", ("memory",)),
    ("\\df uppe*", ("upper",)),
    ("\\h values", ("VALUES (expression",)),
    ("select 6 * 7 as answer \\g", (" 42 │", "(1 row)", "route local")),
    ("\\gx", ("[ row 1 ]", "answer │ 42")),
    ("select 5 as five \\gset my_", ()),
    ("\\echo :my_five apples", ("5 apples",)),
    ("\\bind 20 'a b'", ()),
    ("select $1 + 1 as n, $2 as t;", (" 21 │", "a b")),
    ("select 41 + 1 as w \\watch 0.1 c=2", ("(every 0.1 s)", " 42 │")),
    ("\\p", ("select 41 + 1 as w",)),
    ("\\w said.sql", ()),
    ("\\r", ("forgotten",)),
    ("\\! cat said.sql", ("select 41 + 1 as w",)),
    ("\\i two.sql", (" 22 │",)),
    ("\\o out.csv", ()),
    ("select 1 as one, 2 as two;", ("1 row written to out.csv",)),
    ("\\o", ()),
    ("\\! cat out.csv", ("one,two", "1,2")),
    ("\\copy (select 3 as three) to three.json", ("three.json",)),
    ("\\set who Ada", ()),
    ("select id from people where name = :'who';", (" 1 │", "(1 row)")),
    ("\\unset who", ()),
    ("\\timing off", ("timing is off",)),
    ("\\timing on", ("timing is on",)),
    ("\\x on", ("expanded display is on",)),
    ("select 1 as one;", ("[ row 1 ]", "one │ 1")),
    ("\\x off", ("expanded display is off",)),
    ("\\pset null (nothing)", ("null is (nothing)",)),
    ("select name from people where id = 2;", ("(nothing)",)),
    ("\\a", ("unaligned",)),
    ("select 1 as one, 2 as two;", ("one|two", "1|2")),
    ("\\a", ("table",)),
    ("\\H", ("html",)),
    ("select 1 as one;", ("<th>one</th>", "<td>1</td>")),
    ("\\H", ("table",)),
    ("\\t on", ("tuples only is on",)),
    ("\\t off", ("tuples only is off",)),
    ("\\explain select count(*) from numbers", ("route     local", "threshold")),
    ("\\route distributed", ("route is distributed",)),
    ("\\mode", ("distributed",)),
    ("select count(*) as n from numbers;", (" 10000 │", "route distributed")),
    ("\\plan", ("stage 0",)),
    ("\\route auto", ("route is auto",)),
    ("\\threshold 10_000", ("10,000 rows",)),
    ("\\threshold auto", ()),
    ("\\agents", ("agent-0", "alive")),
    ("\\jobs", ("query_id", "finished")),
    ("\\submit select 7 as seven", ("submitted",)),
    ("\\attach", (" 7 │",)),
    ("\\job", ("state", "finished")),
    ("\\status", ("alive of 2",)),
    ("\\conninfo", ("connected to",)),
    ("\\e", (" 99 │",)),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a script, and an editor that writes `select 99 as edited;`."""
    (tmp_path / "two.sql").write_text("select 22 as twice;\n")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "select 99 as edited;" > "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.fixture
def terminal(server: LiveServer, home: Path) -> Iterator[Terminal]:
    with Terminal(server.url, home=home, lines=70, EDITOR=str(home / "editor")) as opened:
        yield opened


def test_every_command_works_in_a_terminal(terminal: Terminal, server: LiveServer) -> None:
    for line, shown in SESSION:
        assert "error" not in terminal.run(line, *shown)
    terminal.run(f"\\submit {LONG_QUERY}", "submitted")
    terminal.run("\\cancel", "cancel")
    terminal.run(f"\\connect {server.url}", "connected to")
    typed = {name for line, _ in SESSION for name in re.findall(r"\\(\w+|[?!])", line)}
    assert set(COMMANDS) - typed == {"cancel", "connect", "q", "quit"}
    terminal.type("\\q\r")
    terminal.process.expect("$")


def test_tab_shows_what_fits_and_takes_what_is_chosen(terminal: Terminal) -> None:
    terminal.type("select count(*) as n from pe\t")
    terminal.wait("from people", idle=False)
    terminal.type(";\r")
    terminal.wait("(1 row)")
    terminal.type("select id from people where na\t")
    terminal.wait("name", "nanosecond", idle=False)
    terminal.type("\x03")
    terminal.wait()


def test_a_statement_spans_lines_until_it_is_ended(terminal: Terminal) -> None:
    terminal.type("select id,\r  name\rfrom people\rwhere id = 1;\r")
    shown = terminal.wait("(1 row)", "Ada")
    assert shown.count("sabot->") == 3


def test_an_error_points_at_its_place(terminal: Terminal) -> None:
    shown = terminal.run("select id, nam from people;", "error:", "^")
    lines = shown.splitlines()
    caret = next(i for i, line in enumerate(lines) if line.strip(" ^") == "" and "^" in line)
    assert lines[caret - 1][lines[caret].index("^") :].startswith("nam")
    assert 'did you mean "name"?' in shown


def test_ctrl_c_cancels_what_runs_and_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.run(f"{LONG_QUERY};", idle=False)
    terminal.pause(1.0)
    terminal.type("\x03")
    terminal.wait("cancelled")
    terminal.run("select 1 as one \\watch 0.2", "(every 0.2 s)", idle=False)
    terminal.type("\x03")
    terminal.wait("cancelled")
    assert terminal.leave() == 0


def test_a_pager_has_the_screen_until_it_is_left(server: LiveServer, home: Path) -> None:
    pager = home / "pager"
    pager.write_text("#!/bin/sh\nhead -5; echo -- more --; read answer < /dev/tty\n")
    pager.chmod(pager.stat().st_mode | stat.S_IXUSR)
    with Terminal(server.url, home=home, lines=30, PAGER=str(pager)) as terminal:
        terminal.type("select i from numbers order by i limit 200;\r")
        terminal.wait("-- more --", idle=False)
        assert not terminal.idle
        terminal.type("q\r")
        terminal.wait("(200 rows)")
