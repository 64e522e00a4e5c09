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
        threads: threads that work on a large query; a small one has one.
        memory_bytes: what all local queries together may hold.
        concurrency: small local queries that run at once; more wait.
        large_concurrency: large ones.
        budget_s: what a query may take, if it was not estimated to take a tenth of that or more: past it, or past ten
            times its estimate, it goes to the agents, or on with low priority.
        budget_bytes: what small queries together may hold; the one that needs more goes the same way.
        guarded_processes: queries that run at once in processes of their own, because they may make values or rows of any
            size; more wait.
        guarded_memory_bytes: what such a process may take; a query that needs more fails alone.
        guarded_timeout_s: how long such a query may run that has no time limit of its own.
    """

    engine: Literal["duckdb", "datafusion"] = "duckdb"
    threads: int = field(default_factory=cores)
    memory_bytes: int = 4 << 30
    concurrency: int = 16
    large_concurrency: int = 2
    budget_s: float = 0.25
    budget_bytes: int = 1 << 30
    guarded_processes: int = 2
    guarded_memory_bytes: int = 1 << 30
    guarded_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The pool of agents.

    Attributes:
        provider: where agents come from: `local` starts them on this machine; `static` waits for those that were started
            elsewhere (`sabot-sql agent`) to register; `ray` has a Ray cluster run one on each of its nodes.
        ray_address: of the Ray cluster, as `ray.init` takes it.
        listen: `host:port` where the coordinator takes registrations; port 0 for a free one.
        token_file: holds the secret that coordinator and agents share; needed where agents are started elsewhere.
        lease_s: how long an agent that was started elsewhere keeps its blocks without a coordinator.
        count: agents to start, where they are started from here.
        threads: tasks an agent runs at once; 0 for the processors divided by the agents.
        memory_bytes: what an agent may hold: a quarter is DuckDB's, each task that runs at once has an equal part of the rest.
            Operators that need more spill.
        spill_dir: where they do; None for beside the blocks on disk.
        spill_bytes: what their files may take, those of all agents together; a query that needs more fails.
        morsel_bytes: target size of a batch between operators.
        lane: how agents on one host read each other's blocks: `file` maps them, `flight` streams them.
        compression: how rows that are streamed between agents are compressed: `none`, or `lz4` for slow networks.
        block_memory_bytes: what the blocks of all queries may take in shared memory; more of them lie on disk.
        block_disk_bytes: what they may take on disk; a query that needs more fails.
        block_disk_free_bytes: what they leave free there in any case.
        column_cache_bytes: what hot columns of files may take in the memory of all agents together.
        start_timeout_s: how long a query waits for the pool to start.
    """

    provider: Literal["local", "static", "ray"] = "local"
    ray_address: str = "auto"
    listen: str = "127.0.0.1:8615"
    token_file: str | None = None
    lease_s: float = 600.0
    count: int = 2
    threads: int = 0
    memory_bytes: int = 4 << 30
    spill_dir: str | None = None
    spill_bytes: int | Literal["auto"] = "auto"
    morsel_bytes: int = 2 << 20
    lane: Literal["file", "flight"] = "file"
    compression: Literal["none", "lz4"] = "none"
    block_memory_bytes: int | Literal["auto"] = "auto"
    block_disk_bytes: int | Literal["auto"] = "auto"
    block_disk_free_bytes: int = 1 << 30
    column_cache_bytes: int | Literal["auto"] = "auto"
    start_timeout_s: float = 30.0

    @property
    def enabled(self) -> bool:
        """Whether there are agents, or may be."""
        return self.provider == "static" or self.count > 0

    @property
    def started_slots(self) -> int:
        """Tasks that all agents run at once that are started from here."""
        return self.count * self.slots if self.provider == "local" else 0

    @property
    def slots(self) -> int:
        """Tasks an agent runs at once."""
        return self.threads or max(1, cores() // max(1, self.count))


@dataclass(frozen=True, slots=True)
class DurableSettings:
    """Where jobs are recorded.

    Attributes:
        url: `postgresql://…`, a database that several servers share; empty for a SQLite file in the state folder.
        results_dir: where the answers of durable jobs lie; servers behind one database share it. None: in the state folder.
        lease_s: how long a server of several may be silent before the others take over its jobs.
        migrate: whether a server makes the database's schema and brings it up to date.
    """

    url: str = ""
    results_dir: Path | None = None
    lease_s: float = 5.0
    migrate: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it.

    Attributes:
        state_dir: where jobs, results and blocks lie; None for a temporary folder that goes with the process.
        threshold: rows from which a query is distributed, or "auto".
        local_max_bytes: unknown-sized queries over more bytes than this are distributed at once.
        broadcast_bytes: build sides up to this estimated size are sent to every agent.
        learn_statistics: whether tables that queries name are sampled in the background.
        sql_bytes: longest statement taken.
        result_ttl_s: how long results of distributed queries are kept.
        result_max_bytes: largest answer of one query.
        result_memory_bytes: kept answers in memory; the oldest beyond it move to files.
        result_disk_bytes: kept answers in files; the oldest beyond it go.
        slow_query_s: a query that takes longer is told of as slow in the log.
        metrics_open: whether the server tells its metrics without an API key.
        client_timeout_s: a query whose client waited and then stopped asking for it is cancelled after that.
        upload_bytes: largest body of a table that is put.
        upload_s: how long it may take to receive and to write.
        table_folders: below which tables may be registered that lie on the server.
        writable: whether statements may write the tables that are kept in the state folder.
    """

    state_dir: Path | None = None
    threshold: int | Literal["auto"] = "auto"
    local_max_bytes: int = 1 << 30
    broadcast_bytes: int = 32 << 20
    learn_statistics: bool = True
    sql_bytes: int = 256 << 10
    result_ttl_s: float = 3600.0
    result_max_bytes: int = 2 << 30
    result_memory_bytes: int = 256 << 20
    result_disk_bytes: int = 8 << 30
    client_timeout_s: float = 60.0
    slow_query_s: float = 10.0
    metrics_open: bool = False
    upload_bytes: int = 16 << 30
    upload_s: float = 3600.0
    table_folders: tuple[str, ...] = ()
    writable: bool = False
    local: LocalSettings = field(default_factory=LocalSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)
    durable: DurableSettings = field(default_factory=DurableSettings)


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
