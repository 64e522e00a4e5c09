"""Commands that are told to end by a signal leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sabot_sql.agents.block_root import SHARED_MEMORY
from sabot_sql.executor.owned_folders import LOCK
from tests.agents.processes import until
from tests.server.live_server import LONG_QUERY, clean_environment

STATUS = {signal.SIGTERM: 143, signal.SIGHUP: 129}
SIGNALS = pytest.mark.parametrize("sig", STATUS)
SECOND_SLOW = pytest.mark.parametrize("sig", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
STDERR = "stderr.txt"
DISTRIBUTED = ("--agents", "1", "--route", "distributed")


def start(tmp_path: Path, *arguments: str | Path, stdin: str = "") -> subprocess.Popen[bytes]:
    """A command whose temporary folder is `tmp_path`, with `stdin` in a pipe that stays open."""
    environment = clean_environment(TMPDIR=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state"))
    command = [sys.executable, "-m", "sabot_sql.cli", *map(str, arguments)]
    with (tmp_path / STDERR).open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment)
    assert process.stdin is not None
    process.stdin.write(stdin.encode())
    process.stdin.flush()
    return process


def reads(process: subprocess.Popen[bytes], words: bytes, within_s: float, tmp_path: Path) -> None:
    """Reads what the process prints until a line with `words`; one that ends before, or takes longer, fails."""
    assert process.stdout is not None
    lines = []
    timer = threading.Timer(within_s, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if words in line:
                return
    finally:
        timer.cancel()
    raise AssertionError((process.wait(30), lines, (tmp_path / STDERR).read_text()))


def block_folders(pid: int) -> list[Path]:
    """The folders for blocks that the process has in shared memory."""

    def is_its_own(folder: Path) -> bool:
        try:
            return (folder / LOCK).read_text().strip() == str(pid)
        except OSError:
            return False

    return [folder for folder in SHARED_MEMORY.glob("sabot-sql-*") if is_its_own(folder)]


def job_folder_with_blocks(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    """Whether the process runs a job by now."""
    return lambda: any(folder.is_dir() for root in block_folders(process.pid) for folder in root.iterdir())


def ends_without_a_trace(process: subprocess.Popen[bytes], sig: signal.Signals, tmp_path: Path) -> None:
    with process:
        folders = block_folders(process.pid)
        process.send_signal(sig)
        process.send_signal(sig)  # as shells do with SIGHUP
        try:
            assert process.wait(30) == STATUS[sig]
        finally:
            process.kill()
    assert not any(map(os.path.exists, folders))
    assert list(tmp_path.glob("sabot-sql-*")) == []


@SIGNALS
def test_distributed_query_ends_with_its_agents_and_files(data: Path, tmp_path: Path, sig: signal.Signals) -> None:
    process = start(tmp_path, "query", "--data", data, *DISTRIBUTED, "-c", LONG_QUERY)
    until(job_folder_with_blocks(process), 30)
    ends_without_a_trace(process, sig, tmp_path)


@SIGNALS
def test_command_ends_while_it_opens_its_engine(data: Path, tmp_path: Path, sig: signal.Signals) -> None:
    process = start(tmp_path, "query", "--data", data, *DISTRIBUTED, "-c", LONG_QUERY)
    until(lambda: any(tmp_path.glob("sabot-sql-jobs-*")), 30)
    ends_without_a_trace(process, sig, tmp_path)


@SECOND_SLOW
def test_shell_ends_in_the_middle_of_a_statement_and_between_two(data: Path, tmp_path: Path, sig: signal.Signals) -> None:
    busy = start(tmp_path, "shell", data, *DISTRIBUTED, stdin=f"{LONG_QUERY};\n")
    until(job_folder_with_blocks(busy), 30)
    ends_without_a_trace(busy, sig, tmp_path)
    idle = start(tmp_path, "shell", data, *DISTRIBUTED, stdin="select 1;\n")
    reads(idle, b"(1 row)", 30, tmp_path)
    ends_without_a_trace(idle, sig, tmp_path)


@SECOND_SLOW
def test_demo_ends_with_its_server(tmp_path: Path, sig: signal.Signals) -> None:
    process = start(tmp_path, "demo", "--sf", "0.01", "--agents", "1", "--data", tmp_path / "demo")
    reads(process, b"Ready at", 60, tmp_path)
    ends_without_a_trace(process, sig, tmp_path)


SIGNALLED_WHILE_LOADING = """
import enum, os, signal
from sabot_sql.cli.ending import ends_on_signals

make = enum.EnumType.__call__

def make_and_signal(cls, *args, **kwargs):
    enum.EnumType.__call__ = make
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
    return make(cls, *args, **kwargs)

with ends_on_signals():
    import numpy, pyarrow
    enum.EnumType.__call__ = make_and_signal
    import duckdb
    signal.pause()
"""


def test_signal_while_a_compiled_module_is_loaded_ends_the_command_after_it() -> None:
    ended = subprocess.run([sys.executable, "-c", SIGNALLED_WHILE_LOADING], capture_output=True, text=True, timeout=60)
    assert ended.returncode == STATUS[signal.SIGTERM], ended.stderr


def test_signal_that_is_ignored_stays_ignored(data: Path, tmp_path: Path) -> None:
    command = 'trap "" HUP; exec "$@"'
    arguments = [sys.executable, "-m", "sabot_sql.cli", "shell", str(data)]
    with (
        (tmp_path / STDERR).open("wb") as stderr,
        subprocess.Popen(
            ["/bin/sh", "-c", command, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=clean_environment(TMPDIR=str(tmp_path)),
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"select 1;\n")
        process.stdin.flush()
        reads(process, b"(1 row)", 30, tmp_path)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(b"select 2 as two;\n", 30)
    assert (process.returncode, b"two" in out) == (0, True)
