from __future__ import annotations

import asyncio
import threading

import pytest

from sabot_sql.errors import Overloaded
from sabot_sql.server import threads as rooms
from sabot_sql.server.threads import Threads


@pytest.fixture
def threads():
    pool = Threads()
    yield pool
    pool.close()


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("sabot-request")}


def test_one_request_after_the_other_needs_one_thread(threads: Threads) -> None:
    async def ask() -> list[str]:
        return [await threads.start(lambda: threading.current_thread().name) for _ in range(20)]

    assert len(set(asyncio.run(ask()))) == 1


def test_requests_at_once_have_a_thread_each(threads: Threads) -> None:
    barrier = threading.Barrier(12, timeout=10)

    async def ask() -> list[int]:
        return await asyncio.gather(*(threads.start(barrier.wait) for _ in range(12)))

    assert sorted(asyncio.run(ask())) == list(range(12))


def test_error_of_the_call_reaches_who_awaits_it_and_the_thread_goes_on(threads: Threads) -> None:
    async def ask() -> int:
        for wrong in ("x", "y"):
            with pytest.raises(ValueError, match=wrong):
                await threads.start(int, wrong)
        return await threads.start(int, "7")

    assert asyncio.run(ask()) == 7


def test_call_that_was_given_up_before_its_turn_is_not_made(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "THREADS", 1)
    made: list[str] = []

    async def ask() -> None:
        go = threading.Event()
        first = threads.start(go.wait, 10)
        second = threads.start(made.append, "second")
        second.cancel()
        go.set()
        assert await first
        await threads.start(made.append, "third")

    asyncio.run(ask())
    assert made == ["third"]


def test_too_many_requests_are_refused_until_one_ends(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MAX_REQUESTS", 2)

    async def ask() -> int:
        go = threading.Event()
        waiting = [threads.start(go.wait, 10) for _ in range(2)]
        with pytest.raises(Overloaded, match="2 requests are in progress"):
            threads.start(int)
        go.set()
        await asyncio.gather(*waiting)
        return await threads.start(int, "7")

    assert asyncio.run(ask()) == 7


def test_closing_ends_the_threads() -> None:
    before = names()
    pool = Threads()

    async def ask() -> None:
        await asyncio.gather(*(pool.start(int) for _ in range(3)))

    asyncio.run(ask())
    pool.close()
    for thread in threading.enumerate():
        if thread.name.startswith("sabot-request") and thread.name not in before:
            thread.join(5)
    assert names() <= before
