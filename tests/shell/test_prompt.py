"""The shell with somebody at the keys."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import sabot_sql
from sabot_sql.shell.completion import SqlCompleter
from sabot_sql.shell.prompt import history_path, is_complete, read_forever
from sabot_sql.shell.shell import Shell
from tests.server.live_server import LONG_QUERY, LiveServer, clean_environment


@pytest.fixture
def shell(server: LiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shell]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with sabot_sql.connect(server.url) as connection:
        yield Shell(connection)


def typed(shell: Shell, keys: str) -> None:
    with create_pipe_input() as pipe:
        pipe.send_text(keys)
        read_forever(shell, input=pipe, output=DummyOutput())


def test_enter_sends_only_ended_statements(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    typed(shell, "SELECT 1 AS one\r, ';' AS two\r;\r\x04")
    out = capsys.readouterr().out
    assert "\\? for help" in out
    assert "one" in out
    assert "two" in out
    assert out.count("(1 row)") == 1


def test_error_does_not_end_the_session(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    typed(shell, "SELEC;\r\\nothing\rSELECT 2 AS after;\r\x04")
    captured = capsys.readouterr()
    assert "after" in captured.out
    assert "error: " in captured.err


def test_ctrl_c_throws_the_line_away(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    typed(shell, "SELECT 'lost\x03SELECT 'kept' AS k;\r\x04")
    assert "kept" in capsys.readouterr().out


def test_lines_are_remembered_for_the_user_only(shell: Shell) -> None:
    typed(shell, "SELECT 42;\r\x04")
    path = history_path()
    assert path is not None
    assert "SELECT 42;" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text", ["", "\\d x", "quit", "SELECT 1;", "SELECT 1 \\gx", "SELECT 1\n\\p", "SELECT 1; -- done", "SELECT 1;\n SELECT ';';"]
)
def test_text_is_complete(text: str) -> None:
    assert is_complete(text)


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "SELECT $$;", "SELECT 1 /* ; "])
def test_text_is_not_complete(text: str) -> None:
    assert not is_complete(text)


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ("SELECT * FROM nu", "numbers"),
        ("SELECT * FROM numbers JOIN pe", "people"),
        ("sel", "select"),
        ("SELECT * FROM numbers WHERE ha", "half"),
        ("\\tim", "\\timing"),
        ("\\d peo", "people"),
        ("SELECT * FROM people p JOIN numbers n ON n.ha", "half"),
        ("SELECT upp", "upper"),
        ("SELECT na", "name"),
        ("\\explain SELECT * FROM nu", "numbers"),
        ("\\route dis", "distributed"),
        ("\\pset form", "format"),
        ("\\pset format mark", "markdown"),
        ("\\x a", "auto"),
        ("\\df list_f", "list_filter"),
        ("\\h SEL", "SELECT"),
        ("SELECT 1 \\gs", "\\gset"),
    ],
)
def test_tab_offers(shell: Shell, before: str, offered: str) -> None:
    completer = SqlCompleter(shell)
    assert offered in [c.text for c in completer.get_completions(Document(before), CompleteEvent())]


def test_only_the_columns_of_an_alias_follow_its_dot(shell: Shell) -> None:
    before = "SELECT * FROM people p, numbers n WHERE p."
    offers = SqlCompleter(shell).get_completions(Document(before), CompleteEvent())
    assert [c.text for c in offers] == ["id", "name"]


def test_columns_of_other_tables_are_not_offered(shell: Shell) -> None:
    offers = SqlCompleter(shell).get_completions(Document("SELECT * FROM people WHERE ha"), CompleteEvent())
    assert "half" not in [c.text for c in offers]


class Terminal:
    """The shell as a process on a terminal of its own."""

    def __init__(self, url: str, home: Path) -> None:
        self.master, slave = pty.openpty()
        environment = clean_environment(XDG_STATE_HOME=str(home), TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1")
        command = [sys.executable, "-m", "sabot_sql.cli", "shell", url]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True, close_fds=True,
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, *texts: str, timeout_s: float = 30) -> None:
        """Reads until all of `texts` were seen since the last time."""
        deadline = time.monotonic() + timeout_s
        while not all(text in self.seen for text in texts):
            there, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert there, f"{texts} not in {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def leave(self) -> int:
        """Presses Ctrl-D until the shell is gone: one pressed while it prints is lost, as in every terminal."""
        for _ in range(20):
            self.type("\x04")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(1)
        raise AssertionError("the shell did not leave")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(server: LiveServer, tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    opened: list[Terminal] = []

    def start() -> Terminal:
        opened.append(Terminal(server.url, tmp_path))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_ctrl_c_cancels_the_query_and_stays(terminal: Callable[[], Terminal]) -> None:
    session = terminal()
    session.until("for help", "sabot=>")
    session.type(f"{LONG_QUERY};\r")
    time.sleep(1.5)
    session.type("\x03")
    session.until("cancelled", "sabot=>")
    session.type("SELECT 40 + 2 AS answer;\r")
    session.until("42", "(1 row)", "sabot=>")
    assert session.leave() == 0


def test_watch_is_ended_by_ctrl_c_and_the_statement_can_be_shown_expanded(terminal: Callable[[], Terminal]) -> None:
    session = terminal()
    session.until("for help", "sabot=>")
    session.type("SELECT 41 + 1 AS answer \\watch 0.2\r")
    session.until("42")
    session.until("42")
    session.type("\x03")
    session.until("cancelled", "sabot=>")
    session.type("\\gx\r")
    session.until("[ row 1 ]", "answer │ 42", "sabot=>")
    assert session.leave() == 0


def test_statement_goes_on_after_a_command(terminal: Callable[[], Terminal]) -> None:
    session = terminal()
    session.until("for help", "sabot=>")
    session.type("SELECT 40\r\\p\r")
    session.until("sabot->")
    session.type("+ 2 AS sum;\r")
    session.until("42", "(1 row)", "sabot=>")
    assert session.leave() == 0


def test_long_answers_go_through_the_pager(
    terminal: Callable[[], Terminal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", f"tee {tmp_path / 'paged'}")
    session = terminal()
    session.until("for help", "sabot=>")
    session.type("SELECT i FROM numbers WHERE i < 200 ORDER BY i;\r")
    session.until("(200 rows)", "sabot=>")
    assert "│ 199 │" in (tmp_path / "paged").read_text()
    session.type("\\pset pager off\rSELECT i + 5000 AS j FROM numbers WHERE i < 200;\r")
    session.until("(200 rows)", "sabot=>")
    assert "5199" not in (tmp_path / "paged").read_text()
    assert session.leave() == 0


def test_session_begins_with_the_startup_file(
    terminal: Callable[[], Terminal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "sabot-sql").mkdir(exist_ok=True)
    (tmp_path / "sabot-sql" / "shellrc").write_text("\\pset format markdown\n")
    session = terminal()
    session.until("format is markdown", "for help", "sabot=>")
    session.type("SELECT 1 AS one;\r")
    session.until("| one |", "| 1 |", "sabot=>")
    assert session.leave() == 0
