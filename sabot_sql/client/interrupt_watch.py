"""Ctrl-C while the main thread runs a query.

Python runs a signal's handler when the main thread comes back to Python code. DuckDB may keep it away for as long as a query
takes. The number of the signal is written to a file descriptor at once, though, and a thread that reads it can stop the
query. The KeyboardInterrupt waits until the query has ended: raised anywhere inside, it would leave the query's record open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType


class InterruptWatch:
    """Sets an event when SIGINT arrives. One for the process: there is one descriptor for signals."""

    def __init__(self) -> None:
        self._event: threading.Event | None = None
        self._before = -1
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._read, name="sabot-interrupt", daemon=True).start()

    @contextlib.contextmanager
    def guard(self, event: threading.Event) -> Iterator[None]:
        """SIGINT inside the block sets `event`, and the block ends with a KeyboardInterrupt. A second one does not wait. To be
        called in the main thread."""
        interrupted = False

        def note(number: int, frame: FrameType | None) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            event.set()

        self._event = event
        handler = signal.signal(signal.SIGINT, note)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        except Exception as error:
            if interrupted:
                raise KeyboardInterrupt from error
            raise
        finally:
            signal.set_wakeup_fd(self._before)
            signal.signal(signal.SIGINT, handler)
            self._event = None
        if interrupted:
            raise KeyboardInterrupt

    def _read(self) -> None:
        while numbers := self._reader.recv(64):
            event, before = self._event, self._before
            if event is not None and signal.SIGINT in numbers:
                event.set()
            if before >= 0:  # an event loop waits for them there
                with contextlib.suppress(OSError):
                    os.write(before, numbers)


_watch: InterruptWatch | None = None


def stops_on_interrupt(event: threading.Event) -> contextlib.AbstractContextManager[None]:
    """A block in which Ctrl-C sets `event`, and which it ends with a KeyboardInterrupt, where Ctrl-C is this thread's business:
    in the main thread, unless the program has a handler of its own."""
    global _watch
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return contextlib.nullcontext()
    if _watch is None:
        _watch = InterruptWatch()
    return _watch.guard(event)


def _forget() -> None:
    """A forked child has no thread that reads."""
    global _watch
    _watch = None


os.register_at_fork(after_in_child=_forget)
