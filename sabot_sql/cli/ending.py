"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it has opened is closed, so that nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from sabot_sql.cli.exits import ExitCode

STATUS = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}
END_S = 30.0  # the demo waits up to 25 s for its server


@dataclass(slots=True)
class Ending:
    """What a signal has made of a command: its exit status, None while there was no signal."""

    status: ExitCode | None = None


@contextlib.contextmanager
def ends_on_signals() -> Iterator[Ending]:
    """A block that a first SIGTERM or SIGHUP ends with a SystemExit. Later ones are ignored, as a shell sends a second SIGHUP
    when its terminal is closed; what does not end in half a minute is ended as it is.

    A signal that is ignored (nohup) or that the program has a handler for is left alone.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    caught = [number for number in STATUS if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        ending.status = STATUS[signal.Signals(number)]
        for one in caught:
            signal.signal(one, signal.SIG_IGN)
        timer = threading.Timer(END_S, os._exit, (ending.status,))
        timer.daemon = True
        timer.start()
        raise SystemExit(ending.status)

    for number in caught:
        signal.signal(number, end)
    try:
        yield ending
    finally:
        if ending.status is None:
            for number in caught:
                signal.signal(number, signal.SIG_DFL)
