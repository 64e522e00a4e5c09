"""One run of a stage: the scheduler's instructions carried out over Flight."""

from __future__ import annotations

import functools
import queue
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace

from sabot_sql.agents.calls import CallThreads
from sabot_sql.agents.members import Members
from sabot_sql.agents.messages import Deploy, Inputs, StagePlan, TaskDone, TaskFailed
from sabot_sql.agents.scheduler import (
    AgentDown,
    AgentUp,
    DeployTasks,
    Event,
    Fail,
    Finish,
    Instruction,
    StageScheduler,
    TaskEnded,
)
from sabot_sql.agents.socket_lane import Deployment
from sabot_sql.errors import AgentLost, Cancelled, InternalError, QueryTimeout, SabotError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.physical import Session, Stage
from sabot_sql.planner.wire import to_wire

POLL_S = 0.02
POLL_BOTH_S = 0.001  # while some agents answer over Flight
REREAD_PAUSE_S = 0.05  # before a task reads again from an agent that went away: its replacement is up by then

OnTask = Callable[[TaskResult], None]


class StageRun:
    """Runs the tasks of one stage on the agents that are there.

    Args:
        deadline_s: `time.monotonic()` at which the run ends, or None.
        cancel: ends the run when set.
        on_task: called in the caller's thread for each task that is done.
        first_attempt: number of each task's first attempt.
        on_deployed: called in the caller's thread when the agents have their tasks.
    """

    def __init__(
        self,
        members: Members,
        calls: CallThreads,
        job_id: str,
        stage: Stage,
        inputs: dict[int, list[BlockFile]],
        session: Session,
        morsel_bytes: int,
        deadline_s: float | None,
        cancel: threading.Event,
        on_task: OnTask | None,
        first_attempt: int,
        on_deployed: Callable[[], None] | None,
    ) -> None:
        self.job_id = job_id
        self._members = members
        self._calls = calls
        self._tasks = {t.index: t for t in stage.tasks}
        self._plan = StagePlan(
            job_id=job_id,
            run=uuid.uuid4().hex,
            stage=replace(stage, tasks=()),
            inputs={s: tuple(blocks) for s, blocks in inputs.items()},
            session=session,
            morsel_bytes=morsel_bytes,
        )
        self._encoded: tuple[int, bytes] | None = None
        self._deadline_s = deadline_s
        self._cancel = cancel
        self._on_task = on_task
        self._first_attempt = first_attempt
        self._on_deployed = on_deployed
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._open: dict[int, tuple[Deployment, tuple[str, str], dict[int, int]]] = {}  # by file descriptor
        self._poll = select.poll()
        self._deployed: set[tuple[str, str]] = set()
        self._over_flight: set[tuple[str, str]] = set()
        self._ended = threading.Event()
        self._aborted: SabotError | None = None

    def abort(self, error: SabotError) -> None:
        """End the run with `error`; from any thread."""
        self._aborted = error
        self._events.put(None)

    def run(self) -> list[TaskResult]:
        """Run all tasks; the results are in the order of the tasks.

        Raises:
            Cancelled, QueryTimeout: the run was ended from outside.
            AgentLost: a task was lost too often, or no agent is left.
            SabotError: what a task failed with.
        """
        self._members.listen(self._events.put)
        done = False
        try:
            alive = self._members.wait(self._check)
            scheduler = StageScheduler(
                tuple(self._tasks),
                alive,
                self._first_attempt,
                first_agent=self._plan.stage.stage_id,
                slots=self._members.slots(),
            )
            results = self._drive(scheduler)
            done = True
            return results
        finally:
            self._ended.set()
            self._members.unlisten(self._events.put)
            for descriptor in list(self._open):
                self._close(descriptor)
            if not done:
                self._cancel_deployed()

    def _drive(self, scheduler: StageScheduler) -> list[TaskResult]:
        instructions = scheduler.start(time.monotonic())
        while True:
            for instruction in instructions:
                match instruction:
                    case DeployTasks():
                        self._deploy(instruction)
                    case Finish(results=results):
                        return [done.result for done in results]
                    case Fail(error=error):
                        raise error
            if self._on_deployed is not None:
                self._on_deployed()
                self._on_deployed = None
            event = self._next_event()
            now_s = time.monotonic()
            if event is not None:
                instructions = self._handle(scheduler, event, now_s)
            else:
                instructions = scheduler.speculate(now_s)

    def _handle(self, scheduler: StageScheduler, event: Event, now_s: float) -> list[Instruction]:
        if isinstance(event, TaskEnded):
            if not scheduler.accepts(event):
                return []
            if isinstance(event.outcome, TaskDone) and self._on_task is not None:
                self._on_task(event.outcome.result)
            if isinstance(event.outcome, TaskFailed) and isinstance(event.outcome.error, AgentLost):
                if self._inputs_are_silent():
                    return [Fail(event.outcome.error)]  # no other agent reads them either
                time.sleep(REREAD_PAUSE_S)
        if isinstance(event, AgentDown):
            # its replacement is milliseconds away: better than giving the others twice the work
            alive = self._members.wait(self._check)
            now_s = time.monotonic()
            instructions = [i for agent in alive.items() for i in scheduler.handle(AgentUp(*agent), now_s)]
            return instructions + scheduler.handle(event, now_s)
        return scheduler.handle(event, now_s)

    def _inputs_are_silent(self) -> bool:
        """Whether blocks that the stage reads are with an agent that is gone or does not answer."""
        owners = {(b.owner, b.job_id) for blocks in self._plan.inputs.values() for b in blocks if b.owner and b.partitions}
        return any(self._members.is_silent(*owner) for owner in owners)

    def _next_event(self) -> Event | None:
        if self._open and self._events.empty():
            self._receive(POLL_BOTH_S if self._over_flight else POLL_S)
        try:
            event = self._events.get(timeout=0.0 if self._open else POLL_S)
        except queue.Empty:
            event = None
        self._check()
        return event

    def _check(self) -> None:
        if self._aborted is not None:
            raise self._aborted
        if self._cancel.is_set():
            raise Cancelled("the query was cancelled")
        if self._deadline_s is not None and time.monotonic() > self._deadline_s:
            raise QueryTimeout("the query ran into its time limit")

    def _deploy(self, instruction: DeployTasks) -> None:
        agent, missing = (instruction.agent_id, instruction.incarnation), dict(instruction.tasks)
        timeout_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
        tasks = tuple(self._tasks[index] for index, _ in instruction.tasks)
        attempts = tuple(attempt for _, attempt in instruction.tasks)
        message = to_wire(Deploy(self._encode_plan(), tasks, attempts, timeout_s))
        self._deployed.add(agent)
        if not self._start(agent, message, missing):
            self._over_flight.add(agent)
            self._calls.submit(functools.partial(self._follow, agent, message, missing))

    def _start(self, agent: tuple[str, str], message: bytes, missing: dict[int, int]) -> bool:
        """Deploy on an agent without waiting for it; False when that takes a thread."""
        connection = self._members.connection(*agent)
        if connection is None:
            self._events.put(AgentDown(*agent, "it went away before the call"))
            return True
        try:
            deployment = connection.start(message, len(missing))
        except AgentLost as exc:
            self._members.report_lost(*agent, exc.engine_message or exc.detail)  # which ends in an AgentDown
            return True
        if deployment is None:
            return False
        self._open[deployment.fileno()] = deployment, agent, missing
        self._poll.register(deployment.fileno(), select.POLLIN)
        return True

    def _receive(self, timeout_s: float) -> None:
        """Wait for answers to what `_start` has deployed and turn them into events."""
        for descriptor, _ in self._poll.poll(timeout_s * 1e3):
            deployment, agent, missing = self._open[descriptor]
            try:
                for outcome in deployment.receive():
                    missing.pop(outcome.index, None)
                    self._members.count_task(agent[0], isinstance(outcome, TaskDone))
                    self._events.put(TaskEnded(*agent, outcome))
            except AgentLost as exc:
                self._close(descriptor)
                self._members.report_lost(*agent, exc.engine_message or exc.detail)
            except SabotError as exc:
                self._close(descriptor)
                self._fail_all(agent, missing, exc)
            else:
                if not missing:
                    self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        """End a deployment; what it still runs is cancelled."""
        self._poll.unregister(descriptor)
        self._open.pop(descriptor)[0].close()

    def _encode_plan(self) -> bytes:
        """The plan with the addresses that its input blocks have now; encoded again only when agents have changed."""
        changes = self._members.changes
        if self._encoded is None or self._encoded[0] != changes:
            inputs: Inputs = {s: tuple(readdress(blocks, self._members)) for s, blocks in self._plan.inputs.items()}
            self._encoded = changes, to_wire(replace(self._plan, inputs=inputs))
        return self._encoded[1]

    def _follow(self, agent: tuple[str, str], message: bytes, missing: dict[int, int]) -> None:
        """Deploy on one agent over Flight and turn its answers into events; runs in a call thread until the last task has
        ended."""
        try:
            connection = self._members.connection(*agent)
            if connection is None:
                self._events.put(AgentDown(*agent, "it went away before the call"))
                return
            if self._ended.is_set():
                return
            for outcome in connection.deploy(message):
                missing.pop(outcome.index, None)
                self._members.count_task(agent[0], isinstance(outcome, TaskDone))
                self._events.put(TaskEnded(*agent, outcome))
            if missing:
                self._members.report_lost(*agent, "it ended its answer too early")
        except AgentLost as exc:
            if not missing:  # it answered for all; how the call ended does not matter
                return
            self._members.report_lost(*agent, exc.engine_message or exc.detail)  # which ends in an AgentDown
        except SabotError as exc:
            self._fail_all(agent, missing, exc)
        except Exception as exc:  # the edge of a thread: the run must end, whatever happened
            self._fail_all(agent, missing, InternalError(f"a deployment failed: {type(exc).__name__}: {exc}"))

    def _fail_all(self, agent: tuple[str, str], missing: dict[int, int], error: SabotError) -> None:
        for index, attempt in missing.items():
            self._events.put(TaskEnded(*agent, TaskFailed(index, attempt, error.to_problem())))

    def _cancel_deployed(self) -> None:
        """Tell the agents that are not told by the end of a connection, without waiting for any of them: one may be gone or
        stopped."""
        for agent in self._over_flight:
            connection = self._members.connection(*agent)
            if connection is not None:
                self._calls.submit(functools.partial(quietly, connection.cancel, self.job_id, self._plan.run))


def quietly(call: Callable[..., None], *args: object) -> None:
    """Call an agent that may be gone by now, which then is as good."""
    try:
        call(*args)
    except AgentLost:
        return


def readdress(blocks: Iterable[BlockFile], members: Members) -> list[BlockFile]:
    """The blocks with addresses that answer: that of the agent which has the file now, or, where it belongs to the job and so
    outlives its agent, of any agent on this machine."""
    shared = members.shared_uris()
    return [_readdress(block, members, shared) for block in blocks]


def _readdress(block: BlockFile, members: Members, shared: dict[str, str]) -> BlockFile:
    if block.owner:
        found = members.owner(block.owner, block.job_id)
        if found is None or found[1] == block.flight_uri:
            return block
        return replace(block, agent_id=found[0], flight_uri=found[1], host="")  # another one's file is not at the old path
    if block.flight_uri in shared.values() or not shared:
        return block
    return replace(block, flight_uri=shared.get(block.agent_id) or next(iter(shared.values())))
