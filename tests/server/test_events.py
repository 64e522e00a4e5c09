"""`GET /v1/queries/{id}/events` of a real server."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import Overloaded
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.record import QueryRecord
from sabot_sql.server import event_feed, event_routes
from sabot_sql.server.attendance import Attendance
from sabot_sql.server.event_feed import EventFeed, EventFeeds
from sabot_sql.server.event_routes import EventStream
from sabot_sql.server.threads import Threads
from tests.server.event_stream import events_in, events_of, open_stream
from tests.server.live_server import LONG_QUERY, LiveServer, live_server, shared_data, write_tables

JOIN = "SELECT a.name, sum(a.i + b.i) AS s FROM numbers a JOIN numbers b ON a.i = b.i + 1 GROUP BY 1 ORDER BY 2 LIMIT 3"


def submit(server: LiveServer, sql: str, **fields: Any) -> str:
    answer = server.request("POST", "/v1/sql", {"sql": sql, "wait_ms": 0, **fields})
    assert answer.status == 202, answer.data
    return str(answer.json()["query_id"])


def test_events_tell_the_whole_way_of_a_distributed_query(server: LiveServer) -> None:
    found = events_of(server, submit(server, JOIN, route="distributed"))
    assert all(a.id < b.id for a, b in itertools.pairwise(found))
    states = [event.data["state"] for event in found if event.kind == "state"]
    assert states[-1] == "finished"
    assert states == sorted(set(states), key=["queued", "planning", "running", "finishing", "finished"].index)
    done = {event.data["id"] for event in found if event.kind == "stage" and event.data["state"] == "finished"}
    last = found[-1]
    assert (last.kind, last.data["state"], len(done)) == ("end", "finished", last.data["stats"]["stages"])
    assert last.data == server.request("GET", last.data["links"]["self"]).json()


def test_stream_goes_on_after_the_last_event_that_was_received(server: LiveServer) -> None:
    query_id = submit(server, JOIN, route="distributed")
    found = [event for event in events_of(server, query_id) if event.kind != "progress"]
    again = events_of(server, query_id, Last_Event_ID=str(found[0].id))
    assert [event for event in again if event.kind != "progress"] == found[1:]
    over = server.request("GET", f"/v1/queries/{query_id}/events", Last_Event_ID=str(found[-1].id))
    assert (over.status, over.data) == (204, b"")


def test_cancelled_query_ends_its_stream(server: LiveServer) -> None:
    query_id = submit(server, LONG_QUERY, route="local")
    stream = events_in(open_stream(server, query_id).stream())
    assert next(stream).data["state"] == "running"
    server.request("POST", f"/v1/queries/{query_id}/cancel")
    end = list(stream)[-1]
    assert (end.kind, end.data["state"], end.data["error"]["code"]) == ("end", "cancelled", "CANCELLED")


def test_events_of_a_query_that_has_ended_are_its_state_and_the_end(server: LiveServer) -> None:
    found = events_of(server, server.sql("SELECT 1")["query_id"])
    assert [(event.kind, event.data["state"]) for event in found] == [("state", "finished"), ("end", "finished")]


def test_head_of_events_has_no_body_and_ends(server: LiveServer) -> None:
    query_id = server.sql("SELECT 1")["query_id"]
    answer = server.request("HEAD", f"/v1/queries/{query_id}/events")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


def test_stream_ends_at_once_when_the_server_stops() -> None:
    with live_server(shared_data(), "--agents", "0") as server:
        query_id = submit(server, LONG_QUERY, route="local", on_wait_timeout="continue")
        stream = events_in(open_stream(server, query_id).stream())
        next(stream)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert "end" not in [event.kind for event in stream]
        assert time.monotonic() - begin < 2.0


def test_events_are_for_the_one_who_asked() -> None:
    keys = {"SABOT_API_KEY": "k" * 20}
    with live_server(shared_data(), "--agents", "0", **keys) as server:
        bearer = {"Authorization": f"Bearer {'k' * 20}"}
        query_id = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, **bearer).json()["query_id"]
        assert open_stream(server, query_id).status == 401
        assert events_of(server, query_id, **bearer)[-1].kind == "end"


class Peer:
    """The other end of a stream: keeps what it is sent, and leaves when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.body += message.get("body", b"")


def record() -> QueryRecord:
    return QueryRecord("q_1", QueryRequest("SELECT 1"))


@pytest.fixture(scope="module")
def manager() -> Any:
    made = JobManager(Settings(agents=AgentSettings(count=0)), {})
    yield made
    made.close()


def stream_of(manager: JobManager, feeds: EventFeeds, of: QueryRecord, peer: Peer) -> Any:
    stream = EventStream(feeds, of, Attendance(manager, Threads(), 60.0), 0)
    return asyncio.ensure_future(stream({"type": "http"}, peer.receive, peer.send))


def test_silent_stream_carries_comments(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "KEEP_ALIVE_S", 0.05)

    async def watch() -> bytes:
        feeds, peer = EventFeeds(), Peer()
        streaming = stream_of(manager, feeds, record(), peer)
        await asyncio.sleep(0.3)
        peer.left.set()
        await asyncio.wait_for(streaming, 1)
        assert feeds.clients == 0
        return peer.body

    assert asyncio.run(watch()).count(b": keep-alive\n\n") >= 3


def test_streams_end_when_the_feeds_are_closed(manager: JobManager) -> None:
    async def watch() -> None:
        feeds, peer = EventFeeds(), Peer()
        streaming = stream_of(manager, feeds, record(), peer)
        await asyncio.sleep(0.05)
        feeds.close()
        await asyncio.wait_for(streaming, 1)
        await asyncio.wait_for(stream_of(manager, feeds, record(), Peer()), 1)
        early = EventFeeds()
        early.close()
        await asyncio.wait_for(stream_of(manager, early, record(), Peer()), 1)

    asyncio.run(watch())


def test_client_beyond_the_limit_is_refused() -> None:
    async def watch() -> None:
        feeds = EventFeeds(max_clients=2)
        with feeds.reading(record()), feeds.reading(record()):
            with pytest.raises(Overloaded):
                feeds.reading(record()).__enter__()
        with feeds.reading(record()):
            assert feeds.clients == 1

    asyncio.run(watch())


def test_feed_goes_some_time_after_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "KEPT_S", 0.05)

    async def watch() -> None:
        feeds, of = EventFeeds(), record()
        with feeds.reading(of) as first:
            pass
        of.finish({})
        await asyncio.sleep(0.02)
        with feeds.reading(of) as second:
            assert second is first
            await asyncio.sleep(0.1)
            assert feeds._feeds
        await asyncio.sleep(0.1)
        assert not feeds._feeds
        assert not of._watchers

    asyncio.run(watch())


@pytest.mark.slow
def test_events_of_a_resumed_job_go_on_in_the_next_process(tmp_path: Path) -> None:
    data, state = write_tables(tmp_path / "data"), str(tmp_path / "state")
    slow = "SELECT count(*) AS n FROM numbers a JOIN numbers b ON a.i % 3 = b.i % 3 WHERE a.half + b.half > 1"
    with live_server(data, "--agents", "1", "--state-dir", state) as server:
        query_id = submit(server, slow, route="distributed", on_wait_timeout="continue")
        before = next(events_in(open_stream(server, query_id).stream()))
        assert before.data["durable"]
    with live_server(data, "--agents", "1", "--state-dir", state) as server:
        found = events_of(server, query_id, Last_Event_ID=str(before.id))
        assert (found[-1].kind, found[-1].data["state"]) == ("end", "finished")
        assert all(event.id > before.id for event in found)
        stages = server.request("GET", f"/v1/queries/{query_id}/plan").json()["stages"]
        assert {stage["state"] for stage in stages} == {"finished"}


def test_progress_that_nobody_could_follow_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "PAUSE_S", 0.05)

    async def watch() -> list[str]:
        of = record()
        feed = EventFeed(of)
        of.advance("running")
        for _ in range(1000):
            of.changed()
        await asyncio.sleep(0.1)
        of.finish({})
        await asyncio.sleep(0.02)
        return [event.kind for event in feed.after(0)]

    assert asyncio.run(watch()) == ["state", "state", "state", "end"]
