"""The engine in this process as a connection sees it."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sabot_sql.client.contract import agent_to_json, table_to_json
from sabot_sql.client.interrupt_watch import stops_on_interrupt
from sabot_sql.client.options import LocalEngine, Threshold
from sabot_sql.client.record import Record
from sabot_sql.client.reporter import Reporter
from sabot_sql.engine.request import (
    BatchRequest,
    BatchStatus,
    Explanation,
    ProgressCallback,
    QueryRequest,
    QueryResult,
    QueryStatus,
    State,
)
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from sabot_sql.config import Settings
    from sabot_sql.jobs.manager import JobManager


class EmbeddedService:
    """A `JobManager`, with tables and agents as the HTTP contract writes them."""

    def __init__(self, manager: JobManager) -> None:
        self.manager = manager

    def execute(
        self, request: QueryRequest, progress: ProgressCallback | None = None, cancel: threading.Event | None = None
    ) -> QueryResult:
        stop = cancel or threading.Event()
        reporter = Reporter(progress) if progress is not None else None
        try:
            with stops_on_interrupt(stop):
                result = self.manager.execute(request, reporter, stop)
        except KeyboardInterrupt:
            stop.set()
            raise
        if reporter is not None:
            result.warnings = [*result.warnings, *reporter.warnings]
        return result

    def submit(self, request: QueryRequest) -> QueryStatus:
        return self.manager.submit(request)

    def status(self, query_id: str, wait_s: float = 0) -> QueryStatus:
        return self.manager.status(query_id, wait_s)

    def result(self, query_id: str) -> QueryResult:
        return self.manager.result(query_id)

    def cancel(self, query_id: str) -> QueryStatus:
        return self.manager.cancel(query_id)

    def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        return self.manager.list(state, user, limit)

    def submit_batch(self, request: BatchRequest) -> BatchStatus:
        return self.manager.submit_batch(request)

    def batch_status(self, batch_id: str, wait_s: float = 0) -> BatchStatus:
        return self.manager.batch_status(batch_id, wait_s)

    def cancel_batch(self, batch_id: str) -> BatchStatus:
        return self.manager.cancel_batch(batch_id)

    def retry(self, query_id: str) -> QueryStatus:
        return self.manager.retry(query_id)

    def explain(self, request: QueryRequest, analyze: bool = False) -> Explanation:
        return self.manager.explain(request, analyze)

    def tables(self) -> list[Record]:
        return [Record(table_to_json(table)) for table in self.manager.tables()]

    def skipped(self) -> list[str]:
        return sorted(self.manager.skipped())

    def table(self, name: str) -> Record:
        return Record(table_to_json(self.manager.table(name), values=True))

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        self.manager.register(name, source, replace)

    def unregister(self, name: str) -> None:
        self.manager.unregister(name)

    def agents(self) -> list[Record]:
        return [Record(agent_to_json(agent)) for agent in self.manager.agents()]

    def drain_agent(self, agent_id: str) -> None:
        self.manager.drain_agent(agent_id)

    def resume_agent(self, agent_id: str) -> None:
        self.manager.resume_agent(agent_id)

    def scale_agents(self, num_agents: int) -> None:
        self.manager.scale_agents(num_agents)

    def info(self) -> dict[str, Any]:
        return self.manager.info()

    def close(self) -> None:
        self.manager.close()


def open_embedded(
    url: str,
    data: Any,
    num_local_agents: int,
    state_dir: str | Path | None,
    db_path: str | Path | None,
    threshold: Threshold,
    engine: LocalEngine,
    threads: int | None,
    lazy: bool = False,
    max_result_bytes: int | None = None,
    writable: bool = False,
) -> EmbeddedService:
    """Starts an engine in this process.

    Args:
        url: `embedded:`, or `embedded:///folder` which is a `state_dir`.
        lazy: as in `start_embedded`.
        writable: as in `connect`.
        state_dir, db_path: folder that keeps jobs and results beyond this process; only one of the three may be given.
    """
    folders = [str(f) for f in (url.removeprefix("embedded:").removeprefix("//"), state_dir, db_path) if f]
    if len(folders) > 1:
        raise ConfigError(f"the state folder is given twice: {' and '.join(folders)}; give one of url, state_dir, db_path")
    settings = embedded_settings(folders[0] if folders else None, num_local_agents, threshold, engine, threads)
    settings = dataclasses.replace(settings, writable=writable)
    if max_result_bytes is not None:
        if isinstance(max_result_bytes, bool) or not isinstance(max_result_bytes, int) or max_result_bytes <= 0:
            raise ConfigError(f"max_result_bytes is {max_result_bytes!r}; give a number of bytes above 0")
        settings = dataclasses.replace(settings, result_max_bytes=max_result_bytes)
    return start_embedded(settings, data, lazy)


def start_embedded(settings: Settings, data: Any, lazy: bool = False) -> EmbeddedService:
    """Starts an engine with `settings` in this process.

    Args:
        lazy: agents and job database start with the first query that needs them, for who asks one or two.

    Raises:
        ConfigError: the packages of the engine are not installed, or its data or folder cannot be had.
    """
    try:
        from sabot_sql.jobs.manager import JobManager
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("sabot_sql"):
            raise
        raise ConfigError(
            f"the engine cannot run in this process: {exc.name} is not installed",
            hint="pip install 'sabot-sql[server]', or connect to a server by its http:// address",
        ) from exc
    manager = JobManager(settings, data)
    try:
        manager.start(lazy)
    except BaseException:
        manager.close()
        raise
    return EmbeddedService(manager)


def embedded_settings(
    state_dir: str | None, num_local_agents: int, threshold: Threshold, engine: LocalEngine, threads: int | None
) -> Settings:
    """The settings behind the arguments of `connect`."""
    from sabot_sql.config import AgentSettings, LocalSettings, Settings

    if num_local_agents < 0:
        raise ConfigError(f"num_local_agents is {num_local_agents}; it cannot be negative")
    if threshold != "auto" and (isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 0):
        raise ConfigError(f'threshold is {threshold!r}; give a number of rows from 0 up, or "auto"')
    local = LocalSettings(engine=engine, threads=threads) if threads else LocalSettings(engine=engine)
    folder = Path(state_dir).expanduser() if state_dir else None
    return Settings(state_dir=folder, threshold=threshold, local=local, agents=AgentSettings(count=num_local_agents))
