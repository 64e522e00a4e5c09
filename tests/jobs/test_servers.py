"""Several servers behind one PostgreSQL: real processes, a real database."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from sabot_sql.config import DurableSettings, Settings
from sabot_sql.errors import ConfigError, ServiceError
from sabot_sql.jobs import database
from sabot_sql.jobs.database import JobDatabase
from sabot_sql.jobs.runner import DISTRIBUTED_AT_ONCE
from sabot_sql.jobs.servers import MAX_TAKEOVERS, Forsaken
from tests.jobs.hand_engine import HandManager, job
from tests.jobs.postgres import postgresql
from tests.jobs.server_process import ServerProcess, servers

SUM = [{"s": 4950}]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgresql() as server:
        yield server.get_uri()


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    """A database of its own."""
    admin = sa.create_engine(JobDatabase(url=postgres).sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    name = f"jobs_{time.monotonic_ns()}"
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    engine = JobDatabase(url=url).make_engine(1)
    try:
        with engine.begin() as connection:
            found = connection.execute(sa.text(sql))
            return [tuple(row) for row in found.all()] if found.returns_rows else []
    finally:
        engine.dispose()


def await_stage(server: ServerProcess, stage: int) -> None:
    end = time.monotonic() + 20
    while str(stage) not in server.stages():
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.3)  # the stage before is written down meanwhile


def test_jobs_of_a_killed_server_are_finished_by_another_from_where_their_record_ends(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        query_id = a.ask("submit", 100, "k", stage_s=0.6)
        await_stage(a, 1)
        assert b.ask("status", query_id, 0)[0] in ("queued", "running")
        a.kill()
        killed_s = time.monotonic()
        assert b.ask("status", query_id, 20) == ["finished", None, True]
        assert time.monotonic() - killed_s < 10 + 1.2  # what is promised, and two stages
        assert (a.stages(), b.stages()) == (["0", "1"], ["1", "2"])
        assert b.ask("result", query_id) == SUM
        assert b.ask("list") == [query_id]
        steps = rows(url, f"SELECT function_name FROM dbos.operation_outputs WHERE workflow_uuid = '{query_id}' ORDER BY 1")
        assert steps == [("stage-0",), ("stage-1",), ("stage-2",)]


def test_one_key_at_two_servers_is_one_job(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        for server in (a, b):
            server.send("execute", 100, "same", stage_s=0.2)
        (first, *one), (second, *other) = a.answer(), b.answer()
        assert first == second
        assert one[0] == other[0] == SUM
        assert sorted([one[1], other[1]]) == [False, True]
        assert sorted(a.stages() + b.stages()) == ["0", "1", "2"]
        assert b.ask("execute", 101, "same")["error"] == "IDEMPOTENCY_KEY_REUSED"


def test_a_query_of_another_server_is_seen_and_cancelled(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        query_id = a.ask("submit", 100, None, stage_s=20)
        await_stage(a, 0)
        assert b.ask("cancel", query_id) in ("queued", "running")
        assert b.ask("status", query_id, 5)[0] == "cancelled"
        assert a.ask("status", query_id, 5)[0] == "cancelled"
        done = a.ask("submit", 100, None)
        assert b.ask("status", done, 10)[0] == "finished"
        assert b.ask("result", done) == SUM


def test_a_batch_of_another_server_is_seen_waited_for_and_cancelled(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        batch_id = a.ask("batch", [100, 5, 6], "k", stage_s=0.2)
        assert b.ask("batch", [100, 5, 6], "k", stage_s=0.2) == batch_id
        assert b.ask("batch_status", batch_id, 0)[0] == "running"
        assert b.ask("batch_status", batch_id, 20) == ["finished", ["finished"] * 3]
        assert b.stages() == []
        batch_id = a.ask("batch", [1, 2, 3], "other", stage_s=20)
        while a.ask("batch_status", batch_id, 0)[1][0] != "running":
            time.sleep(0.05)
        assert b.ask("batch_cancel", batch_id) == "running"
        assert b.ask("batch_status", batch_id, 10) == ["cancelled", ["cancelled"] * 3]
        assert a.ask("batch_status", batch_id, 10) == ["cancelled", ["cancelled"] * 3]


def test_a_batch_of_a_killed_server_goes_on_at_another(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        batch_id = a.ask("batch", [100, 5, 6], "k", stage_s=0.4)
        while a.ask("batch_status", batch_id, 0)[1][1] != "running":
            time.sleep(0.05)
        a.kill()
        assert b.ask("batch_status", batch_id, 30) == ["finished", ["finished"] * 3]
        assert a.stages()[:3] == ["0", "1", "2"]
        assert b.stages().count("2") == 2  # not the first statement's


def test_a_server_that_was_stopped_adopts_what_another_has_made_of_its_job(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        query_id = a.ask("submit", 100, "k", stage_s=0.4)
        await_stage(a, 1)
        a.signal(signal.SIGSTOP)
        try:
            assert b.ask("status", query_id, 20)[0] == "finished"
        finally:
            a.signal(signal.SIGCONT)
        assert a.ask("status", query_id, 10)[0] == "finished"
        assert a.ask("result", query_id) == b.ask("result", query_id) == SUM
        count = rows(url, f"SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = '{query_id}'")
        assert count == [(3,)]


def test_a_transaction_of_a_server_that_was_stopped_does_not_last(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "IDLE_S", 0.3)
    engines = [JobDatabase(url=url).make_engine(1) for _ in range(2)]
    lock = sa.text("SELECT pg_advisory_xact_lock(4711)")
    try:
        with engines[0].connect() as stopped, engines[1].connect() as other:
            stopped.execute(lock)
            begin_s = time.monotonic()
            other.execute(lock)
            assert time.monotonic() - begin_s < 10
            with pytest.raises(sa.exc.DBAPIError, match="idle"):
                stopped.execute(lock)
    finally:
        for engine in engines:
            engine.dispose()


def test_a_job_that_outlived_too_many_servers_is_given_up(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "a", "b") as (a, b):
        query_id = a.ask("submit", 100, "k", stage_s=5)
        await_stage(a, 0)
        rows(url, f"INSERT INTO sabot_sql.takeovers (query_id, count) VALUES ('{query_id}', {MAX_TAKEOVERS})")
        a.kill()
        state, detail, _ = b.ask("status", query_id, 20)
        assert (state, detail) == ("failed", "the servers that ran the job ended again and again")
        assert b.ask("execute", 100, "another")[1] == SUM


def test_a_job_of_another_release_fails_in_words(tmp_path: Path, url: str) -> None:
    with servers(tmp_path, url, "b") as (b,):
        old = ServerProcess(tmp_path, "old", url, version="plan-v0")
        query_id = old.ask("submit", 100, "k", stage_s=5)
        await_stage(old, 0)
        time.sleep(1.5)
        assert b.ask("status", query_id, 0)[0] in ("queued", "running")  # a server of that release is there
        old.kill()
        state, detail, _ = b.ask("status", query_id, 20)
        assert (state, detail) == ("failed", "the job was planned by a release with plan-v0, and no server of that is left")


def test_a_database_that_goes_away_stops_distributed_queries_in_words_and_nothing_else(tmp_path: Path) -> None:
    with postgresql() as server, servers(tmp_path, server.get_uri(), "a") as (a,):
        assert a.ask("execute", 100, None)[1] == SUM
        server.stop()
        time.sleep(3.0)
        refused = a.ask("execute", 100, None)
        assert refused["error"] == "SERVICE_ERROR"
        assert "the job database has not answered for" in refused["detail"]
        assert a.ask("local", 100) == SUM
        server.start()
        end = time.monotonic() + 20
        while "error" in (found := a.ask("execute", 100, None)):
            assert time.monotonic() < end, found
            time.sleep(0.2)
        assert found[1] == SUM


def test_jobs_that_cannot_be_written_down_are_given_up_and_go_on(tmp_path: Path, url: str) -> None:
    names = [f"k{i}" for i in range(DISTRIBUTED_AT_ONCE + 1)]
    with servers(tmp_path, url, "a", "b") as (a, b):
        query_ids = [a.ask("submit", 100, name, stage_s=0.3) for name in names]
        await_stage(a, 0)
        a.kill()
        rows(url, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'")
        rows(url, "CREATE TRIGGER refuse BEFORE INSERT ON dbos.operation_outputs EXECUTE FUNCTION refuse()")
        end = time.monotonic() + 20
        while len(b.stages()) < 2 * DISTRIBUTED_AT_ONCE:  # each place was taken twice: it was given up between
            assert time.monotonic() < end
            time.sleep(0.01)
        rows(url, "DROP TRIGGER refuse ON dbos.operation_outputs")
        assert [b.ask("status", query_id, 20) for query_id in query_ids] == [["finished", None, True]] * len(names)
        assert b.ask("execute", 100, "another")[1] == SUM


def test_a_job_that_is_given_up_again_and_again_goes_on_later_each_time() -> None:
    forsaken = Forsaken(after_s=1.0, most_s=5.0)
    assert forsaken.among(["a"], 0.0) == []
    went_on = [now / 2 for now in range(1, 60) if forsaken.among(["a"], now / 2)]
    assert went_on == [1.0, 3.0, 7.0, 12.0, 17.0, 22.0, 27.0]
    assert forsaken.among([], 31.5) == []
    assert [forsaken.among(["a"], now_s) for now_s in (32.0, 32.5, 33.0)] == [[], [], ["a"]]  # it was idle for a moment only
    assert forsaken.among([], 48.0) == []  # and is forgotten
    assert [forsaken.among(["a"], now_s) for now_s in (49.0, 50.0, 51.0, 52.0)] == [[], ["a"], [], ["a"]]


def test_a_database_that_goes_away_before_it_is_used_is_waited_for(tmp_path: Path) -> None:
    with postgresql() as server:
        manager = HandManager(Settings(state_dir=tmp_path / "s", durable=DurableSettings(server.get_uri())))
        with contextlib.closing(manager):
            server.stop()
            manager.start()
            keyed = dataclasses.replace(job(100), idempotency_key="k")
            with pytest.raises(ServiceError, match="cannot be opened") as caught:
                manager.execute(keyed)
            assert caught.value.retryable
            assert not manager.ready()["ready"]
            server.start()
            end = time.monotonic() + 20
            while not manager.ready()["ready"]:
                assert time.monotonic() < end
                time.sleep(0.05)
            assert manager.execute(keyed).table.to_pylist() == SUM


def test_the_schema_is_made_once_and_only_where_it_may(url: str) -> None:
    with pytest.raises(ConfigError, match="has no schema of ours") as caught:
        JobDatabase(url=url, migrate=False).open()
    assert caught.value.hint == "run: sabot-sql init-db"
    secret = JobDatabase(url=url).open()
    assert JobDatabase(url=url).open() == JobDatabase(url=url, migrate=False).open() == secret


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://nobody@127.0.0.1:1/x", "cannot be used"),
        ("mysql://h/x", "no address of a PostgreSQL"),
        ("x", "no address"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error_at_the_start(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        HandManager(Settings(state_dir=tmp_path / "s", durable=DurableSettings(address)))


def test_one_folder_has_one_database_in_a_process(tmp_path: Path, url: str) -> None:
    with (
        contextlib.closing(HandManager(Settings(state_dir=tmp_path / "s"))),
        pytest.raises(ConfigError, match="another job data"),
    ):
        HandManager(Settings(state_dir=tmp_path / "s", durable=DurableSettings(url)))


def test_a_database_of_servers_needs_a_state_folder(url: str) -> None:
    with pytest.raises(ConfigError, match="no state_dir"):
        HandManager(Settings(durable=DurableSettings(url)))
