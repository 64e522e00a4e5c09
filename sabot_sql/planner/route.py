"""Where a query runs, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sabot_sql.planner.estimate import Estimate

Route = Literal["local", "distributed"]

LEAST_THRESHOLD = 10_000
"""No automatic threshold is lower: below it nothing pays for a message to another process."""

OVERHEAD_MS = 15.0
"""What a distributed query costs before its first row: the bar for two stages on a warm pool."""

LOCAL_ROWS_PER_MS = 20_000
"""Rows that one core of the local engine works through in a millisecond (scan, filter and group); a rough default."""

OVERHEAD_SHARE = 0.10
"""The overhead is accepted up to this share of the local time."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The route, why, and the threshold in rows that was compared with."""

    route: Route
    reason: str
    threshold: int


def auto_threshold(
    *,
    cores: int,
    agents: int,
    overhead_ms: float = OVERHEAD_MS,
    rows_per_ms: float = LOCAL_ROWS_PER_MS,
    agent_slots: int | None = None,
) -> int:
    """The smallest row count from which distributing pays.

    Either the overhead is at most 10 % of the estimated local time, or the pool has so many more slots than the local
    engine has cores that it is faster in spite of the overhead: rows/local - rows/pool >= overhead.

    Args:
        cores: threads of the local engine.
        agent_slots: tasks the pool runs at once; one an agent by default.

    Example:
        >>> auto_threshold(cores=2, agents=2)
        6000000
    """
    local = rows_per_ms * cores
    rows = local * overhead_ms / OVERHEAD_SHARE
    pool = rows_per_ms * (agents if agent_slots is None else agent_slots)
    if pool > local:
        rows = min(rows, overhead_ms / (1 / local - 1 / pool))
    return max(LEAST_THRESHOLD, round(rows))


def decide(
    request_route: Literal["auto", "local", "distributed"],
    threshold: int | Literal["auto"],
    estimate: Estimate,
    *,
    bytes_scanned: int,
    local_max_bytes: int,
    cores: int,
    agents: int,
    auto_rows: int | None = None,
) -> Decision:
    """The route of one query.

    Args:
        threshold: rows from which it is distributed; an integer is taken as it is.
        bytes_scanned: bytes of the tables it reads; decides only where the rows are unknown.
        auto_rows: the calibrated automatic threshold; worked out from `cores` and `agents` when None.

    Example:
        >>> e = Estimate(120_000, 0, 1, 0, "exact")
        >>> decide("auto", "auto", e, bytes_scanned=0, local_max_bytes=1, cores=1, agents=0, auto_rows=1_900_000).reason
        'estimated 120,000 rows (exact) < threshold 1.9 M (auto)'
    """
    automatic = threshold == "auto"
    if threshold == "auto":
        rows = auto_threshold(cores=cores, agents=agents) if auto_rows is None else max(LEAST_THRESHOLD, auto_rows)
    else:
        rows = threshold
    if request_route != "auto":
        return Decision(request_route, f'forced by route="{request_route}"', rows)
    if estimate.confidence == "unknown":
        return _unknown(rows, bytes_scanned, local_max_bytes, agents)
    local = estimate.work < rows
    shown = f"{count(rows)} (auto)" if automatic else count(rows)
    reason = f"estimated {count(estimate.work)} rows ({estimate.confidence}) {'<' if local else '>='} threshold {shown}"
    if not local and agents == 0:
        return Decision("local", f"{reason}, but there are no agents", rows)
    return Decision("local" if local else "distributed", reason, rows)


def _unknown(rows: int, bytes_scanned: int, local_max_bytes: int, agents: int) -> Decision:
    size, limit = size_text(bytes_scanned), size_text(local_max_bytes)
    if bytes_scanned > local_max_bytes and agents > 0:
        return Decision("distributed", f"row count unknown and {size} to read > local limit {limit}", rows)
    if bytes_scanned > local_max_bytes:
        return Decision("local", f"row count unknown, {size} to read, but there are no agents", rows)
    return Decision("local", f"row count unknown, {size} to read <= local limit {limit}", rows)


def count(rows: int) -> str:
    """A row count as it is shown: exact below a million, three digits above.

    Example:
        >>> count(120_000), count(1_900_000), count(84_000_000)
        ('120,000', '1.9 M', '84.0 M')
    """
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if rows >= size:
            return f"{rows / size:,.1f} {unit}"
    return f"{rows:,}"


def size_text(num_bytes: int) -> str:
    """A size as it is shown.

    Example:
        >>> size_text(1 << 30), size_text(1500)
        ('1.0 GiB', '1.5 KiB')
    """
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
