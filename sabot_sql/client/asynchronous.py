"""Connections for asyncio: the same names, awaited."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, Unpack

from sabot_sql.client.batch import JobBatch, Statement
from sabot_sql.client.connection import Connection, connect
from sabot_sql.client.job import Job
from sabot_sql.client.options import ParamsArgument, QueryOptions, takes_options_of
from sabot_sql.client.record import Record
from sabot_sql.client.result import Result
from sabot_sql.engine.request import BatchStatus, Explanation, OnError, Order, Progress, ProgressCallback, QueryStatus, State

T = TypeVar("T")

CONCURRENCY = 32


class AsyncConnection:
    """A connection whose calls are awaited; `await connect_async(...)` or `async with` opens it.

    Calls run in threads of its own, so the event loop is never held up; cancelling the task that awaits a query cancels the
    query.
    """

    def __init__(self, open_connection: Callable[[], Connection]) -> None:
        self._open_connection = open_connection
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="sabot-async")
        self._connection: Connection | None = None

    async def open(self) -> AsyncConnection:
        """Opens the connection; done by `await` and `async with`."""
        if self._connection is None:
            self._connection = await self._run(self._open_connection)
        return self

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        return self.open().__await__()

    async def __aenter__(self) -> AsyncConnection:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(call, *args, **options))

    @property
    def _db(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the connection is not open; write `db = await connect_async(...)` or `async with`")
        return self._connection

    @takes_options_of(Connection.request)
    async def execute_sql(
        self,
        sql: str,
        params: ParamsArgument = None,
        *,
        row_limit: int | None = None,
        progress: ProgressCallback | None = None,
        **options: Unpack[QueryOptions],
    ) -> Result:
        """As `Connection.execute_sql`; `progress` is called in the event loop's thread."""
        cancel = threading.Event()
        request = self._db.request(sql, params, **options)
        loop = asyncio.get_running_loop()

        def report(now: Progress) -> None:
            if progress is not None:
                loop.call_soon_threadsafe(progress, now)

        try:
            return await self._run(self._db.run, request, report if progress else None, cancel, row_limit)
        except asyncio.CancelledError:
            cancel.set()
            raise

    @takes_options_of(Connection.request)
    async def submit(self, sql: str, params: ParamsArgument = None, **options: Unpack[QueryOptions]) -> AsyncJob:
        """As `Connection.submit`."""
        return AsyncJob(self, await self._run(self._db.submit, sql, params, **options))

    @takes_options_of(Connection.request)
    async def submit_jobs_batch(
        self,
        statements: Iterable[Statement],
        order: Order = "parallel",
        on_error: OnError = "continue",
        max_parallel: int = 4,
        **options: Unpack[QueryOptions],
    ) -> AsyncJobBatch:
        """As `Connection.submit_jobs_batch`."""
        ways = (order, on_error, max_parallel)
        return AsyncJobBatch(self, await self._run(self._db.submit_jobs_batch, list(statements), *ways, **options))

    async def job(self, query_id: str) -> AsyncJob:
        """As `Connection.job`."""
        return AsyncJob(self, await self._run(self._db.job, query_id))

    async def list_jobs(self, state: State | None = None, user: str | None = None, limit: int = 50) -> list[QueryStatus]:
        """As `Connection.list_jobs`."""
        return await self._run(self._db.list_jobs, state, user, limit)

    @takes_options_of(Connection.request)
    async def explain(
        self, sql: str, params: ParamsArgument = None, *, analyze: bool = False, **options: Unpack[QueryOptions]
    ) -> Explanation:
        """As `Connection.explain`."""
        return await self._run(self._db.explain, sql, params, analyze=analyze, **options)

    async def tables(self) -> list[Record]:
        """As `Connection.tables`."""
        return await self._run(self._db.tables)

    async def skipped(self) -> list[str]:
        """As `Connection.skipped`."""
        return await self._run(self._db.skipped)

    async def table(self, name: str) -> Record:
        """As `Connection.table`."""
        return await self._run(self._db.table, name)

    async def register(self, name: str, source: Any, replace: bool = False) -> None:
        """As `Connection.register`."""
        await self._run(self._db.register, name, source, replace)

    async def unregister(self, name: str) -> None:
        """As `Connection.unregister`."""
        await self._run(self._db.unregister, name)

    async def agents(self) -> list[Record]:
        """As `Connection.agents`."""
        return await self._run(self._db.agents)

    async def drain_agent(self, agent_id: str) -> None:
        """As `Connection.drain_agent`."""
        await self._run(self._db.drain_agent, agent_id)

    async def resume_agent(self, agent_id: str) -> None:
        """As `Connection.resume_agent`."""
        await self._run(self._db.resume_agent, agent_id)

    async def scale_agents(self, num_agents: int) -> None:
        """As `Connection.scale_agents`."""
        await self._run(self._db.scale_agents, num_agents)

    async def info(self) -> dict[str, Any]:
        """As `Connection.info`."""
        return await self._run(self._db.info)

    async def close(self) -> None:
        """As `Connection.close`."""
        if self._connection is not None:
            await self._run(self._connection.close)
        self._threads.shutdown(wait=False)


class AsyncJob:
    """A submitted query whose calls are awaited."""

    def __init__(self, connection: AsyncConnection, job: Job) -> None:
        self._connection = connection
        self._job = job
        self.query_id = job.query_id

    async def status(self) -> QueryStatus:
        """As `Job.status`."""
        return await self._connection._run(self._job.status)

    async def progress(self) -> Progress:
        """As `Job.progress`."""
        return await self._connection._run(self._job.progress)

    async def wait(self, timeout_s: float | None = None) -> QueryStatus:
        """As `Job.wait`."""
        return await self._connection._run(self._job.wait, timeout_s)

    async def result(self, timeout_s: float | None = None) -> Result:
        """As `Job.result`."""
        return await self._connection._run(self._job.result, timeout_s)

    async def cancel(self) -> QueryStatus:
        """As `Job.cancel`."""
        return await self._connection._run(self._job.cancel)

    async def retry(self) -> AsyncJob:
        """As `Job.retry`."""
        return AsyncJob(self._connection, await self._connection._run(self._job.retry))

    def __repr__(self) -> str:
        return f"<AsyncJob {self.query_id}>"


class AsyncJobBatch(list[AsyncJob]):
    """The jobs of a batch whose calls are awaited."""

    def __init__(self, connection: AsyncConnection, batch: JobBatch) -> None:
        super().__init__(AsyncJob(connection, job) for job in batch)
        self._connection = connection
        self._batch = batch
        self.batch_id = batch.batch_id

    async def status(self) -> BatchStatus:
        """As `JobBatch.status`."""
        return await self._connection._run(self._batch.status)

    async def wait(self, timeout_s: float | None = None) -> BatchStatus:
        """As `JobBatch.wait`."""
        return await self._connection._run(self._batch.wait, timeout_s)

    async def cancel(self) -> BatchStatus:
        """As `JobBatch.cancel`."""
        return await self._connection._run(self._batch.cancel)


def connect_async(url: str = "embedded:", **options: Any) -> AsyncConnection:
    """As `connect`, for asyncio.

    Example:
        >>> import asyncio, sabot_sql
        >>> async def two():
        ...     async with sabot_sql.connect_async(data={}, num_local_agents=0) as db:
        ...         return (await db.execute_sql("SELECT 1 + 1")).scalar()
        >>> asyncio.run(two())
        2
    """
    return AsyncConnection(functools.partial(connect, url, **options))
