"""Which task runs where. Takes events, returns instructions, does no I/O.

A stage's tasks are spread over the agents in order of their names, the same way every time, so that a split meets the same
agent again. Tasks of an agent that is lost run again elsewhere, as a new attempt; a task that fails by itself fails the
stage with its own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sabot_sql.agents.messages import TaskDone, TaskOutcome
from sabot_sql.errors import AgentLost, SabotError

MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class AgentUp:
    """An agent takes tasks."""

    agent_id: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class AgentDown:
    """An incarnation of an agent is gone, and all that ran there."""

    agent_id: str
    incarnation: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """An agent answered for a task attempt."""

    agent_id: str
    incarnation: str
    outcome: TaskOutcome


@dataclass(frozen=True, slots=True)
class AgentDraining:
    """An agent takes no new tasks; those it has, it finishes."""

    agent_id: str
    incarnation: str


Event = AgentUp | AgentDown | AgentDraining | TaskEnded


@dataclass(frozen=True, slots=True)
class DeployTasks:
    """Deploy these (task index, attempt) on an agent, in one call."""

    agent_id: str
    incarnation: str
    tasks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The stage is done; the results are in the order of the tasks."""

    results: tuple[TaskDone, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """The stage failed; what still runs is to be cancelled."""

    error: SabotError


Instruction = DeployTasks | Finish | Fail


@dataclass(slots=True)
class _TaskState:
    """Where a task is.

    Attributes:
        agent: id and incarnation of the agent that has it; None while it waits for one.
        lost_on: the incarnations of agents on which it was lost; they get it again only where there is no other.
    """

    attempt: int = 0
    agent: tuple[str, str] | None = None
    result: TaskDone | None = None
    lost_on: set[tuple[str, str]] = field(default_factory=set)


@dataclass(slots=True)
class StageScheduler:
    """The state of one stage's run.

    Args:
        task_indexes: the tasks.
        agents: incarnation of each agent that takes tasks, by agent id.
        slots: how many tasks an agent runs at once, where that is more than one.
        first_attempt: number of each task's first attempt.
        first_agent: where in the agents' order the first task goes, if there are more agents than tasks: stages of one task
            that run side by side are to meet different agents.
    """

    task_indexes: Sequence[int]
    agents: Mapping[str, str]
    first_attempt: int = 1
    max_attempts: int = MAX_ATTEMPTS
    first_agent: int = 0
    slots: Mapping[str, int] = field(default_factory=dict)
    _alive: dict[str, str] = field(init=False)
    _tasks: dict[int, _TaskState] = field(init=False)
    _ended: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._alive = dict(self.agents)
        self._tasks = {index: _TaskState(self.first_attempt - 1) for index in self.task_indexes}

    @property
    def retries(self) -> int:
        """How many attempts were made beyond the first."""
        return sum(max(0, t.attempt - self.first_attempt) for t in self._tasks.values())

    def start(self) -> list[Instruction]:
        """The first deployments."""
        return self._finish() or self._assign()

    def handle(self, event: Event) -> list[Instruction]:
        """What is to be done after `event`; nothing once the stage has ended."""
        if self._ended:
            return []
        match event:
            case AgentUp():
                self._alive[event.agent_id] = event.incarnation
                return self._assign()
            case AgentDown():
                return self._agent_down(event)
            case AgentDraining():
                if self._alive.get(event.agent_id) == event.incarnation:
                    del self._alive[event.agent_id]
                return []
            case TaskEnded(outcome=outcome):
                state = self._tasks.get(outcome.index)
                current = state is not None and state.agent == (event.agent_id, event.incarnation)
                if state is None or not current or outcome.attempt != state.attempt:
                    return []  # an answer of an attempt that was given up
                return self._task_ended(state, outcome, event.agent_id)

    def _task_ended(self, state: _TaskState, outcome: TaskOutcome, agent_id: str) -> list[Instruction]:
        if isinstance(outcome, TaskDone):
            state.result = outcome
            return self._finish()
        error = outcome.error
        if not isinstance(error, AgentLost):
            return self._fail(error)
        # the task could not read from an agent that went away: the block outlives the agent, so reading it again helps
        return self._lose([(outcome.index, state)], f"task {outcome.index} on agent {agent_id}: {error.detail}")

    def _agent_down(self, event: AgentDown) -> list[Instruction]:
        gone = (event.agent_id, event.incarnation)
        if self._alive.get(event.agent_id) == event.incarnation:
            del self._alive[event.agent_id]
        lost = [(i, t) for i, t in self._tasks.items() if t.agent == gone and t.result is None]
        return self._lose(lost, f"agent {event.agent_id} was lost: {event.reason}")

    def _lose(self, lost: list[tuple[int, _TaskState]], reason: str) -> list[Instruction]:
        for index, state in lost:
            if state.agent is not None:
                state.lost_on.add(state.agent)
            state.agent = None
            attempts = state.attempt - self.first_attempt + 1
            if attempts >= self.max_attempts:
                return self._fail(AgentLost(f"{reason}; task {index} was lost {attempts} times", retryable=True))
        return self._assign()

    def _assign(self) -> list[Instruction]:
        """Spread the tasks that wait over the agents: first tasks by their number, so that each run does the same."""
        names = self._places()
        waiting = [(i, t) for i, t in self._tasks.items() if t.agent is None and t.result is None]
        if not names or not waiting:
            return []
        deploys: dict[str, list[tuple[int, int]]] = {}
        first = self.first_agent if len(self._tasks) < len(names) else 0
        for place, (index, state) in enumerate(waiting, first):
            name = self._choose(names, place, state)
            state.attempt += 1
            state.agent = (name, self._alive[name])
            deploys.setdefault(name, []).append((index, state.attempt))
        return [DeployTasks(name, self._alive[name], tuple(tasks)) for name, tasks in sorted(deploys.items())]

    def _places(self) -> list[str]:
        """The agents in the order in which tasks go to them: each once, then those that have more slots again, and so on."""
        names = sorted(self._alive)
        slots = [self.slots.get(name, 1) for name in names]
        return [name for turn in range(max(slots, default=0)) for name, many in zip(names, slots) if many > turn]

    def _choose(self, names: list[str], place: int, state: _TaskState) -> str:
        """The agent whose turn it is; of those on which the task was not lost, where there are such."""
        turns = [names[(place + i) % len(names)] for i in range(len(names) if state.lost_on else 1)]
        return next((name for name in turns if (name, self._alive[name]) not in state.lost_on), turns[0])

    def _finish(self) -> list[Instruction]:
        results = [t.result for t in self._tasks.values() if t.result is not None]
        if len(results) < len(self._tasks):
            return []
        self._ended = True
        return [Finish(tuple(results))]

    def _fail(self, error: SabotError) -> list[Instruction]:
        self._ended = True
        return [Fail(error)]
