"""Long answers, screen by screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TextIO

from sabot_sql.errors import ConfigError

DEFAULT = "less -SRXF"


def pager_command() -> list[str] | None:
    """`$SABOT_PAGER`, `$PAGER` or less, where it is installed."""
    command = shlex.split(os.environ.get("SABOT_PAGER") or os.environ.get("PAGER") or DEFAULT)
    return command if command and shutil.which(command[0]) else None


def show_text(text: str, out: TextIO, use_pager: bool) -> None:
    """Prints `text`, through the pager where `out` is a terminal that it does not fit on.

    Raises:
        ConfigError: the pager cannot be started.
    """
    rows = shutil.get_terminal_size().lines
    command = pager_command() if use_pager and out.isatty() and text.count("\n") >= rows else None
    if command is None:
        out.write(text)
        out.flush()
        return
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, encoding="utf-8") as process:
            try:
                process.communicate(text)
            except KeyboardInterrupt:  # the pager's own business
                process.wait()
    except OSError as exc:
        raise ConfigError(f"the pager {command[0]} cannot be started: {exc.strerror}", hint="\\pset pager off") from exc
