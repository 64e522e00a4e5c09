"""What EXPLAIN says of the route: why, by which estimate and threshold, at which costs, and what would change it."""

from __future__ import annotations

from typing import Any

from sabot_sql.engine.prepared import Prepared
from sabot_sql.engine.request import Explanation
from sabot_sql.errors import PlanError
from sabot_sql.planner.estimate import Estimate
from sabot_sql.planner.plan_json import plan_document
from sabot_sql.planner.route import NEVER, OVERHEAD_SHARE, Decision, Machine, Speed, count, own_threshold, size_text


def explanation(
    prepared: Prepared,
    physical: str,
    stages: list[dict[str, Any]],
    *,
    asked_threshold: bool,
    automatic: bool,
    local_max_bytes: int,
    actual_scanned: int | None = None,
) -> Explanation:
    """The answer to EXPLAIN.

    Args:
        physical: the plan as text.
        asked_threshold: the statement's own threshold, not the engine's.
        automatic: the threshold is "auto".
        actual_scanned: rows that a run read (EXPLAIN ANALYZE), where they were counted.
    """
    guess = prepared.estimate
    actual = {"actual_rows_scanned": actual_scanned, "actual_rows_out": prepared.rows_out} if prepared.ran else {}
    estimate = {
        "rows_scanned": guess.rows_scanned,
        "bytes_scanned": guess.bytes_scanned,
        "rows_out": guess.rows_out,
        "work": guess.work,
        "confidence": guess.confidence,
        "inputs": list(guess.inputs),
        **actual,
    }
    routing = _routing(prepared, asked_threshold, automatic, local_max_bytes)
    head = [f"route     {prepared.route}: {prepared.reason}", f"estimate  {show_estimate(guess)}"]
    if prepared.ran:
        scanned = "rows scanned not counted" if actual_scanned is None else f"{actual_scanned:,} rows scanned"
        head.append(f"actual    {scanned}, {prepared.rows_out:,} out")
    if routing:
        threshold = "" if routing["threshold"] is None else f"{count(routing['threshold'])} rows, "
        head += [
            f"threshold {threshold}{routing['threshold_from']}",
            f"otherwise {routing['otherwise']}",
            f"costs     {_cost(routing['local_ms'], routing['local_from'])} local, "
            f"{_cost(routing['distributed_ms'], routing['distributed_from'])} distributed",
        ]
    plan, warnings = _plan_document(prepared)
    return Explanation(
        prepared.route,
        prepared.reason,
        estimate,
        prepared.statement_type,
        tuple(t.name for t in prepared.tables),
        "\n".join([*head, *([physical] if physical else [])]),
        prepared.logical,
        physical,
        stages,
        warnings=warnings,
        routing=routing,
        plan=plan,
    )


def _plan_document(prepared: Prepared) -> tuple[dict[str, Any] | None, list[str]]:
    """The whole plan as JSON, and why it is not there although there is one."""
    if prepared.plan is None:
        return None, []
    try:
        return plan_document(prepared.plan), []
    except PlanError as error:
        return None, [f"the plan is left out: {error.detail}"]


def show_estimate(guess: Estimate) -> str:
    """One line: the figures, the confidence and what they rest on."""
    if guess.confidence == "unknown":
        return f"rows unknown, {guess.bytes_scanned:,} bytes to read" + (
            f" ({'; '.join(guess.inputs)})" if guess.inputs else ""
        )
    figures = f"{guess.rows_scanned:,} rows scanned, {guess.rows_out:,} out, {guess.bytes_scanned:,} bytes"
    because = f" ({'; '.join(guess.inputs)})" if guess.inputs else ""
    return f"{figures}, {guess.confidence}{because}"


def _cost(time_ms: float | None, origin: str) -> str:
    return f"{time_ms:,.1f} ms ({origin})" if time_ms is not None else f"unknown ({origin})"


def _routing(prepared: Prepared, asked_threshold: bool, automatic: bool, local_max_bytes: int) -> dict[str, Any]:
    """The mapping `routing` of the contract; empty where there was nothing to decide."""
    decision = prepared.decision
    if decision is None or decision.machine is None:
        return {}
    machine, past, work = decision.machine, decision.past, prepared.estimate.work
    unknown = prepared.estimate.confidence == "unknown"
    local_ms, local_from = (None, "rows unknown") if unknown else (machine.local_ms(work), "estimated")
    distributed_ms, distributed_from = (None, "rows unknown") if unknown else (machine.distributed_ms(work), "estimated")
    if past is not None and past.local_ms is not None:
        local_ms, local_from = past.local_ms, f"{_runs(past.local_runs)} before"
    if past is not None and past.distributed_ms is not None:
        distributed_ms, distributed_from = past.distributed_ms, f"{_runs(past.distributed_runs)} before"
    if not machine.slots:
        distributed_ms, distributed_from = None, "no agents"
    return {
        "threshold": None if decision.threshold >= NEVER else decision.threshold,
        "threshold_from": _threshold_from(decision, work, asked_threshold, automatic),
        "otherwise": _otherwise(prepared, decision, machine, automatic, local_max_bytes),
        "local_ms": local_ms,
        "local_from": local_from,
        "distributed_ms": distributed_ms,
        "distributed_from": distributed_from,
    }


def _runs(number: int) -> str:
    return f"{number} run{'s' if number != 1 else ''}"


def _threshold_from(decision: Decision, work: int, asked: bool, automatic: bool) -> str:
    machine, past = decision.machine, decision.past
    assert machine is not None
    if not automatic:
        return "asked for with the statement" if asked else "set for this engine"
    speed = machine.speed
    figures = (
        f"{speed.overhead_ms:,.1f} ms of overhead and {speed.rows_per_ms:,.0f} rows/ms on each of {_cores(machine.cores)}, "
        f"{_slots(machine.slots)} in the agents at {speed.agent_share:.0%} of a core's speed; {_origin(speed)}"
    )
    rule = f"auto: the overhead is {OVERHEAD_SHARE:.0%} of the local time, or the agents are faster"
    own = past is not None and past.local_ms is not None and decision.threshold == own_threshold(work, past.local_ms, machine)
    if own and past is not None and past.local_ms is not None:
        return f"{rule}, at this query's own speed ({past.local_ms:,.1f} ms locally before; {figures})"
    return f"{rule} ({figures})"


def _cores(cores: int) -> str:
    return f"{cores} core{'s' if cores != 1 else ''}"


def _slots(slots: int) -> str:
    return f"{slots} slot{'s' if slots != 1 else ''}"


def _origin(speed: Speed) -> str:
    text = {
        "default": "default figures, not measured here yet",
        "stored": "stored by an earlier process",
        "calibrated": "calibrated at the start",
    }[speed.origin]
    runs = speed.local_runs + speed.distributed_runs
    return f"{text}, corrected by {runs:,} quer{'ies' if runs != 1 else 'y'}" if runs else text


def _otherwise(prepared: Prepared, decision: Decision, machine: Machine, automatic: bool, local_max_bytes: int) -> str:
    """What would have to be different for the other route."""
    guess, past = prepared.estimate, decision.past
    size = sum(t.statistics.size_bytes for t in prepared.tables)
    if prepared.request.route != "auto":
        return f'nothing changes it: route="{prepared.request.route}" was asked for'
    if prepared.promoted:
        return "local within its budget"
    if prepared.route == "local" and not machine.slots:
        return "distributed if there were agents"
    if prepared.route != decision.route:
        return "distributed if the agents could run it"
    if guess.confidence == "unknown":
        other = "distributed above" if prepared.route == "local" else "local up to"
        return f"{other} {size_text(local_max_bytes)} to read; this is {size_text(size)}"
    if automatic and past is not None and past.distributed_ms is not None and guess.work >= 10_000:
        if prepared.route == "local":
            return f"distributed if that took at most {1 + OVERHEAD_SHARE:.2g} times the local time"
        return f"local if distributed took more than {1 + OVERHEAD_SHARE:.2g} times the local time"
    if prepared.route == "local":
        if decision.threshold >= NEVER:
            return "distributed if the agents had more slots, or were faster"
        return f"distributed from {count(decision.threshold)} rows; this is {count(guess.work)}"
    return f"local below {count(decision.threshold)} rows; this is {count(guess.work)}"
