from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql.agents.agent import Agent, AgentConfig
from sabot_sql.agents.block_budget import Place
from sabot_sql.agents.blocks import LocalBlockReader
from sabot_sql.agents.messages import Deploy, StagePlan, TaskDone, TaskFailed, TaskOutcome
from sabot_sql.agents.socket_lane import (
    DEPLOY,
    MAX_PATH_BYTES,
    OUTCOME,
    TOKEN,
    DeployClient,
    Deployment,
    DeploySocket,
    frame,
    socket_path,
)
from sabot_sql.errors import AgentLost, Cancelled, InternalError
from sabot_sql.planner.physical import Stage
from sabot_sql.planner.wire import to_wire
from tests.agents.processes import until
from tests.agents.stages import SESSION, constant_stage, endless_stage


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    (tmp_path / "job").mkdir()
    return Agent("agent-0", AgentConfig("secret", (Place(str(tmp_path)),)), LocalBlockReader())


@pytest.fixture
def path(agent: Agent, tmp_path: Path) -> Path:
    path = tmp_path / "a.sock"
    DeploySocket(agent, path)
    return path


@pytest.fixture
def client(path: Path) -> Iterator[DeployClient]:
    client = DeployClient(path, "secret", "agent agent-0")
    yield client
    client.close()


def deployment_of(stage: Stage, run: str = "run") -> bytes:
    plan = to_wire(StagePlan("job", run, stage, {}, SESSION, 2 << 20))
    return to_wire(Deploy(plan, stage.tasks, (1,) * len(stage.tasks)))


def outcomes_of(deployment: Deployment, count: int) -> list[TaskOutcome]:
    found: list[TaskOutcome] = []
    while len(found) < count:
        assert select.select([deployment], [], [], 10.0)[0], "no answer came"
        found += deployment.receive()
    return found


def test_the_outcome_of_each_task_comes_back(client: DeployClient) -> None:
    deployment = client.start(deployment_of(constant_stage(3)), 3)
    assert {type(o) for o in outcomes_of(deployment, 3)} == {TaskDone}
    deployment.close()


def test_a_connection_serves_the_next_deployment_when_all_answers_were_read(client: DeployClient) -> None:
    descriptors = set()
    for number in range(3):
        deployment = client.start(deployment_of(constant_stage(2), f"run-{number}"), 2)
        descriptors.add(deployment.fileno())
        outcomes_of(deployment, 2)
        deployment.close()
    assert len(descriptors) == 1


def test_closing_a_deployment_cancels_its_tasks(client: DeployClient, agent: Agent, tmp_path: Path) -> None:
    deployment = client.start(deployment_of(endless_stage(tmp_path, num_tasks=1)), 1)
    until(lambda: agent.report().slots_used == 1)
    deployment.close()
    until(lambda: agent.report().slots_used == 0, 5.0)


def test_a_cancelled_run_answers_at_once(client: DeployClient, agent: Agent, tmp_path: Path) -> None:
    deployment = client.start(deployment_of(endless_stage(tmp_path)), 2)
    until(lambda: agent.report().slots_used == 1)
    begin = time.monotonic()
    agent.cancel("job", "run")
    failed = outcomes_of(deployment, 2)
    assert time.monotonic() - begin < 1.0
    assert all(isinstance(o, TaskFailed) and isinstance(o.error, Cancelled) for o in failed)
    deployment.close()


def test_a_message_that_cannot_be_read_is_an_error_and_the_next_one_is_served(client: DeployClient) -> None:
    deployment = client.start(b"nonsense", 1)
    with pytest.raises(InternalError, match="damaged"):
        outcomes_of(deployment, 1)
    deployment.close()
    after = client.start(deployment_of(constant_stage(1)), 1)
    assert isinstance(outcomes_of(after, 1)[0], TaskDone)
    after.close()


def test_without_the_token_nothing_is_run(path: Path, agent: Agent) -> None:
    for first in (frame(TOKEN, b"wrong"), frame(TOKEN, b""), b""):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(path))
            stranger.sendall(first + frame(DEPLOY, deployment_of(constant_stage(1))))
            stranger.settimeout(5.0)
            with contextlib.suppress(ConnectionResetError):  # it left before it had read all
                assert stranger.recv(100) == b""
    assert agent.report().tasks_done == 0


def test_an_agent_that_is_not_there_is_lost(tmp_path: Path) -> None:
    with pytest.raises(AgentLost, match=r"agent agent-7 could not be reached"):
        DeployClient(tmp_path / "none.sock", "secret", "agent agent-7").start(b"", 1)


def test_closing_the_client_tells_who_waits_that_the_agent_is_lost(client: DeployClient, tmp_path: Path) -> None:
    deployment = client.start(deployment_of(endless_stage(tmp_path, num_tasks=1)), 1)
    threading.Timer(0.2, client.close).start()
    with pytest.raises(AgentLost):
        outcomes_of(deployment, 1)
    deployment.close()


def test_an_outcome_that_comes_in_pieces_is_put_together(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "b.sock"))
    listener.listen()
    client = DeployClient(tmp_path / "b.sock", "secret", "agent agent-0")
    deployment = client.start(b"x", 2)
    peer, _ = listener.accept()
    answer = frame(OUTCOME, to_wire(TaskFailed(0, 1, {}))) + frame(OUTCOME, to_wire(TaskFailed(1, 1, {})))
    found = []
    for byte in range(len(answer)):
        peer.sendall(answer[byte : byte + 1])
        found += deployment.receive()
    assert [o.index for o in found] == [0, 1]
    deployment.close()
    for each in (client, peer, listener):
        each.close()


def test_a_path_too_long_for_a_socket_means_flight(tmp_path: Path) -> None:
    assert socket_path(AgentConfig("t", (Place("/short"),)), "a") == Path("/short/a.sock")
    assert socket_path(AgentConfig("t", (Place("/" + "x" * MAX_PATH_BYTES),)), "a") is None
    assert socket_path(AgentConfig("t", (Place("/short"),), lane="flight"), "a") is None
