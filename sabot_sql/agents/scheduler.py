"""Which task runs where. Takes events, returns instructions, does no I/O.

A stage's tasks are spread over the agents in order of their names, the same way every time, so that a split meets the same
agent again. Tasks of an agent that is lost run again elsewhere, as a new attempt, and so do those that failed for what may
pass, such as a network file system that does not answer; any other failure of a task fails the stage. A task that takes much
longer than the others, or whose agent is silent, gets a copy on an agent that has nothing to do: whichever ends first counts
(speculative execution, Dean and Ghemawat, OSDI 2004).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from sabot_sql.agents.messages import TaskDone, TaskOutcome
from sabot_sql.errors import AgentLost, ReadError, SabotError

MAX_ATTEMPTS = 3
SLOW_S, SLOW_TIMES = 3.0, 2.0
"""A task is slow that has taken so long, and so many times what is usual among the finished half of its stage."""


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
class AgentSuspect:
    """An agent is silent; what it has may never end."""

    agent_id: str
    incarnation: str


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


Event = AgentUp | AgentDown | AgentDraining | AgentSuspect | TaskEnded


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
        attempt: the last one.
        running: id and incarnation of the agent that has it, by attempt; none while it waits for an agent.
        since_s: when it was deployed.
        lost_on: the incarnations of agents on which it was lost; they get it again only where there is no other.
    """

    attempt: int = 0
    running: dict[int, tuple[str, str]] = field(default_factory=dict)
    since_s: float = 0.0
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
    _suspect: set[tuple[str, str]] = field(init=False, default_factory=set)
    _took_s: list[float] = field(init=False, default_factory=list)
    _tasks: dict[int, _TaskState] = field(init=False)
    _ended: bool = field(init=False, default=False)
    _now_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._alive = dict(self.agents)
        self._tasks = {index: _TaskState(self.first_attempt - 1) for index in self.task_indexes}

    @property
    def retries(self) -> int:
        """How many attempts were made beyond the first."""
        return sum(max(0, t.attempt - self.first_attempt) for t in self._tasks.values())

    def start(self, now_s: float = 0.0) -> list[Instruction]:
        """The first deployments.

        Args:
            now_s: the time, by any clock that goes on steadily.
        """
        self._now_s = now_s
        return self._finish() or self._assign()

    def accepts(self, event: TaskEnded) -> bool:
        """Whether the answer is one that the stage waits for, not that of an attempt that was given up or overtaken."""
        state = self._tasks.get(event.outcome.index)
        if self._ended or state is None or state.result is not None:
            return False
        return state.running.get(event.outcome.attempt) == (event.agent_id, event.incarnation)

    def speculate(self, now_s: float) -> list[Instruction]:
        """Copies of tasks that are slow, or whose agents are silent; to be asked for now and then."""
        self._now_s = now_s
        if self._ended or self.max_attempts < 2:
            return []
        usual_s = median(self._took_s) if 2 * len(self._took_s) >= len(self._tasks) else float("inf")
        busy = {agent for t in self._tasks.values() if t.result is None for agent in t.running.values()}
        others = sorted(self._alive)
        idle = [name for name in others if (name, self._alive[name]) not in busy]
        copies: dict[str, list[tuple[int, int]]] = {}
        for index, state in self._tasks.items():
            if state.result is not None or len(state.running) != 1 or state.attempt != self.first_attempt:
                continue
            (agent,) = state.running.values()
            silent, slow = agent in self._suspect, now_s - state.since_s > max(SLOW_S, SLOW_TIMES * usual_s)
            choices = idle or others if silent else idle if slow else []
            name = next((name for name in choices if (name, self._alive[name]) != agent), None)
            if name is not None:
                self._deploy(index, state, name, copies)
                choices.remove(name)
                if choices is others:
                    others.append(name)
        return self._deployments(copies)

    def handle(self, event: Event, now_s: float = 0.0) -> list[Instruction]:
        """What is to be done after `event`; nothing once the stage has ended."""
        self._now_s = now_s
        if self._ended:
            return []
        match event:
            case AgentUp():
                self._alive[event.agent_id] = event.incarnation
                self._suspect.discard((event.agent_id, event.incarnation))
                return self._assign()
            case AgentDown():
                return self._agent_down(event)
            case AgentDraining():
                self._take_out(event)
                return []
            case AgentSuspect():
                self._take_out(event)
                self._suspect.add((event.agent_id, event.incarnation))
                return self.speculate(now_s)
            case TaskEnded(outcome=outcome):
                if not self.accepts(event):
                    return []
                return self._task_ended(self._tasks[outcome.index], outcome, event.agent_id)

    def _take_out(self, event: AgentDown | AgentDraining | AgentSuspect) -> None:
        """Give an agent no more tasks."""
        if self._alive.get(event.agent_id) == event.incarnation:
            del self._alive[event.agent_id]

    def _task_ended(self, state: _TaskState, outcome: TaskOutcome, agent_id: str) -> list[Instruction]:
        if isinstance(outcome, TaskDone):
            state.result = outcome
            self._took_s.append(self._now_s - state.since_s)
            return self._finish()
        error, lost = outcome.error, [(outcome.index, outcome.attempt)]
        if isinstance(error, AgentLost):  # it could not read from an agent that went away: another attempt may
            return self._lose(lost, f"task {outcome.index} on agent {agent_id}: {error.detail}")
        return self._lose(lost, "", error) if isinstance(error, ReadError) and error.retryable else self._fail(error)

    def _agent_down(self, event: AgentDown) -> list[Instruction]:
        gone = (event.agent_id, event.incarnation)
        self._take_out(event)
        lost = [(i, n) for i, t in self._tasks.items() if t.result is None for n, agent in t.running.items() if agent == gone]
        return self._lose(lost, f"agent {event.agent_id} was lost: {event.reason}")

    def _lose(self, lost: list[tuple[int, int]], reason: str, error: SabotError | None = None) -> list[Instruction]:
        """Attempts of tasks are gone; tasks that have no other one wait again. What has been tried too often ends the stage,
        with `error` if there is one."""
        for index, attempt in lost:
            state = self._tasks[index]
            state.lost_on.add(state.running.pop(attempt))
            attempts = state.attempt - self.first_attempt + 1
            if not state.running and attempts >= self.max_attempts:
                lost_error = AgentLost(f"{reason}; task {index} was lost {attempts} times", retryable=True)
                return self._fail(error or lost_error)
        return self._assign()

    def _assign(self) -> list[Instruction]:
        """Spread the tasks that wait over the agents: first tasks by their number, so that each run does the same."""
        names = self._places()
        waiting = [(i, t) for i, t in self._tasks.items() if not t.running and t.result is None]
        if not names or not waiting:
            return []
        deploys: dict[str, list[tuple[int, int]]] = {}
        first = self.first_agent if len(self._tasks) < len(names) else 0
        for place, (index, state) in enumerate(waiting, first):
            self._deploy(index, state, self._choose(names, place, state), deploys)
        return self._deployments(deploys)

    def _deploy(self, index: int, state: _TaskState, name: str, deploys: dict[str, list[tuple[int, int]]]) -> None:
        """Make an attempt of a task on an agent one of `deploys`."""
        state.attempt += 1
        state.running[state.attempt] = (name, self._alive[name])
        state.since_s = self._now_s
        deploys.setdefault(name, []).append((index, state.attempt))

    def _deployments(self, deploys: dict[str, list[tuple[int, int]]]) -> list[Instruction]:
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
