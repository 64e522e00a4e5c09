"""How fast this machine is for the automatic threshold: stored, measured at the start, and corrected by what really runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sabot_sql.engine.history import History
from sabot_sql.executor.task_result import TaskResult
from sabot_sql.planner.route import LOCAL_ROWS_PER_MS, LOCAL_START_MS, OVERHEAD_MS, Machine, Speed, used_cores

PROBE_ROWS = 400_000
PROBE_LOCAL = (
    f"select hash(i) % 997 as g, sum(i::double), avg(sqrt(i)), count(*) from range({PROBE_ROWS}) t(i) "
    "where i % 3 <> 0 group by 1"
)
"""Makes, filters and groups rows."""

PROBE_SHARE = 0.5
"""What a row of the probe costs one core, to what a row costs the median TPC-H query, about."""

PROBE_DISTRIBUTED = "select g, sum(v) from (values (1, 2), (2, 3)) t(g, v) group by g"
"""Almost no work: what it takes is overhead."""

PROBES = 8
PROBES_MS = 200.0
"""No probe is begun when its like so far say that it would end later than this after the first began."""

PROBE_TRUST = 4.0
"""A probe may find so many times more or less than the default; the start may be a busy moment. Real queries go further."""

LEARN_ROWS = 100_000
"""Local queries of less work say more about how long it takes to begin."""

WEIGHT = 0.1
SHARE_WEIGHT = 0.25
"""For the agents' speed, of which nothing is known at the start."""

MOST_CHANGE = 3.0
"""One query changes a figure as if it were at most so many times larger or smaller."""

MEMORY_S = 600.0
"""How long an engine takes over what another of this process measured."""

_measured: dict[str, tuple[float, Speed]] = {}


class Calibration:
    """The speed that routing reckons with. Thread-safe.

    Args:
        history: keeps the figures between processes.
        cores: threads of the local engine.
        slots: tasks that all agents run at once.

    Attributes:
        machine: what queries run on, with the speed as it is now; replaced whenever that changes.
        agents_ready: whether a probe ran on the agents, so that the next query finds them warm.
        took_ms: how long the probes took.
    """

    def __init__(self, history: History, cores: int, slots: int) -> None:
        self._history = history
        self._key = f"{cores} threads, {slots} slots"
        self._lock = threading.Lock()
        self.agents_ready = False
        self.took_ms: float | None = None
        speed = Speed()
        if (stored := history.speed(self._key)) is not None:
            speed = Speed(stored[0], stored[1], "stored", agent_share=stored[2])
        measured = _measured.get(self._key)
        if measured is not None and time.monotonic() - measured[0] < MEMORY_S:
            speed = measured[1]
        self.machine = Machine(cores, slots, speed)

    def calibrate(self, local: Callable[[str], float], distributed: Callable[[str], float]) -> None:
        """Measure both figures, in less than 200 ms once the agents listen.

        Args:
            local: runs a statement on one core of the local engine; returns its time in milliseconds.
            distributed: runs one on the agents.
        """
        distributed(PROBE_DISTRIBUTED)  # waits for the agents, whose start would disturb what is measured
        self.agents_ready = True
        if self.machine.speed.origin == "calibrated":
            return
        local("select 1")  # opens the engine
        begin = time.perf_counter()
        local_ms = max(0.1, best_of(local, PROBE_LOCAL, PROBES_MS / 2) - LOCAL_START_MS)
        rows_per_ms = within(PROBE_SHARE * PROBE_ROWS / local_ms, LOCAL_ROWS_PER_MS)
        overhead_ms = within(best_of(distributed, PROBE_DISTRIBUTED, PROBES_MS / 3), OVERHEAD_MS)
        self.took_ms = (time.perf_counter() - begin) * 1e3
        with self._lock:
            speed = self.machine.speed
            if speed.origin == "stored":  # what real queries said outweighs a probe
                rows_per_ms = towards(speed.rows_per_ms, rows_per_ms)
                overhead_ms = towards(speed.overhead_ms, overhead_ms)
            self._take(replace(speed, rows_per_ms=rows_per_ms, overhead_ms=overhead_ms, origin="calibrated"))

    def note_local(self, work: int, exec_ms: float) -> None:
        """Learn from a local query that worked on so many rows."""
        if work < LEARN_ROWS:
            return
        rows_per_ms = work / (max(0.1, exec_ms - LOCAL_START_MS) * used_cores(work, self.machine.cores))
        with self._lock:
            speed = self.machine.speed
            figure = towards(speed.rows_per_ms, rows_per_ms)
            self._take(replace(speed, rows_per_ms=figure, local_runs=speed.local_runs + 1))

    def note_distributed(
        self, overhead_ms: float, work: int = 0, worked_ms: float = 0.0, local_ms: float | None = None
    ) -> None:
        """Learn from a distributed query.

        Args:
            overhead_ms: how much longer it took than the work of its operators.
            work: rows that it worked on.
            worked_ms: how long its operators worked, the agents beside one another.
            local_ms: what it took locally, where it ran there too. Only such a query says how fast the agents are: a row is
                more work in one query than in another.
        """
        with self._lock:
            speed = self.machine.speed
            figure = towards(speed.overhead_ms, max(0.5, overhead_ms))
            share = speed.agent_share
            if local_ms is not None and work >= LEARN_ROWS and worked_ms > 0:
                cores, slots = used_cores(work, self.machine.cores), used_cores(work, max(1, self.machine.slots))
                share = towards(share, max(0.1, local_ms - LOCAL_START_MS) * cores / (worked_ms * slots), SHARE_WEIGHT)
            runs = speed.distributed_runs + 1
            self._take(replace(speed, overhead_ms=figure, agent_share=share, distributed_runs=runs))

    def _take(self, speed: Speed) -> None:
        self.machine = Machine(self.machine.cores, self.machine.slots, speed)
        self._history.keep_speed(self._key, speed.rows_per_ms, speed.overhead_ms, speed.agent_share)
        if speed.origin == "calibrated":
            _measured[self._key] = (time.monotonic(), speed)

    def reset(self) -> None:
        """Forget what was measured."""
        with self._lock:
            _measured.pop(self._key, None)
            self.machine = Machine(self.machine.cores, self.machine.slots)


def best_of(run: Callable[[str], float], sql: str, budget_ms: float) -> float:
    """The shortest time of up to `PROBES` runs that together stay within the budget."""
    begin = time.perf_counter()
    found = run(sql)
    for number in range(2, PROBES + 1):
        spent = (time.perf_counter() - begin) * 1e3
        if spent * number / (number - 1) > budget_ms:
            break
        found = min(found, run(sql))
    return found


def within(figure: float, default: float) -> float:
    """What a probe found, not further from the default than is believed.

    Example:
        >>> within(300.0, 15.0), within(9.0, 15.0)
        (60.0, 9.0)
    """
    return min(default * PROBE_TRUST, max(default / PROBE_TRUST, figure))


def towards(known: float, figure: float, weight: float = WEIGHT) -> float:
    """`known`, moved a little towards a figure that differs by a factor.

    Example:
        >>> round(towards(100.0, 200.0), 1), towards(100.0, 100_000.0) == towards(100.0, 300.0)
        (107.2, True)
    """
    factor = min(MOST_CHANGE, max(1 / MOST_CHANGE, figure / known))
    return known * math.exp(weight * math.log(factor))


def busy_ms(results: Mapping[int, Sequence[TaskResult]], slots: int) -> float:
    """How long the operators of a distributed query worked, stage after stage: of each stage the agent that worked longest.

    Args:
        results: the results of the tasks of each stage.
        slots: tasks that one agent runs at once.
    """
    total = 0.0
    for tasks in results.values():
        longest = 0.0
        agents: dict[str, float] = {}
        for task in tasks:
            worked = sum(operator["elapsed_ns"] for operator in task.stats) / 1e6
            longest = max(longest, worked)
            agents[task.block.agent_id] = agents.get(task.block.agent_id, 0.0) + worked
        total += max(longest, max(agents.values(), default=0.0) / max(1, slots))
    return total
