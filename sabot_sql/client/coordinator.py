"""The engine itself, for programs that host it in their event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sabot_sql.client.asynchronous import AsyncConnection, AsyncJob, connect_async
from sabot_sql.client.record import Record
from sabot_sql.client.result import Result
from sabot_sql.engine.request import Explanation, QueryStatus, State
from sabot_sql.errors import ServiceError


class Coordinator:
    """An engine with agents of its own. Nothing runs before `start()`; `async with` starts it and shuts it down.

    Args:
        db_path, state_dir: folder that keeps jobs beyond this process.
        options: those of `connect` for an engine in this process: data, threshold, engine, threads.
    """

    def __init__(
        self,
        num_local_agents: int = 2,
        db_path: str | Path | None = None,
        *,
        data: Any = None,
        state_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        self._options = {
            "data": data, "num_local_agents": num_local_agents, "db_path": db_path, "state_dir": state_dir, **options,
        }  # fmt: skip
        self._engine: AsyncConnection | None = None

    async def start(self) -> Coordinator:
        """Starts the engine; its agents come up in the background."""
        if self._engine is None:
            self._engine = await connect_async("embedded:", **self._options)
        return self

    async def shutdown(self) -> None:
        """Stops the engine and its agents. Shutting down twice does no harm."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    def _running(self) -> AsyncConnection:
        if self._engine is None:
            raise ServiceError("the coordinator is not running", hint="await coordinator.start() first")
        return self._engine

    async def execute_sql(self, sql: str, params: Any = None, **options: Any) -> Result:
        """As `Connection.execute_sql`."""
        return await self._running().execute_sql(sql, params, **options)

    async def submit(self, sql: str, params: Any = None, **options: Any) -> AsyncJob:
        """As `Connection.submit`."""
        return await self._running().submit(sql, params, **options)

    async def job(self, query_id: str) -> AsyncJob:
        """As `Connection.job`."""
        return await self._running().job(query_id)

    async def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        """As `Connection.list_jobs`."""
        return await self._running().list_jobs(state, user, limit)

    async def explain(self, sql: str, params: Any = None, **options: Any) -> Explanation:
        """As `Connection.explain`."""
        return await self._running().explain(sql, params, **options)

    async def tables(self) -> list[Record]:
        """As `Connection.tables`."""
        return await self._running().tables()

    async def register(self, name: str, source: Any, replace: bool = False) -> None:
        """As `Connection.register`."""
        await self._running().register(name, source, replace)

    async def agents(self) -> list[Record]:
        """As `Connection.agents`."""
        return await self._running().agents()

    async def __aenter__(self) -> Coordinator:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()
