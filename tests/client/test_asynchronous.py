from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import sabot_sql
from tests.server.live_server import LONG_QUERY, LiveServer


def test_async_connection_answers_concurrently(server: LiveServer) -> None:
    async def ask() -> list[int]:
        async with sabot_sql.connect_async(server.url) as db:
            results = await asyncio.gather(*(db.execute_sql("SELECT $n", {"n": n}) for n in range(8)))
            job = await db.submit("SELECT 8")
            batch = await db.submit_jobs_batch(["SELECT 9"])
            assert (await job.wait(30)).state == "finished"
            return [r.scalar() for r in (*results, await job.result(), await batch[0].result())]

    assert asyncio.run(ask()) == list(range(10))


def test_cancelled_task_cancels_its_query(server: LiveServer) -> None:
    async def ask() -> str:
        async with sabot_sql.connect_async(server.url) as db:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await db.execute_sql(LONG_QUERY, route="local", tags={"t": "async"})
            query_id = next(s.query_id for s in await db.list_jobs() if s.tags == {"t": "async"})
            return (await (await db.job(query_id)).wait(10)).state

    assert asyncio.run(ask()) == "cancelled"


def test_event_loop_goes_on_while_a_query_runs(server: LiveServer) -> None:
    async def ask() -> int:
        ticks = 0
        db = await sabot_sql.connect_async(server.url)
        running = asyncio.create_task(db.execute_sql("SELECT count(*) FROM range(30000000) t(i) WHERE i % 7 = 0"))
        while not running.done():
            await asyncio.sleep(0.002)
            ticks += 1
        await db.close()
        return ticks

    assert asyncio.run(ask()) >= 2


def test_coordinator_starts_answers_and_stops(data: Path) -> None:
    async def ask() -> tuple[int, str, int]:
        coordinator = sabot_sql.Coordinator(num_local_agents=1, data=data)
        with pytest.raises(sabot_sql.ServiceError, match="not running"):
            await coordinator.execute_sql("SELECT 1")
        await coordinator.start()
        local = await coordinator.execute_sql("SELECT count(*) FROM numbers", route="local")
        distributed = await coordinator.execute_sql("SELECT sum(i) FROM numbers", route="distributed")
        agents = await coordinator.agents()
        await coordinator.shutdown()
        await coordinator.shutdown()
        return local.scalar(), distributed.route, len(agents)

    assert asyncio.run(ask()) == (10_000, "distributed", 1)
