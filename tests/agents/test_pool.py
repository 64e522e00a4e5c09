from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from sabot_sql.agents import scheduler
from sabot_sql.agents.info import AgentInfo
from sabot_sql.agents.members import Heartbeat
from sabot_sql.agents.pool import AgentPool
from sabot_sql.config import AgentSettings
from sabot_sql.errors import AgentLost, Cancelled, QueryTimeout, ReadError, SabotError, ServiceError
from tests.agents.processes import exists, until, until_gone
from tests.agents.stages import SESSION, constant_stage, endless_stage, gather_stage, scan_stage, values_of, work_stage

FAST = Heartbeat(interval_s=0.2, suspect_s=0.6, lost_s=1.6)


@pytest.fixture(autouse=True)
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose agent has just started, on a slow machine, is not overtaken: these tests say which agent has which task."""
    monkeypatch.setattr(scheduler, "SLOW_S", 60.0)


@contextlib.contextmanager
def pool_of(count: int = 2, **kwargs: object) -> Iterator[AgentPool]:
    settings = {k: kwargs.pop(k) for k in ("lane", "threads") if k in kwargs}
    pool = AgentPool(AgentSettings(count=count, **settings), **kwargs)  # type: ignore[arg-type]
    try:
        pool.start(wait=True)
        yield pool
    finally:
        pool.stop()


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[AgentPool]:
    with pool_of(2) as pool:
        yield pool


@pytest.fixture
def pool(shared_pool: AgentPool) -> AgentPool:
    """Two agents, whatever the tests before have done to theirs."""
    until(lambda: len(alive(shared_pool)) == 2, 20.0)
    return shared_pool


def alive(pool: AgentPool) -> list[AgentInfo]:
    return [a for a in pool.agents() if a.state == "alive"]


TRIES = 3
"""Runs of what must be fast: during one of them the machine may have been busy with something else."""


class Background:
    """`call` in a thread; `error` and `took_s` tell how it ended."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: SabotError | None = None
        self.result: object = None
        self.thread = threading.Thread(target=self._run, args=(call,))
        self.thread.start()

    def _run(self, call: Callable[[], object]) -> None:
        try:
            self.result = call()
        except SabotError as exc:
            self.error = exc

    def join(self, timeout_s: float = 10.0) -> float:
        begin = time.monotonic()
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), "the call hangs"
        return time.monotonic() - begin


def busy(pool: AgentPool) -> list[AgentInfo]:
    """The agents that have a task in a slot."""
    members = pool._running.members  # type: ignore[union-attr]
    found = []
    for agent in alive(pool):
        connection = members.connection(agent.id, agent.incarnation)
        with contextlib.suppress(AgentLost):
            if connection is not None and connection.ping().slots_used:
                found.append(agent)
    return found


def test_two_stages_run_on_all_agents_and_hand_over_their_rows(pool: AgentPool) -> None:
    seen = []
    first = pool.run_stage("two", constant_stage(3), {}, SESSION, on_task=seen.append)
    assert [r.block.task_index for r in first] == [0, 1, 2]
    assert {r.block.agent_id for r in first} == {"agent-0", "agent-1"}
    assert len(seen) == 3
    second = pool.run_stage("two", gather_stage(), {0: [r.block for r in first]}, SESSION)
    assert values_of(pool, second) == [42, 42, 42]
    pool.drop_job("two")
    assert not Path(first[0].block.path).parent.exists()


def test_agents_tell_who_they_are(pool: AgentPool) -> None:
    for agent in pool.agents():
        assert (agent.state, exists(agent.pid)) == ("alive", True)
        assert agent.flight_uri.startswith("grpc://127.0.0.1:")
        assert agent.started_at is not None


def test_a_task_error_fails_the_stage_with_its_real_message_and_harms_no_agent(pool: AgentPool, tmp_path: Path) -> None:
    pids = [a.pid for a in pool.agents()]
    with pytest.raises(ReadError, match=r"missing\.parquet"):
        pool.run_stage("fails", scan_stage(tmp_path / "missing.parquet"), {}, SESSION)
    assert values_of(pool, pool.run_stage("fails", constant_stage(1, 5), {}, SESSION, first_attempt=2)) == [5]
    assert [a.pid for a in pool.agents()] == pids
    pool.drop_job("fails")


def test_many_stages_run_at_once(pool: AgentPool) -> None:
    def run(number: int) -> list[int]:
        return values_of(pool, pool.run_stage(f"many-{number}", constant_stage(3, number), {}, SESSION))

    calls = [Background(lambda n=n: run(n)) for n in range(20)]  # type: ignore[misc]
    for call in calls:
        call.join()
    assert [c.result for c in calls] == [[n] * 3 for n in range(20)]


def test_calls_without_the_token_are_refused(pool: AgentPool) -> None:
    uri = pool.agents()[0].flight_uri
    for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"")]):
        with flight.FlightClient(uri) as client:
            options = flight.FlightCallOptions(headers=headers, timeout=5)
            calls = (
                lambda c=client, o=options: list(c.do_action(flight.Action("ping", b""), o)),
                lambda c=client, o=options: c.do_get(flight.Ticket(b"x"), o).read_all(),
                lambda c=client, o=options: list(c.list_flights(options=o)),
                lambda c=client, o=options: c.get_flight_info(flight.FlightDescriptor.for_path("x"), o),
                lambda c=client, o=options: list(c.list_actions(o)),
            )
            for call in calls:
                with pytest.raises(flight.FlightUnauthenticatedError):
                    call()


def test_nonsense_on_the_wire_is_an_error_and_harms_no_agent(pool: AgentPool) -> None:
    running = pool._running
    assert running is not None
    agent = next(iter(running.members.alive().items()))
    connection = running.members.connection(*agent)
    assert connection is not None
    for body in (b"", b"\x00\xff", b"cos\nsystem\n(S'x'\ntR."):
        with pytest.raises(SabotError):
            list(connection.deploy(body))
    assert connection.ping().incarnation == agent[1]


def test_cancel_ends_a_stage_at_once_and_frees_the_slots(pool: AgentPool, tmp_path: Path) -> None:
    stage, took_s = endless_stage(tmp_path), []
    for _ in range(TRIES):
        cancel = threading.Event()
        call = Background(functools.partial(pool.run_stage, "endless", stage, {}, SESSION, cancel=cancel))
        until(lambda: len(busy(pool)) == 2)
        cancel.set()
        took_s.append(call.join())
        assert isinstance(call.error, Cancelled)
    assert min(took_s) < 0.2
    assert values_of(pool, pool.run_stage("after", constant_stage(2), {}, SESSION)) == [42, 42]
    pool.drop_job("endless")
    pool.drop_job("after")


def test_cancel_by_job_id_ends_a_stage(pool: AgentPool, tmp_path: Path) -> None:
    stage, took_s = endless_stage(tmp_path), []
    for _ in range(TRIES):
        call = Background(lambda: pool.run_stage("by-id", stage, {}, SESSION))
        until(lambda: len(busy(pool)) == 2)
        pool.drop_job("by-id")
        took_s.append(call.join())
        assert isinstance(call.error, Cancelled)
    assert min(took_s) < 0.2


def test_the_deadline_ends_a_stage(pool: AgentPool, tmp_path: Path) -> None:
    stage, took_s = endless_stage(tmp_path), []
    for _ in range(TRIES):
        begin = time.monotonic()
        with pytest.raises(QueryTimeout):
            pool.run_stage("late", stage, {}, SESSION, deadline_s=begin + 0.3)
        took_s.append(time.monotonic() - begin)
        pool.drop_job("late")
    assert min(took_s) < 0.6


def test_a_killed_agent_is_replaced_at_once_and_the_next_stage_uses_both(pool: AgentPool) -> None:
    victim = pool.agents()[0]
    os.kill(victim.pid, signal.SIGKILL)
    took_s = until(lambda: len({a.pid for a in alive(pool)} - {victim.pid}) == 2)
    assert took_s < 2.0
    replacement = pool.agents()[0]
    assert (replacement.id, replacement.incarnation != victim.incarnation) == (victim.id, True)
    results = pool.run_stage("job", constant_stage(2), {}, SESSION)
    assert {r.block.agent_id for r in results} == {"agent-0", "agent-1"}


def test_a_stage_right_after_a_kill_gives_all_rows(pool: AgentPool) -> None:
    for number in range(5):
        os.kill(alive(pool)[number % 2].pid, signal.SIGKILL)
        results = pool.run_stage(f"job-{number}", constant_stage(4), {}, SESSION)
        assert values_of(pool, results) == [42] * 4
        until(lambda: len(alive(pool)) == 2)


def test_tasks_of_an_agent_killed_during_a_stage_run_elsewhere(pool: AgentPool, tmp_path: Path) -> None:
    stage, cancel = endless_stage(tmp_path), threading.Event()
    call = Background(lambda: pool.run_stage("job", stage, {}, SESSION, cancel=cancel))
    until(lambda: len(busy(pool)) == 2)
    os.kill(pool.agents()[0].pid, signal.SIGKILL)
    run = next(iter(pool._runs))
    until(lambda: len(run._deployed) == 3)
    cancel.set()
    call.join()
    assert isinstance(call.error, Cancelled)


def test_a_stage_that_loses_its_agents_again_and_again_fails_with_agent_lost(pool: AgentPool, tmp_path: Path) -> None:
    until(lambda: not busy(pool))  # with what the test before has cancelled
    stage = endless_stage(tmp_path, num_tasks=1)
    call = Background(lambda: pool.run_stage("job", stage, {}, SESSION))
    killed: set[int] = set()
    while len(killed) < 3 and call.thread.is_alive():
        for pid in {agent.pid for agent in busy(pool)} - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    call.join()
    assert isinstance(call.error, AgentLost)
    assert "was lost: it was killed by SIGKILL; task 0 was lost 3 times" in call.error.detail
    assert values_of(pool, pool.run_stage("next", constant_stage(1), {}, SESSION)) == [42]


def test_blocks_outlive_the_agents_that_wrote_them_on_the_flight_lane_too() -> None:
    with pool_of(2, lane="flight") as pool:
        first = pool.run_stage("job", constant_stage(2), {}, SESSION)
        before = {a.pid for a in pool.agents()}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert values_of(pool, first) == [42, 42]
        until(lambda: len(alive(pool)) == 2 and not before & {a.pid for a in alive(pool)})
        second = pool.run_stage("job", gather_stage(), {0: [r.block for r in first]}, SESSION)
        assert values_of(pool, second) == [42, 42]


def test_a_stopped_agent_is_suspected_then_replaced_and_its_task_runs_elsewhere() -> None:
    with pool_of(2, heartbeat=FAST) as pool:
        victim = pool.agents()[1]
        os.kill(victim.pid, signal.SIGSTOP)
        call = Background(lambda: values_of(pool, pool.run_stage("job", constant_stage(2), {}, SESSION)))
        until(lambda: pool.agents()[1].state == "suspect")
        call.join(5.0)
        assert call.result == [42, 42]
        until(lambda: not exists(victim.pid) and len(alive(pool)) == 2)


@pytest.mark.slow
def test_a_task_on_a_slow_agent_is_overtaken_by_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SLOW_S", 1.0)
    with pool_of(2) as pool:
        stage = work_stage(tmp_path, 4)
        expected = values_of(pool, pool.run_stage("job", stage, {}, SESSION))
        pid, ended = pool.agents()[1].pid, threading.Event()

        def slow_down() -> None:  # to a tenth of a processor
            while not ended.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.09)
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)

        thread = threading.Thread(target=slow_down)
        thread.start()
        try:
            results = pool.run_stage("job-2", stage, {}, SESSION)
        finally:
            ended.set()
            thread.join()
        assert values_of(pool, results) == expected
        assert "agent-0" in {r.block.agent_id for r in results if r.block.attempt == 2}
        assert exists(pid)  # slow is not lost


@pytest.mark.slow
def test_a_short_stage_does_not_wait_for_all_tasks_of_a_long_one(tmp_path: Path) -> None:
    with pool_of(1, threads=1) as pool:
        long = Background(lambda: pool.run_stage("long", work_stage(tmp_path, 6), {}, SESSION))
        until(lambda: pool._running.members.connection("agent-0", pool.agents()[0].incarnation).ping().slots_used == 1)  # type: ignore[union-attr]
        assert values_of(pool, pool.run_stage("short", constant_stage(1), {}, SESSION)) == [42]
        assert long.thread.is_alive()
        long.join(120)


def test_a_dead_fork_server_is_replaced_with_its_agents(pool: AgentPool) -> None:
    before = {a.pid for a in pool.agents()}
    fork_server = pool._running.members._provider.pid  # type: ignore[union-attr]
    os.kill(fork_server, signal.SIGKILL)
    until(lambda: len(alive(pool)) == 2 and not before & {a.pid for a in alive(pool)}, 20.0)
    until_gone(before)
    assert values_of(pool, pool.run_stage("job", constant_stage(2), {}, SESSION)) == [42, 42]


def test_stop_leaves_no_process_no_socket_no_file() -> None:
    files = set(os.listdir("/proc/self/fd"))
    with pool_of(2) as pool:
        pool.run_stage("job", constant_stage(2), {}, SESSION)
        running, agents = pool._running, pool.agents()
        assert running is not None
        fork_server, root = running.members._provider.pid, running.root.path  # type: ignore[attr-defined]
        assert root.exists()
    assert not any(exists(a.pid) for a in agents)
    assert not exists(fork_server)
    assert not root.exists()
    for agent in agents:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", int(agent.flight_uri.rpartition(":")[2]))) != 0
    until(lambda: len(set(os.listdir("/proc/self/fd"))) <= len(files) + 4)
    assert pool.agents() == []
    with pytest.raises(ServiceError, match="shutting down"):
        pool.run_stage("job", constant_stage(2), {}, SESSION)


def test_stop_ends_a_running_stage(tmp_path: Path) -> None:
    with pool_of(2) as pool:
        stage = endless_stage(tmp_path)
        call = Background(lambda: pool.run_stage("job", stage, {}, SESSION))
        until(lambda: len(busy(pool)) == 2)
        begin = time.monotonic()
        pool.stop()
        call.join()
        assert time.monotonic() - begin < 2.0
        assert isinstance(call.error, ServiceError)
        assert call.error.problem.code == "SHUTTING_DOWN"


def test_a_pool_of_none_says_what_to_do() -> None:
    pool = AgentPool(AgentSettings(count=0))
    with pytest.raises(ServiceError) as caught:
        pool.run_stage("job", constant_stage(1), {}, SESSION)
    assert caught.value.problem.code == "NO_AGENTS"
    assert "num_local_agents" in (caught.value.hint or "")
    assert pool.agents() == []
    pool.stop()


def test_agents_that_cannot_start_are_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    pool = AgentPool(AgentSettings(count=2))
    with pytest.raises(ServiceError, match=r"no agent started within .* its fork server is gone: exit code 1") as caught:
        pool.start(wait=True)
    assert caught.value.problem.code == "NO_AGENTS"
    pool.stop()


def test_agents_start_without_fork_too() -> None:
    with pool_of(2, fork=False) as pool:
        assert values_of(pool, pool.run_stage("job", constant_stage(2), {}, SESSION)) == [42, 42]
        os.kill(pool.agents()[0].pid, signal.SIGKILL)
        until(lambda: len(alive(pool)) == 2 and pool.agents()[0].incarnation != "")
        agents = pool.agents()
    assert not any(exists(a.pid) for a in agents)


def test_agents_do_not_wait_for_kernels_to_be_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SABOT_KERNEL_CACHE", str(tmp_path))
    begin = time.monotonic()
    with pool_of(1) as pool:
        assert time.monotonic() - begin < 10
        fork_server = pool._running.members._provider.pid  # type: ignore[union-attr]
        children = set(map(int, Path(f"/proc/{fork_server}/task/{fork_server}/children").read_text().split()))
        compilers = children - {pool.agents()[0].pid}
        assert len(compilers) == 1
        assert values_of(pool, pool.run_stage("job", constant_stage(1), {}, SESSION)) == [42]
    assert not any(map(exists, compilers))


def test_counts_of_tasks_are_told_at_once(pool: AgentPool) -> None:
    before = sum(a.tasks_done for a in pool.agents())
    pool.run_stage("counted", constant_stage(4), {}, SESSION)
    assert sum(a.tasks_done for a in pool.agents()) == before + 4
    pool.drop_job("counted")


def test_a_forked_copy_of_the_coordinator_does_not_stop_the_pool(pool: AgentPool) -> None:
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer interpreters warn of fork beside threads, which is the case in point
        child = context.Process(target=pool.stop)
        child.start()
    child.join(10)
    assert child.exitcode == 0
    assert values_of(pool, pool.run_stage("forked", constant_stage(2), {}, SESSION)) == [42, 42]
    pool.drop_job("forked")


def test_start_is_idempotent_across_threads() -> None:
    pool = AgentPool(AgentSettings(count=2))
    calls = [Background(lambda: pool.start(wait=True)) for _ in range(8)]
    for call in calls:
        call.join()
    assert [a.id for a in pool.agents()] == ["agent-0", "agent-1"]
    pool.stop()


def test_rows_of_a_file_come_through_a_stage(pool: AgentPool, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array(range(1000), pa.int64())}), tmp_path / "x.parquet")
    results = pool.run_stage("file", scan_stage(tmp_path / "x.parquet", 2), {}, SESSION)
    assert values_of(pool, results) == list(range(1000)) * 2
    assert all(r.stats for r in results)
    pool.drop_job("file")
