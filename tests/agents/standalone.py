"""Agents of their own, as processes that somebody started by hand."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

END_S = 30.0


def token_file(folder: Path) -> Path:
    """A file with a new secret."""
    path = folder / "token"
    path.touch(0o600)
    path.write_text(secrets.token_hex(32))
    return path


class AgentProcess:
    """`sabot-sql agent` in a process of its own.

    Args:
        prefix: a command that runs it, such as one that enters a network namespace.
        lane: how it reads blocks that lie on its machine.
    """

    def __init__(
        self, coordinator: str, token: Path, name: str, *options: str, prefix: Sequence[str] = (), lane: str = "file"
    ) -> None:
        self.name = name
        command = [*prefix, sys.executable, "-P", "-m", "sabot_sql.cli", "agent", "--coordinator", coordinator]
        self.process = subprocess.Popen(
            [*command, "--token-file", str(token), "--name", name, *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SABOT_AGENTS__THREADS": "1", "SABOT_AGENTS__LANE": lane},
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it without a farewell."""
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S)

    def errors(self) -> str:
        """What it has said, when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def close(self) -> None:
        """Be rid of it."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def agents_of(coordinator: str, token: Path, names: Sequence[str], *options: str) -> Iterator[list[AgentProcess]]:
    """Agents with these names, ended with the block."""
    started = [AgentProcess(coordinator, token, name, *options) for name in names]
    try:
        yield started
    finally:
        for agent in started:
            agent.close()
