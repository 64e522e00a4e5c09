"""Settings of the engine, with their defaults; the command line fills them from flags, environment and file."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def cores() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The local route.

    Attributes:
        threads: worker threads of the local DuckDB instance.
        memory_bytes: its memory limit.
        concurrency: local queries that run at once; more wait.
    """

    engine: Literal["duckdb", "datafusion"] = "duckdb"
    threads: int = field(default_factory=cores)
    memory_bytes: int = 4 << 30
    concurrency: int = 16


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The pool of agents.

    Attributes:
        count: local agents to start.
        threads: tasks an agent runs at once; 0 for the processors divided by the agents.
        memory_bytes: what one task may hold.
        morsel_bytes: target size of a batch between operators.
        lane: how agents on one host read each other's blocks: `file` maps them, `flight` streams them.
        start_timeout_s: how long a query waits for the pool to start.
    """

    count: int = 2
    threads: int = 0
    memory_bytes: int = 4 << 30
    morsel_bytes: int = 2 << 20
    lane: Literal["file", "flight"] = "file"
    start_timeout_s: float = 30.0

    @property
    def slots(self) -> int:
        """Tasks an agent runs at once."""
        return self.threads or max(1, cores() // max(1, self.count))


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it.

    Attributes:
        state_dir: where jobs, results and blocks lie; None for a temporary folder that goes with the process.
        threshold: rows from which a query is distributed, or "auto".
        local_max_bytes: unknown-sized queries over more bytes than this are distributed at once.
        broadcast_bytes: build sides up to this estimated size are sent to every agent.
        sql_bytes: longest statement taken.
        result_ttl_s: how long results of distributed queries are kept.
    """

    state_dir: Path | None = None
    threshold: int | Literal["auto"] = "auto"
    local_max_bytes: int = 1 << 30
    broadcast_bytes: int = 32 << 20
    sql_bytes: int = 256 << 10
    result_ttl_s: float = 3600.0
    local: LocalSettings = field(default_factory=LocalSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)


def kernel_cache_dir() -> Path:
    """Where compiled kernels are kept: `$SABOT_KERNEL_CACHE`, else the user's cache folder, else a temporary one."""
    if configured := os.environ.get("SABOT_KERNEL_CACHE"):
        return Path(configured)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "sabot-sql" / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"sabot-sql-kernels-{os.getuid()}"
    return folder
