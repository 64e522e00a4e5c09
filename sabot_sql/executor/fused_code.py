"""Where the machine code of fused expressions comes from: the cache on disk, which a process of its own fills.

A function that was wanted for enough rows is asked for: the expressions, without their constants, are put into a file of the
folder, and a compiler of the lowest priority is started unless one runs. It ends with who started it, or when nothing is left
to do. Nobody waits for it; who finds the code there loads it, which takes a few milliseconds.

    fused/<name>.wanted   the expressions, in the form of the wire
    fused/<name>.ready    the code is there
    fused/<name>.failed   it cannot be compiled; believed for an hour
    fused/compiler.lock   held by the compiler, so that there is one
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sabot_sql.executor import kernel_cache
from sabot_sql.executor.fused_source import Program
from sabot_sql.executor.kernels.compile import JIT
from sabot_sql.planner.expressions import Const, Expr, transform
from sabot_sql.planner.wire import register, to_wire

log = logging.getLogger(__name__)

ASK_ROWS = 1 << 20
"""Rows over which a function must have been wanted: from there on compiling it pays."""

LOAD_ROWS = 1 << 18
"""Rows over which this process must have wanted it: loading takes as long as the interpreter for about so many."""

LOOK_AGAIN_S = 0.2
ASK_AGAIN_S = 10.0
FAILED_S = 3600.0
MAX_LOADED = 256
MAX_KNOWN = 4096
MAX_WANTED = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the compiler is asked for."""

    exprs: tuple[Expr, ...]
    with_nulls: bool


register(Wanted)


@dataclass(slots=True)
class _Known:
    """What this process knows of a function. Times are of `time.monotonic()`."""

    rows: int = 0
    looked_s: float = float("-inf")
    asked_s: float = float("-inf")


class FusedCode:
    """The functions that this process has loaded, the most recently used last. Thread-safe."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or kernel_cache.FOLDER / "fused"
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Callable[..., Any]] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._compiler: subprocess.Popen[bytes] | None = None

    def get(self, program: Program, exprs: tuple[Expr, ...], rows: int) -> Callable[..., Any] | None:
        """The function of `program`, which is wanted for `rows` more rows; None when there is none yet."""
        if not JIT:
            return None
        with self._lock:
            if (found := self._loaded.get(program.name)) is not None:
                self._loaded.move_to_end(program.name)
                return found
            known = self._known.setdefault(program.name, _Known())
            self._known.move_to_end(program.name)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
            known.rows += rows
            now_s = time.monotonic()
            if known.rows < LOAD_ROWS or now_s - known.looked_s < LOOK_AGAIN_S:
                return None
            known.looked_s = now_s
            if (function := self._load(program)) is not None:
                self._loaded[program.name] = function
                if len(self._loaded) > MAX_LOADED:
                    self._loaded.popitem(last=False)
                return function
            if known.rows >= ASK_ROWS and now_s - known.asked_s > ASK_AGAIN_S:
                known.asked_s = now_s
                self._ask(program, exprs)
            return None

    def _load(self, program: Program) -> Callable[..., Any] | None:
        ready = self.folder / f"{program.name}.ready"
        try:
            os.utime(ready)  # what is used is kept
        except OSError:
            return None
        try:
            return program.generated().load(self.folder)
        except Exception:  # whatever a damaged file may cause: the interpreter serves
            log.warning("cannot load %s", ready, exc_info=True)
            with contextlib.suppress(OSError):
                ready.unlink(missing_ok=True)
            return None

    def _ask(self, program: Program, exprs: tuple[Expr, ...]) -> None:
        """Ask for a function; without a folder that can be written to, nothing happens."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            if has_failed(self.folder, program.name):
                return
            if sum(1 for _ in self.folder.glob("*.wanted")) < MAX_WANTED:
                wanted = Wanted(without_constants(exprs), program.with_nulls)
                unfinished = self.folder / f"{program.name}.{os.getpid()}"
                unfinished.write_bytes(to_wire(wanted))
                unfinished.replace(self.folder / f"{program.name}.wanted")
            if self._compiler is None or self._compiler.poll() is not None:
                self._compiler = start_compiler(self.folder)
        except OSError as error:
            log.info("expressions stay with the interpreter: %s", error)


def start_compiler(folder: Path) -> subprocess.Popen[bytes]:
    """Start the compiler; it ends with this process, because the end of a pipe closes."""
    arguments = [sys.executable, "-P", "-m", "sabot_sql.executor.fused_compiler", str(folder)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def has_failed(folder: Path, name: str) -> bool:
    """Whether compiling `name` was begun lately and did not succeed."""
    try:
        return time.time() - (folder / f"{name}.failed").stat().st_mtime < FAILED_S
    except OSError:
        return False


def without_constants(exprs: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """`exprs` with numbers in place of the constants that are arguments of the function: equal ones for equal ones."""
    numbers: dict[str, int] = {}

    def blank(expr: Expr) -> Expr:
        if not isinstance(expr, Const) or isinstance(expr.value, bool) or expr.value is None:
            return expr
        number = numbers.setdefault(repr(expr.value), len(numbers))
        return replace(expr, value=float(number) if isinstance(expr.value, float) else number)

    return tuple(transform(e, blank) for e in exprs)
