"""Exit codes of the command line."""

from __future__ import annotations

import enum

from sabot_sql.errors import ConfigError, ConnectionFailed, QueryTimeout, SabotError


class ExitCode(enum.IntEnum):
    """What the exit status of `sabot-sql` means."""

    OK = 0
    QUERY_ERROR = 1  # the query or the service failed
    USAGE = 2  # wrong arguments or settings; a port or folder that cannot be had
    CANNOT_CONNECT = 3  # no server there, or it does not know the key
    TIMED_OUT = 4
    HUNG_UP = 129  # SIGHUP: the terminal was closed
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


def exit_code_of(error: SabotError) -> ExitCode:
    """The exit code that tells a script what kind of error it was."""
    if isinstance(error, QueryTimeout):
        return ExitCode.TIMED_OUT
    if isinstance(error, ConnectionFailed) or error.problem.code == "UNAUTHENTICATED":
        return ExitCode.CANNOT_CONNECT
    if isinstance(error, ConfigError):
        return ExitCode.USAGE
    return ExitCode.QUERY_ERROR
