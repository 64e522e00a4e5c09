"""The shell in a real terminal: a process on a pseudo-terminal, and the screen that somebody at it would see."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from types import TracebackType

import pexpect
import pyte

from tests.server.live_server import clean_environment

PROMPT, MORE = "sabot=>", "sabot->"
CLEAR = "\x0c"  # Ctrl-L, which prompt_toolkit takes
PERSONAL = frozenset(("XDG_STATE_HOME", "XDG_CONFIG_HOME", "VISUAL", "EDITOR"))
QUIET_S = 0.3


class _Screen(pyte.HistoryScreen):
    """A screen that answers what programs ask of it, such as where the cursor is."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines, history=2000)
        self.answers = ""

    def write_process_input(self, data: str) -> None:
        self.answers += data


class Terminal:
    """`sabot-sql shell TARGET` on a screen of its own; a context manager that ends it.

    Args:
        target: the arguments after `shell`.
        home: of the user at the terminal; where the shell is started.
    """

    def __init__(self, *target: str, home: Path, columns: int = 100, lines: int = 30, **environment: str) -> None:
        self.screen = _Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        own = {"HOME": str(home), "TERM": "xterm-256color", "LANG": "C.UTF-8", "PAGER": "cat", **environment}
        inherited = {name: value for name, value in clean_environment().items() if name not in PERSONAL}
        self.process = pexpect.spawn(
            sys.executable, ["-m", "sabot_sql.cli", "shell", *target], env=inherited | own, cwd=str(home),
            dimensions=(lines, columns), timeout=60,
        )  # fmt: skip
        self.process.delaybeforesend = None

    def __enter__(self) -> Terminal:
        self.wait("for help")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.close(force=True)

    @property
    def text(self) -> str:
        """The lines of the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    @property
    def idle(self) -> bool:
        """Whether the shell waits for a statement."""
        return self.line == PROMPT

    @property
    def line(self) -> str:
        """The line that the cursor is on."""
        return str(self.screen.display[self.screen.cursor.y]).rstrip()

    def read(self, for_s: float) -> None:
        """Draws what comes within `for_s` seconds."""
        with contextlib.suppress(pexpect.TIMEOUT):
            self.stream.feed(self.process.read_nonblocking(65536, timeout=for_s))
        if self.screen.answers:
            self.process.send(self.screen.answers)
            self.screen.answers = ""

    def wait(self, *texts: str, idle: bool = True, timeout_s: float = 60) -> str:
        """The screen, once all of `texts` are on it and, unless told otherwise, the shell waits for a statement."""
        deadline_s = time.monotonic() + timeout_s
        while not (all(text in self.text for text in texts) and (self.idle or not idle)):
            assert time.monotonic() < deadline_s, f"{texts} not on the screen:\n{self.text}"
            self.read(0.1)
        return self.text

    def type(self, keys: str) -> None:
        """Presses keys."""
        self.process.send(keys)

    def run(self, line: str, *texts: str, idle: bool = True) -> str:
        """Clears the screen, types a line with Enter, and gives the screen once `texts` are on it."""
        self.type(CLEAR)
        deadline_s = time.monotonic() + 30
        while not (self.idle and self.screen.cursor.y == 0):
            assert time.monotonic() < deadline_s, f"the screen is not cleared:\n{self.text}"
            self.read(0.1)
        self.type(line)
        self.read(QUIET_S)
        self.type("\r")
        return self.wait(*texts, idle=idle)

    def pause(self, for_s: float) -> None:
        """Draws for `for_s` seconds."""
        end_s = time.monotonic() + for_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.read(left_s)

    def settle(self) -> None:
        """Draws until nothing more comes."""
        before = ""
        while before != self.text:
            before = self.text
            self.read(QUIET_S)

    def leave(self) -> int:
        """Presses Ctrl-D and gives the exit code."""
        self.type("\x04")
        self.process.expect(pexpect.EOF)
        self.process.wait()
        told = self.process.before.decode(errors="replace")
        assert self.process.signalstatus is None, f"ended by signal {self.process.signalstatus}:\n{told}"
        return int(self.process.exitstatus)
