"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it has opened is closed, so that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from types import FrameType

from sabot_sql.cli.exits import ExitCode

STATUS = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}
END_S = 30.0  # the demo waits up to 25 s for its server
LOOK_S = 2.0
AGAIN_S = 0.02


@dataclass(slots=True)
class Ending:
    """What a signal has made of a command: its exit status, None while there was no signal."""

    status: ExitCode | None = None


@contextlib.contextmanager
def ends_on_signals() -> Iterator[Ending]:
    """A block that a first SIGTERM or SIGHUP ends with a SystemExit. Later ones are ignored, as a shell sends a second SIGHUP
    when its terminal is closed; what does not end in half a minute is ended as it is.

    Python drops an exception that is raised in a callback of its own, and a library may swallow it while it is imported: so a
    thread closes the engine too, upon which the query that the command waits for fails. An exception in Python code that a
    compiled module runs while it is loaded may abort the process: the signal comes again a moment later.

    A signal that is ignored (nohup) or that the program has a handler for is left alone.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    caught = [number for number in STATUS if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        if _loads_compiled(frame):
            threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, number)).start()
            return
        ending.status = STATUS[signal.Signals(number)]
        for one in caught:
            signal.signal(one, signal.SIG_IGN)
        threading.Thread(target=_see_to_it, args=(ending.status,), name="sabot-ending", daemon=True).start()
        raise SystemExit(ending.status)

    for number in caught:
        signal.signal(number, end)
    try:
        yield ending
    finally:
        if ending.status is None:
            for number in caught:
                signal.signal(number, signal.SIG_DFL)


def _loads_compiled(frame: FrameType | None) -> bool:
    """Whether a compiled module is being loaded in `frame` or above it."""
    while frame is not None:
        if frame.f_code.co_name in ("create_module", "exec_module") and isinstance(
            frame.f_locals.get("self"), ExtensionFileLoader
        ):
            return True
        frame = frame.f_back
    return False


def _see_to_it(status: ExitCode) -> None:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        # not imported by commands that run no engine
        close_all = getattr(sys.modules.get("sabot_sql.jobs.manager"), "close_all", None)
        if close_all is not None:
            with contextlib.suppress(Exception):  # the edge of the process: what the main thread meets is told there
                close_all()
    os._exit(status)
