"""The process that compiles fused expressions: `python -m sabot_sql.executor.fused_compiler FOLDER` (see `fused_code`).

It reads typed expressions and writes their functions itself, so no text that could be run comes in from elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from pathlib import Path

from sabot_sql.executor.fused_code import Wanted, has_failed
from sabot_sql.executor.fused_source import is_small_enough, write
from sabot_sql.planner.wire import from_wire

log = logging.getLogger(__name__)

IDLE_S = 5.0
POLL_S = 0.05
NICENESS = 19
MAX_KEPT = 1000
MAX_KEPT_BYTES = 128 << 20


def serve(folder: Path, idle_s: float = IDLE_S) -> int:
    """Compile what is wanted in `folder` until nothing was for `idle_s`; the number of functions that were compiled.

    Returns at once where another compiler is at work.
    """
    import fcntl

    handle = os.open(folder / "compiler.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        count, until_s = 0, time.monotonic() + idle_s
        while time.monotonic() < until_s:
            for wanted in sorted(folder.glob("*.wanted")):
                count += compile_wanted(wanted)
                keep_within(folder, MAX_KEPT, MAX_KEPT_BYTES)
                until_s = time.monotonic() + idle_s
            time.sleep(POLL_S)
        return count
    finally:
        os.close(handle)


def compile_wanted(wanted: Path) -> bool:
    """Compile what one file asks for, and remove it; whether that was needed and went well."""
    name, folder = wanted.stem, wanted.parent
    ready, failed = folder / f"{name}.ready", folder / f"{name}.failed"
    try:
        if has_failed(folder, name):
            return False
        failed.touch()  # until it is done: an expression that kills the compiler is not tried again and again
        asked = from_wire(wanted.read_bytes(), Wanted)
        program = write(asked.exprs, asked.with_nulls) if is_small_enough(asked.exprs) else None
        if program is None or program.name != name:
            log.warning("%s does not ask for a function of this name", wanted)
            return False
        generated = program.generated()
        is_new = generated.load(folder) is None
        if is_new:
            generated.compile(folder)
        ready.touch()
        failed.unlink()
        return is_new
    except Exception:  # the edge of the process: the next one may be compiled
        log.warning("cannot compile what %s asks for", wanted, exc_info=True)
        return False
    finally:
        wanted.unlink(missing_ok=True)


def keep_within(folder: Path, count: int, size_bytes: int) -> None:
    """Remove the code that was not loaded for the longest time, down to `count` functions of `size_bytes` together."""
    files: dict[str, list[Path]] = {}
    for path in folder.rglob("*.nb?"):  # numba's names are <file>.<function>-<line>.<version>.<kind>
        files.setdefault(path.name.split("-")[0].rpartition(".")[2], []).append(path)
    used = []
    for name, paths in files.items():
        ready = folder / f"{name}.ready"
        with contextlib.suppress(OSError):
            used.append((ready.stat().st_mtime if ready.exists() else 0.0, name, sum(p.stat().st_size for p in paths)))
    kept, kept_bytes = 0, 0
    for _, name, size in sorted(used, reverse=True):
        kept, kept_bytes = kept + 1, kept_bytes + size
        if kept > count or kept_bytes > size_bytes:
            for path in (folder / f"{name}.ready", *files[name]):
                path.unlink(missing_ok=True)


def main() -> int:
    folder = Path(sys.argv[1])
    with contextlib.suppress(OSError):
        os.nice(NICENESS)

    def end_with_starter() -> None:
        os.read(0, 1)
        os._exit(0)

    threading.Thread(target=end_with_starter, daemon=True, name="lifeline").start()
    serve(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
