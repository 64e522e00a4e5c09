"""Agents that were started elsewhere: they register, are lost, come back, are drained; and keep strangers out."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from sabot_sql.agents import scheduler
from sabot_sql.agents.flight import AgentConnection
from sabot_sql.agents.members import Heartbeat
from sabot_sql.agents.messages import Registration
from sabot_sql.agents.pool import AgentPool
from sabot_sql.agents.standalone import Standalone
from sabot_sql.config import AgentSettings
from sabot_sql.errors import AgentLost, Cancelled, ConfigError, NotSupported, ReadError, ServiceError
from sabot_sql.version import __version__
from tests.agents.processes import until
from tests.agents.stages import SESSION, constant_stage, endless_stage, gather_stage, scan_stage, values_of
from tests.agents.standalone import AgentProcess, agents_of, token_file

FAST = Heartbeat(interval_s=0.2, suspect_s=0.6, lost_s=1.6)


@pytest.fixture(autouse=True)
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose agent has just started, on a slow machine, is not overtaken: these tests say which agent has which task."""
    monkeypatch.setattr(scheduler, "SLOW_S", 60.0)


@contextlib.contextmanager
def static_pool(token: Path, listen: str = "127.0.0.1:0") -> Iterator[AgentPool]:
    pool = AgentPool(AgentSettings(provider="static", listen=listen, token_file=str(token)), heartbeat=FAST)
    try:
        pool.start()
        yield pool
    finally:
        pool.stop()


def address(pool: AgentPool) -> str:
    return pool._running.members.provider.uri.removeprefix("grpc://")  # type: ignore[union-attr]


def states(pool: AgentPool) -> dict[str, str]:
    return {agent.id: agent.state for agent in pool.agents()}


def until_alive(pool: AgentPool, *names: str) -> None:
    until(lambda: all(states(pool).get(name) == "alive" for name in names), 30)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_file(tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def shared(token: Path) -> Iterator[tuple[AgentPool, list[AgentProcess]]]:
    with static_pool(token) as pool, agents_of(address(pool), token, ("a", "b")) as agents:
        until_alive(pool, "a", "b")
        yield pool, agents


def rows_of(pool: AgentPool, job: str, path: Path) -> list[int]:
    """The rows of a file by way of two stages."""
    blocks = [r.block for r in pool.run_stage(job, scan_stage(path), {}, SESSION)]
    return values_of(pool, pool.run_stage(job, gather_stage(), {0: blocks}, SESSION))


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"x": list(range(1000))}), path)
    return path


def test_agents_register_and_run_stages(shared: tuple[AgentPool, list[AgentProcess]], numbers: Path) -> None:
    pool, agents = shared
    assert sorted(rows_of(pool, "job-1", numbers)) == sorted(list(range(1000)) * 2)
    assert {a.pid for a in pool.agents()} == {a.pid for a in agents}
    assert pool.slots() == 2


def test_the_end_of_a_job_reaches_the_agents(shared: tuple[AgentPool, list[AgentProcess]], numbers: Path) -> None:
    pool, _ = shared
    rows_of(pool, "job-2", numbers)
    blocks = [r.block for r in pool.run_stage("job-2", scan_stage(numbers), {}, SESSION, first_attempt=2)]
    assert all(Path(block.path).exists() for block in blocks)
    assert not pool.lost(blocks, ask=True)
    pool.drop_job("job-2")
    until(lambda: not any(Path(block.path).parent.exists() for block in blocks), 5)
    assert len(pool.lost(blocks, ask=True)) == 2


def test_a_job_that_ended_while_an_agent_was_not_reached_is_dropped_later(
    shared: tuple[AgentPool, list[AgentProcess]], numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, _ = shared
    blocks = [r.block for r in pool.run_stage("job-3", scan_stage(numbers), {}, SESSION)]

    def unreachable(self: AgentConnection, job_id: str) -> None:
        raise AgentLost("not reached")

    monkeypatch.setattr(AgentConnection, "drop", unreachable)
    pool.drop_job("job-3")
    until(lambda: not any(Path(block.path).parent.exists() for block in blocks), 5)


def test_a_cancelled_stage_stops_on_the_agents(shared: tuple[AgentPool, list[AgentProcess]], tmp_path: Path) -> None:
    pool, _ = shared
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(Cancelled):
        pool.run_stage("job-4", endless_stage(tmp_path), {}, SESSION, cancel=cancel)
    connections = [m.connection for m in pool._running.members._members.values()]  # type: ignore[union-attr]
    until(lambda: all(c is not None and c.is_idle() for c in connections), 5)


def test_an_agent_with_a_taken_name_is_refused(shared: tuple[AgentPool, list[AgentProcess]], token: Path) -> None:
    pool, agents = shared
    with agents_of(address(pool), token, ("a",)) as (second,):
        assert second.process.wait(30) != 0
        assert f"another agent has the name a (process {agents[0].pid} on" in second.errors()
    assert states(pool) == {"a": "alive", "b": "alive"}


def test_an_agent_with_another_token_is_refused(shared: tuple[AgentPool, list[AgentProcess]], tmp_path: Path) -> None:
    pool, _ = shared
    with agents_of(address(pool), token_file(tmp_path), ("c",)) as (stranger,):
        assert stranger.process.wait(30) != 0
        assert "has another token" in stranger.errors()
    assert "c" not in states(pool)


def test_strangers_do_nothing_at_the_registry(shared: tuple[AgentPool, list[AgentProcess]]) -> None:
    import socket

    pool, _ = shared
    host, _, port = address(pool).rpartition(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, b"\x16\x03\x01" * 100):
        with socket.create_connection((host, int(port)), 5) as stranger:
            stranger.sendall(data)
    with pytest.raises(AgentLost):
        AgentConnection(f"grpc://{address(pool)}", "x" * 40, "the coordinator").register(
            Registration("evil", "1", 1, "h", "grpc://127.0.0.1:1", 1, "0.1.0")
        )
    token_bytes = pool._running._token  # type: ignore[union-attr]
    client = flight.FlightClient(f"grpc://{address(pool)}")
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token_bytes}".encode())])
    for kind, body in (("register", b"\x80garbage"), ("deploy", b""), ("register", b"")):
        with pytest.raises((pa.ArrowException, OSError)):
            list(client.do_action(flight.Action(kind, body), options))
    assert states(pool) == {"a": "alive", "b": "alive"}


@pytest.mark.parametrize("name", ["../precious", "a/b", "a b", "a\nb", "x" * 3000, ".."])
def test_a_name_is_no_path(token: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an agent"):
        Standalone(AgentSettings(), token.read_text(), "127.0.0.1:1", name)


def test_a_registration_with_a_path_for_a_name_is_refused(shared: tuple[AgentPool, list[AgentProcess]], token: Path) -> None:
    connection = AgentConnection(f"grpc://{address(shared[0])}", token.read_text(), "the coordinator")
    message = Registration("../a", "1", 1, "h", "grpc://127.0.0.1:1", 1, __version__)
    assert "cannot name an agent" in connection.register(message).refused
    assert states(shared[0]) == {"a": "alive", "b": "alive"}


@pytest.mark.parametrize("where", ["127.0.0.1:99999", "127.0.0.1", "nowhere.invalid:8615", "127.0.0.1:x"])
def test_an_address_that_cannot_be_is_an_error(token: Path, where: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a coordinator"):
        Standalone(AgentSettings(), token.read_text(), where)


def test_a_taken_port_is_an_error_that_says_so(shared: tuple[AgentPool, list[AgentProcess]], token: Path) -> None:
    where = address(shared[0])
    with pytest.raises(ServiceError, match="Address already in use"):
        AgentPool(AgentSettings(provider="static", listen=where, token_file=str(token))).start()
    with pytest.raises(ServiceError, match="Address already in use"):
        Standalone(AgentSettings(), token.read_text(), where, "c", "127.0.0.1", int(where.rpartition(":")[2]))


def test_blocks_whose_folder_is_removed_are_made_again(shared: tuple[AgentPool, list[AgentProcess]], numbers: Path) -> None:
    pool, _ = shared
    results = pool.run_stage("job-5", scan_stage(numbers), {}, SESSION)
    for result in results:
        shutil.rmtree(Path(result.block.path).parent)
    assert len(pool.lost([r.block for r in results], ask=True)) == 2
    again = pool.run_stage("job-5", scan_stage(numbers), {}, SESSION, first_attempt=4)
    assert len(values_of(pool, again)) == 2000


def test_the_number_of_foreign_agents_cannot_be_set(shared: tuple[AgentPool, list[AgentProcess]]) -> None:
    with pytest.raises(NotSupported, match="started elsewhere"):
        shared[0].scale(3)


def test_a_token_is_needed(tmp_path: Path) -> None:
    for path, said in ((None, "need a secret"), (str(tmp_path / "no"), "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            AgentPool(AgentSettings(provider="static", token_file=path)).start()
    (tmp_path / "short").write_text("secret")
    with pytest.raises(ConfigError, match="32 ASCII characters"):
        AgentPool(AgentSettings(provider="static", token_file=str(tmp_path / "short"))).start()


def test_without_agents_a_stage_says_how_to_start_some(token: Path) -> None:
    settings = AgentSettings(provider="static", listen="127.0.0.1:0", token_file=str(token), start_timeout_s=0.3)
    pool = AgentPool(settings)
    try:
        with pytest.raises(ServiceError, match="no agent registered within") as caught:
            pool.run_stage("job", constant_stage(), {}, SESSION)
        assert "sabot-sql agent" in (caught.value.hint or "")
    finally:
        pool.stop()


def test_a_killed_agent_takes_its_blocks_along(token: Path, numbers: Path) -> None:
    with static_pool(token) as pool, agents_of(address(pool), token, ("a", "b")) as agents:
        until_alive(pool, "a", "b")
        blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers), {}, SESSION)]
        agents[0].kill()
        until(lambda: states(pool)["a"] == "lost", 10)
        assert [b.agent_id for b in pool.lost(blocks)] == ["a"]
        of_a = next(b for b in blocks if b.agent_id == "a")
        Path(of_a.path).unlink(missing_ok=True)  # as on another machine: it cannot be mapped; b may have swept it up already
        with pytest.raises((AgentLost, ReadError)):
            pool.run_stage("job", gather_stage(), {0: blocks}, SESSION)
        assert len(values_of(pool, pool.run_stage("job", scan_stage(numbers), {}, SESSION, first_attempt=4))) == 2000
        with agents_of(address(pool), token, ("a",)):
            until_alive(pool, "a")
            assert [b.agent_id for b in pool.lost(blocks)] == ["a"]  # another incarnation has nothing of it
            assert sorted(rows_of(pool, "job-2", numbers)) == sorted(list(range(1000)) * 2)


def test_agents_and_their_blocks_outlive_a_coordinator(token: Path, numbers: Path) -> None:
    with static_pool(token) as pool:
        where = address(pool)
        with agents_of(where, token, ("a", "b")):
            until_alive(pool, "a", "b")
            blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers), {}, SESSION)]
            pool.stop()
            with static_pool(token, where) as later:
                until_alive(later, "a", "b")
                assert not later.lost(blocks, ask=True)
                results = later.run_stage("job", gather_stage(), {0: blocks}, SESSION)
                assert sorted(values_of(later, results)) == sorted(list(range(1000)) * 2)


def test_an_agent_that_is_told_to_end_hands_its_blocks_over(token: Path, numbers: Path) -> None:
    with static_pool(token) as pool, agents_of(address(pool), token, ("a", "b")) as agents:
        until_alive(pool, "a", "b")
        blocks = [r.block for r in pool.run_stage("job", scan_stage(numbers), {}, SESSION)]
        assert {b.agent_id for b in blocks} == {"a", "b"}
        assert agents[0].end() == 0
        until(lambda: states(pool) == {"b": "alive"}, 5)  # it is no longer shown
        assert not pool.lost(blocks, ask=True)
        results = pool.run_stage("job", gather_stage(), {0: blocks}, SESSION)
        assert sorted(values_of(pool, results)) == sorted(list(range(1000)) * 2)
        agents[1].process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            agents[1].process.wait(1)  # nobody is there to hand over to
        pool.drop_job("job")
        assert agents[1].process.wait(30) == 0


def test_an_agent_that_is_told_twice_ends_at_once(token: Path, numbers: Path) -> None:
    with static_pool(token) as pool, agents_of(address(pool), token, ("a",)) as (agent,):
        until_alive(pool, "a")
        rows_of(pool, "job", numbers)
        agent.process.terminate()
        until(lambda: states(pool)["a"] == "draining", 10)
        assert not pool.resume("a")  # it was told to end
        assert agent.end() == 0
