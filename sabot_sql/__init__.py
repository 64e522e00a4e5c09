"""sabot-sql: one SQL endpoint for the 1 ms query and the 1 h query.

The public names are imported when they are first used: `import sabot_sql` itself loads no engine, no Arrow and no NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sabot_sql.version import __version__

if TYPE_CHECKING:
    from sabot_sql.client.asynchronous import AsyncConnection, AsyncJob, connect_async
    from sabot_sql.client.connection import Connection, connect, execute_sql
    from sabot_sql.client.coordinator import Coordinator
    from sabot_sql.client.job import Job
    from sabot_sql.client.result import Result
    from sabot_sql.errors import (
        AgentLost,
        Cancelled,
        ConfigError,
        ConnectionFailed,
        ExecutionError,
        InternalError,
        NotSupported,
        OutOfMemory,
        Overloaded,
        ParseError,
        PlanError,
        Position,
        QueryError,
        QueryTimeout,
        ReadError,
        SabotError,
        ServiceError,
    )

__all__ = [
    "AgentLost", "AsyncConnection", "AsyncJob", "Cancelled", "ConfigError", "Connection", "ConnectionFailed",
    "Coordinator", "ExecutionError", "InternalError", "Job", "NotSupported", "OutOfMemory", "Overloaded", "ParseError",
    "PlanError", "Position", "QueryError", "QueryTimeout", "ReadError", "Result", "SabotError", "ServiceError",
    "__version__", "connect", "connect_async", "execute_sql",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(("AsyncConnection", "AsyncJob", "connect_async"), "sabot_sql.client.asynchronous"),
    **dict.fromkeys(("Connection", "connect", "execute_sql"), "sabot_sql.client.connection"),
    "Coordinator": "sabot_sql.client.coordinator",
    "Job": "sabot_sql.client.job",
    "Result": "sabot_sql.client.result",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sabot_sql' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "sabot_sql.errors")), name)
    globals()[name] = value
    return value


def load_ipython_extension(ipython: Any) -> None:
    """Give IPython and notebooks `%sql` and `%%sql`: what `%load_ext sabot_sql` calls."""
    from sabot_sql.client.magic import load

    load(ipython)


def __dir__() -> list[str]:
    return sorted(__all__)
