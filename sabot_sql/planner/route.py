"""Where a query runs, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sabot_sql.planner.amounts import count as count
from sabot_sql.planner.amounts import size_text as size_text
from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.past import Past

Route = Literal["local", "distributed"]

LEAST_THRESHOLD = 10_000
"""No automatic threshold is lower: below it nothing pays for a message to another process."""

OVERHEAD_MS = 15.0
"""What a distributed query costs beyond the work of its operators, until it is measured."""

LOCAL_ROWS_PER_MS = 20_000
"""Rows that one core of the local engine works through in a millisecond (scan, filter and group), until it is measured."""

LOCAL_START_MS = 1.0
"""What a local query costs before its first row."""

OVERHEAD_SHARE = 0.10
"""The overhead is accepted up to this share of the local time."""

NEVER = 2**62
"""A threshold that no query reaches."""

PARALLEL_ROWS = 122_880
"""Rows that one core takes at a time; fewer are no work for a second one."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What routing knows of this machine.

    Attributes:
        rows_per_ms: rows that one core of the local engine works through in a millisecond.
        overhead_ms: what a distributed query costs beyond the work of its operators.
        agent_share: rows that one slot of an agent works through in the time in which a core of the local engine works
            through one.
        origin: `default` until measured; `stored` by an earlier process; `calibrated` at this start.
        local_runs, distributed_runs: queries that have corrected the figures since.
    """

    rows_per_ms: float = LOCAL_ROWS_PER_MS
    overhead_ms: float = OVERHEAD_MS
    origin: Literal["default", "stored", "calibrated"] = "default"
    local_runs: int = 0
    distributed_runs: int = 0
    agent_share: float = 1.0


DEFAULT_SPEED = Speed()


@dataclass(frozen=True, slots=True)
class Machine:
    """What a query can run on.

    Attributes:
        cores: threads of the local engine.
        slots: tasks that all agents run at once; 0 without agents.
        threshold: the automatic one.
    """

    cores: int
    slots: int
    speed: Speed = DEFAULT_SPEED
    threshold: int = field(init=False)

    def __post_init__(self) -> None:
        speed = self.speed
        rows = auto_threshold(
            cores=self.cores,
            agents=self.slots,
            overhead_ms=speed.overhead_ms,
            rows_per_ms=speed.rows_per_ms,
            agent_share=speed.agent_share,
        )
        object.__setattr__(self, "threshold", rows)  # asked for by every query

    def local_ms(self, rows: int) -> float:
        """The estimated time of a local query that works on `rows`."""
        return LOCAL_START_MS + rows / (self.speed.rows_per_ms * used_cores(rows, self.cores))

    def distributed_ms(self, rows: int) -> float:
        """The estimated time of a distributed query that works on `rows`."""
        per_slot = self.speed.rows_per_ms * self.speed.agent_share
        return self.speed.overhead_ms + rows / (per_slot * used_cores(rows, max(1, self.slots)))


def used_cores(rows: int, cores: int) -> int:
    """How many of `cores` have work with so many rows."""
    return max(1, min(cores, -(-rows // PARALLEL_ROWS)))


@dataclass(frozen=True, slots=True)
class Decision:
    """The route and why.

    Attributes:
        threshold: the rows that were compared with.
        machine: what the automatic threshold and the costs rest on; None where nothing was to be decided.
        past: what earlier runs of the shape did.
    """

    route: Route
    reason: str
    threshold: int
    machine: Machine | None = None
    past: Past | None = None


def auto_threshold(
    *,
    cores: int,
    agents: int,
    overhead_ms: float = OVERHEAD_MS,
    rows_per_ms: float = LOCAL_ROWS_PER_MS,
    agent_share: float = 1.0,
) -> int:
    """The smallest row count from which a distributed query takes at most a tenth longer than a local one; `NEVER` where
    the agents are too slow for that.

    Args:
        cores: threads of the local engine.
        agents: tasks the pool runs at once.
        agent_share: the speed of one such task, to that of a core of the local engine.

    Example:
        >>> auto_threshold(cores=2, agents=2), auto_threshold(cores=2, agents=2, agent_share=0.5) == NEVER
        (6000000, True)
        >>> auto_threshold(cores=2, agents=16)
        615385
    """
    local = rows_per_ms * cores
    pool = rows_per_ms * agent_share * agents if agents else local
    gain = (1 + OVERHEAD_SHARE) / local - 1 / pool
    return NEVER if gain <= 0 else max(LEAST_THRESHOLD, round(overhead_ms / gain))


def decide(
    request_route: Literal["auto", "local", "distributed"],
    threshold: int | Literal["auto"],
    estimate: Estimate,
    *,
    bytes_scanned: int,
    local_max_bytes: int,
    machine: Machine,
    past: Past | None = None,
) -> Decision:
    """The route of one query.

    Args:
        threshold: rows from which it is distributed; an integer is taken as it is.
        bytes_scanned: bytes of the tables it reads; decides only where the rows are unknown.
        past: what earlier runs of the shape did; their times decide only where the threshold is automatic.

    Example:
        >>> e = Estimate(120_000, 0, 1, 0, "exact")
        >>> machine = Machine(1, 2, Speed(overhead_ms=9.5, origin="calibrated"))
        >>> decide("auto", "auto", e, bytes_scanned=0, local_max_bytes=1, machine=machine).reason
        'estimated 120,000 rows (exact) < threshold 380,000 (auto)'
    """
    automatic = threshold == "auto"
    rows = machine.threshold if threshold == "auto" else threshold
    if request_route != "auto":
        return Decision(request_route, f'forced by route="{request_route}"', rows, machine, past)
    if estimate.confidence == "unknown":
        route, reason = _unknown(bytes_scanned, local_max_bytes, machine.slots)
        return Decision(route, reason, rows, machine, past)
    shown = "(auto)" if machine.speed.origin == "calibrated" else f"(auto, {machine.speed.origin} figures)"
    if automatic and past is not None and machine.slots and estimate.work >= LEAST_THRESHOLD:
        if past.distributed_ms is not None:
            return _by_times(estimate, rows, machine, past)
        if past.local_ms is not None:
            rows, shown = own_threshold(estimate.work, past.local_ms, machine), "(auto, by its earlier runs)"
    if automatic and rows >= NEVER and machine.slots:
        reason = f"{_shown(estimate)}, and the agents are slower at any number"
        return Decision("local", f"{reason} {shown}", rows, machine, past)
    local = estimate.work < rows
    reason = f"{_shown(estimate)} {'<' if local else '>='} threshold {count(rows)}"
    if automatic:
        reason = f"{reason} {shown}"
    if not local and not machine.slots:
        return Decision("local", f"{reason}, but there are no agents", rows, machine, past)
    return Decision("local" if local else "distributed", reason, rows, machine, past)


def _shown(estimate: Estimate) -> str:
    rows = count(estimate.work)
    return f"at most {rows} rows" if estimate.at_most else f"estimated {rows} rows ({estimate.confidence})"


def own_threshold(work: int, local_ms: float, machine: Machine) -> int:
    """The automatic threshold of a query whose local time is known: at its own speed instead of the machine's."""
    speed = work / max(local_ms - LOCAL_START_MS, 0.01) / machine.cores
    return auto_threshold(
        cores=machine.cores,
        agents=machine.slots,
        overhead_ms=machine.speed.overhead_ms,
        rows_per_ms=max(speed, 1e-6),
        agent_share=machine.speed.agent_share,
    )


def _by_times(estimate: Estimate, rows: int, machine: Machine, past: Past) -> Decision:
    """The route of a query that was distributed before: where it is faster, the agents winning up to a tenth. They never win
    where the local engine is done within the overhead of a job: there the two times differ by chance."""
    assert past.distributed_ms is not None
    measured = past.local_ms is not None
    local_ms = past.local_ms if past.local_ms is not None else machine.local_ms(estimate.work)
    local = local_ms <= machine.speed.overhead_ms or past.distributed_ms > local_ms * (1 + OVERHEAD_SHARE)
    times = (
        f"earlier runs took {local_ms:.1f} ms locally, {past.distributed_ms:.1f} ms distributed"
        if measured
        else f"earlier runs took {past.distributed_ms:.1f} ms distributed, locally it should take {local_ms:.1f} ms"
    )
    reason = f"{_shown(estimate)}, and {times}"
    return Decision("local" if local else "distributed", reason, rows, machine, past)


def _unknown(bytes_scanned: int, local_max_bytes: int, slots: int) -> tuple[Route, str]:
    size, limit = size_text(bytes_scanned), size_text(local_max_bytes)
    if bytes_scanned <= local_max_bytes:
        return "local", f"row count unknown, {size} to read <= local limit {limit}"
    if slots:
        return "distributed", f"row count unknown and {size} to read > local limit {limit}"
    return "local", f"row count unknown, {size} to read, but there are no agents"
