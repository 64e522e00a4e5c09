"""The process that agents are forked from: `python -m sabot_sql.agents.forkserver`.

It imports all that an agent needs, once, and stays single-threaded, so that a fork is safe and takes milliseconds. Started as
a module of its own it never runs the user's `__main__` again. Commands come in as JSON lines on one pipe, news go out on
another; when the coordinator's end of a pipe closes, or its process is gone, everything here ends with it.

    commands:  {"config": {...}, "fork": true}   first
               {"start": "agent-0"}  {"stop": "agent-0"}
    messages:  {"event": "ready"}  {"event": "listening", "id", "pid", "uri", "incarnation"}
               {"event": "exited", "id", "pid", "how"}
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from sabot_sql.agents.agent import AgentConfig
from sabot_sql.agents.agent_process import Pipes, die_with_parent, run_agent, send
from sabot_sql.executor import kernel_cache
from sabot_sql.executor.kernels import warm

log = logging.getLogger(__name__)

PARENT_CHECK_S = 1.0
KERNEL_COMPILER = "kernel compiler"


class ForkServer:
    """The loop of the fork server.

    Args:
        commands: pipe with the coordinator's commands.
    """

    def __init__(self, commands: int, pipes: Pipes) -> None:
        self._commands = commands
        self._pipes = pipes
        self._coordinator_pid = os.getppid()
        self._config: AgentConfig | None = None
        self._fork = True
        self._children: dict[int, str] = {}
        self._unread = b""
        self._wake_read, self._wake_write = os.pipe()

    def serve(self) -> None:
        """Follow commands until the coordinator is gone."""
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler is needed for the wake-up byte to be written
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._load_kernels()
        gc.collect()
        gc.freeze()  # keeps the garbage collector of the agents from copying shared pages
        send(self._pipes.messages, {"event": "ready"})
        with selectors.DefaultSelector() as selector:
            selector.register(self._commands, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while os.getppid() == self._coordinator_pid:
                ready = {key.fd for key, _ in selector.select(PARENT_CHECK_S)}
                if self._wake_read in ready:
                    os.read(self._wake_read, 4096)
                    self._reap()
                if self._commands in ready and not self._read_commands():
                    break
        self._end_children()

    def _read_commands(self) -> bool:
        """Follow what has arrived; False at the end of the pipe."""
        data = os.read(self._commands, 1 << 16)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._follow(json.loads(line))
        return bool(data)

    def _follow(self, command: dict[str, Any]) -> None:
        match command:
            case {"config": config, "fork": fork}:
                self._config, self._fork = AgentConfig.from_json(config), fork
            case {"start": agent_id}:
                self._start(agent_id)
            case {"stop": agent_id}:
                for pid in [p for p, name in self._children.items() if name == agent_id]:
                    os.kill(pid, signal.SIGKILL)
            case _:
                raise ValueError(f"the fork server knows no command {command}")

    def _start(self, agent_id: str) -> None:
        assert self._config is not None, "the first command gives the configuration"
        if self._fork:
            config, pipes, parent = self._config, self._pipes, os.getpid()
            self._children[self._fork_child(lambda: run_agent(agent_id, config, pipes, parent))] = agent_id
        else:
            self._children[start_fresh(agent_id, self._config, self._pipes)] = agent_id

    def _fork_child(self, body: Any) -> int:
        """Fork; the child runs `body` and never comes back."""
        assert_single_threaded()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._commands, self._wake_read, self._wake_write):
                os.close(fd)
            body()
            os._exit(0)
        except BaseException:
            logging.getLogger(__name__).exception("an agent process failed")
        finally:
            os._exit(1)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._children.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if name == KERNEL_COMPILER:
                if code == 0:
                    self._load_kernels()
            elif name is not None:
                send(self._pipes.messages, {"event": "exited", "id": name, "pid": pid, "how": how_it_ended(code)})

    def _load_kernels(self) -> None:
        """Load all kernels from the cache, so that agents inherit them. With an empty cache a child fills it first: agents
        start meanwhile and compile what they need themselves, and those that start later inherit."""
        complete = complete_mark()
        if complete.exists():
            try:
                warm.warm()
            except (
                Exception
            ):  # whatever a damaged cache may cause: who needs the kernel will tell; the next start fills it anew
                log.exception("cannot load the kernels from %s", complete.parent)
                complete.unlink(missing_ok=True)
            return

        parent = os.getpid()

        def compile_all() -> None:
            die_with_parent(parent)
            os.close(self._pipes.messages)  # or its end would not be seen while kernels compile
            watch_lifeline(self._pipes.lifeline)
            os.nice(10)
            warm.warm()
            complete.touch()

        self._children[self._fork_child(compile_all)] = KERNEL_COMPILER

    def _end_children(self) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def complete_mark() -> Path:
    """The file in the kernel cache that says that every kernel of this installation is there: code is kept by the paths of
    the sources, so that of another folder with the same sources is of no use here."""
    place = hashlib.blake2b(str(Path(warm.__file__).parent).encode(), digest_size=8).hexdigest()
    return kernel_cache.FOLDER / f"complete-{place}"


def assert_single_threaded() -> None:
    """Raise when a fork would lose threads.

    Raises:
        RuntimeError: an import or a call has started a thread; its name is told.
    """
    try:
        threads = os.listdir("/proc/self/task")
    except FileNotFoundError:
        threads = [str(t.ident) for t in threading.enumerate()]
    if len(threads) != 1:
        raise RuntimeError(f"the fork server has {len(threads)} threads and cannot fork safely")


def watch_lifeline(lifeline: int) -> None:
    """End this process when the coordinator ends."""

    def watch() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()


def start_fresh(agent_id: str, config: AgentConfig, pipes: Pipes) -> int:
    """Start an agent in an interpreter of its own, where fork is not safe; returns its pid."""
    arguments = ["--agent", agent_id, "--messages", str(pipes.messages), "--lifeline", str(pipes.lifeline)]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "sabot_sql.agents.forkserver", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(pipes.messages, pipes.lifeline),
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(config)).encode())
    process.stdin.close()
    process.returncode = 0  # reaped by the loop
    return process.pid


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was killed by signal {-code}"


def main() -> NoReturn:
    """Run the fork server, or with `--agent` one agent."""
    parser = argparse.ArgumentParser(prog="python -m sabot_sql.agents.forkserver")
    parser.add_argument("--commands", type=int, default=0)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--agent")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    pipes = Pipes(arguments.messages, arguments.lifeline)
    if arguments.agent:
        config = AgentConfig.from_json(json.loads(sys.stdin.buffer.read()))
        run_agent(arguments.agent, config, pipes, os.getppid())
    ForkServer(arguments.commands, pipes).serve()
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
